"""The masks of a sequence as a fit sees them: small straight windows about the person, and distances to outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from numpy import ndarray

from codebase.data.human36m import MASK_SUFFIX, MASK_THRESHOLD, Folder, read_mask
from codebase.data.lens import Lens, cut_straight
from codebase.errors import DataError
from codebase.fitting.tracks import Camera, Track
from codebase.geometry import crop_from_image, crop_intrinsics, project, world_to_camera

# room about the joints for what they do not show: hands, hair, skirts
MARGIN_MM = 300.0
MM_PER_M = 1000.0


@dataclass(frozen=True)
class Windows:
    """Windows of all frames and cameras of a sequence.

    Attributes:
        seen: where there is a mask that shows somebody.
        person: the masks.
        outside_px: distance from the mask's outline, negative inside.
        R, T_m: the cameras, metres.
        lens_px: fx, fy, cx, cy of each window.
        inside_px: first and last x, first and last y that the frame shows.
    """

    seen: Bool[ndarray, "frames cameras"]
    person: Bool[ndarray, "frames cameras size size"]
    outside_px: Float32[ndarray, "frames cameras size size"]
    R: Float64[ndarray, "frames cameras 3 3"]
    T_m: Float64[ndarray, "frames cameras 3"]
    lens_px: Float64[ndarray, "frames cameras 4"]
    inside_px: Float64[ndarray, "frames cameras 4"]

    @classmethod
    def none(cls, frames: int, cameras: int, size: int) -> Windows:
        """Windows in which nothing is seen."""
        shape = (frames, cameras)
        return cls(
            seen=np.zeros(shape, bool),
            person=np.zeros((*shape, size, size), bool),
            outside_px=np.zeros((*shape, size, size), np.float32),
            R=np.broadcast_to(np.eye(3), (*shape, 3, 3)).copy(),
            T_m=np.zeros((*shape, 3)),
            lens_px=np.ones((*shape, 4)),
            inside_px=np.zeros((*shape, 4)),
        )

    def take(self, which: Int64[ndarray, " chosen"]) -> Windows:
        """Those of some frames."""
        return Windows(**{one.name: getattr(self, one.name)[which] for one in fields(self)})

    @staticmethod
    def join(parts: Sequence[Windows]) -> Windows:
        """Windows of several sequences; those that fewer cameras saw see nothing in the others."""
        most = max(part.seen.shape[1] for part in parts)
        size = parts[0].person.shape[-1]
        padded = [
            [part, Windows.none(len(part.seen), most - part.seen.shape[1], size)] for part in parts
        ]  # fmt: skip
        return Windows(**{
            one.name: np.concatenate([np.concatenate([getattr(p, one.name) for p in pair], axis=1) for pair in padded])
            for one in fields(Windows)
        })  # fmt: skip


def read_windows(track: Track, masks_root: Path, *, size: int, wanted: Bool[ndarray, " frames"]) -> Windows:
    """Cut the masks of a sequence.

    Args:
        track: with known joints in the `wanted` frames.
        masks_root: the tree of the masks.
        size: side of a window, px.
        wanted: frames whose masks are read.

    Raises:
        DataError: a mask cannot be read, or has another size than its frame.
    """
    cameras = track.cameras
    found = Windows.none(len(track), len(cameras), size)
    for number, camera in enumerate(cameras):
        for row in np.flatnonzero(camera.has_mask & wanted).tolist():
            _cut(found, track, masks_root, camera, row, number)
    return found


def _cut(found: Windows, track: Track, masks_root: Path, camera: Camera, row: int, number: int) -> None:
    """Fill in one window."""
    size = found.person.shape[-1]
    path = Folder(track.subject, track.action, track.subaction, camera.number).file(
        masks_root, int(track.frame[row]), MASK_SUFFIX
    )
    mask = read_mask(path)
    if mask.shape != (camera.height, camera.width):
        raise DataError(
            f"The mask has {mask.shape[1]} x {mask.shape[0]} pixels.",
            where=path, expected=f"those of its frame, {camera.width} x {camera.height}",
            mend="make the mask again, or leave it out",
        )  # fmt: skip
    centre, box_mm = _about(track.joints_world_mm[row], camera)
    affine = crop_from_image(centre, camera.f_px, camera.c_px, box_mm=box_mm, size_px=size)
    lens = Lens(*(tuple(getattr(camera, name).tolist()) for name in ("f_px", "c_px", "distortion")))
    window = cut_straight(mask, affine, size, lens, 1, repeat_border=False)
    person = window >= MASK_THRESHOLD
    if not person.any():
        return
    found.seen[row, number], found.person[row, number] = True, person
    found.R[row, number], found.T_m[row, number] = camera.R, camera.T_mm / MM_PER_M
    found.outside_px[row, number] = outside(window)
    found.lens_px[row, number] = np.concatenate(crop_intrinsics(affine, camera.f_px, camera.c_px))
    corners = np.array([[0.0, camera.width - 1.0], [0.0, camera.height - 1.0]])
    found.inside_px[row, number] = (corners * affine[[0, 1], [0, 1], None] + affine[:, 2:]).ravel()


def _about(joints_world_mm: Float[ndarray, "17 3"], camera: Camera) -> tuple[Float64[ndarray, "3"], float]:
    """A point in the middle of the known joints, as the camera sees them, and the side of a square about it."""
    joints = joints_world_mm[np.isfinite(joints_world_mm).all(1)].astype(np.float64)
    cam = world_to_camera(joints, camera.R, camera.T_mm)
    depth = cam[:, 2].mean()
    flat = project(cam, np.ones(2), np.zeros(2))
    low, high = flat.min(0), flat.max(0)
    return np.append((low + high) / 2 * depth, depth), float((high - low).max() * depth + 2 * MARGIN_MM)


def outside(window: UInt8[ndarray, "size size"]) -> Float32[ndarray, "size size"]:
    """Distance of each pixel's centre from a mask's outline, px, negative inside; pixels half covered lie on it."""
    person = (window >= MASK_THRESHOLD).astype(np.uint8)
    to_person = cv2.distanceTransform(1 - person, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_room = cv2.distanceTransform(person, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.where(person > 0, 0.5 - to_room, to_person - 0.5).astype(np.float32)
    # what a pixel that the outline crosses is covered by says where it crosses
    edge = (window > 0) & (window < 255) & (np.abs(distance) < 1)
    distance[edge] = 0.5 - window[edge] / np.float32(255)
    return cv2.GaussianBlur(distance, (0, 0), 0.7)
