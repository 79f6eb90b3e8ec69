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
    rows = order[place]
    points = np.concatenate([item.L_3d for item in subjects])
    appearance = np.concatenate([item.L_app for item in subjects])
    return points[rows], appearance[rows]
