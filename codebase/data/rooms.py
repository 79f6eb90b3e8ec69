"""The empty room behind a crop, cut when it is asked for: stored once a camera, not once a crop.

A room is a camera's background, straightened where its lens bends, and shrunk by block means as the frames are that
are decoded smaller; so background and image of a crop are resampled alike. It is kept in 64ths of a grey level, in
which block means of up to 8 x 8 pixels are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8, UInt16
from numpy import ndarray

from codebase.data.lens import Lens, straighten
from codebase.data.resample import after_reduction
from codebase.render.jit import kernel

LEVELS = 64.0
_ROWS_A_PIECE = 256


def write_rooms(
    file: h5py.File,
    *,
    camera: Int32[ndarray, " rows"],
    lenses: Sequence[Lens],
    factor: Int64[ndarray, " rows"],
    affine: Float64[ndarray, "rows 2 3"],
    background: Path,
    camera_row: Mapping[int, int],
) -> None:
    """Write `rooms/{number}`, and for each row `room` (its number) and `crop_from_room` (scale x, y, shift x, y).

    Args:
        camera, lenses: of the rows' frames.
        factor: how far the row's frame is shrunk when it is decoded.
        affine: maps from pixels of the full pinhole image to pixels of the crop.
        background: uint8 .npy (camera, height, width, 3), RGB; `camera_row` says where a camera stands in it.
    """
    full = np.load(background, mmap_mode="r", allow_pickle=False)
    file.create_group("rooms")
    numbers: dict[object, int] = {}
    origins: list[np.ndarray] = []
    room, maps = np.zeros(len(camera), np.int32), np.zeros((len(camera), 4))
    for row, (number, shrink, lens) in enumerate(zip(camera.tolist(), factor.tolist(), lenses, strict=True)):
        key = (number, shrink, lens if lens.bends else None)
        if key not in numbers:
            numbers[key] = len(numbers)
            straight, origin = straighten(block_means(full[camera_row[number]], shrink), lens, shrink)
            file[f"rooms/{numbers[key]}"] = np.rint(straight * LEVELS).astype(np.uint16)
            origins.append(origin)
        room[row] = numbers[key]
        maps[row] = _from_room(affine[row], shrink, origins[room[row]])
    file["room"], file["crop_from_room"] = room, maps


def write_backgrounds_of_crops(file: h5py.File, total: int, size: int) -> None:
    """Write `background` (total, size, size, 3), cut out of the rooms of the file."""
    out = file.create_dataset("background", (total, size, size, 3), np.uint8)
    rooms = [room[:] for _, room in sorted(file["rooms"].items(), key=lambda item: int(item[0]))]
    number, maps = file["room"][:], file["crop_from_room"][:]
    for start in range(0, total, _ROWS_A_PIECE):
        rows = np.arange(start, min(start + _ROWS_A_PIECE, total))
        piece = np.empty((len(rows), size, size, 3), np.uint8)
        for room in np.unique(number[rows]):
            mine = np.flatnonzero(number[rows] == room)
            cut_room(rooms[room], maps, rows[mine], piece, mine)
        out[start : start + len(rows)] = piece


def _from_room(affine: np.ndarray, factor: int, origin: np.ndarray) -> list[float]:
    shrunk = after_reduction(affine, factor)
    scale = shrunk[[0, 1], [0, 1]]
    return [*scale, *(shrunk[:, 2] + scale * origin)]


def block_means(full: UInt8[ndarray, "height width 3"], factor: int) -> np.ndarray:
    """An image shrunk like one that is decoded smaller: means of factor x factor pixels, float32."""
    height, width = full.shape[:2]
    padded = np.pad(full, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge").astype(np.float32)
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def cut_room(
    room: UInt16[ndarray, "height width 3"],
    crop_from_room: Float64[ndarray, "rows 4"],
    rows: Int64[ndarray, " some"],
    out: UInt8[ndarray, "batch size size 3"],
    places: Int64[ndarray, " some"],
) -> None:
    """Cut the room behind `rows` into `out[places]`; area averages, the border repeated, as `resample.cut` does."""
    _cut(room.reshape(room.shape[0], -1), crop_from_room, rows, out, places)


@kernel
def _add(line: np.ndarray, pixels: np.ndarray, weight: float) -> None:  # pragma: no cover - compiled
    if weight > 0:
        for i in range(len(line)):
            line[i] += weight * np.float32(pixels[i])


@kernel
def _gather(
    narrow: np.ndarray, line: np.ndarray, source: np.ndarray, offset: int, share: np.ndarray
) -> None:  # pragma: no cover - compiled
    for i in range(len(narrow)):
        narrow[i] += share[i] * line[source[i] + offset]


@kernel
def _store(narrow: np.ndarray, pixels: np.ndarray) -> None:  # pragma: no cover - compiled
    for i in range(len(pixels)):
        pixels[i] = np.uint8(np.int32(narrow[i] * np.float32(1 / LEVELS)))


@kernel
def _weigh(
    scale: float, shift: float, length: int, first: np.ndarray, weight: np.ndarray
) -> int:  # pragma: no cover - compiled
    """First pixel and weights of the pixels that each crop pixel averages; returns how many taps are used."""
    window = max(1.0, 1.0 / scale)
    taps = min(length, int(np.ceil(window)) + 1)
    weight[:] = 0
    for i in range(len(first)):
        low = (i - shift) / scale - window / 2
        high = low + window
        start = int(np.floor(low + 0.5))
        begin = min(max(start, 0), length - taps)
        first[i] = begin
        for tap in range(int(np.ceil(window)) + 1):
            covered = min(high, start + tap + 0.5) - max(low, start + tap - 0.5)
            if covered > 0:
                inside = min(max(start + tap, 0), length - 1)
                weight[i, inside - begin] += np.float32(covered / window)
    return taps


@kernel
def _cut(
    room: np.ndarray, maps: np.ndarray, rows: np.ndarray, out: np.ndarray, places: np.ndarray
) -> None:  # pragma: no cover - compiled
    size, width, height = out.shape[1], room.shape[1] // 3, room.shape[0]
    x_first, y_first = np.empty(size, np.int64), np.empty(size, np.int64)
    most = 2
    for number in range(len(rows)):
        for axis in range(2):
            most = max(most, int(np.ceil(max(1.0, 1.0 / maps[rows[number], axis]))) + 2)
    x_weight, y_weight = np.empty((size, most), np.float32), np.empty((size, most), np.float32)
    source, share = np.empty(3 * size, np.uint32), np.empty((most, 3 * size), np.float32)
    buffer, narrow = np.empty(room.shape[1], np.float32), np.empty(3 * size, np.float32)
    for number in range(len(rows)):
        scale_x, scale_y, shift_x, shift_y = maps[rows[number]]
        taps_x = _weigh(scale_x, shift_x, width, x_first, x_weight)
        taps_y = _weigh(scale_y, shift_y, height, y_first, y_weight)
        low, high = 3 * x_first[0], 3 * min(width, x_first[size - 1] + taps_x)
        line = buffer[: high - low]
        # one element a channel, so that the loops below run over plain arrays, which compiles to vector code
        for column in range(size):
            for channel in range(3):
                source[3 * column + channel] = 3 * x_first[column] + channel - low
                for tap in range(taps_x):
                    share[tap, 3 * column + channel] = x_weight[column, tap]
        for row in range(size):
            line[:] = np.float32(0.5 * LEVELS)  # so that cutting off the fraction rounds
            for tap in range(taps_y):
                _add(line, room[y_first[row] + tap, low:high], y_weight[row, tap])
            narrow[:] = 0
            for tap in range(taps_x):
                _gather(narrow, line, source, np.uint32(3 * tap), share[tap])
            _store(narrow, out[places[number], row].reshape(-1))
