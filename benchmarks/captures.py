"""Dataset trees of any size for benchmarks: some frames are rendered, the rest are hard links to them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from codebase.config import Config
from codebase.data.human36m import MASK_SUFFIX, Folder, parse_folder, read_meta, write_meta
from codebase.stages import synthesize


def config_of(root: Path, *, size: int, frames: int, subacts: int = 1, workers: int = 1, **sections: object) -> Config:
    """Subject 1, act 2, four cameras, all frames in training; other subjects' splits are those of the default."""
    return Config.model_validate({
        "name": "benchmark", "results": str(root.parent / "results"), "runtime": {"workers": workers},
        "dataset": {"root": str(root), "acts": (2,), "subacts": tuple(range(1, subacts + 1)), "subjects": (1, 8, 9)},
        "split": {"train": {"subjects": (1,)}, "val": {"subjects": (8,)}, "test": {"subjects": (9,)}},
        "synthesize": {"image_size": size, "frames": frames, "fps": 5.0}, **sections,
    })  # fmt: skip


def render(root: Path, *, size: int, frames: int) -> None:
    """Render subject 1 of a small tree; subjects 8 and 9 stay away."""
    config = config_of(root, size=size, frames=frames)
    synthesize.run(config, subject=1, output=root / "truth" / "S1.h5")


def grow(base: Path, root: Path, times: int, *, repeat: int = 1, masks: bool = True) -> int:
    """A tree of `times` as many sequences, each `repeat` times as long, of links to the files of `base`.

    Returns its number of frames.
    """
    count = 0
    for source in sorted(base.glob("s_*")):
        folder = parse_folder(source.name)
        if folder is None:
            continue
        meta = read_meta(source)
        for number in range(1, times + 1):
            copy = Folder(folder.subject, folder.action, number, folder.camera)
            (root / copy.name).mkdir(parents=True)
            write_meta(
                root / copy.name, pose3d_world_mm=np.tile(meta.pose3d_world_mm, (repeat, 1, 1)), R=meta.R,
                T_mm=meta.T_mm, f_px=meta.f_px, c_px=meta.c_px, width=meta.width, height=meta.height,
                distortion=meta.distortion,
            )  # fmt: skip
            length = len(meta.pose3d_world_mm)
            for frame in range(1, length * repeat + 1):
                original = (frame - 1) % length + 1
                os.link(folder.file(base, original), copy.file(root, frame))
                if masks:
                    os.link(folder.file(base, original, MASK_SUFFIX), copy.file(root, frame, MASK_SUFFIX))
                count += 1
    return count
