"""Human3.6M's metadata.xml: which file is which sequence, how many frames it has, and all cameras.

The file is part of the data set's own software bundle. Its tables are read as they stand: names of files follow no rule
(the second take of Directions is "Directions" for S1 and "Directions 2" for S5), and sizes differ by subject.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.errors import DataError
from codebase.files import missing

NAME = "metadata.xml"
# w0: six numbers for each camera and subject, then nine for each camera
SUBJECTS, EXTRINSICS, INTRINSICS = 11, 6, 9
LARGEST_BYTES = 10_000_000
Sequence = tuple[int, int, int]  # subject, action, subaction


@dataclass(frozen=True)
class OfficialCamera:
    """A camera of one subject's session: x_cam = R (x - T).

    Attributes:
        R: rotation from world to camera.
        T_mm: centre in the world.
        f_px, c_px: focal lengths and principal point, as stored.
        distortion: k1, k2, p1, p2, k3.
        width, height: of the video, px.
    """

    R: Float[ndarray, "3 3"]
    T_mm: Float[ndarray, "3"]
    f_px: Float[ndarray, "2"]
    c_px: Float[ndarray, "2"]
    distortion: Float[ndarray, "5"]
    width: int
    height: int


@dataclass(frozen=True)
class Metadata:
    """What metadata.xml says.

    Attributes:
        path: where it was read.
        prefixes: beginning of the file names of each sequence, such as "Directions 1".
        frames: frames of each sequence's videos, in the order of the cameras; none where the table has none.
        poses: frames with a pose, over all cameras, as published.
        camera_names: as in the file names, by the camera number from 1.
        cameras: by subject and camera number.
    """

    path: Path
    prefixes: dict[Sequence, str]
    frames: dict[Sequence, tuple[int, ...]]
    poses: dict[Sequence, int]
    camera_names: dict[int, str]
    cameras: dict[tuple[int, int], OfficialCamera]


def read_metadata(path: Path) -> Metadata:
    """Read metadata.xml.

    Raises:
        DataError: the file is missing, no XML, or a table in it does not fit.
    """
    root = _parse(path)
    names = [item.text or "" for item in _find(root, "dbcameras/index2id", path)]
    mapping = [[(cell.text or "").strip() for cell in row] for row in _find(root, "mapping", path)]
    if not mapping or not names:
        raise _refused(path, "mapping or dbcameras", "a table with rows")
    subjects = [_subject(text, path) for text in mapping[0][2:]]
    rows = [row for row in mapping[1:] if len(row) > 2 and row[0].isdigit() and row[1].isdigit()]
    if any(len(row) != len(mapping[0]) for row in rows) or not rows:
        raise _refused(path, "mapping", f"rows of {len(mapping[0])} cells, as its first")
    prefixes = {
        (subject, int(row[0]), int(row[1])): prefix
        for row in rows
        for subject, prefix in zip(subjects, row[2:], strict=True)
        if prefix
    }
    frames, poses = _frames(root, rows, subjects, len(names))
    sizes = _sizes(mapping, subjects, len(names), path)
    cameras = _cameras(_numbers(_find(root, "w0", path).text, path, "w0"), sizes, len(names), path)
    return Metadata(path, prefixes, frames, poses, dict(enumerate(names, start=1)), cameras)


def _parse(path: Path) -> Element:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError("The file is too large for Human3.6M's metadata.", where=path, expected="about 100 kB")
        text = path.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:  # entities can grow without bound, and it has none
            raise DataError("The file declares entities, which Human3.6M's does not.", where=path)
        return ElementTree.fromstring(text)  # noqa: S314 - what is dangerous was refused above
    except FileNotFoundError:
        raise missing(path, mend="take it from Human3.6M's software bundle, see docs/datasets.md") from None
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror}", where=path) from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise DataError(f"The file is no valid XML: {error}", where=path, mend="download it again") from None


def _find(root: Element, tag: str, path: Path) -> Element:
    found = root.find(tag)
    if found is None:
        raise _refused(path, tag, "the element that Human3.6M's file has")
    return found


def _refused(path: Path, what: str, expected: str) -> DataError:
    return DataError(f"{what} does not fit.", where=path, expected=expected, mend="download metadata.xml again")


def _subject(text: str, path: Path) -> int:
    match = re.fullmatch(r"S(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= SUBJECTS:
        raise _refused(path, f"the column {text!r} of mapping", f"S1 to S{SUBJECTS}")
    return int(match[1])


def _numbers(text: str | None, path: Path, what: str) -> Float[ndarray, " numbers"]:
    try:
        return np.array([float(word) for word in (text or "").strip().strip("[]").replace(";", " ").split()])
    except ValueError:
        raise _refused(path, what, "numbers in brackets") from None


def _frames(
    root: Element, rows: list[list[str]], subjects: list[int], cameras: int
) -> tuple[dict[Sequence, tuple[int, ...]], dict[Sequence, int]]:
    """Counts a sequence; a table that does not fit is left aside, since counts only serve to compare."""
    frames: dict[Sequence, tuple[int, ...]] = {}
    poses: dict[Sequence, int] = {}
    for subject, row in zip(subjects, root.find("frames") or (), strict=False):
        cells = [(cell.text or "").strip().strip("[]").split() for cell in row][1:]  # the first is empty
        if len(cells) != len(rows):
            continue
        for (action, subaction, *_), words in zip(rows, cells, strict=True):
            if len(words) == cameras + 1 and all(word.isdigit() for word in words):
                sequence = (subject, int(action), int(subaction))
                frames[sequence], poses[sequence] = tuple(int(word) for word in words[:-1]), int(words[-1])
    return frames, poses


def _sizes(
    mapping: list[list[str]], subjects: list[int], cameras: int, path: Path
) -> dict[tuple[int, int], tuple[int, int]]:
    """(width, height) by subject and camera, from the last row: "[rows columns;...]" for each subject."""
    last = mapping[-1]
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for subject, text in zip(subjects, last[2:], strict=False):
        numbers = _numbers(text, path, "the last row of mapping")
        if len(numbers) != 2 * cameras or not ((numbers > 0) & (numbers < 10_000)).all():
            raise _refused(path, f"the last row of mapping, for S{subject}", f"{cameras} sizes such as [1002 1000;...]")
        pairs = numbers.astype(int).reshape(-1, 2).tolist()
        sizes |= {(subject, camera): (width, height) for camera, (height, width) in enumerate(pairs, start=1)}
    if len(sizes) != cameras * len(subjects):
        raise _refused(path, "the last row of mapping", "sizes of the videos of each subject")
    return sizes


def _cameras(
    w0: Float[ndarray, " numbers"], sizes: dict[tuple[int, int], tuple[int, int]], cameras: int, path: Path
) -> dict[tuple[int, int], OfficialCamera]:
    expected = cameras * (SUBJECTS * EXTRINSICS + INTRINSICS)
    if len(w0) != expected or not np.isfinite(w0).all():
        raise _refused(path, f"w0 ({len(w0)} numbers)", f"{expected} finite numbers")
    inner = w0[cameras * SUBJECTS * EXTRINSICS :].reshape(cameras, INTRINSICS)
    outer = w0[: cameras * SUBJECTS * EXTRINSICS].reshape(cameras, SUBJECTS, EXTRINSICS)
    found = {}
    for (subject, number), (width, height) in sizes.items():
        angles, T_mm = np.split(outer[number - 1, subject - 1], 2)
        f_px, c_px, (k1, k2, k3), (p1, p2) = np.split(inner[number - 1], (2, 4, 7))
        if not (f_px > 0).all():
            raise _refused(path, f"w0, focal lengths of camera {number}", "positive numbers")
        distortion = np.array([k1, k2, p1, p2, k3])
        found[subject, number] = OfficialCamera(rotation(angles), T_mm, f_px, c_px, distortion, width, height)
    return found


def rotation(angles_rad: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """World to camera from the three angles of w0: the product of turns about x, y and z, in that order.

    Each turn is right-handed by the stored angle.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_rad), np.sin(angles_rad)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z
