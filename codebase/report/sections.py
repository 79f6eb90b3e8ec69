"""What the other sections say: the data, the training, the provenance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from codebase.body.arrays import BodyArrays
from codebase.config import to_yaml
from codebase.data.index import Index
from codebase.provenance import file_digest, versions
from codebase.report.charts import line_chart
from codebase.report.material import Material, Training
from codebase.report.tables import Table
from codebase.skeleton import H36M_ACTS

SPLITS = {"train": "training", "val": "validation", "test": "test"}
_NO_CURVE = ("step", "learning_rate", "grad", "seconds", "rate")
_MOST_EXCLUSIONS = 60


@dataclass(frozen=True)
class Curves:
    """Charts of one training stage."""

    stage: str
    name: str
    step: int
    charts: tuple[tuple[str, Markup], ...]


TITLES = {
    "enc_dec": "Encoder-decoder: novel views, no 3D labels",
    "pose": "3D pose from the embedding",
    "prior": "Prior on pose and shape",
    "smpl": "SMPL from the embedding",
    "hmr": "Body from the image",
}


def counts(material: Material) -> Table:
    """Frames, instants, acts and exclusions of each subject of each split."""
    rows = [row for split, index in material.indices.items() for row in _split_rows(split, index)]
    headers = ("split", "subject", "frames", "instants", "acts", "cameras", "folders left out", "frames left out")
    return Table("Frames in each split", headers, tuple(rows))


def _split_rows(split: str, index: Index) -> list[tuple[str, ...]]:
    rows = []
    for subject in sorted({*np.unique(index.subject).tolist(), *(item.subject for item in index.exclusions)}):
        mine = index.subject == subject
        acts, cameras = np.unique(index.action[mine]), np.unique(index.camera[mine])
        left_out = (
            sum(item.count for item in index.exclusions if (item.subject, item.kind) == (subject, kind))
            for kind in ("folder", "frame")
        )
        numbers = (int(mine.sum()), len(np.unique(index.instant[mine])), len(acts), len(cameras), *left_out)
        rows.append((SPLITS[split], f"S{subject}", *(f"{number:,}".replace(",", "\u202f") for number in numbers)))
    return rows


def exclusions(material: Material) -> Table | None:
    """What was left out and why; a long list is cut, and says so."""
    rows = [
        (SPLITS[split], item.name, item.kind, str(item.count), item.reason)
        for split, index in material.indices.items()
        for item in index.exclusions
    ]
    if not rows:
        return None
    rest = len(rows) - _MOST_EXCLUSIONS
    cut = f"; the first {_MOST_EXCLUSIONS}, the index files hold all" if rest > 0 else ""
    caption = f"Left out ({len(rows)}){cut}"
    return Table(caption, ("split", "what", "kind", "count", "reason"), tuple(rows[:_MOST_EXCLUSIONS]))


def acts(material: Material) -> str:
    """Names of the acts of the test split."""
    numbers = np.unique(material.indices["test"].action).tolist()
    return ", ".join(H36M_ACTS.get(number, str(number)) for number in numbers)


def curves(training: Training) -> Curves:
    """A chart for each figure of the history; a validation figure shares the chart of its training figure."""
    names = [name for name in dict.fromkeys(key for entry in training.history for key in entry) if not _hidden(name)]
    bases = list(dict.fromkeys(name.removeprefix("val/") for name in names))
    charts = []
    for base in bases:
        series = {name: _series(training, name) for name in (base, f"val/{base}") if name in names}
        if any(y for points in series.values() for _, y in points):  # a loss that is switched off says nothing
            chart = line_chart(series, title=base)
            charts.append((_caption(base, series), chart))
    return Curves(training.stage, TITLES.get(training.stage, training.stage), training.step, tuple(charts))


def _hidden(name: str) -> bool:
    return name.startswith(_NO_CURVE)


def _series(training: Training, name: str) -> list[tuple[float, float]]:
    return [(entry.get("step", float(i)), entry[name]) for i, entry in enumerate(training.history) if name in entry]


def _caption(base: str, series: dict[str, list[tuple[float, float]]]) -> str:
    last = ", ".join(
        f"{'validation' if name.startswith('val') else 'training'} {points[-1][1]:.4g}"
        for name, points in series.items()
    )
    return f"{base.replace('_', ' ')} ({last})"


def provenance(material: Material, arrays: BodyArrays) -> Table:
    """Versions and digests: enough to say what made this page."""
    rows = [(name, version) for name, version in versions("torch", "numpy", "smplx", "snakemake").items()]
    rows.append(("body", f"{material.body.name} ({len(arrays.v_template)} vertices), sha256 {arrays.digest[:16]}"))
    if arrays.J17_is_fitted:
        rows.append(("H36M joints of the body", "by a regressor fitted to it: the body file has none of its own"))
    rows += [(path.name, f"sha256 {file_digest(path)}") for name, path in material.files.items() if name != "body"]
    rows += [(f"{t.stage}, {t.path.name}", f"sha256 {file_digest(t.path)}, step {t.step}") for t in material.training]
    return Table("Provenance", ("what", "which"), tuple(rows))


def config_text(material: Material) -> str:
    """The whole config, defaults included."""
    return to_yaml(material.config)
