"""What the other sections say: the data, the training, the provenance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from codebase.body.arrays import BodyArrays
from codebase.config import to_yaml
from codebase.data.index import Index
from codebase.provenance import file_digest, versions
from codebase.report.charts import line_chart, roc_chart
from codebase.report.material import Material, Training
from codebase.report.tables import Table
from codebase.skeleton import H36M_ACTS

SPLITS = {"train": "training", "val": "validation", "test": "test"}
_NO_CURVE = ("step", "learning_rate", "gradient_norm", "gradient_share", "generator_gradient", "seconds", "rate")
_SHARE = "gradient_share/"
_MOST_EXCLUSIONS = 60


@dataclass(frozen=True)
class Curves:
    """Charts of one training stage, and its tables."""

    stage: str
    name: str
    step: int
    charts: tuple[tuple[str, Markup], ...]
    tables: tuple[Table, ...] = ()


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
    if training.roc is not None and training.roc[1:].any():
        charts.append((_ROC, roc_chart(training.roc)))
    made = (_shares(training), _ways(training))
    shown = tuple(table for table in made if table is not None)
    return Curves(training.stage, TITLES.get(training.stage, training.stage), training.step, tuple(charts), shown)


_ROC = "ROC on held-out poses: against all ways of breaking (thick), against each (thin)"


def _shares(training: Training) -> Table | None:
    """What each loss contributed to the gradient at the network's output, in the first and the last logged steps."""
    entries = [entry for entry in training.history if any(name.startswith(_SHARE) for name in entry)]
    names = dict.fromkeys(name for entry in entries for name in entry if name.startswith(_SHARE))
    if not entries:
        return None
    chosen = [entries[number] for number in np.unique(np.linspace(0, len(entries) - 1, 5).round().astype(int))]
    rows = [
        (name.removeprefix(_SHARE), *(f"{100 * entry[name]:.1f} %" if name in entry else "" for entry in chosen))
        for name in names
    ]
    steps = (f"step {int(entry.get('step', 0))}" for entry in chosen)
    return Table("Share of each loss in the gradient at the network's output", ("loss", *steps), tuple(rows))


def _ways(training: Training) -> Table | None:
    """Receiver operating characteristic of the prior on held-out poses, against each way of breaking."""
    last = next((entry for entry in reversed(training.history) if "val/tpr_at_1_percent_fpr" in entry), None)
    if last is None:
        return None
    keys = ("auc", "tpr_at_1_percent_fpr", "tpr_at_5_percent_fpr")
    parts = ["", *(name.removeprefix("val/auc") for name in last if name.startswith("val/auc/"))]
    rows = tuple(
        (part.removeprefix("/").replace("_", " ") or "all", f"{last[f'val/auc{part}']:.3f}",
         *(f"{100 * last[f'val/{key}{part}']:.0f} %" for key in keys[1:]))
        for part in (*parts[1:], "")
    )  # fmt: skip
    headers = ("bodies broken in this way", "AUC", "real ones that pass at 1 % false positives", "at 5 %")
    return Table("Held-out poses against broken ones", headers, rows)


def _hidden(name: str) -> bool:
    bare = name.removeprefix("val/")
    return name.startswith(_NO_CURVE) or bare.startswith("tpr_at_") or "/" in bare


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
