"""Confidence intervals of means over sequences: frames of one sequence are alike, so whole sequences are drawn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

LEVEL = 0.95


def bootstrap(
    values: Float[ndarray, "samples figures"],
    cluster: Int[ndarray, " samples"],
    *,
    draws: int,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[Float[ndarray, " figures"], Float[ndarray, " figures"]]:
    """Percentile bootstrap interval of each column's mean over samples, clusters drawn with replacement.

    A drawn cluster brings all its samples, so the mean is the one over samples that the figure itself is. Samples that
    are not finite count nowhere. The same seed and number of clusters give the same draws: intervals of two figures
    over the same sequences are comparable. With m clusters the interval is too narrow by about the factor
    sqrt((m - 1) / m) and by what Student's t adds; it means little below about ten.

    Args:
        values: a sample each row, a figure each column.
        cluster: number of the sequence of each sample.
        draws: how often all clusters are drawn.

    Returns:
        Lower and upper ends; NaN where a column has samples in fewer than two clusters.
    """
    finite = np.isfinite(values)
    _, place = np.unique(cluster, return_inverse=True)
    clusters = int(place.max()) + 1 if len(place) else 0
    sums, counts = np.zeros((clusters, values.shape[1])), np.zeros((clusters, values.shape[1]))
    np.add.at(sums, place.ravel(), np.where(finite, values, 0.0))
    np.add.at(counts, place.ravel(), finite)
    enough = (counts > 0).sum(axis=0) >= 2
    ends = np.full((2, values.shape[1]), np.nan)
    if enough.any():
        # how often each cluster is drawn, one row a draw
        times = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
        with np.errstate(invalid="ignore"):
            means = (times @ sums[:, enough]) / (times @ counts[:, enough])
        ends[:, enough] = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends[0], ends[1]
