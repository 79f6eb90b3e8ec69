"""Frames of the course's tree as its own programs saw them: crops about given boxes, bodies in the camera's frame.

`{dataset_folder}/S{n}/<action>.<camera>/<frame>.npz` counts from 0, its picture
`{img_folder}/S{n}/Images/<action>.<camera>/%06d.jpg` from 1; any zero padding, spaces or underscores.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from codebase.data.doors.course_files import Intrinsics, intrinsics_of, picture_folder
from codebase.data.human36m import read_frame
from codebase.data.parallel import in_order
from codebase.data.resample import after_reduction, cut_oblong, reduction
from codebase.errors import DataError
from codebase.geometry import rotation_to_root, undistort

BOX = {"root_loc": 3, "center_img": 2, "scale_img": 1}
BODY = {"root_orient": 3, "pose_body": 63, "pose_hand": 6, "betas": 10}
BOX_PX = 200.0  # side of the box at scale_img 1
_FOLDER = re.compile(r"(.+)\.(\w+)")
_PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class CourseFrames:
    """Rows of some subjects, in the order of subject, folder and frame.

    Attributes:
        id: "S9/<action>.<camera>/<frame>.npz", as it lies on the disk.
        image: the picture, where it is or where it should be.
        has_image: whether it is there.
        has_body: whether the npz holds one; where not, betas and pose_rad are zero.
        betas, pose_rad: shape, and axis-angle of SMPL's 24 joints; the first carries the body into the camera's frame.
        root_loc_m: SMPL's translation, camera frame.
        center_px, scale: the box: its centre, pixel centres at integers, and its side in units of 200 px.
        f_px, c_px, distortion: of the picture's camera.
    """

    id: list[str]
    image: list[Path]
    has_image: Bool[ndarray, " rows"]
    has_body: Bool[ndarray, " rows"]
    betas: Float[ndarray, "rows 10"]
    pose_rad: Float[ndarray, "rows 24 3"]
    root_loc_m: Float[ndarray, "rows 3"]
    center_px: Float[ndarray, "rows 2"]
    scale: Float[ndarray, " rows"]
    f_px: Float[ndarray, "rows 2"]
    c_px: Float[ndarray, "rows 2"]
    distortion: Float[ndarray, "rows 5"]

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: Sequence[int] | ndarray) -> CourseFrames:
        """Some of the rows."""
        rows = np.asarray(rows, int)
        parts: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            parts[field.name] = [value[row] for row in rows.tolist()] if isinstance(value, list) else value[rows]
        return CourseFrames(**parts)

    @property
    def digest(self) -> str:
        """12 hex digits of which frames these are and what is known of them, pictures aside."""
        found = hashlib.sha256("\n".join(self.id).encode())
        for field in fields(self)[2:]:
            found.update(np.ascontiguousarray(getattr(self, field.name)).tobytes())
        return found.hexdigest()[:12]

    def crop_from_image(self, size: tuple[int, int]) -> Float[ndarray, "rows 2 3"]:
        """Maps of pixels: the edges of a box fall on the outer edges of a crop of `size` rows and columns."""
        scale = np.array(size[::-1]) / (BOX_PX * self.scale)[:, None]
        affine = np.zeros((len(self), 2, 3))
        affine[:, 0, 0], affine[:, 1, 1] = scale.T
        affine[:, :, 2] = (np.array(size[::-1]) - 1) / 2 - self.center_px * scale
        return affine

    def crop(self, row: int, size: tuple[int, int]) -> UInt8[ndarray, "height width 3"]:
        """A row's crop, RGB; beyond the picture its border repeats.

        Raises:
            DataError: the picture is missing or unreadable.
        """
        affine = self.take([row]).crop_from_image(size)[0]
        factor = reduction(affine)
        whole = read_frame(self.image[row], reduce=factor)
        return cut_oblong(whole, after_reduction(affine, factor), size, repeat_border=True)

    def rays(self, places: Float[ndarray, "rows points 2"], size: tuple[int, int]) -> Float[ndarray, "rows points 2"]:
        """Rays (x / z, y / z) to what crops from -1 to 1 show at `places`, through the lens."""
        affine, half = self.crop_from_image(size), np.array(size[::-1]) / 2
        crop_px = places * half + half - 0.5
        image_px = (crop_px - affine[:, None, :, 2]) / affine[:, [0, 1], [0, 1]][:, None]
        return undistort((image_px - self.c_px[:, None]) / self.f_px[:, None], self.distortion)

    @property
    def R_cam_im(self) -> Float[ndarray, "rows 3 3"]:  # noqa: N802 - rotations are named by their frames
        """From the camera's frame to that of a virtual camera that looks at the middle of the box."""
        middle = self.rays(np.zeros((len(self), 1, 2)), (2, 2))[:, 0]
        return rotation_to_root(np.concatenate([middle, np.ones((len(self), 1))], axis=1))


def read_course(
    dataset_folder: Path,
    img_folder: Path,
    subjects: Iterable[str],
    *,
    intrinsics: Path | None = None,
    workers: int = 1,
) -> CourseFrames:
    """All frames of some subjects; those without a body (test frames) or a picture are marked, not left out.

    Args:
        subjects: "S1" and so on.
        intrinsics: JSON of the cameras; None: what `intrinsics_of` finds.
        workers: processes that read npz.

    Raises:
        DataError: a subject's folder is missing or empty, a camera has no intrinsics, two files are the same frame, or
            an npz is broken or lacks root_loc, center_img or scale_img: the file is named.
    """
    tasks = []
    for subject in subjects:
        home = dataset_folder / subject
        folders = [p for p in sorted(home.iterdir()) if p.is_dir() and p.name != "Images"] if home.is_dir() else []
        if not folders:
            raise DataError(
                "The subject has no folder of npz.", where=home, expected="S1/Directions 1.54138969/00000.npz",
                mend="correct data.dataset_folder, or leave the subject out; a tree of one's own frames: "
                "python -m codebase course-tree --help",
            )  # fmt: skip
        cameras = intrinsics_of(home, intrinsics)
        tasks += [(folder, picture_folder(img_folder, int(subject[1:]), folder.name), cameras) for folder in folders]
    parts = list(in_order(_read_folder, tasks, workers=workers, what="folders of npz"))
    joined: dict[str, Any] = {}
    for field in fields(CourseFrames):
        values = [getattr(part, field.name) for part in parts]
        joined[field.name] = list(chain(*values)) if isinstance(values[0], list) else np.concatenate(values)
    return CourseFrames(**joined)


def _read_folder(task: tuple[Path, Path, Mapping[str, Intrinsics]]) -> CourseFrames:
    folder, pictures, cameras = task
    camera = _camera(folder, cameras)
    files = _numbered(folder, (".npz",))
    images = _numbered(pictures, _PICTURES)
    rows = [_read_npz(path) for path in files.values()]
    columns = {
        key: np.array([row[key] for row in rows], np.float64).reshape(-1, size) for key, size in (BOX | BODY).items()
    }
    pose = np.concatenate([columns["root_orient"], columns["pose_body"], columns["pose_hand"]], axis=1)
    count, where = len(rows), f"{folder.parent.name}/{folder.name}"
    return CourseFrames(
        id=[f"{where}/{path.name}" for path in files.values()],
        image=[images.get(frame + 1, pictures / f"{frame + 1:06d}.jpg") for frame in files],
        has_image=np.array([frame + 1 in images for frame in files], bool),
        has_body=np.array(["betas" in row and np.isfinite(row["betas"]).all() for row in rows], bool),
        betas=np.nan_to_num(columns["betas"]),
        pose_rad=np.nan_to_num(pose).reshape(-1, 24, 3),
        root_loc_m=columns["root_loc"],
        center_px=columns["center_img"],
        scale=columns["scale_img"][:, 0],
        f_px=np.tile(camera.f_px, (count, 1)),
        c_px=np.tile(camera.c_px, (count, 1)),
        distortion=np.tile(camera.distortion, (count, 1)),
    )


def _camera(folder: Path, cameras: Mapping[str, Intrinsics]) -> Intrinsics:
    match = _FOLDER.fullmatch(folder.name)
    if match is None or match[2] not in cameras:
        raise DataError(
            "The folder's name ends with no camera whose intrinsics are known.", where=folder,
            expected=f"<action>.<camera>, of {', '.join(cameras)}",
            mend="name a JSON list of the cameras in data.intrinsics, or move the folder away",
        )  # fmt: skip
    return cameras[match[2]]


def _numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """Files by the number that their names are, ascending; none where the folder is missing.

    Raises:
        DataError: two files have the same number.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in suffixes and path.stem.isdigit() and path.stem.isascii():
            number = int(path.stem)
            if number in found:
                raise DataError(f"{found[number].name} is the same frame.", where=path, mend="remove one of the two")
            found[number] = path
    return dict(sorted(found.items()))


def _read_npz(path: Path) -> dict[str, ndarray]:
    """A frame's arrays; NaN for a body that is not there or not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            raw = {key: np.asarray(file[key], np.float64).ravel() for key in (*BOX, *BODY) if key in file.files}
    except Exception as error:  # numpy and zipfile raise many kinds for a broken file
        raise DataError(f"The npz cannot be read: {error}", where=path, mend="copy it again") from None
    for key, size in BOX.items():
        if key not in raw or raw[key].size != size or not np.isfinite(raw[key]).all():
            raise DataError(
                f"The npz holds no {key}{' of the right size' if key in raw else ''}.", where=path,
                expected="root_loc (3, m, camera frame), center_img (2, px), scale_img (1); test frames have them, too",
            )  # fmt: skip
    if raw["scale_img"][0] <= 0:
        raise DataError(f"scale_img is {raw['scale_img'][0]}.", where=path, expected="a positive number")
    whole = all(raw.get(key, np.zeros(0)).size >= size for key, size in BODY.items())
    body = {key: raw[key][:size] if whole else np.full(size, np.nan) for key, size in BODY.items()}
    finite = all(np.isfinite(values).all() for values in body.values())
    return raw | (body if finite else {key: np.full(size, np.nan) for key, size in BODY.items()})
