"""Claim: the miniature Human3.6M is rendered at 60 frames a second or more, at 256 x 256 on two cores.

    python -m benchmarks.synthesize [--subjects 5 9] [--frames 12] [--size 256] [--workers 2]

Renders subjects as the stage does (six acts, two subactions, four cameras, JPEG and PNG written) into a temporary
folder, once to compile the kernels and once to measure. Prints frames a second of wall time, set-up included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from codebase.config import Config
from codebase.stages import synthesize

ACTS = (2, 4, 5, 6, 9, 14)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, nargs="+", default=[5, 9])
    for name, default in (("frames", 12), ("size", 256), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder) / "warm", [options.subjects[0]], 1, options.size, 1)
        start = time.perf_counter()
        frames = render(Path(folder) / "run", options.subjects, options.frames, options.size, options.workers)
        wall = time.perf_counter() - start
    rate = f"{frames / wall:.0f} a second"
    print(f"{frames} frames of {options.size} px in {wall:.1f} s, {options.workers} processes: {rate}")


def render(root: Path, subjects: list[int], frames: int, size: int, workers: int) -> int:
    """Number of frames rendered."""
    config = Config.model_validate(
        {
            "name": "benchmark",
            "runtime": {"workers": workers},
            "dataset": {"root": str(root), "acts": ACTS},
            "synthesize": {"image_size": size, "frames": frames, "fps": 3.0},
        }
    )
    for subject in subjects:
        synthesize.run(config, subject=subject, output=root / "truth" / f"S{subject}.h5")
    return len(list(root.glob("s_*/*.jpg")))


if __name__ == "__main__":
    main()
