"""Stage backgrounds: the empty room of each camera, a median over a subject's frames."""

from __future__ import annotations

from pathlib import Path

from codebase.config import Config
from codebase.data.background import write_backgrounds
from codebase.data.scan import scan
from codebase.paths import Paths

VERSION = 1


def run(config: Config, *, subject: int, output: Path) -> None:
    """Write `background_subject{S}.npy`: uint8 (camera, height, width, 3), RGB, in the order of dataset.cameras.

    Raises:
        UserError: the tree is missing, or nothing of the subject is usable.
    """
    paths = Paths(config)
    found = scan(config.dataset, paths.dataset, paths.masks, subjects=[subject])
    write_backgrounds(
        output,
        found.views,
        cameras=config.dataset.cameras,
        every=config.backgrounds.every,
        root=paths.dataset,
        workers=config.runtime.workers,
    )
