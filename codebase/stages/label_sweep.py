"""Stage label_sweep: the curve of errors over amounts of labels, of all representations together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from codebase.config import Config, points
from codebase.errors import DataError
from codebase.files import atomic_path, read_json, write_json
from codebase.intervals import LEVEL, bootstrap
from codebase.report.label_curve import draw
from codebase.report.pictures import png

VERSION = 1
FORMAT = "posemill.label_curve"
MEASURED = "posemill.labels"
MEASURES = ("n_mpjpe_mm", "mpjpe_mm", "pa_mpjpe_mm")
log = logging.getLogger("posemill.label_sweep")


def run(config: Config, *, measured: Sequence[Path], output: Path, picture: Path) -> None:
    """Write what the sweep found, and its picture (docs/conventions.md).

    Errors of the seeds of a point are averaged for each test sequence; intervals are over sequences, drawn with
    replacement, every camera of one together; `evaluate.bootstrap` 0: none.

    Args:
        config: of the run; `labels` and `evaluate.bootstrap` are used.
        measured: labels/{representation}.json of each representation.
        output: curve.json.
        picture: curve.png.

    Raises:
        DataError: a file is missing, of another format, of other points than those of `labels`, or measured on other
            test sequences than the others.
    """
    files = [(path, _read(path)) for path in measured]
    sequences = files[0][1]["sequences"]
    frames = np.array(files[0][1]["frames"], np.int64)
    curves: dict[str, Any] = {}
    for path, content in files:
        if content["sequences"] != sequences or content["frames"] != frames.tolist():
            raise DataError("It was measured on other test sequences than the others.", where=path,
                            mend="delete it and run the workflow again")  # fmt: skip
        measured_points = [(point["amount"], point["seed"]) for point in content["points"]]
        if measured_points != [(point.amount, point.seed) for point in points(config, content["representation"])]:
            raise DataError("It holds other amounts or seeds than the section labels.", where=path,
                            mend="run measure-labels again")  # fmt: skip
        curves[content["representation"]] = _curve(config, content["points"], frames)
    found = {
        "format": FORMAT, "version": VERSION, "level": LEVEL, "amounts": list(config.labels.amounts),
        "seeds": list(config.labels.seeds), "test_sequences": len(sequences), "test_frames": int(frames.sum()),
        "representations": curves,
    }  # fmt: skip
    write_json(output, found)
    with atomic_path(picture) as temporary:
        temporary.write_bytes(png(draw(found)))
    log.info("wrote %s and %s", output, picture)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != MEASURED:
        raise DataError("The file holds no measured points of the label sweep.", where=path, expected=MEASURED)
    return content


def _curve(config: Config, measured: list[dict[str, Any]], frames: Int64[ndarray, " sequences"]) -> dict[str, Any]:
    """For each amount its labels, and for each measure the mean over seeds, its interval, and that of each seed."""
    found: dict[str, Any] = {}
    for amount in config.labels.amounts:
        mine = [point for point in measured if point["amount"] == amount]
        labels = {f"labelled_{name}": [point[f"labelled_{name}"] for point in mine] for name in ("frames", "sequences")}
        found[amount] = labels | {name: _figure(config, [one[name] for one in mine], frames) for name in MEASURES}
    return found


def _figure(
    config: Config, per_seed: list[list[float]], frames: Int64[ndarray, " sequences"]
) -> dict[str, float | list[float]]:
    errors: Float[ndarray, "seeds sequences"] = np.array(per_seed, np.float64)
    seeds = (errors @ frames / frames.sum()).tolist()
    # a frame each row, as the interval of any other figure of the test split has them
    cluster = np.repeat(np.arange(len(frames)), frames)
    figure: dict[str, float | list[float]] = {"mean": float(np.mean(seeds)), "seeds": seeds}
    if not config.evaluate.bootstrap:
        return figure
    low, high = bootstrap(errors.mean(axis=0)[cluster][:, None], cluster, draws=config.evaluate.bootstrap)
    if np.isfinite([low[0], high[0]]).all():
        figure |= {"ci95_low": float(low[0]), "ci95_high": float(high[0])}
    return figure
