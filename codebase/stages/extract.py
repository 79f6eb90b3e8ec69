"""Stage extract: one subject of the dataset tree, out of files of another kind, through a door."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from codebase.config import Config
from codebase.data.doors import open_door
from codebase.data.doors.tree import open_tree
from codebase.data.extracted import log_summary
from codebase.errors import DataError
from codebase.logs import log
from codebase.paths import Paths

VERSION = 1


def run(config: Config, *, subject: int, output: Path) -> None:
    """Fill the tree with the subject's folders that are not there, then write `output` (extracted/S{subject}.json).

    What cannot be extracted is left out with its reason, which `output` and the index list (docs/conventions.md).

    Raises:
        UserError: the source as a whole is missing or makes no sense, or the dataset's folder holds somebody's tree.
    """
    every = config.extract.every_of.get(subject, config.extract.every)
    settings = config.extract.model_copy(update={"every": every, "every_of": {}})
    config, dataset = config.model_copy(update={"extract": settings}), config.dataset
    # every option of the section may change what the frames hold; the source's own changes are the door's stamps
    parts = [VERSION, settings.model_dump(mode="json")]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    try:
        if settings.source is None or not settings.source.exists():
            raise DataError("extract.source leads to nothing.", where=settings.source, mend="correct extract.source")
        tree = open_tree(
            Paths(config).dataset, subject=subject, acts=dataset.acts, subacts=dataset.subacts, cameras=dataset.cameras,
            digest=digest, door=settings.door, jpeg_quality=settings.jpeg_quality,
        )  # fmt: skip
        open_door(settings.door)(subject, config, tree)
        content = tree.finish(output)
    except PermissionError as error:  # of what a door cannot do without; it leaves out what it can
        raise DataError(
            f"It cannot be read or written: {error.strerror}", where=error.filename, mend="ask its owner"
        ) from None
    log_summary(content)
    if not content["folders"]:
        # the index says so, folder by folder, and goes on with the other subjects
        log.warning("S%d: nothing could be extracted", subject)
