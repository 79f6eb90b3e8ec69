"""What is known of one sequence of a subject: its instants' joints, and the cameras that saw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from codebase.data.index import Index
from codebase.data.scan import labelled


@dataclass(frozen=True)
class Camera:
    """One camera of a sequence: pinhole and lens of the full image, and in which frames it has a mask."""

    number: int
    R: Float64[ndarray, "3 3"]
    T_mm: Float64[ndarray, "3"]
    f_px: Float64[ndarray, "2"]
    c_px: Float64[ndarray, "2"]
    distortion: Float64[ndarray, "5"]
    width: int
    height: int
    has_mask: Bool[ndarray, " frames"]


@dataclass(frozen=True)
class Track:
    """A sequence.

    Attributes:
        frame: numbers of its indexed frames, rising, from 1.
        joints_world_mm: poses; of an unlabelled person NaN but for the root.
        cameras: those with an indexed image of it.
    """

    subject: int
    action: int
    subaction: int
    frame: Int32[ndarray, " frames"]
    joints_world_mm: Float32[ndarray, "frames 17 3"]
    cameras: tuple[Camera, ...]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def name(self) -> str:
        """The group's name in a file of bodies, such as `act_02_subact_01`."""
        return f"act_{self.action:02d}_subact_{self.subaction:02d}"

    def take(self, which: Int64[ndarray, " chosen"]) -> Track:
        """The same with some of the frames."""
        cameras = tuple(Camera(**(vars(one) | {"has_mask": one.has_mask[which]})) for one in self.cameras)
        return Track(
            self.subject, self.action, self.subaction, self.frame[which], self.joints_world_mm[which], cameras
        )  # fmt: skip


def collect(indices: Sequence[Index], subject: int) -> list[Track]:
    """The subject's sequences in any of the indices, in order; instants without a pose are left out."""
    rows: dict[tuple[int, int], dict[int, list[tuple[Index, int]]]] = {}
    for index in indices:
        for row in np.flatnonzero((index.subject == subject) & labelled_rows(index)).tolist():
            sequence = rows.setdefault((int(index.action[row]), int(index.subaction[row])), {})
            sequence.setdefault(int(index.frame[row]), []).append((index, row))
    return [_track(subject, *key, rows[key]) for key in sorted(rows)]


def labelled_rows(index: Index) -> Bool[ndarray, " rows"]:
    """Rows whose pose is known."""
    return labelled(index.joints_world_mm)[index.instant]


def _track(subject: int, action: int, subaction: int, frames: dict[int, list[tuple[Index, int]]]) -> Track:
    numbers = sorted(frames)
    joints = np.stack([frames[n][0][0].joints_world_mm[frames[n][0][0].instant[frames[n][0][1]]] for n in numbers])
    masks: dict[int, np.ndarray] = {}
    views: dict[int, tuple[Index, int]] = {}
    for place, number in enumerate(numbers):
        for index, row in frames[number]:
            camera = int(index.camera[row])
            views[camera] = index, int(index.view[row])
            masks.setdefault(camera, np.zeros(len(numbers), bool))[place] |= bool(index.has_mask[row])
    cameras = tuple(_camera(number, *views[number], masks[number]) for number in sorted(views))
    return Track(subject, action, subaction, np.array(numbers, np.int32), joints, cameras)


def _camera(number: int, index: Index, view: int, has_mask: Bool[ndarray, " frames"]) -> Camera:
    own = {name: getattr(index.views, name)[view] for name in ("R", "T_mm", "f_px", "c_px", "distortion")}
    return Camera(
        number, **own, width=int(index.views.width[view]), height=int(index.views.height[view]), has_mask=has_mask
    )
