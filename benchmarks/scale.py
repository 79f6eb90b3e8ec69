"""Claim: extract, backgrounds, index and crops take time in proportion to the frames, and memory that does not grow.

    python -m benchmarks.scale [--times 1 4 16] [--frames 25] [--workers 1] [--whole-index]

Renders a sequence of subject 1 once (1000 x 1000, JPEG and mask; for extract videos, poses and masks in Human3.6M's
own formats), repeats it by hard links, and runs each stage on every tree in a process of its own. Prints seconds by
the clock; seconds that a core worked, which other programs disturb less, and the frames for each of these; the peak
memory of the process and its workers (without what they map, which can be given back); how time and memory grow
against frames; and the hours and bytes of full Human3.6M at these rates, on 1 core and on 32. With --whole-index it
indexes instead a tree of as many images as Human3.6M has (2.1 million links to small ones), for the memory that takes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import h5py

from benchmarks.captures import config_of, film, grow, grow_official, render
from tests.official.writer import Official

STAGES = ("extract", "backgrounds", "index", "crops")
MADE = {"extract": "S1.json", "backgrounds": "background.npy", "index": "index.h5", "crops": "crops.h5"}
# Human3.6M: the videos of the seven subjects with poses have 2,110,712 frames, of which every 5th is extracted, indexed
# and cut, and every 65th is in a background
EVERY, IMAGES, CROPS, BACKGROUND_FRAMES = 5, 2_110_712, 422_143, 32_473
SAMPLE_SECONDS = 0.05
# 4 cameras x 99 sequences x 5328 frames are as many images as Human3.6M has; 64 of them are rendered
WHOLE_SEQUENCES, WHOLE_FRAMES, WHOLE_REPEAT = 99, 16, 333


@dataclass(frozen=True)
class Run:
    """What a stage took."""

    frames: int
    seconds: float
    core_seconds: float
    peak_mib: float
    made_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--frames", type=int, default=25, help="frames of a sequence and camera")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--whole-index", action="store_true")
    options = parser.parse_args()
    if options.whole_index:
        with tempfile.TemporaryDirectory() as name:
            whole_index(Path(name), options.workers)
        return
    runs: dict[str, list[Run]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        render(base, size=1000, frames=options.frames)
        official = film(Path(name) / "official", size=1000, frames=options.frames)
        for times in (1, *options.times):  # the first compiles what is not yet compiled
            folder = Path(name) / "work"
            for stage, run in measure(base, official, folder, times, options.frames, options.workers).items():
                runs[stage].append(run)
            shutil.rmtree(folder)
    runs = {stage: found[1:] for stage, found in runs.items()}
    show(runs)
    extrapolate(runs)


def measure(base: Path, official: Official, folder: Path, times: int, frames: int, workers: int) -> dict[str, Run]:
    """Run all stages on `times` sequences."""
    acts = grow_official(official, folder / "official", times)
    source = config_of(
        folder / "extracted", size=1000, frames=frames, subacts=2, workers=workers, acts=acts, kind="extract",
        extract={"source": str(folder / "official"), "every": EVERY}, backgrounds={"every": EVERY},
        split={name: {"subjects": (who,), "every": EVERY} for name, who in (("train", 1), ("val", 8), ("test", 9))},
    )  # fmt: skip
    tree = folder / "tree"
    count = grow(base, tree, times)
    config = config_of(
        tree, size=1000, frames=frames, subacts=times, workers=workers, backgrounds={"every": 1},
        crops={"size": 128, "backgrounds": "rooms"},
    )  # fmt: skip
    found = {}
    for stage in STAGES:
        (folder / "config.json").write_text((source if stage == "extract" else config).model_dump_json())
        took, peak = watched([sys.executable, "-m", "benchmarks.scale_stage", stage, str(folder)])
        found[stage] = Run(count, took["seconds"], took["core_seconds"], peak, (folder / MADE[stage]).stat().st_size)
    pictures = list((folder / "extracted").glob("s_*/*"))
    assert sum(path.suffix == ".jpg" for path in pictures) == times * 4 * -(-frames // EVERY)
    found["extract"] = replace(found["extract"], made_bytes=sum(path.stat().st_size for path in pictures))
    with h5py.File(folder / "crops.h5") as file:
        assert len(file["frame"]) == count
        # the rooms are as many however many crops there are
        crops = (folder / "crops.h5").stat().st_size - sum(room.size * 2 for room in file["rooms"].values())
    return found | {"crops": replace(found["crops"], made_bytes=crops)}


def whole_index(folder: Path, workers: int) -> None:
    """Index as many images as Human3.6M has: small ones without masks, since sizes do not matter to the memory."""
    base, tree = folder / "base", folder / "tree"
    render(base, size=16, frames=WHOLE_FRAMES)
    count = grow(base, tree, WHOLE_SEQUENCES, repeat=WHOLE_REPEAT, masks=False)
    config = config_of(tree, size=16, frames=WHOLE_FRAMES, subacts=WHOLE_SEQUENCES, workers=workers)
    (folder / "config.json").write_text(config.model_dump_json())
    took, peak = watched([sys.executable, "-m", "benchmarks.scale_stage", "index", str(folder)])
    size = (folder / "index.h5").stat().st_size
    print(f"index of {count} images: {took['seconds']:.0f} s, {peak:.0f} MiB, file of {size / 1e6:.0f} MB")


def watched(command: list[str]) -> tuple[dict[str, float], float]:
    """What a stage says of its time, and peak memory in MiB of its process and all children together."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0.0
    over = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(SAMPLE_SECONDS):
            peak = max(peak, memory_mib(process.pid))

    thread = threading.Thread(target=sample)
    thread.start()
    said, _ = process.communicate()
    over.set()
    thread.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(said), peak


def memory_mib(pid: int) -> float:
    """Proportional memory of a process and its descendants, mapped files left out: those can be given back."""
    total = 0
    for number in (pid, *descendants(pid)):
        try:
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return total / 1024


def descendants(pid: int) -> list[int]:
    """Processes started by a process, and by those."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def show(runs: dict[str, list[Run]]) -> None:
    """The table."""
    print(f"{'stage':<12}{'frames':>8}{'seconds':>9}{'of a core':>11}{'frames/s':>10}{'MiB':>7}")
    for stage, found in runs.items():
        for run in found:
            rate = run.frames / run.core_seconds
            print(
                f"{stage:<12}{run.frames:>8}{run.seconds:>9.2f}{run.core_seconds:>11.2f}{rate:>10.0f}{run.peak_mib:>7.0f}"
            )
    for stage, found in runs.items():
        first, last = found[0], found[-1]
        longer, more = last.core_seconds / first.core_seconds, last.frames / first.frames
        memory = last.peak_mib / first.peak_mib
        print(f"{stage}: {more:.0f} times the frames take {longer:.1f} times the time ({longer / more:.2f} of linear) "
              f"and {memory:.2f} times the memory")  # fmt: skip


def extrapolate(runs: dict[str, list[Run]]) -> None:
    """Hours and bytes of full Human3.6M, at the rates of the largest tree."""
    last = {stage: found[-1] for stage, found in runs.items()}
    work = {"backgrounds": BACKGROUND_FRAMES, "extract": IMAGES}
    print(f"\n{'full Human3.6M':<16}{'frames':>10}{'hours, 1 core':>15}{'32 cores':>10}{'GB':>8}")
    for stage, run in last.items():
        frames = work.get(stage, CROPS)
        hours = frames * run.core_seconds / run.frames / 3600
        size = 7 * run.made_bytes if stage == "backgrounds" else frames * run.made_bytes / run.frames
        print(f"{stage:<16}{frames:>10}{hours:>15.2f}{hours / 32:>10.2f}{size / 1e9:>8.2f}")


if __name__ == "__main__":
    main()
