"""The empty room: exact per-pixel median over a subject's frames, camera by camera, in bounded memory.

Frames are decoded once to a scratch file of raw bytes; then a histogram of 256 counts for each of 64 columns stays
in the L1 cache while all frames pass by. Some 20 times faster than np.median on floats, with megabytes in place of
gigabytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from codebase.data.human36m import read_frame
from codebase.data.parallel import in_order
from codebase.data.scan import View
from codebase.errors import DataError
from codebase.files import atomic_path
from codebase.logs import log
from codebase.render.jit import kernel

_TILE = 64
_BLOCK = 1 << 14


@kernel
def _median(stack: np.ndarray, out: np.ndarray) -> None:  # pragma: no cover - compiled
    frames, columns = stack.shape
    low, high = (frames - 1) // 2, frames // 2
    counts = np.zeros((_TILE, 256), np.uint16)
    for start in range(0, columns, _TILE):
        width = min(_TILE, columns - start)
        counts[:] = 0
        for frame in range(frames):
            for column in range(width):
                counts[column, stack[frame, start + column]] += 1
        for column in range(width):
            seen = 0
            first = -1
            for value in range(256):
                seen += counts[column, value]
                if first < 0 and seen > low:
                    first = value
                if seen > high:
                    out[start + column] = (first + value + 1) // 2
                    break


def median(stack: UInt8[ndarray, "frames columns"]) -> UInt8[ndarray, " columns"]:
    """Median of each column: for an even count the mean of the middle two, halves rounded up. At most 65535 frames."""
    if not 0 < stack.shape[0] < 1 << 16:
        raise DataError(
            f"A median of {stack.shape[0]} frames is asked for.", where="backgrounds.every",
            expected="1 to 65535 frames", mend="raise backgrounds.every",
        )  # fmt: skip
    out = np.empty(stack.shape[1], np.uint8)
    # in blocks of whole pages: a stack on disk that does not fit into memory is read once
    for start in range(0, stack.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        _median(np.ascontiguousarray(stack[:, block]), out[block])
    return out


def write_backgrounds(
    output: Path, views: Sequence[View], *, cameras: Sequence[int], every: int, root: Path, workers: int = 1
) -> None:
    """Write uint8 (camera, height, width, 3), RGB, atomically; smaller images repeat their border.

    Args:
        output: the .npy file.
        views: usable folders of one subject.
        cameras: camera numbers, in the order of the file.
        every: frames with (frame - 1) % every == 0 count; of a sequence without such a frame, its first.
        root: the dataset tree.

    Frames that cannot be decoded are passed over and logged; a camera without a frame stays black.
    """
    height, width = max(view.meta.height for view in views), max(view.meta.width for view in views)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".median", dir=output.parent) as scratch:
        tasks = [
            (_frames(views, camera, every, root), Path(scratch) / f"{camera}.raw", (height, width))
            for camera in cameras
        ]
        done = list(in_order(_of_camera, tasks, workers=workers, what=f"S{views[0].folder.subject}: backgrounds"))
    for camera, (_, used) in zip(cameras, done, strict=True):
        if not used:
            log.warning("S%d camera %d: no frame to make a background of", views[0].folder.subject, camera)
    with atomic_path(output) as temporary:
        np.save(temporary, np.stack([image for image, _ in done]))


def write_nothing(output: Path, *, cameras: int) -> None:
    """The file of a subject without a usable frame: black, one pixel a camera."""
    with atomic_path(output) as temporary:
        np.save(temporary, np.zeros((cameras, 1, 1, 3), np.uint8))


def _frames(views: Sequence[View], camera: int, every: int, root: Path) -> list[Path]:
    paths = []
    for view in views:
        if view.folder.camera == camera:
            chosen = view.frames[(view.frames - 1) % every == 0]
            numbers = chosen if len(chosen) else view.frames[:1]
            paths += [view.folder.file(root, frame) for frame in numbers.tolist()]
    return paths


def _of_camera(task: tuple[list[Path], Path, tuple[int, int]]) -> tuple[UInt8[ndarray, "height width 3"], int]:
    """Median image of some frames, and how many of them could be decoded."""
    paths, scratch, (height, width) = task
    used = 0
    with scratch.open("wb") as raw:
        for path in paths:
            try:
                image = read_frame(path)[:height, :width]
            except DataError as error:
                log.warning("background: passed over %s: %s", path.name, error.what)
                continue
            short = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
            raw.write(np.ascontiguousarray(np.pad(image, short, mode="edge")).data)
            used += 1
    if not used:
        return np.zeros((height, width, 3), np.uint8), 0
    stack = np.memmap(scratch, np.uint8, "r", shape=(used, height * width * 3))
    result = median(stack).reshape(height, width, 3)
    del stack
    scratch.unlink()
    return result, used
