"""Small charts as inline SVG: colours come from the page's style sheet, so light, dark and print all work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from numpy import ndarray

Points = Sequence[tuple[float, float]]
_SPOKEN = np.array([0.01, 0.05], np.float32)


@dataclass(frozen=True)
class Panel:
    """The drawing area of a chart, px; data ranges map onto it."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int = 330
    height: int = 190
    left: int = 52
    bottom: int = 30
    top: int = 12
    right: int = 12

    def x(self, value: float) -> float:
        """Pixel column of a data value."""
        low, high = self.x_range
        return self.left + (value - low) / ((high - low) or 1) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Pixel row of a data value."""
        low, high = self.y_range
        inner = self.height - self.top - self.bottom
        return self.top + inner - (value - low) / ((high - low) or 1) * inner


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values within [low, high], steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Labels of an axis: short, but with the digits that tell its ticks apart."""
    labels = [short(tick) for tick in ticks]
    digits = 4
    while len(set(labels)) < len(ticks) and digits < 9:
        labels, digits = [f"{tick:.{digits}g}" for tick in ticks], digits + 1
    return labels


def short(value: float) -> str:
    """A number for an axis: at most three significant digits, k for thousands."""
    if abs(value) < 1e-12:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1000 else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.0e}"


def line_chart(series: Mapping[str, Points], *, title: str) -> Markup:
    """Lines over steps; a name that begins with "val" is drawn in the second colour, with its points marked.

    The y axis is clipped at the 98th percentile of the values, so that a first spike does not hide the rest.
    """
    finite = {name: thin([point for point in points if math.isfinite(point[1])]) for name, points in series.items()}
    values = [y for points in finite.values() for _, y in points]
    if not values:
        return Markup("")
    low, high = min(values), max(float(np.percentile(values, 98)), min(values))
    pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    steps = [x for points in finite.values() for x, _ in points]
    panel = Panel((min(0.0, *steps), max(steps)), (low - pad, high + pad))
    lines = [_line(panel, name, points) for name, points in finite.items() if points]
    described = ", ".join(f"{name}: {points[-1][1]:.4g} at the end" for name, points in finite.items() if points)
    return _chart(panel, [*_axes(panel), *lines], title=title, label=f"{title} over training steps; {described}")


def thin(points: Points, most: int = 300) -> Points:
    """At most `most` points: means of equally many neighbours, the last point kept as it is."""
    group = -(-len(points) // (most - 1))  # one less, for the last point
    if group <= 1:
        return points
    means = [np.mean(points[start : start + group], axis=0).tolist() for start in range(0, len(points) - 1, group)]
    return [*((x, y) for x, y in means), points[-1]]


def _line(panel: Panel, name: str, points: Points) -> str:
    validation = name.startswith("val")
    clipped = [(panel.x(x), panel.y(min(max(y, panel.y_range[0]), panel.y_range[1]))) for x, y in points]
    style = "series-b" if validation else "series-a"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in clipped)
    dots = "".join(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in clipped)
    alone = validation or len(clipped) == 1
    return f'<polyline class="{style}" points="{path}"/>' + (dots if alone else "")


def histogram(groups: Mapping[str, Float[ndarray, " values"]], *, title: str, x_label: str) -> Markup:
    """Overlaid histograms (share of samples) on common bins; the first group stands out, medians are marked."""
    everything = np.concatenate([np.asarray(values, np.float64) for values in groups.values()])
    low, high = np.percentile(everything, [0.2, 99.5])
    bins = int(np.clip(1.6 * len(everything) ** 0.5, 10, 44))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = {name: np.histogram(values, edges)[0] / max(len(values), 1) for name, values in groups.items()}
    panel = Panel((edges[0], edges[-1]), (0.0, max(share.max() for share in shares.values()) * 1.08), width=460)
    marks = []
    for name, share in reversed(list(shares.items())):
        style = "series-a" if name == next(iter(shares)) else "series-c"
        marks.append(f'<path class="area {style}" d="{_staircase(panel, edges, share)}"/>')
        x = panel.x(float(np.clip(np.median(groups[name]), edges[0], edges[-1])))
        base = panel.height - panel.bottom
        marks.append(f'<line class="median {style}" x1="{x:.1f}" x2="{x:.1f}" y1="{panel.top}" y2="{base}"/>')
    medians = ", ".join(f"{name}: median {np.median(values):.3g}" for name, values in groups.items())
    body = [*_axes(panel, y_percent=True), *marks]
    return _chart(panel, body, title=title, label=f"{title}: {medians}", x_label=x_label)


def _staircase(panel: Panel, edges: np.ndarray, share: np.ndarray) -> str:
    steps = [f"M{panel.x(edges[0]):.1f},{panel.y(0.0):.1f}"]
    for left, right, value in zip(edges[:-1], edges[1:], share, strict=True):
        steps.append(f"L{panel.x(left):.1f},{panel.y(value):.1f}L{panel.x(right):.1f},{panel.y(value):.1f}")
    return "".join(steps) + f"L{panel.x(edges[-1]):.1f},{panel.y(0.0):.1f}Z"


def bar_chart(rows: Mapping[str, tuple[float, float]], *, title: str, unit: str, names: tuple[str, str]) -> Markup:
    """Horizontal bars, a pair (ours, baseline) a row."""
    line, left = 22, 118
    top = max(max(pair) for pair in rows.values()) * 1.12
    size = {"width": 460, "height": line * len(rows) + 30, "left": left, "bottom": 24, "top": 4, "right": 40}
    panel = Panel((0.0, top), (0.0, 1.0), **size)
    body = [_grid_x(panel)]
    for number, (name, (ours, baseline)) in enumerate(rows.items()):
        y = panel.top + number * line
        body.append(f'<text class="label" x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        for value, style, dy in ((ours, "series-a", 3), (baseline, "series-c", 11)):
            width = panel.x(value) - left
            body.append(f'<rect class="bar {style}" x="{left}" y="{y + dy}" width="{width:.1f}" height="7"/>')
        body.append(f'<text class="value" x="{panel.x(max(ours, baseline)) + 5:.1f}" y="{y + 14}">{ours:.0f}</text>')
    spoken = "; ".join(f"{name}: {ours:.0f} against {base:.0f} {unit}" for name, (ours, base) in rows.items())
    return _chart(panel, body, title=title, label=f"{title}, {names[0]} against {names[1]}. {spoken}", x_label=unit)


def roc_chart(rates: Float[ndarray, "rows points"]) -> Markup:
    """True over false positives: the first row holds the false ones, each other row a curve, the next one thick."""
    panel = Panel((0.0, 1.0), (0.0, 1.0))
    lines, false = [], rates[0].tolist()
    for number, curve in reversed(list(enumerate(rates[1:].tolist()))):
        path = " ".join(f"{panel.x(x):.1f},{panel.y(y):.1f}" for x, y in zip(false, curve, strict=True))
        style = 'class="series-a"' if number == 0 else 'class="series-c" style="stroke-width:1"'
        lines.append(f'<polyline {style} points="{path}" fill="none"/>')
    spoken = np.flatnonzero(np.isin(rates[0], _SPOKEN)).tolist()
    at = ", ".join(f"{100 * rates[1, i]:.0f} % at {100 * rates[0, i]:.0f} %" for i in spoken)
    title = "Receiver operating characteristic"
    return _chart(panel, [*_axes(panel), *lines], title=title, label=f"{title}: {at}", x_label="false positives")


def _grid_x(panel: Panel) -> str:
    base = panel.height - panel.bottom
    return "".join(
        f'<line class="grid" x1="{panel.x(tick):.1f}" x2="{panel.x(tick):.1f}" y1="{panel.top}" y2="{base}"/>'
        f'<text class="tick" x="{panel.x(tick):.1f}" y="{base + 14}" text-anchor="middle">{short(tick)}</text>'
        for tick in nice_ticks(*panel.x_range)
    )


def _axes(panel: Panel, *, y_percent: bool = False) -> list[str]:
    right, levels = panel.width - panel.right, nice_ticks(*panel.y_range, count=4)
    rows = [
        f'<line class="grid" x1="{panel.left}" x2="{right}" y1="{panel.y(t):.1f}" y2="{panel.y(t):.1f}"/>'
        f'<text class="tick" x="{panel.left - 6}" y="{panel.y(t) + 3.5:.1f}" text-anchor="end">'
        f"{f'{t * 100:.3g} %' if y_percent else text}</text>"
        for t, text in zip(levels, tick_labels(levels), strict=True)
    ]
    base = panel.height - panel.bottom
    columns = [
        f'<text class="tick" x="{panel.x(t):.1f}" y="{base + 15}" text-anchor="middle">{short(t)}</text>'
        for t in nice_ticks(*panel.x_range, count=4)
    ]
    axis = f'<line class="axis" x1="{panel.left}" x2="{right}" y1="{base}" y2="{base}"/>'
    return [*rows, *columns, axis]


def _chart(panel: Panel, body: Sequence[str], *, title: str, label: str, x_label: str = "") -> Markup:
    right, low = panel.width - panel.right, panel.height - 2
    caption = f'<text class="tick" x="{right}" y="{low}" text-anchor="end">{escape(x_label)}</text>'
    return Markup(  # noqa: S704 - every text above is escaped
        f'<svg class="chart" viewBox="0 0 {panel.width} {panel.height}" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(title)}</title>{''.join(body)}{caption}</svg>"
    )
