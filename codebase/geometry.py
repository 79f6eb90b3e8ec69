"""Cameras, crops about the root, and the rotation that belongs to a crop.

Frames: world (Human3.6M's: right-handed, z up, mm); camera (x right, y down, z forward, mm), x_cam = R (x - T) with
T the camera's centre; im (the virtual camera of a crop: the camera turned, without roll, until its axis meets the
root). Pixel centres lie at integer coordinates.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_NEWTON_STEPS = 8


def world_to_camera(
    points_world_mm: Float[ndarray, "*batch points 3"],
    R: Float[ndarray, "*batch 3 3"],
    T_mm: Float[ndarray, "*batch 3"],
) -> Float[ndarray, "*batch points 3"]:
    """Points in the camera's frame, mm."""
    return (points_world_mm - T_mm[..., None, :]) @ np.swapaxes(R, -1, -2)


def project(
    points_cam_mm: Float[ndarray, "*batch points 3"],
    f_px: Float[ndarray, "*batch 2"],
    c_px: Float[ndarray, "*batch 2"],
    distortion: Float[ndarray, "*batch 5"] | None = None,
) -> Float[ndarray, "*batch points 2"]:
    """Pixel coordinates (u, v) of points in front of the camera; without `distortion`, those of the ideal pinhole."""
    rays = points_cam_mm[..., :2] / points_cam_mm[..., 2:]
    if distortion is not None:
        rays = distort(rays, distortion)
    return rays * f_px[..., None, :] + c_px[..., None, :]


def distort(
    rays: Float[ndarray, "*batch points 2"], distortion: Float[ndarray, "*batch 5"]
) -> Float[ndarray, "*batch points 2"]:
    """Where a lens puts the rays (x / z, y / z) of a pinhole.

    Args:
        rays: on the plane z = 1, before focal lengths and principal point.
        distortion: k1, k2, p1, p2, k3 of OpenCV's model (calib3d: radial to the 6th order, and tangential).
    """
    x, y = rays[..., 0], rays[..., 1]
    k1, k2, p1, p2, k3 = (distortion[..., i, None] for i in range(5))
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([u, v], axis=-1)


def undistort(
    distorted: Float[ndarray, "*batch points 2"], distortion: Float[ndarray, "*batch 5"]
) -> Float[ndarray, "*batch points 2"]:
    """The pinhole's rays that a lens puts at `distorted`: the inverse of `distort`, by Newton steps.

    Beyond the radius at which a polynomial turns back there is no such ray: the result is then far off, or not finite.
    """
    rays = np.array(distorted, float)
    step_x, step_y = 1e-6 * np.eye(2)
    with np.errstate(all="ignore"):
        for _ in range(_NEWTON_STEPS):
            miss = distorted - distort(rays, distortion)
            along_x = (distort(rays + step_x, distortion) - distort(rays - step_x, distortion)) / 2e-6
            along_y = (distort(rays + step_y, distortion) - distort(rays - step_y, distortion)) / 2e-6
            area = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
            rays[..., 0] += (miss[..., 0] * along_y[..., 1] - miss[..., 1] * along_y[..., 0]) / area
            rays[..., 1] += (miss[..., 1] * along_x[..., 0] - miss[..., 0] * along_x[..., 1]) / area
    return rays


def rotation_to_root(root_cam_mm: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    """Rotation R_centre of the camera's frame that brings the root onto the z axis, first about y, then about x.

    Rhodin et al. (ECCV 2018) turn by atan(y / z), which misses the root off the image's centre; this one is exact:
    R_centre @ root = (0, 0, |root|).
    """
    x, y, z = np.moveaxis(root_cam_mm, -1, 0)
    about_y, about_x = np.arctan2(-x, z), np.arctan2(y, np.hypot(x, z))
    one, zero = np.ones_like(x), np.zeros_like(x)
    cos_y, sin_y, cos_x, sin_x = np.cos(about_y), np.sin(about_y), np.cos(about_x), np.sin(about_x)
    turn_y = _matrix([[cos_y, zero, sin_y], [zero, one, zero], [-sin_y, zero, cos_y]])
    turn_x = _matrix([[one, zero, zero], [zero, cos_x, -sin_x], [zero, sin_x, cos_x]])
    return turn_x @ turn_y


def world_to_im(
    root_world_mm: Float[ndarray, "*batch 3"],
    R: Float[ndarray, "*batch 3 3"],
    T_mm: Float[ndarray, "*batch 3"],
) -> Float[ndarray, "*batch 3 3"]:
    """R_world_im = R_centre R: turns world directions into the frame of the crop about the root."""
    root_cam = world_to_camera(root_world_mm[..., None, :], R, T_mm)[..., 0, :]
    return rotation_to_root(root_cam) @ R


def crop_from_image(
    root_cam_mm: Float[ndarray, "*batch 3"],
    f_px: Float[ndarray, "*batch 2"],
    c_px: Float[ndarray, "*batch 2"],
    *,
    box_mm: float,
    size_px: int,
) -> Float[ndarray, "*batch 2 3"]:
    """Affine map from image pixels to crop pixels.

    The crop shows the projection of a fronto-parallel square of side `box_mm` centred on the root at the root's
    depth; its outer edges fall on the outer edges of the crop's border pixels.
    """
    centre_px = project(root_cam_mm[..., None, :], f_px, c_px)[..., 0, :]
    scale = size_px * root_cam_mm[..., 2:] / (f_px * box_mm)
    shift = (size_px - 1) / 2 - centre_px * scale
    zero = np.zeros_like(scale[..., 0])
    return _matrix([[scale[..., 0], zero, shift[..., 0]], [zero, scale[..., 1], shift[..., 1]]])


def apply_affine(
    affine: Float[ndarray, "*batch 2 3"], points_px: Float[ndarray, "*batch points 2"]
) -> Float[ndarray, "*batch points 2"]:
    """Map pixel coordinates by a 2x3 affine matrix."""
    return points_px @ np.swapaxes(affine[..., :2], -1, -2) + affine[..., None, :, 2]


def crop_intrinsics(
    affine: Float[ndarray, "*batch 2 3"], f_px: Float[ndarray, "*batch 2"], c_px: Float[ndarray, "*batch 2"]
) -> tuple[Float[ndarray, "*batch 2"], Float[ndarray, "*batch 2"]]:
    """Focal lengths and principal point, px, with which the camera projects straight into the crop."""
    scale = np.stack([affine[..., 0, 0], affine[..., 1, 1]], axis=-1)
    return f_px * scale, c_px * scale + affine[..., :, 2]


def _matrix(rows: list[list[np.ndarray | np.float64]]) -> np.ndarray:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
