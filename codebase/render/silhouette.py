"""Hard silhouettes with a gradient that follows the boundary.

The covered area changes by the boundary's velocity along its normal (Reynolds' transport theorem). Where a row of
pixels crosses the silhouette between two pixel centres, the crossing moves with the x of the mesh edge there; where
a column crosses it, with the y. The place along the edge is held fixed. Half of the weight goes to the pixel on
each side. So the gradient depends on nothing but the image: not on distance, blur or a far plane.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from codebase.render.jit import kernel
from codebase.render.raster import NEAR, Pinhole, rasterise


@kernel
def _consider(at, line, start, stop, along, i, j, mask, row_wise, best, first, second, weight):  # type: ignore[no-untyped-def]
    """Offer the crossing of edge (i, j) with a row (or column) to the boundary between the two pixels around it."""
    cell = int(np.floor(at))
    if cell < 0 or cell >= along - 1:
        return
    before = mask[line, cell] if row_wise else mask[cell, line]
    after = mask[line, cell + 1] if row_wise else mask[cell + 1, line]
    if before == after:
        return
    # the outermost crossing is the silhouette
    outward = at if before else -at
    if outward > best[line, cell]:
        best[line, cell] = outward
        first[line, cell], second[line, cell] = i, j
        weight[line, cell] = (line - start) / (stop - start)


@kernel
def _crossings(points, depth, edges, mask, axis, best, first, second, weight):  # type: ignore[no-untyped-def]
    """For each boundary between neighbours along `axis` (0: in rows, 1: in columns), the edge that makes it."""
    lines, along = best.shape
    other = 1 - axis
    for edge in range(edges.shape[0]):
        i, j = edges[edge, 0], edges[edge, 1]
        start, stop = points[i, other], points[j, other]
        low, high = max(np.ceil(min(start, stop)), 0.0), min(np.floor(max(start, stop)), lines - 1.0)
        if not low <= high or start == stop or depth[i] < NEAR or depth[j] < NEAR:
            continue
        for line in range(int(low), int(high) + 1):
            t = (line - start) / (stop - start)
            at = points[i, axis] + t * (points[j, axis] - points[i, axis])
            if 0 <= at < along:
                _consider(at, line, start, stop, along, i, j, mask, axis == 0, best, first, second, weight)


@lru_cache(maxsize=4)
def _edges(faces: bytes) -> np.ndarray:
    """Each edge of the mesh once; `faces` are the bytes of an int32 array."""
    triangles = np.frombuffer(faces, np.int32).reshape(-1, 3)
    ends = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    return np.unique(ends, axis=0)


def _boundary_gradient(
    points_px: np.ndarray, depth: np.ndarray, edges: np.ndarray, mask: np.ndarray, upstream: np.ndarray
) -> np.ndarray:
    """Gradient with regard to the projected vertices [V,2], from that of the mask [H,W]."""
    height, width = mask.shape
    gradient = np.zeros_like(points_px)
    for axis, shape in ((0, (height, width)), (1, (width, height))):
        best = np.full(shape, -np.inf)
        first, second = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
        weight = np.zeros(shape)
        _crossings(points_px, depth, edges, mask, axis, best, first, second, weight)
        line, cell = np.nonzero(first >= 0)
        inside, pull = (mask, upstream) if axis == 0 else (mask.T, upstream.T)
        sign = np.where(inside[line, cell], 1.0, -1.0)
        push = sign * 0.5 * (pull[line, cell] + pull[line, cell + 1])
        share = weight[line, cell]
        np.add.at(gradient[:, axis], first[line, cell], push * (1 - share))
        np.add.at(gradient[:, axis], second[line, cell], push * share)
    return gradient


class _Silhouette(torch.autograd.Function):
    """Mask of projected vertices; the camera-frame vertices decide coverage, the pixels carry the gradient."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        points_px: Tensor,
        vertices: Tensor,
        faces: Tensor,
        lens: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        height, width = size
        faces_np = faces.detach().cpu().numpy().astype(np.int32)
        solid = vertices.detach().cpu().double().numpy()
        cameras = lens.detach().cpu().double().numpy()
        masks = np.stack(
            [
                rasterise(one, faces_np, Pinhole(fx, fy, cx, cy, width, height)).face >= 0
                for one, (fx, fy, cx, cy) in zip(solid, cameras.tolist(), strict=True)
            ]
        )
        ctx.kept = points_px.detach().cpu().double().numpy(), solid[..., 2].copy(), faces_np, masks
        return torch.from_numpy(masks).to(points_px)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None, None]:  # noqa: ANN401
        points, depth, faces, masks = ctx.kept
        pull = upstream[0].detach().cpu().double().numpy()
        edges = _edges(faces.tobytes())
        gradient = np.stack(
            [
                _boundary_gradient(place, z, edges, mask, up)
                for place, z, mask, up in zip(points, depth, masks, pull, strict=True)
            ]
        )
        return torch.from_numpy(gradient).to(upstream[0]), None, None, None, None


def silhouette(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    size: tuple[int, int],
) -> Float[Tensor, "batch height width"]:
    """Exact 0/1 masks of closed meshes, differentiable in the vertices.

    Args:
        vertices_cam_m: camera frame (x right, y down, z forward). What is behind the camera is not seen and has no
            gradient; any distance is fine.
        faces: triangles.
        f_px, c_px: pinhole of each mesh's image, pixel centres at integers.
        size: height and width, px.
    """
    depth = vertices_cam_m[..., 2:]
    seen = depth >= NEAR
    safe = torch.where(seen, depth, torch.ones_like(depth))
    points = vertices_cam_m[..., :2] / safe * f_px[:, None] + c_px[:, None]
    points = torch.where(seen, points, points.detach())
    mask: Tensor = _Silhouette.apply(points, vertices_cam_m, faces, torch.cat([f_px, c_px], dim=-1), size)
    return mask
