"""How wrong estimated poses are, as a loss."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from codebase.training import losses


def pose_error(
    seen: Float[Tensor, "members b joints 3"],
    target: Float[Tensor, "b joints 3"],
    spread_mm: Float[Tensor, "*joints"],
    kind: Literal["distance", "squares"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What is to be minimised, without unit, and the mean distance of joints, mm.

    Args:
        seen: the pose that each member of a network sees, mm.
        target: the true one, mm.
        spread_mm: deviation of the targets, of all together or of each coordinate.
        kind: distance: the mean distance over the mean spread; squares: the mean square of each coordinate's error
            over its spread, as in 2018.
    """
    distance = losses.mean_distance(seen.flatten(0, 1), target.repeat(len(seen), 1, 1))
    if kind == "distance":
        return distance / spread_mm.mean(), distance
    return ((seen - target) / spread_mm).square().mean(), distance
