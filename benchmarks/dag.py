"""Claim: all of Human3.6M is a few dozen jobs, some 200 with the label sweep; `snakemake -n` takes less than 5 seconds.

    python -m benchmarks.dag [--repeat 3]

Dry-runs configs/h36m.yaml (every frame of all seven subjects) from the official files, from a tree, and with the label
sweep: with nothing made yet, and with a simulated index of 2.1 million frames, so that what it holds could cost time if
anything read it. Prints the jobs of each rule and of the repetitions the best seconds, by the clock and those that a
core worked (which other programs disturb less); the start of Python is included.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from codebase.config import Config, apply_overrides, read_config
from codebase.data.index import Index, Views, write_index
from codebase.paths import Paths

FRAMES = 2_110_712
CONFIG = Path("configs/h36m.yaml")
EVERY = ["split.train.every=1", "split.val.every=1", "split.test.every=1", "extract.every=1"]
# every amount of labels of three representations and a rival, from three seeds each: 96 more trainings
SWEEP = [
    "labels.representations=[embedding, fine_tuned, from_scratch, gaggi2019]",
    "rivals.gaggi2019={preset: configs/presets/gaggi2019.yaml, enc_dec: {perceptual: none}}",
]
KINDS = {
    "extract": [],
    "tree": ["dataset.kind=tree", "dataset.root=data/h36m"],
    "extract and the label sweep": SWEEP,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    for kind, changes in KINDS.items():
        for indexed in (False, True):
            with tempfile.TemporaryDirectory() as name:
                overrides = [*EVERY, *changes, f"results={name}"]
                rows = simulate(read_config(CONFIG, overrides)) if indexed else 0
                found = [dry_run(overrides) for _ in range(options.repeat)]
            clock, core, jobs = min(one[0] for one in found), min(one[1] for one in found), found[0][2]
            state = f"an index of {rows:,} frames" if indexed else "nothing made yet"
            took = f"{clock:.2f} s, {core:.2f} s of a core (best of {options.repeat})"
            print(f"{kind}, {state}: {sum(jobs.values())} jobs, {took}", flush=True)
            print("   " + ", ".join(f"{rule} {count}" for rule, count in jobs.items()))


def dry_run(overrides: list[str]) -> tuple[float, float, dict[str, int]]:
    """Seconds of a dry run, those that a core worked, and its jobs by rule (`all` left out)."""
    values = [f"{key}={value!r}" for key, value in apply_overrides(overrides).items()]
    argv = [sys.executable, "-m", "snakemake", "-n", "-q", "rules", "--configfile", str(CONFIG), "--config", *values]
    start, before = time.perf_counter(), _core_seconds()
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    seconds, worked = time.perf_counter() - start, _core_seconds() - before
    table = (done.stdout + done.stderr).partition("job")[2]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}
    return seconds, worked, {name: count for name, count in jobs.items() if name not in ("all", "total")}


def _core_seconds() -> float:
    """Time that cores have worked for the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def simulate(config: Config) -> int:
    """Write the indices of all frames of the set's size; how many rows."""
    paths, dataset, total = Paths(config), config.dataset, 0
    for split in ("train", "val", "test"):
        subjects = getattr(config.split, split).subjects
        frames = FRAMES // (len(dataset.subjects) * len(dataset.acts) * len(dataset.subacts) * len(dataset.cameras)) + 1
        index = _index(subjects, dataset.acts, dataset.subacts, dataset.cameras, frames)
        write_index(paths.index(split), index)
        total += len(index.frame)
    return total


def _index(
    subjects: tuple[int, ...], acts: tuple[int, ...], subacts: tuple[int, ...], cameras: tuple[int, ...], frames: int
) -> Index:
    """An index of `frames` instants of each sequence, seen by all cameras."""
    axes = (subjects, acts, subacts, range(1, frames + 1), cameras)
    columns = np.meshgrid(*(np.array(axis, np.int32) for axis in axes), indexing="ij")
    subject, action, subaction, frame, camera = (column.ravel() for column in columns)
    count, views = len(frame), len(subjects) * len(acts) * len(subacts) * len(cameras)
    instants = count // len(cameras)
    sequence = np.arange(instants, dtype=np.int32) // frames
    view = (np.repeat(sequence, len(cameras)) * len(cameras) + np.tile(np.arange(len(cameras)), instants)).astype(
        np.int32
    )
    keys = np.meshgrid(*(np.array(axis, np.int32) for axis in (subjects, acts, subacts, cameras)), indexing="ij")
    names = ("subject", "action", "subaction", "camera")
    return Index(
        subject=subject, action=action, subaction=subaction, camera=camera, frame=frame,
        instant=np.repeat(np.arange(instants, dtype=np.int32), len(cameras)), view=view,
        has_mask=np.ones(count, bool), has_joints=np.ones(count, bool),
        joints_world_mm=np.zeros((instants, 17, 3), np.float32),
        views=Views(
            **{name: key.ravel() for name, key in zip(names, keys, strict=True)}, R=np.tile(np.eye(3), (views, 1, 1)),
            T_mm=np.zeros((views, 3)), f_px=np.ones((views, 2)), c_px=np.zeros((views, 2)),
            distortion=np.zeros((views, 5)), width=np.full(views, 1000, np.int32),
            height=np.full(views, 1000, np.int32),
        ),
        exclusions=(), counts={str(s): {"rows": int((subject == s).sum())} for s in subjects},
    )  # fmt: skip


if __name__ == "__main__":
    main()
