"""Where cameras stand, from poses alone: each camera's own poses of the same instants, aligned rigidly.

Some re-packagings of Human3.6M hold poses in camera frames and no extrinsics. Two cameras that see the same pose in
their own frames differ by one rotation and one shift, for all instants of a subject: least squares finds both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from codebase.skeleton import H36M

# Poses of one instant agree to well under a millimetre where they come from one measurement, and to some
# centimetres where each camera's body was fitted by itself; beyond this the instants do not belong together.
LARGEST_MISFIT_MM = 60.0
FEWEST_INSTANTS = 3
# Feet must wander about the floor before a plane through them says more than the people's own upright.
_FLOOR_SPREAD_MM = 300.0
_FLOOR_TILT_RAD = np.deg2rad(25.0)


@dataclass(frozen=True)
class Extrinsics:
    """A camera: x_cam = R (x_world - T)."""

    R: Float[ndarray, "3 3"]
    T_mm: Float[ndarray, "3"]


@dataclass(frozen=True)
class CameraPoses:
    """A subject's poses in one camera's frame.

    Attributes:
        instant: numbers that cameras share, rising, each once.
        joints_cam_mm: the pose of each instant.
    """

    instant: Int[ndarray, " poses"]
    joints_cam_mm: Float[ndarray, "poses 17 3"]


def rigid(
    source: Float[ndarray, "points 3"], target: Float[ndarray, "points 3"]
) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "3"], float]:
    """Rotation, shift and root mean square misfit of target ~ R source + shift (Kabsch, proper rotations only)."""
    from_centre, to_centre = source.mean(0), target.mean(0)
    u, _, vt = np.linalg.svd((target - to_centre).T @ (source - from_centre))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    R = u @ flip @ vt
    shift = to_centre - R @ from_centre
    misfit = np.sqrt(((source @ R.T + shift - target) ** 2).sum(1).mean())
    return R, shift, float(misfit)


def place_cameras(
    poses: Mapping[int, CameraPoses],
) -> tuple[dict[int, Extrinsics], dict[int, str]]:
    """Extrinsics of the cameras, and the reasons of those that cannot be placed.

    The world is the first camera's frame turned so that z is up as well as poses can tell (see `upright`), with the
    people's middle at x = y = 0 and z = 0 where standing people have their feet's joints. Cameras are chained by the
    most shared instants, the first camera first.

    Args:
        poses: by camera number.
    """
    found: dict[int, Extrinsics] = {}
    refused: dict[int, str] = {}
    waiting = sorted(camera for camera, one in poses.items() if len(one.instant))
    refused |= {camera: "the camera has no pose" for camera in poses if camera not in waiting}
    if not waiting:
        return found, refused
    first = waiting.pop(0)
    placed = {first: (np.eye(3), np.zeros(3))}  # first camera's frame to each camera's: x_cam = R x + shift
    while waiting:
        shared = {(a, b): _common(poses[a], poses[b]) for a in placed for b in waiting}
        (known, camera), (mine, yours) = max(shared.items(), key=lambda item: (len(item[1][0]), -item[0][1]))
        waiting.remove(camera)
        if len(mine) < FEWEST_INSTANTS:
            refused[camera] = f"it shares {len(mine)} instants with other cameras, {FEWEST_INSTANTS} are needed"
            continue
        source, target = poses[known].joints_cam_mm[mine], poses[camera].joints_cam_mm[yours]
        R, shift, misfit = rigid(source.reshape(-1, 3), target.reshape(-1, 3))
        if misfit > LARGEST_MISFIT_MM:
            refused[camera] = f"its poses differ by {misfit:.0f} mm from those of camera {known} at the same instants"
            continue
        R_known, shift_known = placed[known]
        placed[camera] = (R @ R_known, R @ shift_known + shift)
    up, origin = upright(poses[first].joints_cam_mm)
    for camera, (R, shift) in placed.items():
        # x_cam = R x_first + shift, x_world = up (x_first - origin)
        found[camera] = Extrinsics(R @ up.T, up @ (-R.T @ shift - origin))
    return found, refused


def upright(
    joints_mm: Float[ndarray, "poses 17 3"],
) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "3"]]:
    """Rotation and origin of a world with z up: x_world = rotation (x - origin).

    Up is first the mean direction from feet to head top. Where the lower feet wander far enough in two directions,
    the normal of the plane through them replaces it, unless it tilts by more than 25 degrees. The old x axis, made
    horizontal, is the new one (the old z axis, where x was upright).
    """
    feet = joints_mm[:, H36M.indices("right_foot", "left_foot")]
    along = joints_mm[:, H36M.index("head_top")] - feet.mean(1)
    up = _unit((along / np.linalg.norm(along, axis=1, keepdims=True)).mean(0))
    standing = feet[np.arange(len(feet)), (feet @ up).argmin(1)]
    up = _floor_normal(standing, up)
    x = np.eye(3)[0] if abs(up[0]) < 0.9 else np.eye(3)[2]
    x = _unit(x - up * (x @ up))
    rotation = np.stack([x, np.cross(up, x), up])
    root = np.median(joints_mm[:, H36M.index("root")], axis=0)
    origin = root + up * (np.percentile(standing @ up, 20) - root @ up)
    return rotation, origin


def _floor_normal(standing: Float[ndarray, "poses 3"], up: Float[ndarray, "3"]) -> Float[ndarray, "3"]:
    """Normal of the plane through the lower feet, refitted to those near it; `up` where it says nothing."""
    kept = np.ones(len(standing), bool)
    normal = up
    for _ in range(10):
        centred = standing[kept] - standing[kept].mean(0)
        _, spread, axes = np.linalg.svd(centred, full_matrices=False)
        if len(spread) < 3 or spread[1] / np.sqrt(kept.sum()) < _FLOOR_SPREAD_MM:
            return up
        candidate = axes[2] * np.sign(axes[2] @ up)
        if candidate @ up < np.cos(_FLOOR_TILT_RAD):
            return up
        normal = candidate
        height = (standing - standing[kept].mean(0)) @ normal
        limit = max(20.0, 2 * float(np.median(np.abs(height - np.median(height)))))
        closer = np.abs(height - np.median(height)) <= limit
        if (closer == kept).all() or closer.sum() < 10:
            break
        kept = closer
    return normal


def _common(one: CameraPoses, other: CameraPoses) -> tuple[ndarray, ndarray]:
    _, mine, yours = np.intersect1d(one.instant, other.instant, assume_unique=True, return_indices=True)
    return mine, yours


def _unit(vector: Float[ndarray, "3"]) -> Float[ndarray, "3"]:
    return vector / np.linalg.norm(vector)
