"""Stage extract: one subject of the dataset tree, out of files of another kind, through a door."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from codebase.config import Config
from codebase.data.doors import open_door
from codebase.data.doors.tree import open_tree
from codebase.data.extracted import log_summary
from codebase.errors import DataError
from codebase.logs import log
from codebase.paths import Paths
from codebase.training.lock import RunLock

VERSION = 1


def run(config: Config, *, subject: int, output: Path) -> None:
    """Fill the tree with the subject's folders that are not there, then write `output` (extracted/S{subject}.json).

    What cannot be extracted is left out with its reason, which `output` and the index list (docs/conventions.md).
    Where another job of this run extracts the subject, such as one that a killed Snakemake submitted, wait for it.

    Raises:
        UserError: the source as a whole is missing or makes no sense, or the dataset's folder holds somebody's tree.
    """
    every = config.extract.every_of.get(subject, config.extract.every)
    settings = config.extract.model_copy(update={"every": every, "every_of": {}})
    config = config.model_copy(update={"extract": settings})
    # every option of the section may change what the frames hold; the source's own changes are the door's stamps
    parts = [VERSION, settings.model_dump(mode="json")]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    with RunLock(Paths(config).root / "locks" / f"extract_S{subject}", digest, "extracting the subject") as lock:
        lock.acquire(lambda: None)
        content = _extract(config, subject, digest, output)
        lock.release(finished=True)
    log_summary(content)
    if not content["folders"]:
        # the index says so, folder by folder, and goes on with the other subjects
        log.warning("S%d: nothing could be extracted", subject)


def _extract(config: Config, subject: int, digest: str, output: Path) -> dict[str, Any]:
    """Fill the tree; what `output` says."""
    settings, dataset = config.extract, config.dataset
    try:
        if settings.source is None or not settings.source.exists():
            raise DataError("extract.source leads to nothing.", where=settings.source, mend="correct extract.source")
        tree = open_tree(
            Paths(config).dataset, subject=subject, acts=dataset.acts, subacts=dataset.subacts, cameras=dataset.cameras,
            digest=digest, door=settings.door, jpeg_quality=settings.jpeg_quality,
        )  # fmt: skip
        open_door(settings.door)(subject, config, tree)
        return tree.finish(output)
    except PermissionError as error:  # of what a door cannot do without; it leaves out what it can
        raise DataError(
            f"It cannot be read or written: {error.strerror}", where=error.filename, mend="ask its owner"
        ) from None
