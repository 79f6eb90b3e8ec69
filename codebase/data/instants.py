"""Instants as the rows of a store show them: runs of rows, and which of them two cameras saw."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from codebase.data.pairs import warn_of_single_cameras, without_pair
from codebase.data.store import CropStore
from codebase.errors import UserError

log = logging.getLogger("posemill.instants")
Runs = tuple[Int64[ndarray, " runs"], Int64[ndarray, " runs"]]


def runs(values: Int64[ndarray, " rows"]) -> Runs:
    """Where runs of equal values start, and how long they are."""
    start = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
    return start, np.diff(start, append=len(values))


def seen_by_two(store: CropStore) -> Runs:
    """The first row of every instant that at least two cameras saw, and how many did; the log names who has others.

    Raises:
        UserError: there is none.
    """
    start, views = runs(store.instant)
    paired, subject = views >= 2, store.subject[start]
    if not paired.any():
        have = "; ".join(f"S{s}: {cameras}" for s, cameras in without_pair(store.key).items())
        raise UserError(
            "No instant is seen by two cameras, so there is no pair of views to learn from.",
            where="dataset.cameras and the index" + (f" ({have})" if have else ""),
            expected="at least two cameras that saw the same instants",
            mend="name more cameras, or see the exclusions in the index",
        )
    warn_of_single_cameras(store.key, "nothing is learned from it")
    for number in np.unique(subject[paired]).tolist():
        own = paired[subject == number]
        if not own.all():
            log.info("S%d: %d of %d instants are seen by one camera: no pair", number, (~own).sum(), len(own))
    return start[paired], views[paired]
