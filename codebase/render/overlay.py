"""A shaded mesh drawn over an image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from codebase.render.raster import Pinhole, interpolate, rasterise, vertex_normals

LIGHT = np.array([-0.4, -0.6, -0.7]) / np.linalg.norm([0.4, 0.6, 0.7])


def draw_mesh(
    image: UInt8[ndarray, "height width 3"],
    vertices_cam: Float[ndarray, "vertices 3"],
    faces: Int[ndarray, "faces 3"],
    f_px: Float[ndarray, "2"],
    c_px: Float[ndarray, "2"],
    *,
    colour: tuple[float, float, float] = (0.45, 0.65, 0.9),
    opacity: float = 0.9,
    samples: int = 2,
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an RGB image with the mesh over it, smoothly shaded and antialiased.

    Args:
        vertices_cam: camera frame (x right, y down, z forward), any unit.
        f_px, c_px: the image's pinhole, pixel centres at integers.
        colour: of the mesh, 0 to 1.
        opacity: 1 hides the image behind the mesh.
        samples: samples x samples in each pixel.
    """
    height, width = image.shape[:2]
    whole = Pinhole(float(f_px[0]), float(f_px[1]), float(c_px[0]), float(c_px[1]), width, height)
    camera = whole.window(0, 0, width, height, samples)
    triangles = np.ascontiguousarray(faces, np.int32)
    raster = rasterise(vertices_cam, triangles, camera)
    normals = interpolate(raster, vertices_cam, triangles, vertex_normals(vertices_cam, triangles), camera)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    facing = np.abs(normals[..., 2])
    shade = 0.30 + 0.50 * np.clip(normals @ LIGHT, 0, 1) + 0.25 * facing
    paint = np.clip(shade[..., None] * np.array(colour) + 0.12 * facing[..., None] ** 24, 0, 1)
    covered = (raster.face >= 0).astype(np.float32)[..., None]
    blocks = (height, samples, width, samples, -1)
    cover = opacity * covered.reshape(blocks).mean((1, 3))
    drawn = opacity * (paint * covered).reshape(blocks).mean((1, 3))
    return np.rint(image * (1 - cover) + 255 * drawn).clip(0, 255).astype(np.uint8)
