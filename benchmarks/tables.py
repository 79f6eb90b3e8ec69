"""Tables of figures in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: its heads, and a line a row with as many cells."""
    lines = [line(heads), "|---" * len(heads) + "|", *map(line, rows)]
    return "\n".join(lines) + "\n"


def line(cells: Iterable[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def cell(values: Sequence[float], digits: int, factor: float = 1) -> str:
    """A mean, and the deviation; nothing where nothing was measured."""
    if not values:
        return ""
    spread = f" ± {factor * np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{factor * np.mean(values):.{digits}f}{spread}"
