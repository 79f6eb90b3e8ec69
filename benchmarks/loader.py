"""Claim: crops of all of Human3.6M fit in 25 GB raw or 6 GB as JPEG, and random batches come fast from either.

    python -m benchmarks.loader [--rows 4096] [--size 128] [--batch 64] [--threads 2]

Cuts crops of rendered frames of 1000 x 1000 by the stage, repeats their rows, and gathers random batches of image,
background and mask in turns within one run: from the storages of the stage; from a file that holds all three raw for
every crop, as one would write it first; and item by item through h5py. Prints bytes a crop, crops a second of each way
(all warm in memory), and what 422,143 crops (every 5th frame of seven subjects) take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks.captures import config_of, render
from codebase.data.index import read_index, write_index
from codebase.data.indexing import build
from codebase.data.pixels import PIXELS, map_dataset
from codebase.data.scan import scan
from codebase.data.store import CropStore
from codebase.paths import Paths
from codebase.stages import backgrounds, crops

WHOLE = 2_110_712 // 5 + 1
FRAMES = 16
Way = Callable[[np.ndarray], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 4096), ("size", 128), ("batch", 64), ("rounds", 9), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render(folder / "tree", size=1000, frames=FRAMES)
        paths = {name: cut(folder, name, options.size) for name in ("raw, each", "raw, rooms", "jpeg, rooms")}
        for storage, path in paths.items():
            print(
                f"{storage:<12}{weigh(path):>8.0f} bytes a crop, {WHOLE * weigh(path) / 1e9:.1f} GB for {WHOLE} crops"
            )
        stores = {storage: CropStore([path]) for storage, path in paths.items()}
        rows = len(stores["raw, each"])
        everything = folder / "everything.h5"
        write_everything(everything, stores["raw, each"], options.rows)
        with h5py.File(everything) as file:
            maps = {pixels: map_dataset(everything, file[pixels]) for pixels in PIXELS}
            ways: dict[str, Way] = {
                "all three raw, mapped": lambda drawn: [np.take(maps[p], drawn, axis=0) for p in PIXELS],
                **{name: partial(gather, store, rows) for name, store in stores.items()},
                "h5py, item by item": lambda drawn: [[file[p][row] for row in drawn] for p in PIXELS],
            }
            compare(ways, options.rows, options.batch, options.rounds)


def gather(store: CropStore, rows: int, drawn: np.ndarray) -> object:
    """A batch of a store that is repeated to be as long as the others."""
    return store.gather(drawn % rows, PIXELS)


def cut(folder: Path, name: str, size: int) -> Path:
    """Crops of the rendered tree."""
    storage, kept = name.split(", ")
    options = {"size": size, "storage": storage, "backgrounds": kept}
    config = config_of(folder / "tree", size=1000, frames=FRAMES, crops=options, backgrounds={"every": 1})
    paths = Paths(config)
    index, background, output = folder / "index.h5", folder / "background.npy", folder / f"{storage}_{kept}.h5"
    if not background.is_file():
        found = scan(config.dataset, paths.dataset, paths.masks, subjects=[1])
        write_index(index, build(found, config, paths.dataset, paths.masks, split="train"))
        backgrounds.run(config, subject=1, output=background)
    crops.run(config, subject=1, index=[index], background=background, output=output)
    assert len(read_index(index)) == 4 * FRAMES
    return output


def weigh(path: Path) -> float:
    """Bytes of a crop without the rooms, of which there is a fixed number."""
    with h5py.File(path) as file:
        rooms = sum(room.size * 2 for room in file["rooms"].values())
        return (path.stat().st_size - rooms) / len(file["frame"])


def write_everything(path: Path, store: CropStore, rows: int) -> None:
    """All pixels of every crop, raw, the crops repeated."""
    pixels = store.gather(np.arange(rows) % len(store), PIXELS)
    with h5py.File(path, "w") as file:
        for name, values in pixels.items():
            file[name] = values.numpy()


def compare(ways: dict[str, Way], rows: int, batch: int, rounds: int) -> None:
    """Print crops a second of each way, the median over rounds."""
    random = np.random.default_rng(1)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, way in ways.items():
            drawn = [random.choice(rows, batch, replace=False) for _ in range(8)]
            start = time.perf_counter()
            for chosen in drawn:
                way(chosen)
            if turn:
                rates[name].append(8 * batch / (time.perf_counter() - start))
    slowest = np.median(rates["h5py, item by item"])
    for name, found in rates.items():
        rate = float(np.median(found))
        print(f"{name:<22}{rate:>9.0f} crops/s {1000 * batch / rate:>7.2f} ms a batch  x{rate / slowest:.1f}")


if __name__ == "__main__":
    main()
