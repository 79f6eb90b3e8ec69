"""What the label sweep found with the labels that this run's own pose network has: figures beside its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codebase.config import Config, labels_of
from codebase.errors import DataError
from codebase.files import read_json
from codebase.stages._groups import HIGH, LOW, with_bound

FORMAT = "posemill.label_curve"


def label_figures(config: Config, curves: Sequence[Path]) -> dict[str, float]:
    """`pose/{representation}_n_mpjpe_mm` and so on, means over the sweep's seeds, with intervals over sequences.

    Of the amount that is `pose.label_subjects` and `pose.label_share`; where the sweep has no such amount, none.

    Args:
        config: of the run.
        curves: curve.json of the label sweep, or nothing.

    Raises:
        DataError: a file is missing or of another format.
    """
    found: dict[str, float] = {}
    ours = set(config.pose.label_subjects), config.pose.label_share
    for path in curves:
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError("The file is no curve of the label sweep.", where=path, expected=FORMAT)
        for name, amounts in content["representations"].items():
            for amount, measured in amounts.items():
                subjects, share = labels_of(config, amount)
                if (set(subjects), share) == ours:
                    found |= _figures(name, measured)
    return found


def _figures(name: str, measured: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for measure in ("mpjpe_mm", "n_mpjpe_mm", "pa_mpjpe_mm"):
        key, figure = f"pose/{name}_{measure}", measured[measure]
        found[key] = figure["mean"]
        if "ci95_low" in figure:
            found |= {with_bound(key, LOW): figure["ci95_low"], with_bound(key, HIGH): figure["ci95_high"]}
    return found
