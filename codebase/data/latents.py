"""Embeddings of several subjects, row by row beside a split's crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from codebase.data.embeddings import Embeddings
from codebase.errors import DataError


def latents_of(
    subjects: Sequence[Embeddings], keys: Int64[ndarray, " rows"]
) -> tuple[Float32[ndarray, "rows points 3"], Float32[ndarray, "rows features"]]:
    """L_3d and L_app of rows, in the order of `keys` (`Index.key` or `CropStore.key`).

    Raises:
        DataError: a row has no embedding, or the subjects come from different encoders.
    """
    rows = _places(subjects, keys)
    points = np.concatenate([item.L_3d for item in subjects])
    appearance = np.concatenate([item.L_app for item in subjects])
    return points[rows], appearance[rows]


def mirrored_of(subjects: Sequence[Embeddings], keys: Int64[ndarray, " rows"]) -> Float32[ndarray, "rows mirrored 3"]:
    """L_3d of the mirrored images of rows, in the order of `keys`; of no points where embed.mirrored was off.

    Raises:
        DataError: as `latents_of`, or some subjects have them and some not.
    """
    if len({item.L_3d_mirrored.shape[1] for item in subjects}) != 1:
        raise DataError(
            "Some embeddings hold L_3d of mirrored images, and some do not.", expected="the same of all subjects",
            mend="run the stage embed again",
        )  # fmt: skip
    return np.concatenate([item.L_3d_mirrored for item in subjects])[_places(subjects, keys)]


def _places(subjects: Sequence[Embeddings], keys: Int64[ndarray, " rows"]) -> Int64[ndarray, " rows"]:
    """Where the rows lie, subjects one after the other."""
    encoders = {item.checkpoint_digest for item in subjects}
    if len(encoders) != 1:
        raise DataError(
            f"The embeddings come from {len(encoders)} encoders.", expected="one, for all subjects",
            mend="run the stage embed again",
        )  # fmt: skip
    known = np.concatenate([item.key for item in subjects])
    order = np.argsort(known)
    place = np.searchsorted(known[order], keys)
    lacking = place >= len(known)
    lacking[~lacking] = known[order][place[~lacking]] != keys[~lacking]
    if lacking.any():
        raise DataError(
            f"The embeddings lack {int(lacking.sum())} of the {len(keys)} rows of the index.",
            expected="embeddings of all its subjects, made from crops of this very index",
            mend="run the stage embed again",
        )  # fmt: skip
    places: Int64[ndarray, " rows"] = order[place]
    return places
