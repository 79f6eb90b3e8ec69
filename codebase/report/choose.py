"""Which samples a gallery shows: fixed ranks by error, so that nobody picks the pretty ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class Choice:
    """A sample and why it is shown."""

    row: int
    why: str


def by_rank(errors: Float[ndarray, " samples"], count: int) -> list[Choice]:
    """`count` samples from the best (lowest error) to the worst, evenly by rank, with the median among them.

    An even `count` above 2 takes the 90th percentile in addition to the next smaller odd number of ranks.
    """
    total = len(errors)
    odd = count if count % 2 or count < 3 else count - 1
    shares = sorted({*np.linspace(0, 1, odd), *([0.9] if odd < count else [])}) if odd > 1 else [0.5]
    order = np.argsort(errors, kind="stable")
    chosen: dict[int, str] = {}
    for share in shares:
        chosen.setdefault(int(order[round(share * (total - 1))]), _why(share, total))
    return [Choice(row, why) for row, why in chosen.items()]


def _why(share: float, total: int) -> str:
    if share == 0:
        return f"best of {total}"
    if share == 1:
        return f"worst of {total}"
    return "median" if share == 0.5 else f"{round(share * 100)}th percentile"
