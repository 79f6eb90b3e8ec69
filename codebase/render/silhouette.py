"""Hard silhouettes with a gradient that follows the outline.

The area that a body covers changes by the velocity of its outline along the outline's normal (Reynolds' transport
theorem). On a row of the image only the x of the outline's crossing counts, on a column only the y; the place on the
mesh's edge that crosses is held fixed. Crossings are found exactly on each line (codebase/render/outline.py),
whatever lies between two pixel centres, so the gradient's mean over all places of the pixel lattice is that of the
covered area itself. It depends on nothing but the image: not on distance, blur or a far plane.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from codebase.render import outline, outline_torch
from codebase.render.topology import topology_of

Engine = Literal["auto", "numba", "torch"]
LINES = 200  # rows, and columns, on which the outline of a small image is taken


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    """Threads of this process: those of the one it was forked from are not there."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="silhouette")


def _share_out(work: Callable[[slice], Any], batch: int) -> list:
    """Results of `work` on equal parts of a batch, on as many threads as torch may use."""
    limit = int(os.environ.get("NUMBA_NUM_THREADS") or torch.get_num_threads())
    parts = max(1, min(torch.get_num_threads(), limit, batch // 2))
    edges = np.linspace(0, batch, parts + 1).round().astype(int)
    slices = [slice(low, high) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    later = [_pool(os.getpid()).submit(work, part) for part in slices[1:]]
    return [work(slices[0]), *(result.result() for result in later)]


class _OnCpu(torch.autograd.Function):
    """Compiled for the CPU, images shared out over threads."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        vertices: Tensor,
        lens: Tensor,
        faces: Tensor,
        size: tuple[int, int],
        fine: int,
    ) -> Tensor:
        topology = topology_of(faces)
        points = np.ascontiguousarray(vertices.detach().numpy())
        cameras = np.ascontiguousarray(lens.detach().double().numpy())
        masks = np.zeros((len(points), *size), points.dtype)
        wanted = any(ctx.needs_input_grad[:2])
        fine = fine if wanted else 1  # a mask needs the lines through the centres alone

        def work(part: slice) -> tuple[slice, np.ndarray, np.ndarray, np.ndarray]:
            found = outline.trace(
                points[part], cameras[part], topology.faces, topology.edges, fine, wanted, masks[part]
            )
            return part, *found

        ctx.outlines = _share_out(work, len(points))
        ctx.edges = topology.edges
        ctx.save_for_backward(vertices, lens)
        return torch.from_numpy(masks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # noqa: ANN401
        vertices, lens = ctx.saved_tensors
        points = np.ascontiguousarray(vertices.detach().numpy())
        cameras = np.ascontiguousarray(lens.detach().double().numpy())
        strength = np.ascontiguousarray(upstream[0].detach().numpy())
        to_vertices, to_lens = np.zeros_like(points), np.zeros_like(cameras)
        for part, which, how, begin in ctx.outlines:
            outline.pull(
                points[part], cameras[part], ctx.edges, which, how, begin, strength[part],
                to_vertices[part], to_lens[part],
            )  # fmt: skip
        return torch.from_numpy(to_vertices), torch.from_numpy(to_lens).to(lens), None, None, None


def silhouette(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    size: tuple[int, int],
    *,
    engine: Engine = "auto",
    lines_per_pixel: int | None = None,
) -> Float[Tensor, "batch height width"]:
    """Exact 0/1 masks of meshes, differentiable in the vertices and the pinholes.

    A pixel is covered where its centre is; on the border of the image the outline's pull belongs to the pixel it lies
    in, elsewhere half of it to each of the two centres that it lies between.

    Args:
        vertices_cam_m: camera frame (x right, y down, z forward). What is nearer than NEAR or behind the camera is not
            seen and has no gradient; any distance is fine, and any unit.
        faces: triangles, oriented alike; the mesh may be open, but only closed ones look the same from all sides.
        f_px, c_px: pinhole of each mesh's image, pixel centres at integers.
        size: height and width, px.
        engine: numba for tensors on the CPU, torch for any device; auto takes numba where it can.
        lines_per_pixel: rows and columns per pixel on which the outline is taken for the gradient, odd. They cost
            little; by default 3, and more in images below 50 px, so that small bodies are sampled as well as large.
    """
    enough = max(3, 1 + 2 * round(LINES / max(1, min(size)) / 2 - 0.5))
    fine = enough if lines_per_pixel is None else lines_per_pixel
    if fine < 1 or fine % 2 == 0:
        raise ValueError(f"lines_per_pixel is {fine}; an odd number has one line through the centres")
    lens = torch.cat([f_px, c_px], dim=-1)
    on_cpu = engine == "numba" or (engine == "auto" and vertices_cam_m.device.type == "cpu")
    draw = _OnCpu.apply if on_cpu else outline_torch.draw
    mask: Tensor = draw(vertices_cam_m, lens, faces, size, fine)
    return mask
