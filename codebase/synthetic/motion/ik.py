"""Analytic two-bone inverse kinematics for legs and arms.

Each limb is solved in the frame of its parent (pelvis or chest) as a left limb; the right one is mirrored
at x = 0 before and after, so both sides share one convention.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.synthetic.motion.rig import unit

STRAIGHTEST = 0.995  # share of the full length: the last half percent would make the middle joint snap
MOST_FOLDED = 0.31  # about 144 degrees for bones of equal length, just inside the limits of elbow and knee


def two_bone(
    target_m: Float[ndarray, "frames 3"],
    pole: Float[ndarray, "frames 3"],
    first_m: float,
    second_m: float,
    *,
    soft: float = 0.0,
) -> tuple[Float[ndarray, "frames 3"], Float[ndarray, "frames 3"], Float[ndarray, "frames 3"]]:
    """Directions of the two bones from the origin to a target, bent towards `pole`.

    Returns unit vectors of the first and second bone and the axis `direction x pole` of the bending plane.
    Targets out of reach are approached as far as the bones allow. With `soft` > 0 (a share of the whole
    length) the limb straightens gradually from that far before its end, so that the middle joint does not
    snap; targets there are missed a little, which suits gestures and not planted feet.
    """
    total = first_m + second_m
    distance = np.linalg.norm(target_m, axis=1)
    if soft > 0.0:
        distance = distance - soft * total * np.logaddexp(0.0, (distance / total - STRAIGHTEST + soft) / soft)
    distance = np.clip(distance, MOST_FOLDED * total, STRAIGHTEST * total)
    direction = unit(target_m)
    side = unit(pole - (pole * direction).sum(1, keepdims=True) * direction)
    cos = (first_m**2 + distance**2 - second_m**2) / (2.0 * first_m * distance)
    cos = np.clip(cos, -1.0, 1.0)[:, None]
    first = cos * direction + np.sqrt(1.0 - cos**2) * side
    second = unit(direction * distance[:, None] - first * first_m)
    return first, second, np.cross(direction, side)


def basis(along: Float[ndarray, "*batch 3"], hinge: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    """Orthonormal frame with its first column along a bone and its second as near as can be to the hinge."""
    x = unit(along)
    y = unit(hinge - (hinge * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def carry(
    rest_along: Float[ndarray, "3"],
    rest_hinge: Float[ndarray, "3"],
    along: Float[ndarray, "frames 3"],
    hinge: Float[ndarray, "frames 3"],
) -> Float[ndarray, "frames 3 3"]:
    """Rotations that carry a bone and its hinge axis from the rest pose to where they should be."""
    return basis(along, hinge) @ basis(rest_along, rest_hinge).T
