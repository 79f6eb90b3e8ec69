"""What can be read from a code by a linear map: ridge regression, fitted on some sequences and tested on others.

Numbers only, no training loop: closed form, deterministic, seconds for thousands of rows.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

STRENGTHS = tuple(10.0**power for power in range(-4, 4))  # of the ridge, relative to the features' mean power
Rows = Int64[ndarray, " rows"]
Features = Float[ndarray, "rows features"]
Values = Float[ndarray, "rows values"]


def halves(subject: Rows, sequence: Rows) -> Rows:
    """0 or 1 for each row: the sequences of each subject, sorted, belong to the halves in turn."""
    half = np.zeros(len(subject), np.int64)
    for number in np.unique(subject):
        mine = np.flatnonzero(subject == number)
        half[mine] = np.unique(sequence[mine], return_inverse=True)[1].ravel() % 2
    return half


def read(features: Features, values: Values, subject: Rows, sequence: Rows) -> Values:
    """`values` of each row as a linear map guesses them that was fitted on the other half of the sequences.

    The ridge's strength is chosen inside the fitting half, again by sequences. Features are standardised.

    Args:
        features: what is read from.
        values: what is to be read.
        subject, sequence: of each row; frames of a sequence are alike, so they are never on both sides.

    Returns:
        Guesses, in the unit of `values`; NaN where a half has no sequence to be fitted on.
    """
    half = halves(subject, sequence)
    guess = np.full(values.shape, np.nan)
    for tested in (0, 1):
        fit, test = np.flatnonzero(half != tested), np.flatnonzero(half == tested)
        if len(fit) and len(test):
            strength = _strength(features[fit], values[fit], subject[fit], sequence[fit])
            guess[test] = _Ridge(features[fit], values[fit]).guess(features[test], strength)
    return guess


def _strength(features: Features, values: Values, subject: Rows, sequence: Rows) -> float:
    """The strength with the least error on held-out sequences of these rows; a middle one where there are too few."""
    inner = halves(subject, sequence)
    fit, test = inner == 0, inner == 1
    if not fit.any() or not test.any():
        return 1e-2
    ridge = _Ridge(features[fit], values[fit])
    errors = [np.square(ridge.guess(features[test], strength) - values[test]).sum() for strength in STRENGTHS]
    return STRENGTHS[int(np.argmin(errors))]


class _Ridge:
    """Ridge regression of every strength from one eigendecomposition."""

    def __init__(self, features: Features, values: Values) -> None:
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0)
        # a feature that says nothing here may say anything on other rows
        self._spread = np.where(self._spread > 1e-6 * max(float(self._spread.max()), 1e-30), self._spread, np.inf)
        self._middle = values.mean(axis=0)
        x = self._scaled(features)
        self._power, self._axes = np.linalg.eigh(x.T @ x / len(x))
        self._target = self._axes.T @ (x.T @ (values - self._middle) / len(x))

    def _scaled(self, features: Features) -> Features:
        return (features.astype(np.float64) - self._mean) / self._spread

    def guess(self, features: Features, strength: float) -> Values:
        """Guesses for other rows."""
        weight = self._axes @ (self._target / (np.maximum(self._power, 0) + strength)[:, None])
        return self._scaled(features) @ weight + self._middle


def told_apart(label: Rows, subject: Rows, sequence: Rows) -> Int64[ndarray, " labels"]:
    """Labels with rows in both halves, rising: the only ones that can be learned on one and tested on the other."""
    half = halves(subject, sequence)
    return np.array([number for number in np.unique(label) if len(np.unique(half[label == number])) == 2], np.int64)


def read_class(features: Features, label: Rows, subject: Rows, sequence: Rows) -> float | None:
    """How often a label is read rightly: the mean over those `told_apart` of the share of its rows (chance: 1 / them).

    Returns:
        None where fewer than two labels have rows in both halves.
    """
    known = told_apart(label, subject, sequence)
    if len(known) < 2:
        return None
    rows = np.flatnonzero(np.isin(label, known))
    place = np.searchsorted(known, label[rows])
    # each label weighs the same, however many rows it has: the offset of the guess is that of equal shares
    target = np.eye(len(known))[place] / np.bincount(place)[None] * len(place) / len(known)
    guess = read(features[rows], target, subject[rows], sequence[rows]).argmax(axis=1)
    return float(np.mean([(guess[place == number] == number).mean() for number in range(len(known))]))


def with_lengths(points: Float[ndarray, "rows points 3"]) -> Features:
    """Points flattened, their distances from the origin and from the next point: what a rotation changes, and not.

    A linear map of turned points cannot tell a length, such as that of a bone, so lengths are given to it.
    """
    points = points.astype(np.float64)
    flat = points.reshape(len(points), 3 * points.shape[1])
    steps = points - np.roll(points, 1, axis=1)
    return np.concatenate([flat, np.linalg.norm(points, axis=2), np.linalg.norm(steps, axis=2)], axis=1)
