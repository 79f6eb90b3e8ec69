"""Stage index: which images are in which split, their cameras and poses, and what is left out and why."""

from __future__ import annotations

from pathlib import Path

from codebase.config import Config
from codebase.data.index import log_exclusions, write_index
from codebase.data.indexing import build
from codebase.data.scan import scan
from codebase.paths import Paths

VERSION = 3


def run(config: Config, *, output_train: Path, output_val: Path, output_test: Path) -> None:
    """Scan the dataset tree and write the index of each split.

    Raises:
        UserError: the tree is missing, or a split holds no usable frame.
    """
    paths = Paths(config)
    found = scan(config.dataset, paths.dataset, paths.masks, subjects=config.split.subjects)
    for split, output in (("train", output_train), ("val", output_val), ("test", output_test)):
        index = build(found, config, paths.dataset, paths.masks, split=split, workers=config.runtime.workers)
        log_exclusions(index, split)
        write_index(output, index)
