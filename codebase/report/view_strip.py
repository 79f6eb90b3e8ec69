"""A strip of views of one frame: what its cameras saw, the same painted from one of them, and views of no camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from codebase.report.pictures import enlarge

Image = UInt8[ndarray, "_ _ 3"]
PAPER, INK, GAP_PX, TITLE_PX, TEXT = (244, 243, 239), (50, 50, 50), 6, 20, 0.42


@dataclass(frozen=True)
class Cell:
    """A square picture and what is written over it."""

    title: str
    image: Image


def strip(rows: Sequence[tuple[str, Sequence[Cell]]], *, side_px: int, columns: int) -> Image:
    """Rows of cells, each row under its heading; rows of more than `columns` cells go on below."""
    lines = []
    for heading, cells in rows:
        lines.append(_words(heading, columns * (side_px + GAP_PX) + GAP_PX, TITLE_PX + GAP_PX))
        for start in range(0, len(cells), columns):
            lines.append(_line(cells[start : start + columns], side_px, columns))
    return np.concatenate([*lines, np.full((GAP_PX, lines[0].shape[1], 3), PAPER, np.uint8)])


def _line(cells: Sequence[Cell], side_px: int, columns: int) -> Image:
    step = side_px + GAP_PX
    line = np.full((TITLE_PX + side_px, columns * step + GAP_PX, 3), PAPER, np.uint8)
    for place, cell in enumerate(cells):
        left = GAP_PX + place * step
        line[:TITLE_PX, left : left + side_px] = _words(cell.title, side_px, TITLE_PX)
        line[TITLE_PX:, left : left + side_px] = enlarge(cell.image, side_px)
    return line


def _words(text: str, width_px: int, height_px: int) -> Image:
    out = np.full((height_px, width_px, 3), PAPER, np.uint8)
    cv2.putText(out, text, (2, height_px - 6), cv2.FONT_HERSHEY_SIMPLEX, TEXT, INK, 1, cv2.LINE_AA)
    return out
