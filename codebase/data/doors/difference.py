"""Masks where nobody made any: how a frame differs from its camera's empty room.

The room is the per-pixel median of the camera's frames (a still camera, a person who moves), or a picture of it. A
pixel is the person's where it differs by more than the noise there; what is only darker, in the room's own colour, is a
shadow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from numpy import ndarray

# More frames make the median no better and the memory larger: 49 of a megapixel are 150 MB.
MOST_FRAMES = 49
_NOISE_TIMES, _LEAST, _SEED_TIMES = 4.0, 14.0, 1.7
_SHADOW_DARKEST, _SHADOW_COLOUR = 0.7, 0.045
_LEAST_SHARE, _SMALL_PARTS = 5e-4, 0.08


@dataclass(frozen=True)
class Room:
    """A camera's empty room.

    Attributes:
        median: its colours.
        noise: how far frames stray from it, per pixel, in grey levels (1.48 times the median absolute deviation).
    """

    median: Float32[ndarray, "height width 3"]
    noise: Float32[ndarray, "height width"]


def spread(count: int, most: int = MOST_FRAMES) -> list[int]:
    """Places of at most `most` of `count` frames, evenly apart."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def room_of(frames: Sequence[UInt8[ndarray, "height width 3"]]) -> Room:
    """The room behind frames of one still camera; three at least, or the person is part of it.

    Where the person stood still for most frames the median shows a ghost. A second look finds it: seen against such a
    room, a frame differs in a region whose outline is in the room, not in the frame; those frames show what is behind.
    """
    stack = np.stack(frames)
    room = _median(stack)
    ghosts = np.stack([_regions(frame, room)[1] for frame in frames])
    seldom = max(2, round(0.05 * len(frames)))
    for y, x in zip(*np.nonzero(ghosts.sum(axis=0) >= seldom), strict=True):
        behind = stack[ghosts[:, y, x], y, x].astype(np.float32)
        room.median[y, x] = np.median(behind, axis=0)
        room.noise[y, x] = 1.48 * np.median(np.abs(behind - room.median[y, x]).max(axis=1))
    return room


def _median(stack: UInt8[ndarray, "frames height width 3"]) -> Room:
    median = np.empty(stack.shape[1:], np.float32)
    noise = np.empty(stack.shape[1:3], np.float32)
    for row in range(stack.shape[1]):  # row by row: the deviations of all frames at once would be large
        part = stack[:, row].astype(np.float32)
        median[row] = np.median(part, axis=0)
        noise[row] = 1.48 * np.median(np.abs(part - median[row]).max(axis=2), axis=0)
    return Room(median, noise)


def room_from_picture(picture: UInt8[ndarray, "height width 3"]) -> Room:
    """The room as somebody photographed it."""
    return Room(picture.astype(np.float32), np.full(picture.shape[:2], 2.0, np.float32))


def person_mask(frame: UInt8[ndarray, "height width 3"], room: Room) -> Bool[ndarray, "height width"]:
    """Where the person is: the largest connected difference from the room, and parts of some size beside it.

    All False where nothing as large as a twentieth of a percent of the picture differs.
    """
    return _regions(frame, room)[0]


def _regions(
    frame: UInt8[ndarray, "height width 3"], room: Room
) -> tuple[Bool[ndarray, "height width"], Bool[ndarray, "height width"]]:
    """The person, and ghosts: regions whose outline is in the room and not in the frame."""
    seen = cv2.GaussianBlur(frame, (3, 3), 0).astype(np.float32)
    differs = np.abs(seen - room.median).max(axis=2)
    threshold = np.maximum(_NOISE_TIMES * np.minimum(room.noise, 3 * float(np.median(room.noise)) + 1), _LEAST)
    weak = (differs > threshold) & ~_shadow(seen, room.median)
    labels, areas = _parts(weak, weak & (differs > _SEED_TIMES * threshold))
    ghost = _ghosts(labels, len(areas), seen, room.median) & (areas > 0)
    solid = np.where(ghost, 0, areas)
    if solid.max(initial=0) < _LEAST_SHARE * labels.size:
        return np.zeros(labels.shape, bool), ghost[labels]
    kept = (solid >= _SMALL_PARTS * solid.max())[labels]
    return _filled(kept), ghost[labels]


def _shadow(seen: Float32[ndarray, "h w 3"], room: Float32[ndarray, "h w 3"]) -> Bool[ndarray, "h w"]:
    """Darker than the room, all channels alike."""
    ratio = (seen + 4) / (room + 4)
    level = ratio.mean(axis=2)
    alike = ratio.max(axis=2) - ratio.min(axis=2) < _SHADOW_COLOUR
    return np.asarray((level > _SHADOW_DARKEST) & (level < 1.0) & alike)


def _parts(weak: Bool[ndarray, "h w"], strong: Bool[ndarray, "h w"]) -> tuple[Int32[ndarray, "h w"], ndarray]:
    """Connected regions after a clean up, and their areas; 0 for the outside and for those without a strong pixel."""
    size = max(1, round(min(weak.shape) / 250))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    opened = cv2.morphologyEx(weak.astype(np.uint8), cv2.MORPH_OPEN, cross)
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, disk, iterations=2)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    areas[np.bincount(labels[strong], minlength=len(areas)) == 0] = 0
    return labels, areas


def _ghosts(
    labels: Int32[ndarray, "h w"], count: int, seen: Float32[ndarray, "h w 3"], room: Float32[ndarray, "h w 3"]
) -> Bool[ndarray, " parts"]:
    """Regions along whose outline the room changes more than the frame."""
    inside = (labels > 0).astype(np.uint8)
    edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    near = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)[edge]
    steps = [np.bincount(near, _steepness(image)[edge], minlength=count) for image in (seen, room)]
    return np.asarray(steps[1] > 1.15 * steps[0])


def _steepness(image: Float32[ndarray, "h w 3"]) -> Float32[ndarray, "h w"]:
    along = [cv2.Sobel(image, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1))]
    return np.asarray(np.hypot(*along).max(axis=2))


def _filled(mask: Bool[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Small holes closed; large ones (between arm and trunk) are the room."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < 0.01 * mask.sum()
    return np.asarray(mask | small[labels])
