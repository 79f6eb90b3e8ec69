"""Frames by the names that people give them: S9/act_02_subact_01/ca_03/20."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from codebase.data.store import CropStore
from codebase.errors import DataError

_NAME = re.compile(
    r"(?:S(?P<subject>\d{1,4})/)?act_(?P<action>\d{1,4})_subact_(?P<subaction>\d{1,4})"
    r"(?:/ca_(?P<camera>\d{1,4}))?/(?P<frame>\d{1,8})"
)
_NEAREST = 4


def parse_frame(word: str, where: str = "--at") -> dict[str, int]:
    """Subject and camera, if named, action, subaction and frame.

    Raises:
        DataError: it is no such name.
    """
    match = _NAME.fullmatch(word)
    if not match:
        raise DataError(
            f"{word!r} names no frame.", where=where, expected="S9/act_02_subact_01/ca_03/20, S and ca if need be"
        )
    return {key: int(number) for key, number in match.groupdict().items() if number is not None}


def frame_name(columns: Mapping[str, np.ndarray], row: int) -> str:
    """The name of a row."""
    subject, action, subaction, camera, frame = (
        int(columns[name][row]) for name in ("subject", "action", "subaction", "camera", "frame")
    )
    return f"S{subject}/act_{action:02d}_subact_{subaction:02d}/ca_{camera:02d}/{frame}"


def row_of(store: CropStore, word: str, where: str = "--at") -> int:
    """The row that a name means; the first camera's where none is named.

    Raises:
        DataError: there is none; it lists the nearest.
    """
    wanted = parse_frame(word, where)
    distance = sum(
        np.abs(store.columns[name].astype(np.int64) - wanted[name]) * weight
        for name, weight in (
            ("subject", 10**14),
            ("action", 10**12),
            ("subaction", 10**10),
            ("frame", 10),
            ("camera", 1),
        )
        if name in wanted
    )
    if np.any(distance == 0):
        return int(np.flatnonzero(distance == 0)[0])
    nearest = np.argsort(distance, kind="stable")[:_NEAREST]
    names = ", ".join(frame_name(store.columns, int(row)) for row in nearest)
    raise DataError(f"There is no crop of the frame {word}.", where=where, expected=f"one that is there; near: {names}")
