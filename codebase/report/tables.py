"""Tables of the flat metrics: overall, per act, per subject; and what each name means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from codebase.report.meanings import MEANINGS, WORDS
from codebase.skeleton import H36M, H36M_ACTS

_PART = re.compile(r"(?P<metric>[a-z_]+/[a-z0-9_]+)/(?P<part>act_\d\d_\w+|S\d+|joint_\w+)")
_BOUND = re.compile(r"_ci95_(?:low|high)\b")
_SWEPT = re.compile(r"(?P<of>[a-z0-9_-]+?)_(?P<metric>(?:n_|pa_)?mpjpe_mm)")
_FACING = re.compile(r"(?P<metric>(?:smpl|hmr)/(?:mean_body_)?pve_mm)/facing_(?P<degrees>\d{3})")
_CORRECTION = re.compile(r"(?P<key>.+)/iteration_(?P<number>\d+)")
_OF_WAYS = re.compile(r"prior/(?P<name>\w+)/(?P<way>\w+)")

BASELINES = {
    "mean_pose_": "the mean pose of the labelled subjects",
    "mean_body_": "the mean body in the mean pose",
    "mean_": "the mean body in the mean pose",
}
BASELINE_WORDS = {"mean_pose_": "mean pose", "mean_body_": "mean body", "mean_": "mean body"}

JOINT = "joint_"
FITTED = "against_fitted/"  # of figures, where a dataset has no true bodies

STAGES = {
    "enc_dec": "novel views by the encoder-decoder",
    "pose": "joints regressed from the embedding",
    "smpl": "SMPL body regressed from the embedding",
    "hmr": "SMPL body regressed from the image",
}
WHERE = {0: ", to the camera", 90: ", to the image's right", 180: ", away", 270: ", to the image's left"}


@dataclass(frozen=True)
class Table:
    """Rows of texts under headers; the first column names the row."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def overall(metrics: Mapping[str, Any]) -> Table:
    """All metrics that are of no single act or subject, with their meaning."""
    shown = [(key, value) for key, value in metrics.items() if not _is_part(key) and not _BOUND.search(key)]
    rows = [(key, number(key, value), interval(metrics, key), meaning(key)) for key, value in shown]
    return Table("All metrics of the test split", ("metric", "value", "95 % interval", "meaning"), tuple(rows))


def interval(values: Mapping[str, Any], name: str) -> str:
    """`92.1 to 104.2`: the 95 % interval over sequences of a metric, "" where there is none."""
    ends = [values.get(f"{name}_ci95_{end}") for end in ("low", "high")]
    return "" if None in ends else " to ".join(number(name, end) for end in ends)


def _is_part(key: str) -> bool:
    own = key.removeprefix(FITTED)
    return any(pattern.fullmatch(own) for pattern in (_PART, _FACING, _OF_WAYS))


def by_facing(metrics: Mapping[str, Any]) -> Table | None:
    """Vertex errors by where people face, in bins of 45 degrees; None where nothing is known of it."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in metrics.items():
        if match := _FACING.fullmatch(key):
            found.setdefault(int(match["degrees"]), {})[match["metric"]] = value
    if not found:
        return None
    names = ("from the embedding", "from the image", "mean body")
    columns = dict(zip(("smpl/pve_mm", "hmr/pve_mm", "smpl/mean_body_pve_mm"), names, strict=True))
    rows = tuple(
        (f"{degrees}°{WHERE.get(degrees, '')}", *(number(key, values.get(key)) for key in columns))
        for degrees, values in sorted(found.items())
    )
    return Table("Vertex error (PVE, mm) by where people face", ("front against camera", *columns.values()), rows)


def per_stage(metrics: Mapping[str, Any], stage: str) -> Table | None:
    """A row a subject and an act, a column a metric of `stage` with its baseline in brackets; None without any."""
    parts = _parts(metrics, stage)
    own = [name for name in parts.get("", {}) if name in MEANINGS and name not in _baselines(parts[""])]
    if not own:
        return None
    names = {name: baseline_of(name, parts[""]) for name in own}
    named = [part for part in parts if part and not part.startswith(JOINT)]
    order = sorted(named, key=lambda part: (part[0] != "S", int(re.sub(r"\D", "", part))))
    rows = [(_part_name(part), *(_cell(parts[part], name, names[name]) for name in own)) for part in (*order, "")]
    headers = ("", *(_header(name, names[name]) for name in own))
    title = STAGES.get(stage, stage)
    return Table(title[0].upper() + title[1:], headers, tuple(rows))


def per_joint(metrics: Mapping[str, Any], stage: str) -> Table | None:
    """A row a joint, a column an error of `stage`; None without any."""
    parts = _parts(metrics, stage)
    joints = [joint for joint in H36M.names if JOINT + joint in parts]
    own = [name for name in MEANINGS if any(name in parts[JOINT + joint] for joint in joints)]
    if not own:
        return None
    rows = [(joint.replace("_", " "), *(_cell(parts[JOINT + joint], name, None) for name in own)) for joint in joints]
    title = STAGES.get(stage, stage)
    headers = ("joint", *(_header(name, None) for name in own))
    return Table(f"{title[0].upper()}{title[1:]}, per joint", headers, tuple(rows))


def _parts(metrics: Mapping[str, Any], stage: str) -> dict[str, dict[str, Any]]:
    """Values by part ("" for all, "S9", "act_02_Directions") and name."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in metrics.items():
        match = _PART.fullmatch(key)
        full, part = (match["metric"], match["part"]) if match else (key, "")
        if full.startswith(f"{stage}/"):
            found.setdefault(part, {})[full.removeprefix(f"{stage}/")] = value
    return found


def baseline_of(name: str, known: Mapping[str, Any]) -> str | None:
    """The metric that a metric is measured against, if there is one."""
    if name == "psnr_foreground_db":
        candidates = ["psnr_background_only_db"]
    else:
        candidates = [f"{prefix}{name}" for prefix in BASELINES]
    return next((candidate for candidate in candidates if candidate in known), None)


def _baselines(known: Mapping[str, Any]) -> set[str | None]:
    return {baseline_of(name, known) for name in known}


def _header(name: str, baseline: str | None) -> str:
    unit = {"mm": "mm", "db": "dB", "m2": "m²", "deg": "°"}.get(name.rsplit("_", 1)[-1], "")
    against = ""
    if baseline is not None:
        prefix = baseline.removesuffix(name)
        against = f" ({BASELINE_WORDS.get(prefix, 'background')})"
    return f"{MEANINGS[name][0]}, {unit}{against}" if unit else f"{MEANINGS[name][0]}{against}"


def _cell(values: Mapping[str, Any], name: str, baseline: str | None) -> str:
    text = number(name, values.get(name))
    beside = number(baseline, values.get(baseline)) if baseline else ""
    within = interval(values, name)
    shown = f"{text} ({beside})" if beside else text
    # numbers alone, so nothing to escape
    return Markup(f'{shown}<br><span class="within">{within}</span>') if within else shown  # noqa: S704


def _part_name(part: str) -> str:
    if not part:
        return "all"
    if part.startswith("S"):
        return part
    action = int(part.split("_")[1])
    return H36M_ACTS.get(action, part)


def meaning(key: str) -> str:
    """What a metric's name says, or "" for one that is not listed."""
    if key.startswith(FITTED):
        base = meaning(key.removeprefix(FITTED))
        return base and f"against fitted bodies, not true ones: {base}"
    if after := _CORRECTION.fullmatch(key):
        base = meaning(after["key"])
        return base and f"after correction {after['number']}: {base}"
    _, _, name = key.partition("/")
    if name in MEANINGS:
        return MEANINGS[name][1]
    if name in WORDS:
        return WORDS[name]
    for prefix, text in BASELINES.items():
        base = name.removeprefix(prefix)
        if name.startswith(prefix) and base in MEANINGS:
            return f"baseline: {MEANINGS[base][0]} of {text}"
    if key.startswith("pose/") and (swept := _SWEPT.fullmatch(name)):
        return (
            f"{MEANINGS[swept['metric']][0]} of {swept['of'].replace('_', ' ')} in the label sweep, mean over its seeds"
        )
    return ""


def number(key: str, value: object) -> str:
    """A metric's value with as many digits as its unit deserves."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    key = key.partition("/iteration_")[0]
    digits = {"mm": 1, "db": 2, "m2": 5, "deg": 1}.get(key.rsplit("_", 1)[-1])
    if digits is None and float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.{3 if digits is None else digits}f}"
