"""Claim: the exact median background costs a fifteenth of the original's time and a hundredth of its memory.

    python -m benchmarks.backgrounds [--frames 300] [--size 1000]

The original's way: every frame as float32 / 256 in a list, one stack of them, np.median over it. Ours: frames as raw
bytes in a file, histograms block by block (codebase/data/median.py). Both get the same decoded frames, each runs in a
process of its own, in turn, on one thread; the file is written within our time. Prints seconds, peak memory beyond the
frames of the start, the ratio, and how far the results lie apart in grey levels of 256.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from codebase.data.median import median, median_of_file

GIB = 1 << 20  # ru_maxrss counts kB
Frame = Callable[[int], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, default=1000)
    options = parser.parse_args()
    median(np.zeros((2, 300), np.uint8))  # compile
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for name, way in (("original", original), ("ours", ours)):
            results[name] = apart(way, options.frames, options.size, Path(folder))
    for name, (seconds, peak, _) in results.items():
        print(f"{name:<10}{seconds:>8.2f} s {peak / GIB:>8.2f} GiB peak")
    (slow, wide, theirs), (fast, narrow, mine) = results["original"], results["ours"]
    print(f"{options.frames} frames of {options.size} x {options.size}: {slow / fast:.1f} times faster, "
          f"{wide / narrow:.0f} times less memory")  # fmt: skip
    print(f"largest difference: {np.abs(theirs * 256 - mine).max():.2f} grey levels")


def frame(number: int, size: int) -> np.ndarray:
    """A room with sensor noise, and a bright square that moves: cheap, and no two frames alike."""
    random = np.random.default_rng(number)
    room = np.random.default_rng(0).integers(20, 200, (size, size, 3), dtype=np.uint8)
    image = room + random.integers(0, 16, (size, size, 3), dtype=np.uint8)
    left, top = random.integers(0, size * 3 // 4, 2)
    image[top : top + size // 4, left : left + size // 4] = 250
    return image


def original(frames: list[np.ndarray], folder: Path) -> np.ndarray:
    """Median by a stack of floats in [0, 1)."""
    kept = [np.float32(image) / 256 for image in frames]
    return np.asarray(np.median(np.stack(kept), axis=0))


def ours(frames: list[np.ndarray], folder: Path) -> np.ndarray:
    """Median by a file of bytes."""
    path = folder / "frames.raw"
    with path.open("wb") as file:
        for image in frames:
            file.write(image.data)
    return median_of_file(path, frames[0].size).reshape(frames[0].shape)


def apart(
    way: Callable[[list[np.ndarray], Path], np.ndarray], count: int, size: int, folder: Path
) -> tuple[float, int, np.ndarray]:
    """Seconds, peak memory beyond the frames given (kB) and the result of a way, in a process of its own."""
    mine, other = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(way, count, size, folder, other))
    process.start()
    found: tuple[float, int, np.ndarray] = mine.recv()
    process.join()
    return found


def _work(
    way: Callable[[list[np.ndarray], Path], np.ndarray], count: int, size: int, folder: Path, out: Connection
) -> None:
    frames = [frame(number, size) for number in range(count)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = way(frames, folder)
    seconds = time.perf_counter() - start
    out.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, result))


if __name__ == "__main__":
    main()
