"""Where a body of known shape and pose stands before a camera: its joints must fall on their places in the picture."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def root_from_places(
    joints_m: Float[ndarray, "batch joints 3"],
    rays: Float[ndarray, "batch joints 2"],
    weights: Float[ndarray, "batch joints"] | None = None,
) -> Float[ndarray, "batch 3"]:
    """The translation of least squares, full perspective, in closed form.

    A joint X + t is seen along the ray (u, v, 1), so (X + t)_x = u (X + t)_z and (X + t)_y = v (X + t)_z: linear in t.
    The equations weigh a miss in metres at the joint's depth, which is nearly the same for all joints of a person.

    Args:
        joints_m: the camera's axes, any origin.
        rays: x / z and y / z of the same joints as a pinhole of focal length 1 sees them.
        weights: of each joint; None: all alike.

    Returns:
        What must be added to `joints_m`, metres, camera frame. Three joints that fall on one point give no depth: the
        result is then not finite or far off.
    """
    count = joints_m.shape[:2]
    rows = np.zeros((*count, 2, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1
    rows[..., 2] = -rays
    right = rays * joints_m[..., 2:] - joints_m[..., :2]
    if weights is not None:
        rows, right = rows * weights[..., None, None], right * weights[..., None]
    rows, right = rows.reshape(len(rows), -1, 3), right.reshape(len(right), -1)
    normal = np.swapaxes(rows, 1, 2) @ rows
    try:
        return np.linalg.solve(normal, np.swapaxes(rows, 1, 2) @ right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return (np.linalg.pinv(normal) @ np.swapaxes(rows, 1, 2) @ right[..., None])[..., 0]
