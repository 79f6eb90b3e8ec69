"""Errors, named as the field names them. Inputs are root-centred poses or meshes, one row a sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

Points = Float[ndarray, "batch points 3"]
PerSample = Float[ndarray, " batch"]
PerPoint = Float[ndarray, "batch points"]


def distances(predicted: Points, target: Points) -> PerPoint:
    """Distance of each point from its target, in the unit of the input; no alignment."""
    return np.linalg.norm(predicted - target, axis=-1)


def mpjpe(predicted: Points, target: Points) -> PerSample:
    """Mean per-joint position error of each sample, in the unit of the input; no alignment."""
    return distances(predicted, target).mean(axis=-1)


def n_mpjpe(predicted: Points, target: Points) -> PerSample:
    """MPJPE after the least-squares scale of each prediction (N-MPJPE of Rhodin et al., CVPR 2018)."""
    return mpjpe(scaled(predicted, target), target)


def scaled(source: Points, target: Points) -> Points:
    """`source`, each sample times the number that brings it nearest to `target` (least squares)."""
    power = (source**2).sum(axis=(-1, -2))
    scale = (source * target).sum(axis=(-1, -2)) / np.where(power > 0, power, 1)
    return source * scale[:, None, None]


def pa_mpjpe(predicted: Points, target: Points) -> PerSample:
    """MPJPE after the least-squares similarity of each sample (Procrustes, no reflection); Protocol 2."""
    return mpjpe(procrustes(predicted, target), target)


def orthogonal_mpjpe(predicted: Points, target: Points) -> PerSample:
    """MPJPE after the nearest orthogonal map of each sample: what the system of 2019 calls P-MPJ-orth.

    A rotation or a rotation with a reflection, whichever is nearer; no scale, and about the origin (the root) as it
    is, not about the centroid. So it is neither PA-MPJPE nor an upper or lower bound of it: a mirrored pose costs
    nothing here, a wrong scale all of it.
    """
    return mpjpe(orthogonal(predicted, target), target)


def orthogonal(source: Points, target: Points) -> Points:
    """`source`, moved by the orthogonal matrix (reflections allowed) nearest to `target`; no scale, no translation."""
    u, _, vt = np.linalg.svd(np.swapaxes(source.astype(np.float64), 1, 2) @ target.astype(np.float64))
    return source.astype(np.float64) @ (u @ vt)


def procrustes(source: Points, target: Points) -> Points:
    """`source`, moved by the similarity (rotation without reflection, scale, translation) nearest to `target`.

    Closed form of Umeyama (PAMI 1991), batched.
    """
    source, target = source.astype(np.float64), target.astype(np.float64)
    mean_s, mean_t = source.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    centred_s, centred_t = source - mean_s, target - mean_t
    u, singular, vt = np.linalg.svd(np.swapaxes(centred_t, 1, 2) @ centred_s)
    signs = np.ones_like(singular)
    signs[:, -1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * signs[:, None, :]) @ vt
    power = (centred_s**2).sum(axis=(1, 2))
    scale = (singular * signs).sum(axis=1) / np.where(power > 0, power, 1)
    return scale[:, None, None] * centred_s @ np.swapaxes(rotation, 1, 2) + mean_t


ALIGNMENTS: dict[str, Callable[[Points, Points], Points]] = {
    "mpjpe": lambda predicted, _: predicted,
    "n_mpjpe": scaled,
    "pa_mpjpe": procrustes,
    "orthogonal_mpjpe": orthogonal,
}  # what each protocol does to a prediction before distances are taken


def pve(predicted: Points, target: Points) -> PerSample:
    """Mean per-vertex error of each sample, in the unit of the input; no alignment."""
    return mpjpe(predicted, target)


def v2v_l2(predicted: Points, target: Points) -> PerSample:
    """Mean squared vertex error over vertices and coordinates, unit squared (the course project's metric)."""
    return ((predicted - target) ** 2).mean(axis=(-1, -2))


def psnr_db(mean_squared_error: Float[ndarray, " batch"]) -> Float[ndarray, " batch"]:
    """Peak signal-to-noise ratio, dB, of images in [0, 1]."""
    return -10 * np.log10(np.maximum(mean_squared_error, 1e-12))


def masked_mse(
    image: Float[ndarray, "batch height width 3"],
    target: Float[ndarray, "batch height width 3"],
    mask: Bool[ndarray, "batch height width"],
) -> PerSample:
    """Mean squared error of each image over the pixels of its mask; NaN where the mask is empty.

    The foreground PSNR of novel views is `np.nanmean(psnr_db(masked_mse(...)))` with the target's mask >= 128: the
    mean over pairs of each pair's own PSNR.
    """
    error = np.square(image - target).mean(axis=-1)
    count = mask.sum(axis=(1, 2))
    return np.where(count > 0, (error * mask).sum(axis=(1, 2)) / np.maximum(count, 1), np.nan)


def facing_deg(
    global_rotation: Float[ndarray, "batch 3 3"], R_world_im: Float[ndarray, "batch 3 3"]
) -> Float[ndarray, " batch"]:
    """Where bodies face, seen by their cameras: the angle from the direction to the camera to the body's front.

    Both directions are laid on the ground (the world's x and y). 0: towards the camera, 90: the person's left turn, so
    towards the right of the image, 180: away. NaN where the front is within 12 degrees of the vertical.

    Args:
        global_rotation: from the body's frame (front along z) to the im frame.
        R_world_im: from the world's frame to the im frame.

    Returns:
        Degrees in (-180, 180].
    """
    front = np.einsum("bij,bi->bj", R_world_im, global_rotation[:, :, 2])
    camera = -R_world_im[:, 2]
    cross = camera[:, 0] * front[:, 1] - camera[:, 1] * front[:, 0]
    along = (camera[:, :2] * front[:, :2]).sum(axis=1)
    return np.where(np.hypot(front[:, 0], front[:, 1]) > 0.2, np.degrees(np.arctan2(cross, along)), np.nan)


def iou(drawn: Bool[ndarray, "batch height width"], mask: Bool[ndarray, "batch height width"]) -> PerSample:
    """Intersection over union of silhouettes; NaN where the mask is empty."""
    both, either = (drawn & mask).sum(axis=(1, 2)), (drawn | mask).sum(axis=(1, 2))
    return np.where(mask.any(axis=(1, 2)), both / np.maximum(either, 1), np.nan)
