"""Claim: the exact median background costs a fifteenth of the original's time and a hundredth of its memory.

    python -m benchmarks.backgrounds [--frames 300] [--size 1000]
    python -m benchmarks.backgrounds --files        the whole stage, from JPEG files of two cameras, decoding included

The original's way: every frame as float32 / 256 in a list, one stack of them, np.median over it. Ours: frames as raw
bytes in a file, histograms block by block (codebase/data/median.py). Both get the same decoded frames, each runs in a
process of its own, in turn, on one thread; the file is written within our time. Prints seconds, peak memory beyond the
frames of the start, the ratio, and how far the results lie apart in grey levels of 256. With --files the
original decodes and stacks one camera after the other, as it does; ours is the stage with two worker processes.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np

from benchmarks.captures import config_of
from codebase.data.background import write_backgrounds
from codebase.data.human36m import Folder, write_meta
from codebase.data.median import median, median_of_file
from codebase.data.scan import scan

GIB = 1 << 20  # ru_maxrss counts kB
CAMERAS = (1, 2)
Frame = Callable[[int], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--files", action="store_true", help="from JPEG files, decoding included")
    options = parser.parse_args()
    median(np.zeros((2, 300), np.uint8))  # compile
    if options.files:
        from_files(options.frames, options.size)
        return
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


def from_files(count: int, size: int) -> None:
    """Seconds of the whole stage on `count` frames of each of two cameras."""
    with tempfile.TemporaryDirectory() as folder:
        root, output = Path(folder) / "tree", Path(folder) / "backgrounds.npy"
        files = {camera: write_tree(root, camera, count, size) for camera in CAMERAS}
        config = config_of(root, size=size, frames=count).dataset.model_copy(update={"cameras": CAMERAS})
        start = time.perf_counter()
        views = scan(config, root, root, subjects=[1]).views
        write_backgrounds(output, views, cameras=CAMERAS, every=1, root=root, masks_root=root, workers=len(CAMERAS))
        fast = time.perf_counter() - start
        mine, start = np.load(output), time.perf_counter()
        theirs = [original([np.asarray(cv2.imread(str(file))) for file in files[camera]], root) for camera in CAMERAS]
        slow = time.perf_counter() - start
    apart_by = max(np.abs(a[..., ::-1] * 256 - b).max() for a, b in zip(theirs, mine, strict=True))
    print(f"{count} JPEG files of {size} x {size} from each of {len(CAMERAS)} cameras")
    print(f"original {slow:.2f} s, ours {fast:.2f} s, {slow / fast:.1f} times faster; "
          f"largest difference {apart_by:.2f} grey levels")  # fmt: skip


def write_tree(root: Path, camera: int, count: int, size: int) -> list[Path]:
    """A folder of a camera with JPEG frames; their paths."""
    folder = Folder(1, 2, 1, camera)
    (root / folder.name).mkdir(parents=True)
    poses = np.zeros((count, 17, 3)) + np.linspace(0, 300, 17)[:, None]
    write_meta(root / folder.name, pose3d_world_mm=poses, R=np.eye(3), T_mm=np.array([0.0, 0, -4000]),
               f_px=np.array([size, size]), c_px=np.array([size, size]) / 2, width=size, height=size)  # fmt: skip
    files = [folder.file(root, number) for number in range(1, count + 1)]
    for file, number in zip(files, itertools.count(), strict=False):
        cv2.imwrite(str(file), frame(number, size), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return files


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
