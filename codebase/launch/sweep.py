"""Sweeps: every combination of some values is a run of its own; one table of what came out."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codebase.config import Config, read_config
from codebase.errors import ConfigError, DataError
from codebase.paths import Paths
from codebase.shared_data import DATA_SECTIONS, has_same_data

MANIFEST = "sweep.json"
_LONGEST_NAME = 100
# what the table shows of metrics.json unless it is told otherwise, as far as it is there
HEADLINES = (
    "enc_dec/psnr_foreground_db",
    "pose/mpjpe_mm",
    "pose/n_mpjpe_mm",
    "pose/pa_mpjpe_mm",
    "smpl/pve_mm",
    "hmr/pve_mm",
)


@dataclass(frozen=True)
class Point:
    """One combination.

    Attributes:
        values: of the swept keys, as they were written.
        name: of the run.
        overrides: what makes the run from the base config.
        root: {results}/{name}.
    """

    values: Mapping[str, str]
    name: str
    overrides: tuple[str, ...]
    root: Path


@dataclass(frozen=True)
class Sweep:
    """A sweep: where its logs, its manifest and its table lie, its points, and whose data they share.

    Attributes:
        folder: {results}/sweeps/{name of the base}-{digest}.
        points: in the order of the product, the last key running fastest.
        data: root of the run whose dataset, backgrounds, index and crops all points use; None if each makes its own.
        needs_data: whether these must be made first.
    """

    folder: Path
    points: tuple[Point, ...]
    data: Path | None
    needs_data: bool


def read_sweep(config: Path, overrides: Sequence[str], words: Sequence[str]) -> Sweep:
    """The sweep that `key=value,value` words describe; every point's config is checked.

    Where no key of the data's sections is swept, the points share the data of the run of the base config.

    Raises:
        ConfigError: a word is not understood, a key is swept twice, or a point's config is wrong.
    """
    swept = _axes(words)
    base = read_config(config, overrides)
    shares = not any(key.partition(".")[0] in DATA_SECTIONS for key in swept)
    data = (base.data_from or Paths(base).root) if shares else None
    points = tuple(_points(config, overrides, base, swept, data))
    digest = hashlib.sha256(json.dumps([str(config), *overrides, swept]).encode()).hexdigest()[:8]
    folder = base.results / "sweeps" / f"{base.name}-{digest}"
    needs = data is not None and base.data_from is None and not has_same_data(base, data)
    return Sweep(folder, points, data, needs)


def _axes(words: Sequence[str]) -> dict[str, list[str]]:
    axes: dict[str, list[str]] = {}
    for word in words:
        key, separator, values = word.partition("=")
        found = split_values(values)
        if not separator or not key or not found or key in axes or key in ("name", "results", "data_from"):
            raise ConfigError(
                f"--sweep {word} is not understood.",
                expected="key=value,value,... each key once, other than name, results and data_from",
                mend="correct it; a list is one value: pose.label_subjects=[1],[1,5]",
            )
        axes[key] = found
    return axes


def split_values(text: str) -> list[str]:
    """The values of `a,b,[c,d]`: split at commas outside of brackets, each once, in order."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return list(dict.fromkeys(value.strip() for value in values if value.strip()))


def _points(
    config: Path, overrides: Sequence[str], base: Config, swept: Mapping[str, Sequence[str]], data: Path | None
) -> Iterator[Point]:
    names: set[str] = set()
    for combination in itertools.product(*swept.values()):
        values = dict(zip(swept, combination, strict=True))
        name = point_name(base.name, values)
        name = name if name not in names else f"{name}-{_digest(values)}"
        names.add(name)
        changes = [f"{key}={value}" for key, value in values.items()]
        more = (*changes, f"name={name}", *([f"data_from={data}"] if data is not None else []))
        yield Point(values, name, more, Paths(read_config(config, [*overrides, *more])).root)


def point_name(base: str, values: Mapping[str, str]) -> str:
    """`mini-enc_dec.seed-0`: the base's name, then keys and values; a digest where that would be too long or empty."""
    parts = [f"{key}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', value).strip('_')}" for key, value in values.items()]
    name = "-".join([base, *parts])
    return name if len(name) <= _LONGEST_NAME else f"{base}-{_digest(values)}"


def _digest(values: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(values)).encode()).hexdigest()[:8]


def manifest(sweep: Sweep, jobs: Sequence[str]) -> dict[str, Any]:
    """What `sweep.json` holds: each point's values, run and job."""
    ids = [*jobs, *[""] * (len(sweep.points) - len(jobs))]
    points = [
        {"name": point.name, "root": str(point.root), "values": dict(point.values), "job": job}
        for point, job in zip(sweep.points, ids, strict=True)
    ]
    return {"data_from": None if sweep.data is None else str(sweep.data), "points": points}


def table(folder: Path, metrics: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the results so far: name, swept values, metrics; a point that is not done has none.

    Args:
        folder: of the sweep, or its sweep.json.
        metrics: names in metrics.json; by default the usual ones that any point has.

    Raises:
        DataError: there is no such sweep.
    """
    path = folder / MANIFEST if folder.is_dir() else folder
    try:
        points = json.loads(path.read_text(encoding="utf-8"))["points"]
        runs = [(str(point["name"]), dict(point["values"]), Path(point["root"])) for point in points]
        swept = runs[0][1]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"This is no sweep: {type(error).__name__}: {error}", where=folder,
            expected=f"a folder of results/sweeps, with its {MANIFEST}", mend="ls results/sweeps",
        ) from None  # fmt: skip
    found = [_metrics(root) for _, _, root in runs]
    chosen = list(metrics) or [name for name in HEADLINES if any(name in one for one in found)]
    rows = [
        [name, *values.values(), *(_figure(one, metric) for metric in chosen)]
        for (name, values, _), one in zip(runs, found, strict=True)
    ]
    return ["run", *swept, *chosen], rows


def _metrics(root: Path) -> dict[str, float]:
    try:
        return json.loads((root / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _figure(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.4g}" if isinstance(metrics.get(name), int | float) else "-"
