"""Stage crops: image and mask of every indexed image of a subject, cut about the root, and the rooms behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codebase.config import Config
from codebase.data.crops import collect, write_crops
from codebase.data.index import read_index
from codebase.logs import log
from codebase.paths import Paths

VERSION = 4


def run(config: Config, *, subject: int, index: Sequence[Path], background: Path, output: Path) -> None:
    """Write the crops of one subject: the rows of all splits' indices.

    Raises:
        UserError: an index or the background is missing or of another format, or an image is gone.
    """
    paths = Paths(config)
    rows = collect([read_index(path) for path in index], subject)
    if not len(rows):
        log.warning("S%d: no usable image, so its file of crops is empty", subject)
    write_crops(
        output,
        rows,
        subject=subject,
        config=config.crops,
        cameras=config.dataset.cameras,
        background=background,
        root=paths.dataset,
        masks_root=paths.masks,
        workers=config.runtime.workers,
    )
