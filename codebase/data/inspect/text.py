"""What was found, as text: the expected tree beside the found one, what is left out, what to look at."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from codebase.data.inspect.hints import CameraFigures, Hints
from codebase.data.inspect.look import Found
from codebase.data.inspect.survey import Subject, Survey

NARROWEST = 60
_MOST_ROWS, _MOST_REASONS = 8, 20
_COLOURS = {"good": "32", "bad": "31", "hint": "33", "head": "1"}


class Row(NamedTuple):
    """A line of the two columns; `state` good, bad, head or "" colours the right one."""

    expected: str
    found: str
    state: str = ""


class Painter(NamedTuple):
    """How text is laid out: columns of a terminal, and whether it shows colours."""

    width: int
    colour: bool

    def paint(self, text: str, state: str) -> str:
        """The text in the colour of a state, where there are colours."""
        return f"\x1b[{_COLOURS[state]}m{text}\x1b[0m" if self.colour and state in _COLOURS else text

    def beside(self, rows: Iterable[Row]) -> Iterator[str]:
        """Two columns, each half of the terminal; one below the other where it is narrower than NARROWEST."""
        if self.width < NARROWEST:
            for row in rows:
                yield _cut(f"{row.expected or ' '} -> {self.paint(row.found, row.state)}", 10 * self.width)
            return
        half = (self.width - 3) // 2
        for row in rows:
            yield f"{_cut(row.expected, half):<{half}} | {self.paint(_cut(row.found, half), row.state)}"

    def bullet(self, text: str, state: str = "") -> str:
        """A point of a list, wrapped."""
        lines = textwrap.wrap(text, max(self.width - 2, 20), subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join(self.paint(("- " if i == 0 else "  ") + line, state) for i, line in enumerate(lines))


def tree_rows(survey: Survey) -> Iterator[Row]:
    """Expected beside found, subject by subject."""
    yield Row("expected", "found", "head")
    for subject in survey.subjects:
        yield from _subject_rows(subject)
    for name in survey.strangers[:_MOST_ROWS]:
        yield Row("", f"{name}: not asked for")
    if len(survey.strangers) > _MOST_ROWS:
        yield Row("", f"... and {len(survey.strangers) - _MOST_ROWS} more folders not asked for")


def _subject_rows(subject: Subject) -> Iterator[Row]:
    there = [item for item in subject.found if item.frames]
    all_there = len(there) == len(subject.found)
    yield Row(
        f"S{subject.number}  {_product(subject.found)}", f"S{subject.number}  {_product(there)}", _state(all_there)
    )
    frames, masks, poses = (subject.total(name) for name in ("frames", "masks", "poses"))
    unlabelled = subject.total("unlabelled")
    yield Row(f"|- frames  {poses or '?'} (one a pose)", f"|- frames  {frames}", _state(frames >= poses > 0))
    yield Row(f"|- masks   {frames} (one a frame)", f"|- masks   {masks}", _state(masks >= frames))
    note = f" ({unlabelled} of them a root only)" if unlabelled else ""
    yield Row(f"|- poses   {frames}", f"|- poses   {poses}{note}", _state(poses >= frames > 0))
    by_meta, by_look = Counter(item.size for item in subject.present), _sizes(subject.found)
    same = set(by_look) <= set(by_meta) or not by_look
    yield Row(f"`- images  {_list(by_meta)} (meta)", f"`- images  {_list(by_look)} (opened)", _state(same))
    if not all_there:
        yield from _incomplete(subject)


def _incomplete(subject: Subject) -> Iterator[Row]:
    """A row for each sequence that lacks cameras."""
    rows = []
    for sequence, group in itertools.groupby(subject.found, key=lambda i: (i.folder.action, i.folder.subaction)):
        items = list(group)
        there = {item.folder.camera for item in items if item.frames}
        if len(there) < len(items):
            name = f"   act_{sequence[0]:02d}_subact_{sequence[1]:02d}"
            expected = " ".join(str(item.folder.camera) for item in items)
            found = " ".join(str(i.folder.camera) if i.folder.camera in there else "-" for i in items)
            rows.append(Row(f"{name}  cameras {expected}", f"{name}  cameras {found}", "bad"))
    yield from rows[:_MOST_ROWS]
    if len(rows) > _MOST_ROWS:
        yield Row("", f"   ... and {len(rows) - _MOST_ROWS} more incomplete sequences", "bad")


def left_out_lines(survey: Survey) -> Iterator[str]:
    """What the index would leave out, reason by reason."""
    by_reason: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for subject in survey.subjects:
        for item in subject.found:
            for exclusion in item.exclusions:
                reason = exclusion.reason
                by_reason[exclusion.kind, reason].append((exclusion.name, exclusion.count))
    for (kind, reason), items in list(by_reason.items())[:_MOST_REASONS]:
        count = sum(count for _, count in items)
        names = ", ".join(name for name, _ in items[:2]) + (f" and {len(items) - 2} more" if len(items) > 2 else "")
        yield f"{count} {kind}{'s' if count > 1 else ''}: {reason} [{names}]"
    if len(by_reason) > _MOST_REASONS:
        yield f"and {len(by_reason) - _MOST_REASONS} more reasons; --json lists all"


def figure_lines(hints: Sequence[Hints]) -> Iterator[str]:
    """A line a camera."""
    for each in hints:
        for number, figures in each.cameras.items():
            yield f"S{each.subject} camera {number}: {figures_text(figures)}"
        if each.body:
            body = each.body
            yield (
                f"S{each.subject} joints: root to head top {body.trunk_mm:.0f} mm, left and right bones differ by "
                f"up to {body.asymmetry[0]:.1%}, limbs change by up to {body.spread[0]:.1%} in time, nose and knees "
                f"forward in {_percent(body.forward)} of the poses"
            )


def figures_text(figures: CameraFigures) -> str:
    """The figures of one camera in a line."""
    near, far = (depth / 1000 for depth in figures.depth_mm)
    what = "masks" if figures.by_masks else "what moves (no masks)"
    return (
        f"joints in {what} {_percent(figures.on_person)}, person in masks {_percent(figures.person_share)}, "
        f"upright {_percent(figures.upright)}, root {near:.1f} to {far:.1f} m away"
    )


def _percent(share: float) -> str:
    return "?" if math.isnan(share) else f"{share:.0%}"


def _product(items: Sequence[Found]) -> str:
    sequences = len({(item.folder.action, item.folder.subaction) for item in items})
    cameras = len({item.folder.camera for item in items})
    whole = sequences * cameras == len(items)
    return f"{sequences} sequences x {cameras} cameras" + ("" if whole else f", {len(items)} folders in all")


def _sizes(items: Sequence[Found]) -> Counter[tuple[int, int]]:
    return Counter(look.size for item in items for look in item.looks if any(look.size))


def _list(sizes: Counter[tuple[int, int]], most: int = 3) -> str:
    shown = ", ".join(f"{width}x{height}" for (width, height), _ in sizes.most_common(most))
    return (shown or "?") + (f" and {len(sizes) - most} more sizes" if len(sizes) > most else "")


def _state(good: bool) -> str:
    return "good" if good else "bad"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 2, 1)] + ".."
