"""What somebody sits on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.synthetic.hair import loft


def stool(seat_m: float, pelvis_m: Float[ndarray, "frames 3"]) -> tuple[Float[ndarray, "points 3"], ndarray] | None:
    """Points (world) and triangles of a round stool where the pelvis is while somebody sits; none if nobody does."""
    seated = pelvis_m[:, 2] < seat_m + 0.25
    if not seated.any():
        return None
    middle = np.median(pelvis_m[seated], axis=0)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    profile = [(0.10, 0.0), (0.17, 0.0), (0.17, 0.02), (0.035, 0.05), (0.035, seat_m - 0.10), (0.19, seat_m - 0.06),
               (0.195, seat_m - 0.05), (0.195, seat_m - 0.012), (0.18, seat_m)]  # fmt: skip
    rings = [
        np.stack([middle[0] + r * np.cos(turn), middle[1] + r * np.sin(turn), np.full_like(turn, h)], -1)
        for r, h in profile
    ]
    return loft(np.array(rings))
