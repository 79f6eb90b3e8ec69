"""Claim: a batch of crops gathered at once from a memory map beats reading item by item through h5py.

    python -m benchmarks.loader [--rows 4096] [--size 128] [--batch 64]

Prints crops a second of each way, in turns within one run, and the ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from codebase.data.store import map_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 4096), ("size", 128), ("batch", 64), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crops.h5"
        with h5py.File(path, "w") as file:
            shape = (args.rows, args.size, args.size, 3)
            file["image"] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with h5py.File(path) as file:
            dataset, mapped = file["image"], map_dataset(path, file["image"])
            ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
                "map, whole batch": lambda rows: np.take(mapped, rows, axis=0),
                "map, item by item": lambda rows: np.stack([mapped[row] for row in rows]),
                "h5py, item by item": lambda rows: np.stack([dataset[row] for row in rows]),
                "h5py, fancy index": lambda rows: dataset[np.sort(rows)],
            }
            compare(ways, args.rows, args.batch, args.rounds)


def compare(ways: dict[str, Callable[[np.ndarray], np.ndarray]], rows: int, batch: int, rounds: int) -> None:
    random = np.random.default_rng(1)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            drawn = [random.choice(rows, batch, replace=False) for _ in range(8)]
            start = time.perf_counter()
            for chosen in drawn:
                way(chosen)
            rates[name].append(8 * batch / (time.perf_counter() - start))
    slowest = np.median(rates["h5py, item by item"])
    for name, found in rates.items():
        print(f"{name:<20} {np.median(found):>9.0f} crops/s  x{np.median(found) / slowest:.2f}")


if __name__ == "__main__":
    main()
