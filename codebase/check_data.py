"""`check-data`: what lies in a folder of captures, before anything is learned from it."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codebase.config import Config
from codebase.data.inspect import text
from codebase.data.inspect.hints import Hints, all_hints
from codebase.data.inspect.kinds import Source, recognise
from codebase.data.inspect.sources import Listing, list_source
from codebase.data.inspect.survey import Survey, survey
from codebase.errors import DataError
from codebase.files import write_json
from codebase.report.inspection import Caption, write_sheet

Say = Callable[[str], None]
BOX_MM = 2000.0


def check(
    root: Path, *, masks_root: Path | None, sheets: Path | None, workers: int, config: Config | None,
    json_file: Path | None, say: Say,
) -> None:  # fmt: skip
    """Say what there is, what is missing or damaged and what looks wrong; write sheets and JSON.

    Args:
        root: any of the sources that docs/datasets.md names.
        sheets: folder of the contact sheets, a file S{n}.jpg for each subject of a dataset tree.
        config: whose subjects, acts, subactions and cameras are expected.
        say: takes the lines of the answer.

    Raises:
        DataError: nothing is usable; one error that sums up.
    """
    painter = text.Painter(shutil.get_terminal_size((100, 24)).columns, _has_colours())
    try:
        source = recognise(root)
    except DataError as error:
        _write(json_file, {"kind": None, "usable": False, "error": str(error)})
        raise
    say(painter.paint(f"{root}: {source.title}", "head"))
    if source.kind == "tree":
        _check_tree(source, masks_root or root, sheets, workers, config, json_file, painter, say)
    else:
        _check_source(source, config, json_file, painter, say)


def _check_tree(
    source: Source, masks_root: Path, sheets: Path | None, workers: int, config: Config | None,
    json_file: Path | None, painter: text.Painter, say: Say,
) -> None:  # fmt: skip
    found = survey(source.root, masks_root, config=config.dataset if config else None, workers=workers)
    say(f"expected: {found.expectation}")
    for line in painter.beside(text.tree_rows(found)):
        say(line)
    opened = "all" if found.opened >= found.listed else f"a sample of {found.opened}"
    say(f"all folders listed, all pose files read; of {found.listed} frames {opened} opened, with their masks")
    _say_list("left out (as the index will):", text.left_out_lines(found), "bad", painter, say)
    hints = all_hints(found)
    _say_list("cameras and joints:", text.figure_lines(hints), "", painter, say)
    suspicions = [sentence for each in hints for sentence in each.sentences]
    _say_list("look at:", suspicions, "hint", painter, say)
    written = _sheets(found, hints, masks_root, sheets, config) if sheets else []
    _write(json_file, tree_json(source, found, hints, written))
    usable, frames = sum(s.total("usable") - s.damaged_looks for s in found.subjects), found.listed
    if not usable:
        reasons = [e.reason for s in found.subjects for item in s.found for e in item.exclusions] or ["no frames"]
        raise DataError(
            f"Nothing of this tree is usable; the first reason: {reasons[0]}", where=source.root,
            expected="frames that decode, each with a camera and a pose in front of it",
            mend=suspicions[0] if suspicions else "see what is left out above",
        )  # fmt: skip
    if written:
        say(f"contact sheets: {', '.join(map(str, written))}")
    left_out = sum(len(item.exclusions) for subject in found.subjects for item in subject.found)
    say(
        painter.paint(_verdict(usable, frames, left_out, len(suspicions)), "hint" if suspicions or left_out else "good")
    )


def _check_source(
    source: Source, config: Config | None, json_file: Path | None, painter: text.Painter, say: Say
) -> None:
    listing = list_source(source, config.dataset if config else None)
    for line in painter.beside([text.Row("expected", "found", "head"), *(text.Row(*row) for row in listing.rows)]):
        say(line)
    for note in listing.notes:
        say(note)
    _say_list("missing or damaged:", listing.missing, "bad", painter, say)
    _write(
        json_file, {"kind": source.kind, "root": str(source.root), "usable": bool(listing.usable), **asdict(listing)}
    )
    if not listing.usable:
        raise DataError(
            f"Nothing of this source is usable; the first reason: {(listing.missing or ['it holds no frames'])[0]}",
            where=source.root, expected=source.title, mend="see docs/datasets.md",
        )  # fmt: skip
    say(painter.paint(_door_verdict(listing), "good" if not listing.missing else "hint"))


def _door_verdict(listing: Listing) -> str:
    lacks = f", {len(listing.missing)} things missing or damaged" if listing.missing else ""
    return f"usable: {listing.usable}{lacks}; next: dataset.kind=extract, extract.door={listing.door}"


def _verdict(usable: int, frames: int, left_out: int, suspicions: int) -> str:
    parts = [f"{left_out} left out"] if left_out else []
    parts += [f"{suspicions} suspicion{'s' if suspicions > 1 else ''}"] if suspicions else []
    return f"usable: {usable} of {frames} frames; " + (
        f"{', '.join(parts)}, see above" if parts else "nothing looks wrong"
    )


def _say_list(title: str, lines: Any, state: str, painter: text.Painter, say: Say) -> None:  # noqa: ANN401 - any iterable
    for number, line in enumerate(lines):
        if not number:
            say(painter.paint(title, "head"))
        say(painter.bullet(line, state))


def _sheets(found: Survey, hints: list[Hints], masks_root: Path, folder: Path, config: Config | None) -> list[Path]:
    written = []
    for subject, each in zip(found.subjects, hints, strict=True):
        cameras = {n: f"camera {n}: {text.figures_text(figures)}" for n, figures in each.cameras.items()}
        caption = Caption(f"S{subject.number} of {found.root.resolve().name}", cameras, each.sentences)
        path = folder / f"S{subject.number}.jpg"
        box_mm = config.crops.box_mm if config else BOX_MM
        if write_sheet(path, subject.found, caption, root=found.root, masks_root=masks_root, box_mm=box_mm):
            written.append(path)
    return written


def tree_json(source: Source, found: Survey, hints: list[Hints], sheets: list[Path]) -> dict[str, Any]:
    """All that is said about a tree, as plain values; NaN becomes null."""
    subjects = []
    for subject, each in zip(found.subjects, hints, strict=True):
        left_out = [asdict(exclusion) for item in subject.found for exclusion in item.exclusions]
        subjects.append({
            "subject": subject.number,
            "folders": {"expected": len(subject.found), "found": sum(item.frames > 0 for item in subject.found)},
            **{name: subject.total(name) for name in ("frames", "masks", "poses", "unlabelled", "usable")},
            "left_out": left_out, "cameras": [asdict(figures) for figures in each.cameras.values()],
            "body": asdict(each.body) if each.body else None, "suspicions": each.sentences,
        })  # fmt: skip
    usable = sum(subject.total("usable") - subject.damaged_looks for subject in found.subjects)
    return {
        "kind": source.kind, "root": str(source.root), "usable": usable > 0, "usable_frames": usable,
        "expectation": found.expectation, "frames_listed": found.listed, "frames_opened": found.opened,
        "not_asked_for": list(found.strangers), "subjects": subjects, "sheets": [str(path) for path in sheets],
    }  # fmt: skip


def _write(path: Path | None, value: dict[str, Any]) -> None:
    if path is not None:
        write_json(path, _plain(value))


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON is any shape
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _has_colours() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
