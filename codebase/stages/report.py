"""The page: report.html from metrics, predictions, the index and the histories of training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from codebase.config import Config
from codebase.files import write_text
from codebase.report.material import gather
from codebase.report.page import build

VERSION = 3
log = logging.getLogger("posemill.report")


def run(
    config: Config,
    *,
    metrics: Path,
    predictions: Path,
    index_test: Path,
    checkpoints: list[Path],
    body: Path,
    output: Path,
    labels: Sequence[Path] = (),
) -> None:
    """Write the page; frames are read from the dataset tree.

    Args:
        config: the whole config; `report` and `dataset` are used, all of it is shown.
        metrics: metrics.json.
        predictions: predictions.h5.
        index_test: index_test.h5; those of the other splits lie beside it.
        checkpoints: model_{step}.pt of the training stages, for their histories.
        body: body file in SMPL layout.
        output: report.html.
        labels: curve.json of the label sweep, its picture beside it; none where labels were not swept.

    Raises:
        DataError: a file is missing, not in its format, or of another run.
    """
    material = gather(
        config, metrics=metrics, predictions=predictions, index_test=index_test, checkpoints=checkpoints, body=body,
        labels=labels,
    )  # fmt: skip
    html = build(material)
    write_text(output, html)
    log.info("wrote %s, %.1f MB", output, len(html) / 1e6)
