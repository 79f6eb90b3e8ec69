"""The picture of the label sweep: errors over amounts of labels, a line for each representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from codebase.report.charts import Panel, nice_ticks
from codebase.report.pictures import Image

FINE = 2  # drawn at twice the size, then averaged: smooth letters and lines
WIDTH, HEIGHT, LEGEND, FOOT = 520, 380, 190, 62
Number = float | int
INK, PALE = (40, 40, 40), (222, 222, 222)
# RGB, apart also where red and green look alike (after Okabe and Ito's palette)
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 90, 90))
NAMES = {
    "embedding": "embedding, frozen", "fine_tuned": "embedding, fine-tuned", "from_scratch": "images, from scratch",
    "imagenet": "images, ImageNet",
}  # fmt: skip


@dataclass
class Canvas:
    """Pixels, and drawing in units of the finished picture."""

    pixels: Image

    @classmethod
    def white(cls, width: int, height: int) -> Canvas:
        """An empty one."""
        return cls(np.full((height * FINE, width * FINE, 3), 255, np.uint8))

    def line(
        self, points: Sequence[tuple[float | int, float | int]], colour: tuple[int, int, int], thick: Number = 1.0
    ) -> None:
        """A line through points."""
        corners = (np.array(points) * FINE * 16).round().astype(np.int32)
        cv2.polylines(self.pixels, [corners[:, None]], False, colour, round(thick * FINE), cv2.LINE_AA, 4)

    def dot(self, x: Number, y: Number, colour: tuple[int, int, int], radius: Number = 4.0) -> None:
        """A filled disc."""
        centre = (round(x * FINE * 16), round(y * FINE * 16))
        cv2.circle(self.pixels, centre, round(radius * FINE * 16), colour, cv2.FILLED, cv2.LINE_AA, 4)

    def text(self, words: str, x: Number, y: Number, *, align: float = 0.0, size: float = 0.46) -> None:
        """Words with their left end (align 0), middle (0.5) or right end (1) at x, on the line y."""
        font, scale = cv2.FONT_HERSHEY_SIMPLEX, size * FINE
        width = cv2.getTextSize(words, font, scale, FINE)[0][0]
        place = (round(x * FINE - align * width), round(y * FINE))
        cv2.putText(self.pixels, words, place, font, scale, INK, FINE, cv2.LINE_AA)

    def finished(self) -> Image:
        """The picture at its own size."""
        height, width = (side // FINE for side in self.pixels.shape[:2])
        return cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def draw(curve: Mapping[str, Any], measure: str = "n_mpjpe_mm") -> Image:
    """The picture of a curve.json: people on the left, shares of frames on the right, as far as they were asked for.

    Args:
        curve: as the stage label_sweep writes it.
        measure: which error.
    """
    shares = sorted((a for a in curve["amounts"] if a.endswith("%")), key=lambda amount: float(amount[:-1]))
    people = [a for a in curve["amounts"] if not a.endswith("%")]
    groups = [("labels of people", people)] if people else []
    if shares:
        everything = ["all"] if "all" in people else []
        groups.append(("share of the labelled frames, by sequences", [*shares, *everything]))
    low, high = _range(curve, measure)
    canvas = Canvas.white(WIDTH * len(groups) + LEGEND, HEIGHT)
    for number, (title, amounts) in enumerate(groups):
        panel = Panel((-0.5, len(amounts) - 0.5), (low, high), WIDTH * (number + 1), HEIGHT,
                      WIDTH * number + 60, FOOT, 34, 14)  # fmt: skip
        _frame(canvas, panel, title, amounts, curve)
        for place, figures in enumerate(curve["representations"].values()):
            shift = 0.09 * (place - (len(curve["representations"]) - 1) / 2)
            _curve(canvas, panel, [figures[amount][measure] for amount in amounts], shift, COLOURS[place % 7])
    canvas.text(f"{measure.removesuffix('_mm').replace('_', '-').upper()}, mm; bars: 95 % intervals over "
                f"{curve['test_sequences']} test sequences, mean of {len(curve['seeds'])} seeds", 60, 18)  # fmt: skip
    for place, name in enumerate(curve["representations"]):
        left, y = WIDTH * len(groups) + 12, 60 + 24 * place
        canvas.line([(left, y - 4), (left + 22, y - 4)], COLOURS[place % 7], 2)
        canvas.dot(left + 11, y - 4, COLOURS[place % 7])
        canvas.text(NAMES.get(name, name), left + 30, y)
    return canvas.finished()


def _range(curve: Mapping[str, Any], measure: str) -> tuple[float, float]:
    figures = [one[measure] for amounts in curve["representations"].values() for one in amounts.values()]
    lows = [one.get("ci95_low", one["mean"]) for one in figures]
    highs = [one.get("ci95_high", one["mean"]) for one in figures]
    room = 0.06 * (max(highs) - min(lows)) or 1.0
    return max(min(lows) - room, 0.0), max(highs) + room


def _frame(canvas: Canvas, panel: Panel, title: str, amounts: Sequence[str], curve: Mapping[str, Any]) -> None:
    right, base = panel.width - panel.right, panel.height - panel.bottom
    for tick in nice_ticks(*panel.y_range, count=6):
        canvas.line([(panel.left, panel.y(tick)), (right, panel.y(tick))], PALE)
        canvas.text(f"{tick:g}", panel.left - 8, panel.y(tick) + 4, align=1.0, size=0.4)
    canvas.line([(panel.left, base), (right, base)], INK)
    first = next(iter(curve["representations"].values()))
    for place, amount in enumerate(amounts):
        x = panel.x(float(place))
        frames = round(float(np.mean(first[amount]["labelled_frames"])))
        canvas.text(amount, x, base + 18, align=0.5, size=0.42)
        canvas.text(f"{frames:,}", x, base + 33, align=0.5, size=0.34)
    canvas.text(f"{title} (below: how many frames)", (panel.left + right) / 2, base + 52, align=0.5, size=0.4)


def _curve(
    canvas: Canvas, panel: Panel, figures: Sequence[Mapping[str, Any]], shift: float, colour: tuple[int, int, int]
) -> None:
    places = [(panel.x(number + shift), panel.y(one["mean"])) for number, one in enumerate(figures)]
    canvas.line([*places, places[-1]], colour, 2)
    for (x, y), one in zip(places, figures, strict=True):
        if "ci95_low" in one:
            canvas.line([(x, panel.y(one["ci95_low"])), (x, panel.y(one["ci95_high"]))], colour, 1)
        canvas.dot(x, y, colour)
