"""Doors: each reads one kind of source and fills the dataset tree through a TreeWriter.

A door is a module with `extract(subject: int, config: Config, tree: TreeWriter) -> None`. What it cannot use it tells
`tree.leave_out`, and goes on with the rest; it raises a UserError only where the whole source makes no sense.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from codebase.config import Config
from codebase.data.doors.tree import TreeWriter

# by the value of extract.door; imported only when asked for, so that a door's libraries burden no other
DOORS = {
    "official": "codebase.data.doors.official",
    "h36m_fetch": "codebase.data.doors.h36m_fetch",
    "videopose3d": "codebase.data.doors.videopose3d",
    "course": "codebase.data.doors.course",
    "rig": "codebase.data.doors.rig",
}


def open_door(name: str) -> Callable[[int, Config, TreeWriter], None]:
    """The `extract` function of a door."""
    extract: Callable[[int, Config, TreeWriter], None] = importlib.import_module(DOORS[name]).extract
    return extract
