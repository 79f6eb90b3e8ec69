"""The dataset tree: names of folders and frames, the camera and pose file of a folder, frames and masks.

Layout (the common jpg re-packaging of Human3.6M, which `synthesize` also writes):
`s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg`, with `h36m_meta.mat` in each folder; frames
count from 1; masks lie in the same tree (or in one like it) with the suffix `.png`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from jaxtyping import Float, Int32, UInt8
from numpy import ndarray
from scipy.io import loadmat, savemat

from codebase.errors import DataError
from codebase.files import atomic_path, missing
from codebase.skeleton import H36M

META = "h36m_meta.mat"
FRAME_SUFFIX, MASK_SUFFIX = ".jpg", ".png"
MASK_THRESHOLD = 128
_FOLDER = re.compile(r"s_(\d\d+)_act_(\d\d+)_subact_(\d\d+)_ca_(\d\d+)")
_DIGITS = 6
_MOST_PIXELS = 64_000_000
_HDF5 = b"\x89HDF\r\n\x1a\n"

# OpenCV's own threads would compete with the worker processes that every caller uses.
cv2.setNumThreads(1)


@dataclass(frozen=True, order=True)
class Folder:
    """One sequence seen by one camera; orders as the index does, but for the camera."""

    subject: int
    action: int
    subaction: int
    camera: int

    @property
    def name(self) -> str:
        """Name of the folder, such as `s_01_act_02_subact_01_ca_01`."""
        return f"s_{self.subject:02d}_act_{self.action:02d}_subact_{self.subaction:02d}_ca_{self.camera:02d}"

    def file(self, root: Path, frame: int, suffix: str = FRAME_SUFFIX) -> Path:
        """Path of frame `frame` (from 1) under the tree `root`; `suffix` MASK_SUFFIX gives its mask."""
        return root / self.name / f"{self.name}_{frame:0{_DIGITS}d}{suffix}"


def parse_folder(name: str) -> Folder | None:
    """The folder that `name` names, or None."""
    match = _FOLDER.fullmatch(name)
    return Folder(*map(int, match.groups())) if match else None


@dataclass(frozen=True)
class Meta:
    """What `h36m_meta.mat` says: a camera (x_cam = R (x - T)) and a pose a frame.

    Attributes:
        pose3d_world_mm: row i belongs to frame i + 1; where the root alone is finite, the person is unlabelled.
        R: rotation from world to camera.
        T_mm: the camera's centre in the world.
        f_px: focal lengths.
        c_px: principal point, pixel centres at integers.
        width, height: of the frames, px.
        distortion: k1, k2, p1, p2, k3 of OpenCV's model, with which the frames were recorded; zeros: an ideal pinhole.
    """

    pose3d_world_mm: Float[ndarray, "frames 17 3"]
    R: Float[ndarray, "3 3"]
    T_mm: Float[ndarray, "3"]
    f_px: Float[ndarray, "2"]
    c_px: Float[ndarray, "2"]
    width: int
    height: int
    distortion: Float[ndarray, "5"] = field(default_factory=lambda: np.zeros(5))


def write_meta(
    folder: Path,
    *,
    pose3d_world_mm: Float[ndarray, "frames 17 3"],
    R: Float[ndarray, "3 3"],
    T_mm: Float[ndarray, "*one 3"],
    f_px: Float[ndarray, "*one 2"],
    c_px: Float[ndarray, "*one 2"],
    width: int,
    height: int,
    distortion: Float[ndarray, "*one 5"] | None = None,
) -> None:
    """Write `h36m_meta.mat` (MATLAB v5) into `folder`, atomically; shapes, units and frames as in `Meta`."""
    values = {
        "pose3d_world": np.asarray(pose3d_world_mm, np.float64),
        "R": np.asarray(R, np.float64),
        "T": np.reshape(T_mm, (1, 3)).astype(np.float64),
        "f": np.reshape(f_px, (1, 2)).astype(np.float64),
        "c": np.reshape(c_px, (1, 2)).astype(np.float64),
        "img_width": float(width),
        "img_height": float(height),
        "distortion": np.reshape(np.zeros(5) if distortion is None else distortion, (1, 5)).astype(np.float64),
    }
    with atomic_path(folder / META) as temporary:
        savemat(temporary, values, do_compression=True)


def read_meta(folder: Path) -> Meta:
    """Read a folder's `h36m_meta.mat`, MATLAB v5 or v7.3.

    Raises:
        DataError: the file is missing or unreadable, lacks a key, or a value has a wrong shape or makes no camera.
    """
    path = folder / META
    values = _load_mat(path)
    joints = len(H36M)
    pose = _value(values, path, "pose3d_world", (-1, joints, 3))
    R = _value(values, path, "R", (3, 3))
    vectors = {key: _value(values, path, key, (size,)) for key, size in (("T", 3), ("f", 2), ("c", 2))}
    distortion = _value(values, path, "distortion", (5,)) if "distortion" in values else np.zeros(5)
    width, height = (float(_value(values, path, key, (1,))[0]) for key in ("img_width", "img_height"))
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise _refused(path, "R", "a rotation from world to camera, determinant +1")
    if not all(np.isfinite(vector).all() for vector in (vectors["T"], vectors["c"], distortion)):
        raise _refused(path, "T, c or distortion", "finite numbers")
    if not (vectors["f"] > 0).all() or not (0 < width < np.inf and 0 < height < np.inf):
        raise _refused(path, "f, img_width and img_height", "positive numbers")
    return Meta(pose, R, vectors["T"], vectors["f"], vectors["c"], int(width), int(height), distortion)


def _load_mat(path: Path) -> Mapping[str, Any]:
    try:
        if not path.is_file():
            raise missing(path, mend="extract the folder again, or leave it out of dataset.*")
        if _is_hdf5(path):
            with h5py.File(path, "r") as file:
                # MATLAB stores arrays column by column: HDF5 shows their axes reversed.
                return {key: np.asarray(item).T for key, item in file.items() if isinstance(item, h5py.Dataset)}
        return loadmat(path)
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"The file cannot be read: {error.strerror}", where=path) from None
    except Exception as error:  # scipy raises many kinds for a broken file
        raise DataError(f"The file is no readable MATLAB file: {error}", where=path) from None


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as handle:  # MATLAB v7.3 puts 512 bytes of its own before the HDF5 signature
        head = handle.read(520)
    return head.startswith(_HDF5) or head[512:].startswith(_HDF5)


def _value(values: Mapping[str, Any], path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of `key` as float64; a vector may be stored as (n,), (1, n) or (n, 1)."""
    wanted = " x ".join("N" if n < 0 else str(n) for n in shape)
    if key not in values:
        raise DataError(
            f"The key {key!r} is missing.", where=path, expected=f"{key} of shape {wanted}; here: {_keys(values)}"
        )
    found = np.asarray(values[key])
    if not np.issubdtype(found.dtype, np.number):
        raise _refused(path, key, f"numbers of shape {wanted}")
    array = found.astype(np.float64)
    if len(shape) == 1 and array.size == shape[0]:
        array = array.reshape(shape)
    fits = array.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits:
        raise _refused(path, f"{key} (shape {found.shape})", f"shape {wanted}")
    return array


def _keys(values: Iterable[str]) -> str:
    return ", ".join(sorted(key for key in values if not key.startswith("_"))) or "no key"


def _refused(path: Path, key: str, expected: str) -> DataError:
    return DataError(f"The value of {key} is refused.", where=path, expected=expected, mend="make the file again")


def list_frames(folder: Path, name: str, suffix: str = FRAME_SUFFIX) -> Int32[ndarray, " frames"]:
    """Frame numbers of the files `{name}_000001{suffix}` in `folder`, sorted; none where the folder is missing.

    Raises:
        DataError: the folder may not be read.

    The names are parsed at once as a matrix of bytes: about 20 times faster than a pattern and a stat for each.
    """
    try:
        names = os.listdir(os.fsencode(folder))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise DataError(f"the folder of its {suffix} files cannot be read: {error.strerror}") from None
    head, tail = f"{name}_".encode(), suffix.encode()
    start, stop = len(head), len(head) + _DIGITS
    length = stop + len(tail)
    names = [entry for entry in names if len(entry) == length]
    if not names:
        return np.zeros(0, np.int32)
    table = np.frombuffer(b"".join(names), np.uint8).reshape(-1, length)
    digits = table[:, start:stop] - np.uint8(ord("0"))  # wraps around for what is no digit
    good = (table[:, :start] == np.frombuffer(head, np.uint8)).all(1)
    good &= (table[:, stop:] == np.frombuffer(tail, np.uint8)).all(1) & (digits <= 9).all(1)
    frames = digits[good].astype(np.int32) @ (10 ** np.arange(_DIGITS - 1, -1, -1, dtype=np.int32))
    return np.sort(frames[frames > 0]).astype(np.int32)


_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_frame(path: Path, *, reduce: int = 1) -> UInt8[ndarray, "height width 3"]:
    """Decode a frame to RGB; `reduce` 2, 4 or 8 averages blocks of so many pixels while it decodes.

    Raises:
        DataError: the file is missing or no image.
    """
    # The camera belongs to the pixels as they are stored, so a rotation in the file's EXIF is not applied.
    return np.ascontiguousarray(_decode(path, _REDUCED[reduce] | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1])


def read_mask(path: Path) -> UInt8[ndarray, "height width"]:
    """Decode a mask: 0 background, 255 person; see MASK_THRESHOLD.

    Raises:
        DataError: the file is missing or no image.
    """
    return _decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)


def read_mask_of(path: Path, frame: Path, shape: tuple[int, ...], *, reduce: int = 1) -> UInt8[ndarray, "height width"]:
    """The mask of a frame that is decoded already, to `shape`, by `read_frame` with the same `reduce`.

    Raises:
        DataError: the mask is missing, no image, or has another size than the frame.
    """
    mask = read_mask(path)
    if tuple(-(-side // reduce) for side in mask.shape) == shape[:2]:
        return mask
    about = "about " if reduce > 1 else ""
    raise DataError(
        f"The mask has {mask.shape[1]} x {mask.shape[0]} pixels, its frame {about}"
        f"{shape[1] * reduce} x {shape[0] * reduce}.",
        where=f"{path}, of the frame {frame}", expected="a mask of its frame's size",
        mend="make this mask again, or delete it and run index again: the frame is used without",
    )  # fmt: skip


def _decode(path: Path, flags: int) -> np.ndarray:
    try:
        content = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror}", where=path) from None
    image = _decoded(content, flags)
    if image is None:
        raise DataError("The file is no readable image.", where=path, expected="JPEG or PNG", mend="extract it again")
    return image


def _decoded(content: np.ndarray, flags: int) -> np.ndarray | None:
    if content[:4].tobytes() == b"\x89PNG" and _claimed_pixels(content[16:24].tobytes()) > _MOST_PIXELS:
        return None  # the decoder would fill as many pixels as a damaged header claims, for minutes
    try:
        return cv2.imdecode(content, flags) if content.size else None
    except cv2.error:  # such as a header that claims gigapixels
        return None


def _claimed_pixels(size: bytes) -> int:
    """Width times height of a PNG's header."""
    return int.from_bytes(size[:4], "big") * int.from_bytes(size[4:], "big")


def damage(path: Path) -> tuple[str, tuple[int, int]]:
    """What is wrong with an image ("" if nothing), and its (width, height), to 8 px where it is a JPEG.

    Decoders fill up a truncated JPEG without complaint, so its end marker is looked for; the decode at an eighth
    costs little more than reading the entropy-coded bits and proves that the full decode will work.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"unreadable: {error.strerror}", (0, 0)
    if not content:
        return "the file is empty", (0, 0)
    if content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[-64:]:
        return "the JPEG is cut short", (0, 0)
    flags = cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION
    image = _decoded(np.frombuffer(content, np.uint8), flags)
    if image is None:
        return "the file is no readable image", (0, 0)
    return "", (image.shape[1] * 8, image.shape[0] * 8)
