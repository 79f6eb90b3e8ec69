"""Stage backgrounds: the empty room of each camera, a median over a subject's frames."""

from __future__ import annotations

from pathlib import Path

from codebase.config import Config
from codebase.data.background import write_backgrounds, write_nothing
from codebase.data.scan import scan
from codebase.logs import log
from codebase.paths import Paths

VERSION = 2


def run(config: Config, *, subject: int, output: Path) -> None:
    """Write `background_subject{S}.npy`: uint8 (camera, height, width, 3), RGB, in the order of dataset.cameras.

    A camera, or a subject, without a usable frame is black: the index leaves its frames out with the reasons.
    """
    paths = Paths(config)
    found = scan(config.dataset, paths.dataset, paths.masks, subjects=[subject], required=False)
    if not found.views:
        # the index says why, folder by folder, and goes on without the subject
        log.warning("S%d: no folder is usable, so there is no background", subject)
        write_nothing(output, cameras=len(config.dataset.cameras))
        return
    write_backgrounds(
        output,
        found.views,
        cameras=config.dataset.cameras,
        every=config.backgrounds.every,
        root=paths.dataset,
        masks_root=paths.masks,
        mask_people=config.backgrounds.mask_people,
        workers=config.runtime.workers,
    )
