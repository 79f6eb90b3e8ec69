"""Dataset trees and official files of any size for benchmarks: some are made, the rest are hard links to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from codebase.config import Config
from codebase.data.human36m import MASK_SUFFIX, Folder, parse_folder, read_meta, write_meta
from codebase.stages import synthesize
from tests.official.writer import Official, Recording, write_metadata, write_official
from tests.official.writer import file_prefix as prefix_of


def config_of(
    root: Path,
    *,
    size: int,
    frames: int,
    subacts: int = 1,
    workers: int = 1,
    acts: tuple[int, ...] = (2,),
    kind: str = "synthetic",
    **sections: object,
) -> Config:
    """Subject 1, four cameras, all frames in training; subjects 8 and 9 are in the other splits."""
    return Config.model_validate({
        "name": "benchmark", "results": str(root.parent / "results"), "runtime": {"workers": workers},
        "dataset": {"kind": kind, "root": str(root), "acts": acts, "subacts": tuple(range(1, subacts + 1)),
                    "subjects": (1, 8, 9)},
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


def film(root: Path, *, size: int, frames: int) -> Official:
    """Human3.6M's own kinds of files of one sequence of subject 1, as the tests write them."""
    return write_official(root, subacts=(1,), frames=frames, size=size)


def grow_official(base: Official, root: Path, times: int) -> tuple[int, ...]:
    """Official files of `times` sequences (at most 30), links to those of one; returns the acts that they belong to."""
    (first,) = base.takes
    sequences = [(action, subaction) for action in range(2, 17) for subaction in (1, 2)][:times]
    grown = Official(root, dict(base.lenses))
    for action, subaction in sequences:
        take = base.takes[first]
        own = Recording(prefix_of(1, action, subaction), take.joints_mm, take.joints32_mm, take.frames, take.masks)
        grown.takes[1, action, subaction] = own
        for source, copy in _files(base, first, grown, (1, action, subaction)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, copy)
    write_metadata(grown, root / "metadata.xml")
    return tuple(sorted({action for action, _ in sequences}))


def _files(
    base: Official, first: tuple[int, int, int], grown: Official, sequence: tuple[int, int, int]
) -> Iterator[tuple[Path, Path]]:
    yield base.poses(*first), grown.poses(*sequence)
    for camera in range(1, 5):
        yield base.video(*first, camera), grown.video(*sequence, camera)
        for kind in ("bs", "bb"):
            yield base.masks(*first, camera, kind), grown.masks(*sequence, camera, kind)
        for kind in ("D3_Positions_mono", "D2_Positions"):
            yield base.poses(*first, kind, camera), grown.poses(*sequence, kind, camera)
