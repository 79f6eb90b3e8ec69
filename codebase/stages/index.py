"""Stage index: which images are in which split, their cameras and poses, and what is left out and why."""

from __future__ import annotations

from pathlib import Path

from codebase.config import Config
from codebase.data.index import log_exclusions, write_index
from codebase.data.indexing import build
from codebase.data.pairs import warn_of_single_cameras
from codebase.data.scan import scan
from codebase.errors import UserError
from codebase.paths import Paths

VERSION = 3


def run(
    config: Config, *, output_train: Path | None = None, output_val: Path | None = None, output_test: Path | None = None
) -> None:
    """Scan the dataset tree and write the index of each split for which a path is given.

    Raises:
        UserError: no path is given, the tree is missing, or a split holds no usable frame.
    """
    paths = Paths(config)
    named = {"train": output_train, "val": output_val, "test": output_test}
    outputs = {split: path for split, path in named.items() if path is not None}
    if not outputs:
        raise UserError("No index is asked for.", expected="--output-train, --output-val or --output-test")
    subjects = sorted({subject for split in outputs for subject in getattr(config.split, split).subjects})
    found = scan(config.dataset, paths.dataset, paths.masks, subjects=subjects)
    for split, output in outputs.items():
        index = build(found, config, paths.dataset, paths.masks, split=split, workers=config.runtime.workers)
        log_exclusions(index, split)
        warn_of_single_cameras(index.key, "there is no novel view of it to learn from or to measure", split=split)
        write_index(output, index)
