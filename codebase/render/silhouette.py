"""Differentiable silhouettes: an exact hard raster whose gradient is that of the covered area.

The mask itself is piecewise constant, but its sum over pixels changes as the outline moves. By Reynolds' transport
theorem the derivative is the integral of the outline's normal velocity. Along a row of pixel centres the outline
crosses between a covered and an empty pixel; the crossing moves with the x of the mesh edge that it lies on, and along
a column with the y. Each crossing gives half of its weight to the pixel on either side. Where the crossing lies along
its edge is held fixed. Nothing depends on the distance to the camera; faces behind it are not drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from codebase.render.jit import kernel
from codebase.render.raster import NEAR, Pinhole, rasterise


def silhouettes(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    *,
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    size: int,
) -> Float[Tensor, "batch size size"]:
    """Masks (0 or 1) of closed meshes, one camera each, with gradients with respect to the vertices.

    Args:
        vertices_cam_m: camera frame (x right, y down, z forward), metres.
        faces: triangles, outwards by the right hand in a frame with y up (SMPL's order).
        f_px, c_px: focal lengths and principal points; pixel centres lie at integers.
        size: side of the square masks, pixels.

    Drawn on the CPU; tensors of another device are taken there and back.
    """
    depth = vertices_cam_m[..., 2:]
    uv = vertices_cam_m[..., :2] / depth.clamp_min(NEAR) * f_px[:, None] + c_px[:, None]
    return _Silhouette.apply(uv, vertices_cam_m.detach(), faces, f_px.detach(), c_px.detach(), size)


def unique_edges(faces: Int[ndarray, "faces 3"]) -> Int[ndarray, "edges 2"]:
    """The edges of a mesh, each once."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(edges, axis=1), axis=0).astype(np.int32)


class _Silhouette(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context
        uv: Tensor, vertices: Tensor, faces: Tensor, f_px: Tensor, c_px: Tensor, size: int,
    ) -> Tensor:  # fmt: skip
        corners, triangles = _numpy(vertices), np.ascontiguousarray(_numpy(faces), np.int32)
        masks = np.empty((len(corners), size, size), np.bool_)
        for mask, mesh, f, c in zip(masks, corners, _numpy(f_px), _numpy(c_px), strict=True):
            camera = Pinhole(float(f[0]), float(f[1]), float(c[0]), float(c[1]), size, size)
            mask[:] = rasterise(mesh, triangles, camera, cull=True).face >= 0
        ctx.save_for_backward(uv)
        ctx.masks, ctx.edges, ctx.in_front = masks, _edges_of(triangles), corners[..., 2] > NEAR
        return torch.from_numpy(masks).to(uv)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (uv,) = ctx.saved_tensors
        places = _numpy(uv).astype(np.float64)
        pull = _numpy(gradients[0]).astype(np.float64)
        result = np.zeros_like(places)
        for points, mask, in_front, weight, out in zip(places, ctx.masks, ctx.in_front, pull, result, strict=True):
            edges = ctx.edges[in_front[ctx.edges].all(axis=1)]
            for axis in (0, 1):
                # along columns everything is the same with x and y exchanged
                x, y = np.ascontiguousarray(points[:, axis]), np.ascontiguousarray(points[:, 1 - axis])
                seen, wanted = (mask, weight) if axis == 0 else (mask.T, weight.T)
                out[:, axis] = _pull_rows(x, y, edges, np.ascontiguousarray(seen), np.ascontiguousarray(wanted))
        return torch.from_numpy(result).to(uv), None, None, None, None, None


@kernel
def _pull_rows(x, y, edges, mask, weight):  # type: ignore[no-untyped-def]
    """Derivative of sum(weight * mask) with respect to x, through the outline's crossings with the rows."""
    height, width = mask.shape
    crossing = np.zeros((height, width))
    owner = np.full((height, width), -1, np.int32)
    along = np.zeros((height, width))
    for index in range(edges.shape[0]):
        a, b = edges[index, 0], edges[index, 1]
        low, high = (a, b) if y[a] < y[b] else (b, a)
        if y[low] == y[high]:
            continue
        first, last = int(np.ceil(max(y[low], 0.0))), int(np.floor(min(y[high], height - 1.0)))
        for v in range(first, last + 1):
            t = (v - y[low]) / (y[high] - y[low])
            place = x[low] + t * (x[high] - x[low])
            if not (place >= 0.0 and place < width - 1.0):
                continue
            u = int(np.floor(place))
            if mask[v, u] == mask[v, u + 1]:
                continue
            # the outline is the outermost of the edges between the covered and the empty pixel
            outer = place > crossing[v, u] if mask[v, u] else place < crossing[v, u]
            if owner[v, u] < 0 or outer:
                crossing[v, u], owner[v, u], along[v, u] = place, index, t
    out = np.zeros(x.shape[0])
    for v in range(height):
        for u in range(width - 1):
            if owner[v, u] < 0:
                continue
            a, b = edges[owner[v, u], 0], edges[owner[v, u], 1]
            low, high = (a, b) if y[a] < y[b] else (b, a)
            pull = 0.5 * (weight[v, u] + weight[v, u + 1])
            pull = pull if mask[v, u] else -pull
            out[low] += (1.0 - along[v, u]) * pull
            out[high] += along[v, u] * pull
    return out


_EDGES: dict[bytes, np.ndarray] = {}


def _edges_of(faces: Int[ndarray, "faces 3"]) -> Int[ndarray, "edges 2"]:
    """Edges of the last mesh seen are kept: training draws the same one at every step."""
    key = faces.tobytes()
    if key not in _EDGES:
        _EDGES.clear()
        _EDGES[key] = unique_edges(faces)
    return _EDGES[key]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
