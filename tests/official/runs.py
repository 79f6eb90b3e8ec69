"""Configs and runs of the official door, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codebase.config import Config
from codebase.data.human36m import Folder
from codebase.paths import Paths
from codebase.stages import extract


def make_config(source: Path, results: Path, *, subjects: tuple[int, ...] = (1, 8, 9), **sections: Any) -> Config:
    """A config that extracts `source`; the last subject tests, the one before validates."""
    *train, val, test = subjects
    raw = {
        "name": "run", "results": results, "backgrounds": {"every": 1}, "crops": {"size": 32},
        "dataset": {"kind": "extract", "subjects": subjects, "acts": (2,), "subacts": (1, 2)},
        "split": {"train": {"subjects": train}, "val": {"subjects": [val]}, "test": {"subjects": [test]}},
        "extract": {"source": source}, "pose": {"label_subjects": train}, "smpl": {"label_subjects": train},
    }  # fmt: skip
    for name, values in sections.items():
        raw[name] = (raw.get(name, {}) | values) if isinstance(values, dict) else values
    return Config.model_validate(raw)


def run(config: Config, subject: int = 1) -> dict[str, Any]:
    """Extract a subject; what its file then says."""
    output = Paths(config).extracted(subject)
    extract.run(config, subject=subject, output=output)
    return json.loads(output.read_text())


def folder_of(subject: int, action: int, subaction: int, camera: int) -> str:
    return Folder(subject, action, subaction, camera).name


def reasons(content: dict[str, Any], kind: str | None = None) -> dict[str, str]:
    """Why things were left out, by their names."""
    return {item["name"]: item["reason"] for item in content["left_out"] if kind in (None, item["kind"])}
