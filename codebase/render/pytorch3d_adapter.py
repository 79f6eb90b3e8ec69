"""Silhouettes by PyTorch3D: soft masks, as its SoftSilhouetteShader makes them.

Its screen: x to the left and y upwards; the shorter side of the image is [-1, 1], pixels are square, and the centre of
pixel i of n along the shorter side lies at 1 - (2 i + 1) / n.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from pytorch3d.renderer.blending import BlendParams, sigmoid_alpha_blend
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.renderer.mesh.rasterizer import Fragments
from pytorch3d.structures import Meshes
from torch import Tensor

from codebase.render.raster import NEAR

SIGMA = 1e-4  # its usual softness, in squared units of its screen
FACES = 50  # of one pixel that are blended; those behind are left out


def to_screen(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    size: tuple[int, int],
) -> Float[Tensor, "batch vertices 3"]:
    """Vertices on its screen, z in metres; what is not in front of the camera keeps its z and a place of no meaning."""
    height, width = size
    depth = vertices_cam_m[..., 2:]
    safe = torch.where(depth >= NEAR, depth, torch.ones_like(depth))
    place = vertices_cam_m[..., :2] / safe * f_px[:, None] + c_px[:, None]
    sides = place.new_tensor([width, height])
    return torch.cat([(sides - 1 - 2 * place) / min(size), depth], dim=-1)


def draw(
    vertices_cam_m: Float[Tensor, "batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    f_px: Float[Tensor, "batch 2"],
    c_px: Float[Tensor, "batch 2"],
    size: tuple[int, int],
    *,
    sigma: float = SIGMA,
    faces_per_pixel: int = FACES,
) -> Float[Tensor, "batch height width"]:
    """Its soft masks, 0 to 1, with its own gradient.

    Args:
        vertices_cam_m, faces, f_px, c_px, size: see `codebase.render.silhouette.silhouette`.
        sigma: softness; faces count up to where a sigmoid of it has fallen to 1e-4.
        faces_per_pixel: how many of them, the nearest.
    """
    points = to_screen(vertices_cam_m, f_px, c_px, size)
    meshes = Meshes(verts=list(points), faces=[_in_front(own, faces) for own in points])
    blur = math.log(1 / 1e-4 - 1) * sigma
    found = rasterize_meshes(meshes, image_size=size, blur_radius=blur, faces_per_pixel=faces_per_pixel, bin_size=0)
    fragments = Fragments(*found)
    colours = torch.ones((*fragments.pix_to_face.shape, 3), dtype=points.dtype, device=points.device)
    return sigmoid_alpha_blend(colours, fragments, BlendParams(sigma=sigma))[..., 3]


def _in_front(points: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> Int[Tensor, "some 3"]:
    return faces[(points[:, 2][faces] >= NEAR).all(dim=1)]
