"""Tables of the flat metrics: overall, per act, per subject; and what each name means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codebase.skeleton import H36M_ACTS

_PART = re.compile(r"(?P<metric>[a-z_]+/[a-z0-9_]+)/(?P<part>act_\d\d_\w+|S\d+)")
_FACING = re.compile(r"(?P<metric>(?:smpl|hmr)/(?:mean_body_)?pve_mm)/facing_(?P<degrees>\d{3})")
_OF_WAYS = re.compile(r"prior/(?P<name>\w+)/(?P<way>\w+)")

# What the part of a name after the stage means. The joints are Human3.6M's 17 (the root counts, as 0).
MEANINGS = {
    "mpjpe_mm": ("MPJPE", "mean distance of the 17 joints, root-centred; no alignment but the root (Protocol 1's)"),
    "n_mpjpe_mm": ("N-MPJPE", "MPJPE after the best scale of each prediction (Rhodin et al., CVPR 2018)"),
    "pa_mpjpe_mm": ("PA-MPJPE", "MPJPE after the best rotation, scale and translation, no reflection (Protocol 2's)"),
    "pve_mm": ("PVE", "mean distance of the body's vertices, root-centred; no other alignment"),
    "pa_pve_mm": ("PA-PVE", "PVE after the best rotation, scale and translation"),
    "pve_facing_camera_mm": ("PVE, facing", "PVE of people whose front is within 90 degrees of the camera"),
    "pve_facing_away_mm": ("PVE, away", "PVE of people whose front is turned further away"),
    "heading_error_deg": ("heading", "angle on the ground between the true front of the body and the predicted one"),
    "silhouette_iou": ("IoU", "intersection over union of the drawn body, at the root's true place, and the mask"),
    "auc": ("AUC", "chance that the prior likes a held-out body more than one that is broken in some way"),
    "tpr_at_1_percent_fpr": ("TPR at 1 %", "held-out bodies that pass where 1 % of the broken ones do"),
    "tpr_at_5_percent_fpr": ("TPR at 5 %", "held-out bodies that pass where 5 % of the broken ones do"),
    "log_loss": ("log loss", "of the prior's calibrated chance that a body is real, in nats"),
    "calibration_error": ("calibration error", "expected difference of that chance from the share of real bodies"),
    "v2v_l2_m2": ("v2v l2", "mean squared vertex error over vertices and coordinates, m²"),
    "psnr_foreground_db": ("PSNR, person", "peak signal-to-noise ratio where the target's mask shows the person"),
    "psnr_background_only_db": ("PSNR, background", "the same pixels, showing the target camera's empty background"),
    "psnr_all_db": ("PSNR, image", "peak signal-to-noise ratio of the whole crop"),
    "test_rows": ("frames", "frames of the test split"),
    "test_labelled_rows": ("labelled frames", "frames of the test split on whose true poses joints are measured"),
    "test_excluded_folders": ("folders left out", "folders of the test split that were left out"),
    "test_excluded_frames": ("frames left out", "frames of the test split that were left out"),
    "test_excluded_masks": ("masks left out", "masks of the test split that were left out; their frames stay"),
    "psnr_db": ("PSNR, image", "peak signal-to-noise ratio of the whole crop"),
    "joints_only_pve_mm": ("PVE, joints alone", "PVE of the bodies fitted to joints alone, without masks"),
    "world_pve_mm": ("PVE in the world", "mean distance of fitted vertices where they stand, nothing brought together"),
    "joint_error_mm": ("joint error", "mean distance of the fitted body from the joints that it was fitted to"),
    "mask_iou": ("mask IoU", "intersection over union of the fitted silhouette and the masks that it was fitted to"),
    "kept_share": ("kept", "share of the fitted frames that are explained well enough to be used"),
}  # fmt: skip

# values that are words
WORDS = {
    "encoder_begins_with": "first weights of the encoder",
    "perceptual_network": "network trained on ImageNet by whose features painted images were compared",
}

BASELINES = {
    "mean_pose_": "the mean pose of the labelled subjects",
    "mean_body_": "the mean body in the mean pose",
    "mean_": "the mean body in the mean pose",
}
BASELINE_WORDS = {"mean_pose_": "mean pose", "mean_body_": "mean body", "mean_": "mean body"}

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
    rows = [(key, number(key, value), meaning(key)) for key, value in metrics.items() if not _is_part(key)]
    return Table("All metrics of the test split", ("metric", "value", "meaning"), tuple(rows))


def _is_part(key: str) -> bool:
    return any(pattern.fullmatch(key) for pattern in (_PART, _FACING, _OF_WAYS))


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
    order = sorted((part for part in parts if part), key=lambda part: (part[0] != "S", int(re.sub(r"\D", "", part))))
    rows = [(_part_name(part), *(_cell(parts[part], name, names[name]) for name in own)) for part in (*order, "")]
    headers = ("", *(_header(name, names[name]) for name in own))
    title = STAGES.get(stage, stage)
    return Table(title[0].upper() + title[1:], headers, tuple(rows))


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
    return f"{text} ({beside})" if beside else text


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
    _, _, name = key.partition("/")
    if name in MEANINGS:
        return MEANINGS[name][1]
    if name in WORDS:
        return WORDS[name]
    for prefix, text in BASELINES.items():
        base = name.removeprefix(prefix)
        if name.startswith(prefix) and base in MEANINGS:
            return f"baseline: {MEANINGS[base][0]} of {text}"
    return ""


def number(key: str, value: object) -> str:
    """A metric's value with as many digits as its unit deserves."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    digits = {"mm": 1, "db": 2, "m2": 5, "deg": 1}.get(key.rsplit("_", 1)[-1])
    if digits is None and float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.{3 if digits is None else digits}f}"
