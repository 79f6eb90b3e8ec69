"""Silhouettes by `neural_renderer` (the PyTorch port of Kato et al., CVPR 2018), as the original system drew them.

What its extension does with the triangles that it is given was read from its source (version 1.1.3):

- x and y are in [-1, 1] over a square image, y upwards; the centre of pixel i of n lies at (2 i + 1 - n) / n, on a
  lattice of 2 n pixels with anti-aliasing; the rows of the result run downwards again;
- it draws triangles of one orientation only, so each is given both ways;
- a pixel is drawn where the depth lies between `near` and `far`, which are 0.1 and 100 by default. The original system
  gave it millimetres divided by 64, so bodies beyond 6.46 m vanished. Here depths are metres and `far` follows them;
- tensors are float32 on a CUDA device.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codebase.errors import UserError
from codebase.render.raster import NEAR


def to_square(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    side: int,
) -> Float[Tensor, "batch vertices 3"]:
    """Its coordinates of vertices: x to the right and y upwards in [-1, 1] over `side` pixels, z in metres.

    What is not in front of the camera gets z 0 and a place that means nothing.
    """
    depth = vertices_cam_m[..., 2:]
    seen = depth >= NEAR
    safe = torch.where(seen, depth, torch.ones_like(depth))
    place = vertices_cam_m[..., :2] / safe * f_px[:, None] + c_px[:, None]
    place = (2 * place + 1 - side) / side
    upwards = place * place.new_tensor([1.0, -1.0])
    return torch.cat([upwards, torch.where(seen, depth, torch.zeros_like(depth))], dim=-1)


def triangles(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    side: int,
) -> Float[Tensor, "batch both_ways 3 3"]:
    """What it draws: each triangle both ways; one that is not wholly in front of the camera shrinks to a point."""
    points = to_square(vertices_cam_m, f_px, c_px, side)
    both = torch.cat([faces, faces.flip(1)])
    corners = points[:, both]
    whole = (corners[..., 2] > 0).all(dim=2)[..., None, None]
    nowhere = corners.new_tensor([0.0, 0.0, 1.0])
    return torch.where(whole, corners, nowhere)


def _installed(device: torch.device) -> Any:  # noqa: ANN401
    if device.type != "cuda":
        raise UserError(
            "neural_renderer draws on a CUDA device alone.", where="smpl.silhouettes",
            mend="set runtime.device: cuda on a machine with a GPU, or smpl.silhouettes: ours",
        )  # fmt: skip
    return importlib.import_module("neural_renderer")


def draw(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    size: tuple[int, int],
    *,
    anti_aliasing: bool = True,
    library: Any = None,  # noqa: ANN401
) -> Float[Tensor, "batch height width"]:
    """Its masks (0, 1, and quarters between with anti-aliasing), with its own gradient.

    Args:
        vertices_cam_m, faces, f_px, c_px, size: see `codebase.render.silhouette.silhouette`.
        anti_aliasing: four samples a pixel, as the original system had it.
        library: the module to call; by default the installed `neural_renderer`.

    Raises:
        UserError: the tensors are not on a CUDA device.
    """
    library = library or _installed(vertices_cam_m.device)
    height, width = size
    side = max(size)
    corners = triangles(vertices_cam_m, faces, f_px, c_px, side).float()
    far = 2 * float(vertices_cam_m[..., 2].detach().max().clamp_min(1.0))
    alpha: Tensor = library.rasterize_silhouettes(corners, side, anti_aliasing, NEAR, far)
    return alpha[:, :height, :width].to(vertices_cam_m)
