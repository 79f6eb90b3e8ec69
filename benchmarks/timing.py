"""Times of ways to do something that take turns, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def medians(ways: Mapping[str, Callable[[], object]], clock: Callable[[], float], rounds: int) -> dict[str, float]:
    """Median ms of each way, in turns; the first turn warms up."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            begun = clock()
            way()
            took = clock() - begun
            if turn:
                spent[name].append(1000 * took)
    return {name: statistics.median(values) for name, values in spent.items()}


def finished() -> float:
    """Seconds by the clock, all work of the GPU done."""
    torch.cuda.synchronize()
    return time.perf_counter()
