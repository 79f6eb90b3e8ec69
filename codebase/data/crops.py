"""Crops about the root: image and mask of every indexed image of a subject, cut once, and the rooms behind them.

Beyond the frame's edge the image and the background repeat their border (no hard edge to learn from), the mask is 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from numpy import ndarray

from codebase.config import CropsConfig
from codebase.data.human36m import FRAME_SUFFIX, MASK_SUFFIX, Folder, read_frame, read_mask_of
from codebase.data.index import Index, frame_key
from codebase.data.lens import Lens, cut_straight
from codebase.data.packbits import pack
from codebase.data.parallel import in_order
from codebase.data.pixels import PixelWriter, encode_jpeg
from codebase.data.resample import after_reduction, reduction
from codebase.data.rooms import write_backgrounds_of_crops, write_rooms
from codebase.data.scan import labelled
from codebase.errors import DataError
from codebase.files import create_h5, missing
from codebase.geometry import crop_from_image, world_to_camera, world_to_im
from codebase.skeleton import H36M

FORMAT, VERSION = "posemill.crops", 3
_ROWS_A_TASK = 32


@dataclass(frozen=True)
class CropRows:
    """The rows of one subject in any split, sorted as in the index; cameras are those of the full images.

    Crops are straight: `distortion` says how the frames were bent, no crop is.
    """

    action: Int32[ndarray, " rows"]
    subaction: Int32[ndarray, " rows"]
    camera: Int32[ndarray, " rows"]
    frame: Int32[ndarray, " rows"]
    has_mask: Bool[ndarray, " rows"]
    joints_world_mm: Float32[ndarray, "rows 17 3"]
    R: Float64[ndarray, "rows 3 3"]
    T_mm: Float64[ndarray, "rows 3"]
    f_px: Float64[ndarray, "rows 2"]
    c_px: Float64[ndarray, "rows 2"]
    distortion: Float64[ndarray, "rows 5"]

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def has_joints(self) -> Bool[ndarray, " rows"]:
        """Whether the pose is known; if not, the root is, and the other joints are NaN."""
        return labelled(self.joints_world_mm)

    @cached_property
    def root_world_mm(self) -> Float64[ndarray, "rows 3"]:
        """The root joint, about which crops are cut."""
        return self.joints_world_mm[:, H36M.index("root")].astype(np.float64)

    @cached_property
    def R_world_im(self) -> Float64[ndarray, "rows 3 3"]:  # noqa: N802 - named as the dataset it becomes
        """Rotation from the world to the crop's virtual camera."""
        return world_to_im(self.root_world_mm, self.R, self.T_mm)

    @cached_property
    def joints_im_mm(self) -> Float32[ndarray, "rows 17 3"]:
        """Poses as networks see them: root-centred, im frame; all NaN where the pose is not known."""
        centred = self.joints_world_mm - self.root_world_mm[:, None]
        turned = (centred @ np.swapaxes(self.R_world_im, 1, 2)).astype(np.float32)
        turned[~self.has_joints] = np.nan
        return turned

    def lens(self, row: int) -> Lens:
        """Intrinsics of the row's frame."""
        return Lens(*(tuple(getattr(self, name)[row].tolist()) for name in ("f_px", "c_px", "distortion")))

    def crop_from_image(self, config: CropsConfig) -> Float64[ndarray, "rows 2 3"]:
        """Affine maps from image pixels to crop pixels."""
        root_cam_mm = world_to_camera(self.root_world_mm[:, None], self.R, self.T_mm)[:, 0]
        return crop_from_image(root_cam_mm, self.f_px, self.c_px, box_mm=config.box_mm, size_px=config.size)


def collect(indices: Sequence[Index], subject: int) -> CropRows:
    """Rows of `subject` in any of the indices, each once."""
    parts: dict[str, list[np.ndarray]] = {field.name: [] for field in fields(CropRows)}
    keys = []
    for index in indices:
        mine = np.flatnonzero(index.subject == subject)
        keys.append(index.key[mine])
        for name in ("action", "subaction", "camera", "frame", "has_mask"):
            parts[name].append(getattr(index, name)[mine])
        parts["joints_world_mm"].append(index.joints_world_mm[index.instant[mine]])
        for name in ("R", "T_mm", "f_px", "c_px", "distortion"):
            parts[name].append(getattr(index.views, name)[index.view[mine]])
    _, first = np.unique(np.concatenate(keys), return_index=True)
    return CropRows(**{name: np.concatenate(part)[first] for name, part in parts.items()})


@dataclass(frozen=True)
class _Task:
    """A run of rows for a worker; `quality` is that of JPEG, or None for raw pixels."""

    subject: int
    rows: CropRows
    affine: np.ndarray
    root: Path
    masks_root: Path
    size: int
    quality: int | None


Cut = tuple[list[UInt8[ndarray, "size size 3"] | bytes], list[bytes]]


def write_crops(
    output: Path,
    rows: CropRows,
    *,
    subject: int,
    config: CropsConfig,
    cameras: Sequence[int],
    background: Path,
    root: Path,
    masks_root: Path,
    workers: int = 1,
) -> None:
    """Cut all crops of a subject and write `posemill.crops` (docs/conventions.md), atomically.

    Args:
        cameras: camera numbers in the order of the background file.
        background: uint8 .npy (camera, height, width, 3), RGB.
        root, masks_root: the dataset tree, and that of the masks.

    Raises:
        DataError: the background does not fit, or an image that the index found readable is no longer so.
    """
    check_background(background, len(cameras))
    affine, total = rows.crop_from_image(config), len(rows)
    quality = config.jpeg_quality if config.storage == "jpeg" else None
    tasks = [
        _Task(subject, part(rows, span), affine[span], root, masks_root, config.size, quality)
        for span in spans(total, _ROWS_A_TASK)
    ]
    with (
        create_h5(output, format_name=FORMAT, version=VERSION) as file,
        PixelWriter(file, total, config.size, compressed=quality is not None, scratch=output.parent) as pixels,
    ):
        done = in_order(_cut_rows, tasks, workers=workers, what=f"S{subject}: crops, {_ROWS_A_TASK} a piece")
        for images, masks in done:
            pixels.add(images, masks)
        write_rooms(
            file, camera=rows.camera, lenses=[rows.lens(row) for row in range(total)],
            factor=np.array([reduction(item) for item in affine], np.int64), affine=affine, background=background,
            camera_row={camera: row for row, camera in enumerate(cameras)},
        )  # fmt: skip
        if config.backgrounds == "each":
            write_backgrounds_of_crops(file, total, config.size)
        for name in ("action", "subaction", "camera", "frame", "has_mask", "has_joints", "joints_im_mm",
                     "root_world_mm", "R_world_im", "R", "T_mm", "f_px", "c_px"):  # fmt: skip
            file[name] = getattr(rows, name)
        file["crop_from_image"] = affine
        file.attrs["subject"], file.attrs["size"], file.attrs["box_mm"] = subject, config.size, config.box_mm
        file.attrs["digest"] = digest(rows, subject, affine)


def spans(total: int, length: int) -> list[slice]:
    """Slices that cover `total` rows, `length` at a time."""
    return [slice(start, min(start + length, total)) for start in range(0, total, length)]


def part(rows: CropRows, span: slice) -> CropRows:
    """Some of the rows."""
    return CropRows(**{field.name: getattr(rows, field.name)[span] for field in fields(CropRows)})


def digest(rows: CropRows, subject: int, affine: Float64[ndarray, "rows 2 3"]) -> str:
    """16 hex digits of which images the rows are, their poses and their cameras."""
    key = frame_key(subject, rows.action, rows.subaction, rows.camera, rows.frame)
    parts = (key, rows.has_mask, rows.joints_im_mm, rows.R_world_im, affine, rows.distortion)
    return hashlib.sha256(b"".join(np.ascontiguousarray(item).tobytes() for item in parts)).hexdigest()[:16]


def check_background(path: Path, cameras: int) -> None:
    """Refuse a background that is missing, or not uint8 (cameras, height, width, 3)."""
    if not path.is_file():
        raise missing(path)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"The file is no readable .npy: {error}", where=path, mend="delete it and run again") from None
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[0] != cameras or found.shape[3] != 3:
        raise DataError(
            f"The background has shape {found.shape} and type {found.dtype}.",
            where=path,
            expected=f"uint8 ({cameras}, height, width, 3)",
            mend="delete it and run the stage backgrounds again",
        )


def _cut_rows(task: _Task) -> Cut:
    images: list[np.ndarray | bytes] = []
    masks: list[bytes] = []
    for row in range(len(task.rows)):
        image, mask = _cut_row(task, row)
        images.append(image if task.quality is None else encode_jpeg(image, task.quality))
        masks.append(pack(mask))
    return images, masks


def _cut_row(task: _Task, row: int) -> tuple[UInt8[ndarray, "size size 3"], UInt8[ndarray, "size size"]]:
    rows, affine, lens = task.rows, task.affine[row], task.rows.lens(row)
    frame = int(rows.frame[row])
    folder = Folder(task.subject, int(rows.action[row]), int(rows.subaction[row]), int(rows.camera[row]))
    factor = reduction(affine)
    path = folder.file(task.root, frame, FRAME_SUFFIX)
    whole = read_frame(path, reduce=factor)
    image = cut_straight(whole, after_reduction(affine, factor), task.size, lens, factor, repeat_border=True)
    if not rows.has_mask[row]:
        return image, np.zeros((task.size, task.size), np.uint8)
    mask = read_mask_of(folder.file(task.masks_root, frame, MASK_SUFFIX), path, whole.shape, reduce=factor)
    return image, cut_straight(mask, affine, task.size, lens, 1, repeat_border=False)
