"""The page's section on the label sweep: its curve, and the numbers behind it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codebase.errors import DataError
from codebase.files import missing, read_json
from codebase.report.label_curve import NAMES
from codebase.report.tables import Table

MEASURE = "n_mpjpe_mm"


@dataclass(frozen=True)
class LabelSection:
    """Picture (a data URI) and table."""

    picture: str
    table: Table
    seeds: int
    sequences: int


def label_section(curve: Path | None) -> LabelSection | None:
    """What curve.json and the picture beside it hold; None where no labels were swept.

    Raises:
        DataError: one of them is missing, or no curve.
    """
    if curve is None:
        return None
    content, picture = read_json(curve), curve.with_suffix(".png")
    if not picture.is_file():
        raise missing(picture)
    try:
        table = _table(content)
        seeds, sequences = len(content["seeds"]), int(content["test_sequences"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The file is no curve of the label sweep: {error}", where=curve) from None
    uri = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    return LabelSection(uri, table, seeds, sequences)


def _table(content: Mapping[str, Any]) -> Table:
    curves = content["representations"]
    rows = []
    for amount in content["amounts"]:
        first = next(iter(curves.values()))[amount]
        frames = sum(first["labelled_frames"]) / len(first["labelled_frames"])
        sequences = sum(first["labelled_sequences"]) / len(first["labelled_sequences"])
        cells = [_cell(curves[name][amount][MEASURE]) for name in curves]
        rows.append((amount, f"{frames:,.0f}".replace(",", "\u202f"), f"{sequences:.0f}", *cells))
    headers = ("labels", "frames", "sequences", *(NAMES.get(name, name) for name in curves))
    return Table("N-MPJPE on the test subjects, mm, with 95 % intervals", headers, tuple(rows))


def _cell(figure: Mapping[str, Any]) -> str:
    bounds = f" ({figure['ci95_low']:.1f} to {figure['ci95_high']:.1f})" if "ci95_low" in figure else ""
    return f"{figure['mean']:.1f}{bounds}"
