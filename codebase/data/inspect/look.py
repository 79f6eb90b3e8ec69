"""One folder of a dataset tree: through the index's own checks, and a sample of its frames and masks opened."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8
from numpy import ndarray

from codebase.config import DatasetConfig
from codebase.data.human36m import (
    FRAME_SUFFIX,
    MASK_SUFFIX,
    MASK_THRESHOLD,
    Folder,
    Meta,
    damage,
    read_frame,
    read_mask,
)
from codebase.data.scan import Exclusion, View, scan, select_frames
from codebase.geometry import project, world_to_camera

SMALL = 160
POSES_KEPT = 120
_STEEPEST = 1.5


@dataclass(frozen=True)
class Camera:
    """A pinhole: `R`, `T_mm`, `f_px`, `c_px` as in `Meta`."""

    R: Float[ndarray, "3 3"]
    T_mm: Float[ndarray, "3"]
    f_px: Float[ndarray, "2"]
    c_px: Float[ndarray, "2"]
    distortion: Float[ndarray, "5"]

    @classmethod
    def of(cls, meta: Meta) -> Camera:
        """The camera of a meta file."""
        return cls(meta.R, meta.T_mm, meta.f_px, meta.c_px, meta.distortion)

    def depth_mm(self, joints_world_mm: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch"]:
        """Distance in front of the camera."""
        flat = world_to_camera(joints_world_mm.reshape(-1, 3), self.R, self.T_mm)
        return flat[:, 2].reshape(joints_world_mm.shape[:-1])

    def place(self, joints_world_mm: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 2"]:
        """Pixels of joints, distortion applied; NaN for what lies behind the camera or far beside its view.

        Far off the axis a lens polynomial turns back and would put joints into the image that nobody could see there.
        """
        flat = world_to_camera(joints_world_mm.reshape(-1, 3), self.R, self.T_mm)
        with np.errstate(invalid="ignore"):
            seen = (flat[:, 2] > 1e-3) & (np.abs(flat[:, :2]).max(axis=1) < _STEEPEST * flat[:, 2])
        placed = project(np.where(seen[:, None], flat, np.nan), self.f_px, self.c_px, distortion=self.distortion)
        return placed.reshape(*joints_world_mm.shape[:-1], 2)


class Look(NamedTuple):
    """A frame that was opened.

    Attributes:
        reason, mask_reason: what is wrong with the files, "" if nothing.
        size, mask_size: (width, height); (0, 0) where there is none.
        digest: of the file's bytes.
        small: the frame, grey, SMALL px or a little more.
        mask_small: person or not, SMALL px or less; None without a mask.
        person_share: part of the mask that is person, -1 without a mask.
        mask_most: largest value of the mask.
    """

    frame: int
    joints_world_mm: Float[ndarray, "17 3"]
    reason: str = ""
    size: tuple[int, int] = (0, 0)
    is_jpeg: bool = True
    digest: str = ""
    small: UInt8[ndarray, "h w"] | None = None
    mask_reason: str = ""
    mask_size: tuple[int, int] = (0, 0)
    mask_small: Bool[ndarray, "h w"] | None = None
    person_share: float = -1.0
    mask_most: int = 0


@dataclass(frozen=True)
class Found:
    """A folder: what its listing says, and what the sample shows.

    Attributes:
        exclusions: what the index would leave out, as far as listings, poses and the sample tell.
        poses: rows of the pose file; `unlabelled` of them hold the root alone.
        usable: frames with a file and a usable pose.
        sampled: poses spread over the sequence, finite ones only.
        is_checked_whole: every frame was opened.
    """

    folder: Folder
    exclusions: tuple[Exclusion, ...] = ()
    camera: Camera | None = None
    size: tuple[int, int] = (0, 0)
    frames: int = 0
    masks: int = 0
    poses: int = 0
    unlabelled: int = 0
    usable: int = 0
    sampled_frames: Int32[ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.int32))
    sampled: Float32[ndarray, "n 17 3"] = field(default_factory=lambda: np.zeros((0, 17, 3), np.float32))
    looks: tuple[Look, ...] = ()
    is_checked_whole: bool = False


class Task(NamedTuple):
    """A folder to inspect, and how many of its frames to open."""

    folder: Folder
    root: Path
    masks_root: Path
    opened: int


def inspect_folder(task: Task) -> Found:
    """Look at one folder; never raises for what is wrong with it."""
    folder = task.folder
    key = {"subjects": (folder.subject,), "acts": (folder.action,), "subacts": (folder.subaction,)}
    config = DatasetConfig(kind="tree", root=task.root, cameras=(folder.camera,), **key)
    found = scan(config, task.root, task.masks_root, required=False)
    if not found.views:
        return Found(folder, found.exclusions)
    (view,) = found.views
    chosen, exclusions = select_frames(view, 1)
    poses = view.meta.pose3d_world_mm
    # A wrong camera makes every frame unusable: then those with a file and any pose are looked at, to say why.
    candidates = chosen if len(chosen) else _with_pose(view)
    opened = candidates[_spread(len(candidates), task.opened)]
    looks = tuple(_look(task, int(frame), poses[frame - 1]) for frame in opened)
    whole = _with_pose(view)
    sampled = whole[_spread(len(whole), POSES_KEPT)]
    return Found(
        folder, (*found.exclusions, *exclusions, *_damaged(folder, view, looks)), Camera.of(view.meta),
        (view.meta.width, view.meta.height), len(view.frames), len(np.intersect1d(view.masks, view.frames)), len(poses),
        _unlabelled(poses), len(chosen), sampled, poses[sampled - 1].astype(np.float32), looks,
        len(looks) == len(chosen),
    )  # fmt: skip


def _with_pose(view: View) -> Int32[ndarray, " n"]:
    poses = view.meta.pose3d_world_mm
    posed = view.frames[view.frames <= len(poses)]
    return posed[np.isfinite(poses[posed - 1]).all(axis=(1, 2))]


def _unlabelled(poses: Float[ndarray, "n 17 3"]) -> int:
    finite = np.isfinite(poses).all(axis=2)
    return int((finite[:, 0] & ~finite[:, 1:].any(axis=1)).sum())


def _spread(length: int, count: int) -> Int32[ndarray, " n"]:
    """At most `count` indices below `length`, evenly spread, ends included."""
    return np.unique(np.linspace(0, max(length - 1, 0), min(length, count)).round().astype(np.int32))


def _damaged(folder: Folder, view: View, looks: tuple[Look, ...]) -> list[Exclusion]:
    out = []
    for look in looks:
        for reason, suffix, kind in ((look.reason, FRAME_SUFFIX, "frame"), (look.mask_reason, MASK_SUFFIX, "mask")):
            if reason:
                name = folder.file(Path(), look.frame, suffix).as_posix()
                out.append(Exclusion(name, reason, folder.subject, kind))  # type: ignore[arg-type]
    return out


def _look(task: Task, frame: int, joints: Float[ndarray, "17 3"]) -> Look:
    path = task.folder.file(task.root, frame)
    reason, _ = damage(path)
    if reason:
        return Look(frame, joints, reason)
    content = path.read_bytes()
    size = picture_size(content) or (0, 0)
    factor = next(f for f in (8, 4, 2, 1) if f == 1 or min(size) / f >= SMALL)
    small = cv2.cvtColor(read_frame(path, reduce=factor), cv2.COLOR_RGB2GRAY)
    size = size if any(size) else (small.shape[1] * factor, small.shape[0] * factor)
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    look = Look(frame, joints, "", size, content[:2] == b"\xff\xd8", digest, small)
    path = task.folder.file(task.masks_root, frame, MASK_SUFFIX)
    return _with_mask(look, path) if path.exists() else look


def _with_mask(look: Look, path: Path) -> Look:
    reason, _ = damage(path)
    if reason:
        return look._replace(mask_reason=reason)
    mask = read_mask(path)
    person = mask >= MASK_THRESHOLD
    step = max(1, min(mask.shape) // SMALL)
    return look._replace(
        mask_size=(mask.shape[1], mask.shape[0]), mask_small=person[step // 2 :: step, step // 2 :: step],
        person_share=float(person.mean()), mask_most=int(mask.max()),
    )  # fmt: skip


def picture_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) from the header of a JPEG (ITU T.81 B.2.2) or a PNG; None for anything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) >= 24:
        return struct.unpack(">II", content[16:24])
    place = 2
    while content[:2] == b"\xff\xd8" and place + 9 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        # the frame headers SOF0 to SOF15, without DHT, JPG and DAC which share their range
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack(">HH", content[place + 5 : place + 9])[::-1]
        place += 2 + length
    return None
