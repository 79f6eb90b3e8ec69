"""Where a person's root is, from silhouettes or boxes in calibrated cameras: the visual hull, from coarse to fine.

A cell of space stays if every camera finds it on the person. Beyond a picture's edge a camera knows nothing where its
silhouette is cut off by the edge, and finds nobody otherwise. Frame: the tree's world, z up, mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray
from scipy.ndimage import distance_transform_edt

from codebase.data.doors.calibration import RigView3d

# Of the whole body, hull and all, the middle lies above the root joint: measured on rendered people (docs/datasets.md).
MIDDLE_ABOVE_ROOT_MM = 100.0
_REACH_MM, _CELLS, _FINEST_MM = 1400.0, 14, 25.0
_CUBE = np.stack(np.meshgrid(*3 * [np.array([-0.5, 0.5])], indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class Seen:
    """One camera's silhouette.

    Attributes:
        camera: the camera, whose pixels are those of the silhouette.
        outside_px: for each pixel its distance to the person, 0 on the person.
        middle_px: the silhouette's centroid.
        cut_off: whether it touches the picture's edge, so that more of the person may lie beyond.
    """

    camera: RigView3d
    outside_px: Float32[ndarray, "height width"]
    middle_px: Float[ndarray, "2"]
    cut_off: bool


def seen_mask(camera: RigView3d, mask: Bool[ndarray, "height width"]) -> Seen | None:
    """A silhouette; None where the mask is empty."""
    if not mask.any():
        return None
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    cut_off = xs.min() < 2 or ys.min() < 2 or xs.max() > width - 3 or ys.max() > height - 3
    return Seen(camera, outside.astype(np.float32), np.array([xs.mean(), ys.mean()]), bool(cut_off))


def seen_box(camera: RigView3d, box_px: Float[ndarray, "4"]) -> Seen | None:
    """A box (x, y, width, height, px) as a silhouette; None where it is no box of the picture."""
    if not np.isfinite(box_px).all():
        return None
    x, y, width, height = box_px
    mask = np.zeros((camera.height, camera.width), bool)
    low = np.maximum(np.floor([y, x]), 0).astype(int)
    high = np.maximum(np.ceil([y + height, x + width]), 0).astype(int)
    mask[low[0] : high[0], low[1] : high[1]] = True
    return seen_mask(camera, mask)


def root_of(seen: Sequence[Seen | None]) -> Float[ndarray, "3"]:
    """An estimate of the root joint, mm; NaN where fewer than two cameras see somebody, or they see nobody in common.

    It is the middle of the hull, each cell weighed by the square of its depth below the surface: the trunk counts, arms
    hardly do.
    """
    views = [one for one in seen if one is not None]
    if len(views) < 2:
        return np.full(3, np.nan)
    cells, edge_mm = carve(views, may_miss=0)
    if not len(cells) and len(views) >= 4:
        cells, edge_mm = carve(views, may_miss=1)
    if not len(cells):
        return np.full(3, np.nan)
    weight = _depth(cells, edge_mm) ** 2
    return weight @ cells / weight.sum() - [0, 0, MIDDLE_ABOVE_ROOT_MM]


def carve(views: Sequence[Seen], *, may_miss: int) -> tuple[Float[ndarray, "cells 3"], float]:
    """Centres of the finest cells of the visual hull, and their edge, mm; none where the silhouettes do not meet.

    Args:
        views: at least two.
        may_miss: how many cameras may find a cell beside the person.
    """
    edge = 2 * _REACH_MM / _CELLS
    steps = (np.arange(_CELLS) + 0.5) * edge - _REACH_MM
    cells = where_rays_meet(views) + np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    while True:
        finest = edge <= _FINEST_MM
        reach = edge * (0.5 if finest else 0.87)  # half a diagonal: no cell that holds a part of the person is lost
        cells = cells[_on_person(cells, views, reach, may_miss)]
        if finest or not len(cells):
            return cells, edge
        cells = (cells[:, None] + _CUBE * edge / 2).reshape(-1, 3)
        edge /= 2


def _depth(cells: Float[ndarray, "cells 3"], edge_mm: float) -> Float[ndarray, " cells"]:
    """How many cells deep below the hull's surface each cell lies."""
    place = np.rint((cells - cells.min(axis=0)) / edge_mm).astype(int) + 1
    grid = np.zeros(place.max(axis=0) + 2, bool)
    grid[tuple(place.T)] = True
    return np.asarray(distance_transform_edt(grid)[tuple(place.T)], float)


def _on_person(
    cells: Float[ndarray, "cells 3"], views: Sequence[Seen], reach_mm: float, may_miss: int
) -> Bool[ndarray, " cells"]:
    found = np.zeros(len(cells), int)
    missed = np.zeros(len(cells), int)
    for one in views:
        camera = one.camera
        pixels = camera.pixels(cells)
        depth = (cells - camera.T_mm) @ camera.R[2]
        with np.errstate(invalid="ignore"):
            column, row = np.rint(pixels).T
            inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
        x, y = column[inside].astype(int), row[inside].astype(int)
        on_person = one.outside_px[y, x] <= reach_mm * camera.f_px.max() / depth[inside]
        found[inside] += on_person
        missed[inside] += ~on_person
        missed[~inside] += not one.cut_off
    return (missed <= may_miss) & (found >= 2)


def where_rays_meet(views: Sequence[Seen]) -> Float[ndarray, "3"]:
    """The point with the least squared distance to the rays through the silhouettes' middles."""
    origins = np.stack([one.camera.T_mm for one in views])
    along = np.concatenate([one.camera.rays(one.middle_px[None]) for one in views])
    across = np.eye(3) - along[:, :, None] * along[:, None, :]
    return np.linalg.lstsq(across.sum(0), (across @ origins[..., None]).sum(0)[:, 0], rcond=None)[0]
