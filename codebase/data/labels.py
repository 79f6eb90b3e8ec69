"""Which frames' labels may be learned from: of some subjects, and of these a share by whole sequences."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from codebase.data.index import KEYS_PER_INSTANT
from codebase.errors import DataError

KEYS_PER_SEQUENCE = 1_000_000 * KEYS_PER_INSTANT  # the frames and cameras of a sequence share the digits before these

log = logging.getLogger("posemill.labels")


def sequence_of(key: Int64[ndarray, " rows"]) -> Int64[ndarray, " rows"]:
    """A number for the sequence (subject, action, subaction) of each `frame_key`, rising with it."""
    return key // KEYS_PER_SEQUENCE


def subject_of(key: Int64[ndarray, " rows"]) -> Int64[ndarray, " rows"]:
    """The subject of each `frame_key`."""
    return key // (10_000 * KEYS_PER_SEQUENCE)


def extent(key: Int64[ndarray, " rows"]) -> tuple[int, int]:
    """How many rows there are, and of how many sequences."""
    return len(key), len(np.unique(sequence_of(key)))


def labelled(
    key: Int64[ndarray, " rows"],
    known: Bool[ndarray, " rows"],
    *,
    subjects: tuple[int, ...],
    share: float,
    seed: int,
    where: str,
) -> Bool[ndarray, " rows"]:
    """Whether the label of each row may be learned from.

    The sequences of all subjects are put into an order of the seed's, and as many of the first are taken as come
    nearest to the share of labelled frames; one at least. So smaller shares lie within larger ones of the same seed,
    and no sequence is cut: its neighbouring frames are nearly the same pose.

    Args:
        key: `Index.key` of the rows, any order.
        known: whether a row's pose is known.
        subjects: whose labels may be used.
        share: of their rows with known poses, in (0, 1].
        seed: of the draw.
        where: the config's section, for the error.

    Raises:
        DataError: one of the subjects has no row with a known pose.
    """
    own = known & np.isin(subject_of(key), subjects)
    without = sorted(set(subjects) - set(subject_of(key[own]).tolist()))
    if without:
        names = ", ".join(f"S{subject}" for subject in without)
        raise DataError(
            f"The training split has no row with known joints of {names}.",
            where=f"{where}.label_subjects",
            expected="subjects with labelled frames in split.train",
            mend="name subjects with poses and frames in split.train, or see the index' exclusions",
        )
    if share >= 1:
        return own
    sequences, frames = np.unique(sequence_of(key[own]), return_counts=True)
    order = np.random.default_rng((seed, 2)).permutation(len(sequences))
    filled = np.cumsum(frames[order])
    count = 1 + int(np.abs(filled - share * filled[-1]).argmin())
    return own & np.isin(sequence_of(key), sequences[order[:count]])


def warn_of_unlabelled(key: Int64[ndarray, " rows"], known: Bool[ndarray, " rows"]) -> None:
    """One line in the log where people of the validation split have no row with a known pose: no figure is of them.

    Args:
        key: `Index.key` of its rows, any order.
        known: whether a row's pose is known.
    """
    without = np.setdiff1d(subject_of(key), subject_of(key[known])).tolist()
    names = ", ".join(f"S{subject}" for subject in without)
    if known.any() and without:
        log.warning("validation: no row with known joints of %s, so no figure is of them", names)
    elif without:
        log.warning(
            "validation: no row with known joints (%s), so no error is measured while training; the last step's model "
            "is written all the same", names,
        )  # fmt: skip
