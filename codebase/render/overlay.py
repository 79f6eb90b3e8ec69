"""A shaded mesh drawn over a picture: to see at a glance whether a predicted body fits."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from codebase.render.raster import Pinhole, interpolate, rasterise, vertex_normals

Colour = tuple[int, int, int]
_SAMPLES = 3
# towards the light, camera frame (x right, y down, z away): from the upper left, behind the camera
_LIGHT = np.array([-0.42, -0.58, -0.70])


def draw_mesh(
    image: UInt8[ndarray, "height width 3"],
    vertices_cam_mm: Float[ndarray, "vertices 3"],
    faces: Int[ndarray, "faces 3"],
    f_px: Float[ndarray, "2"],
    c_px: Float[ndarray, "2"],
    *,
    colour: Colour = (104, 158, 204),
    opacity: float = 0.92,
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an RGB image with the mesh over it, edges smoothed over 3 x 3 samples a pixel.

    Args:
        image: the picture.
        vertices_cam_mm: closed mesh, faces turned outwards; camera frame (x right, y down, z forward), mm.
        faces: triangles.
        f_px: focal lengths.
        c_px: principal point, pixel centres at integers.
        colour: RGB of the material.
        opacity: below 1, the picture shines through, so that a wrong fit can be seen beneath.
    """
    height, width = image.shape[:2]
    whole = Pinhole(float(f_px[0]), float(f_px[1]), float(c_px[0]), float(c_px[1]), width, height)
    camera = whole.window(0, 0, width, height, samples=_SAMPLES)
    triangles = np.ascontiguousarray(faces, np.int32)
    raster = rasterise(vertices_cam_mm, triangles, camera, cull=True)
    normals = interpolate(raster, vertices_cam_mm, triangles, vertex_normals(vertices_cam_mm, triangles), camera)
    covered = (raster.face >= 0)[..., None]
    lit = _average(shade(normals) * covered, height, width)
    share = _average(covered.astype(np.float32), height, width)
    # the shade of a border pixel is that of its covered samples; their share only says how much they hide
    shaded = np.array(colour, np.float32) * lit / np.maximum(share, 1e-6)
    alpha = opacity * share
    return np.clip(np.rint(image * (1 - alpha) + shaded * alpha), 0, 255).astype(np.uint8)


def shade(normals_cam: Float[ndarray, "height width 3"]) -> Float[ndarray, "height width 1"]:
    """Brightness of a matt surface under a key light, a sky and a weak light on its rim; about 0.25 to 1.3."""
    unit = normals_cam / np.maximum(np.linalg.norm(normals_cam, axis=-1, keepdims=True), 1e-6)
    key = np.clip(unit @ _LIGHT, 0, None)
    sky, facing = 0.5 - 0.5 * unit[..., 1], np.clip(-unit[..., 2], 0, 1)
    return (0.24 + 0.14 * sky + 0.80 * key + 0.16 * (1 - facing) ** 3)[..., None]


def _average(samples: np.ndarray, height: int, width: int) -> np.ndarray:
    return samples.reshape(height, _SAMPLES, width, _SAMPLES, -1).mean(axis=(1, 3))
