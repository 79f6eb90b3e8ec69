"""Who is seen by one camera alone, and so in no novel view; told from keys, without torch."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from codebase.data.index import KEYS_PER_INSTANT
from codebase.data.labels import subject_of

log = logging.getLogger("posemill.pairs")


def warn_of_single_cameras(key: Int64[ndarray, " rows"], so: str, *, split: str = "") -> None:
    """One line in the log for each subject of whose rows no instant is seen by two cameras.

    Args:
        key: `Index.key` of the rows, any order.
        so: what follows for the subject.
        split: whose rows they are, where the line does not tell.
    """
    for subject, cameras in without_pair(key).items():
        of = f"{split}: S{subject}" if split else f"S{subject}"
        log.warning("%s: no instant is seen by two cameras (%s), so %s", of, cameras, so)


def without_pair(key: Int64[ndarray, " rows"]) -> dict[int, str]:
    """The subjects of whose rows no instant is seen by two cameras, and which cameras saw each: {8: "camera 1"}."""
    first, views = np.unique(key - key % KEYS_PER_INSTANT, return_counts=True)
    alone = np.setdiff1d(subject_of(key), subject_of(first[views >= 2])).tolist()
    return {subject: _cameras(key[subject_of(key) == subject]) for subject in alone}


def _cameras(key: Int64[ndarray, " rows"]) -> str:
    found = np.unique(key % KEYS_PER_INSTANT).tolist()
    return f"camera{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"
