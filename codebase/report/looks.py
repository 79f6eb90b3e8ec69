"""Tables on whether a representation keeps pose and looks apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codebase.report.meanings import CHANGES
from codebase.report.tables import Table

_PREFIX = "representation/"
_SOURCES = {"l_3d": "L_3d", "l_app": "L_app", "thumbnail": "8 x 8 pixels", "true_pose": "true pose"}
_READ = {
    "who it is (share that is right)": ("subject_from_{}", "subject_chance"),
    "the person's colour, when it is changed (R\u00b2)": ("colour_from_{}_r2", None),
    "the pose (N-MPJPE, mm)": ("pose_from_{}_n_mpjpe_mm", "pose_from_mean_n_mpjpe_mm"),
}
_MOVED = {
    "{}_l_3d_shift": "L_3d moves by",
    "{}_l_app_shift": "L_app moves by",
    "{}_pose_moved_mm": "the pose moves by, mm",
    "{}_n_mpjpe_before_mm": "N-MPJPE before, mm",
    "{}_n_mpjpe_change_mm": "its change, mm",
}


def tables(metrics: Mapping[str, Any]) -> list[Table]:
    """What is read from the codes, and what a change of looks moves; those of which something is known."""
    known = {name.removeprefix(_PREFIX): value for name, value in metrics.items() if name.startswith(_PREFIX)}
    found = []
    read = [
        (what, *(_show(known, name.format(source)) for source in _SOURCES), _show(known, chance or ""))
        for what, (name, chance) in _READ.items()
        if any(name.format(source) in known for source in _SOURCES)
    ]  # fmt: skip
    if read:
        headers = ("what a linear probe reads from", *_SOURCES.values(), "nothing")
        found.append(Table("What the codes tell", headers, tuple(read)))
    moved = [
        (text, *(_show(known, name.format(change)) for name in _MOVED))
        for change, text in CHANGES.items()
        if any(name.format(change) in known for name in _MOVED)
    ]
    if moved:
        headers = ("when only this changes", *_MOVED.values())
        found.append(Table("What a change of looks moves (1: as far as another instant is)", headers, tuple(moved)))
    return found


def _show(known: Mapping[str, Any], name: str) -> str:
    digits = 1 if name.endswith("_mm") else 3
    return f"{known[name]:.{digits}f}" if name in known else ""
