"""Masks as short strings of bytes, losslessly: PackBits (TIFF 6.0, section 9) over all rows of a mask as one.

A mask is mostly runs of 0 and 255, so 16 kB become about 1 kB, and unpacking costs a few microseconds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from codebase.render.jit import kernel

_LONGEST = 128


@kernel
def _pack(flat: np.ndarray, out: np.ndarray) -> int:  # pragma: no cover - compiled
    length, place, written = len(flat), 0, 0
    while place < length:
        run = 1
        while run < _LONGEST and place + run < length and flat[place + run] == flat[place]:
            run += 1
        if run >= 2:
            out[written] = 257 - run
            out[written + 1] = flat[place]
            written += 2
            place += run
            continue
        first = place
        place += 1
        # a run of two inside a literal would cost as much as it saves
        while place < length and place - first < _LONGEST:
            if place + 2 < length and flat[place] == flat[place + 1] and flat[place] == flat[place + 2]:
                break
            place += 1
        out[written] = place - first - 1
        out[written + 1 : written + 1 + place - first] = flat[first:place]
        written += 1 + place - first
    return written


@kernel
def _unpack(packed: np.ndarray, out: np.ndarray) -> int:  # pragma: no cover - compiled
    place, written, length, room = 0, 0, len(packed), len(out)
    while place < length:
        head = int(packed[place])
        place += 1
        if head == _LONGEST:
            continue
        count = head + 1 if head < _LONGEST else 257 - head
        taken = count if head < _LONGEST else 1
        if written + count > room or place + taken > length:
            return -1
        if head < _LONGEST:
            for i in range(count):
                out[written + i] = packed[place + i]
        else:
            value = packed[place]
            for i in range(count):
                out[written + i] = value
        place += taken
        written += count
    return written


@kernel
def _unpack_all(
    packed: np.ndarray, start: np.ndarray, stop: np.ndarray, out: np.ndarray, places: np.ndarray
) -> int:  # pragma: no cover - compiled
    for i in range(len(start)):
        if start[i] == stop[i]:
            out[places[i]] = 0
        elif _unpack(packed[start[i] : stop[i]], out[places[i]]) != out.shape[1]:
            return i
    return -1


def pack(mask: UInt8[ndarray, "*shape"]) -> bytes:
    """The bytes of a mask, rows one after another; none for a mask that is all 0."""
    if not mask.any():
        return b""
    flat = np.ascontiguousarray(mask).reshape(-1)
    out = np.empty(2 * flat.size + 1, np.uint8)
    return out[: _pack(flat, out)].tobytes()


def unpack(
    packed: UInt8[ndarray, " bytes"],
    start: Int64[ndarray, " masks"],
    stop: Int64[ndarray, " masks"],
    out: UInt8[ndarray, "batch pixels"],
    places: Int64[ndarray, " masks"],
) -> None:
    """Unpack the masks packed[start[i]:stop[i]] into the rows places[i] of `out`.

    Raises:
        ValueError: one does not give as many pixels as a row has.
    """
    wrong = _unpack_all(packed, start, stop, out, places)
    if wrong >= 0:
        raise ValueError(f"the mask at bytes {start[wrong]} to {stop[wrong]} is damaged")
