"""Endless batches of rows that lie in memory: the order is a pure function of (seed, position)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor


class RowStream:
    """Batches of `gather(rows)`, epoch after epoch, each epoch in its own random order; short ends run into the next.

    Args:
        count: number of rows.
        batch_size: rows of a batch (may exceed `count`).
        seed: of the order.
        gather: makes a batch of row numbers (int64, CPU).
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, gather: Callable[[Int64[Tensor, " batch"]], dict[str, Tensor]]
    ) -> None:
        self.count, self.batch_size, self.seed, self.gather = count, batch_size, seed, gather
        self.position = 0  # rows given so far
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __next__(self) -> dict[str, Tensor]:
        rows = [self._row(self.position + i) for i in range(self.batch_size)]
        self.position += self.batch_size
        return self.gather(torch.tensor(rows))

    def _row(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
        return int(self._order[place])

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another stream of the same seed stood."""
        self.position = int(state["position"])
