"""Curves over time: minimum-jerk ramps, band-limited drift and schedules of cross-fading states."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator


def min_jerk(progress: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
    """Smooth ramp from 0 to 1 with zero speed and acceleration at both ends (Flash and Hogan, 1985)."""
    x = np.clip(progress, 0.0, 1.0)
    return x * x * x * (10.0 + x * (6.0 * x - 15.0))


def drift(
    rng: Generator, time_s: Float[ndarray, "frames"], amplitude: float, *, highest_hz: float = 0.5
) -> Float[ndarray, "frames"]:
    """Band-limited wander around zero that keeps a person from freezing.

    Four sines between 0.08 Hz and `highest_hz`, slower ones larger; stays within `amplitude` (any unit).
    """
    hz = np.geomspace(0.08, highest_hz, 4) * rng.uniform(0.85, 1.15, 4)
    phase = rng.uniform(0.0, 2.0 * np.pi, 4)
    weight = rng.uniform(0.5, 1.0, 4) / np.sqrt(hz)
    waves = np.sin(2.0 * np.pi * hz * time_s[:, None] + phase)
    return amplitude * (waves @ weight) / weight.sum()


def drift3(
    rng: Generator, time_s: Float[ndarray, "frames"], amplitude: float, *, highest_hz: float = 0.5
) -> Float[ndarray, "frames 3"]:
    """Three independent `drift` curves, one an axis."""
    return np.stack([drift(rng, time_s, amplitude, highest_hz=highest_hz) for _ in range(3)], axis=1)


def _order(rng: Generator, count: int, length: int, cyclic: bool) -> list[int]:
    """Sequence of states without immediate repeats; every state comes once before any comes again."""
    if cyclic:
        first = int(rng.integers(count))
        return [(first + i) % count for i in range(length)]
    sequence: list[int] = []
    while len(sequence) < length:
        block = rng.permutation(count).tolist()
        if sequence and count > 1 and block[0] == sequence[-1]:
            block = block[1:] + block[:1]
        sequence.extend(block)
    return sequence[:length]


def schedule(
    rng: Generator,
    time_s: Float[ndarray, "frames"],
    count: int,
    *,
    hold_s: tuple[float, float],
    blend_s: float = 0.7,
    cyclic: bool = False,
) -> Float[ndarray, "frames {count}"]:
    """Weights of `count` states that take turns, each held for a random while, cross-faded by minimum jerk.

    Rows are a partition of unity. The first state is already under way at the first frame, so that clips do
    not all begin with a change. `cyclic` keeps the order of the states (a task with stages) and starts
    anywhere in it; otherwise the order is random without repeats.
    """
    span = float(time_s[-1] - time_s[0])
    length = int(span / hold_s[0]) + 2
    sequence = _order(rng, count, length, cyclic)
    begin = float(time_s[0]) - rng.uniform(0.3, 0.9) * hold_s[0]
    weights = np.zeros((len(time_s), count))
    weights[:, sequence[0]] = 1.0
    for state in sequence[1:]:
        begin += rng.uniform(*hold_s)
        share = min_jerk((time_s - begin) / blend_s)[:, None]
        weights *= 1.0 - share
        weights[:, state] += share[:, 0]
    return weights
