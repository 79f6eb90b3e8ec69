"""A dataset tree as a whole: what is expected, what every folder holds, by subject."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codebase.config import DatasetConfig
from codebase.data.human36m import Folder, parse_folder
from codebase.data.inspect.kinds import names_in
from codebase.data.inspect.look import Found, Task, inspect_folder
from codebase.data.parallel import in_order
from codebase.errors import DataError
from codebase.skeleton import H36M_ACTS, H36M_CAMERAS

# Frames opened in all, spread evenly over folders: about a minute's work on two cores.
OPENED = 3000
_LEAST_OPENED = 2
# A subject with so many of Human3.6M's 30 sequences is Human3.6M's: then its whole set is expected.
_MANY_SEQUENCES = 20


@dataclass(frozen=True)
class Subject:
    """One subject's part of a tree.

    Attributes:
        found: a folder each that is expected or there, sorted; without frames where it is missing.
    """

    number: int
    found: tuple[Found, ...]

    @property
    def expected(self) -> list[Folder]:
        """Folders that should be there."""
        return [item.folder for item in self.found]

    @property
    def present(self) -> list[Found]:
        """Folders whose camera and poses could be read."""
        return [item for item in self.found if item.camera is not None]

    def total(self, name: str) -> int:
        """Sum of a count (frames, masks, poses, unlabelled, usable) over the folders."""
        return sum(getattr(item, name) for item in self.found)

    @property
    def damaged_looks(self) -> int:
        """Opened frames that no decoder reads."""
        return sum(bool(look.reason) for item in self.found for look in item.looks)


@dataclass(frozen=True)
class Survey:
    """What a tree holds.

    Attributes:
        expectation: where the expected folders come from, in words.
        strangers: names in the root that belong to no expected folder.
        opened: frames opened; `listed`: frames listed.
    """

    root: Path
    expectation: str
    subjects: tuple[Subject, ...]
    strangers: tuple[str, ...]
    opened: int
    listed: int


def survey(root: Path, masks_root: Path, *, config: DatasetConfig | None, workers: int) -> Survey:
    """List every folder, read every pose file, open a sample of frames and masks.

    Args:
        config: whose subjects, acts, subactions and cameras are expected; without it, see `expected_folders`.

    Raises:
        DataError: the root cannot be read.
    """
    names = names_in(root)
    there = sorted(folder for name in names if (folder := parse_folder(name)) is not None)
    expected, expectation = _of_config(config) if config else expected_folders(there)
    # Two digits a number is what the index's keys have room for.
    numbered = [f for f in there if max(f.subject, f.action, f.subaction, f.camera) < 100]
    folders = sorted({*expected, *([] if config else numbered)})
    if not folders:
        raise DataError("The tree has no folder with a usable name.", where=root, expected="numbers below 100")
    opened = max(_LEAST_OPENED, OPENED // max(len(folders), 1))
    tasks = [Task(folder, root, masks_root, opened) for folder in folders]
    found = list(in_order(inspect_folder, tasks, workers=workers, what="folders checked"))
    subjects = tuple(
        Subject(number, tuple(items))
        for number, items in ((n, list(g)) for n, g in itertools.groupby(found, key=lambda item: item.folder.subject))
    )
    known = {folder.name for folder in folders}
    strangers = tuple(name for name in names if name not in known and parse_folder(name) is not None)
    return Survey(
        root, expectation, subjects, strangers, sum(len(item.looks) for item in found), sum(i.frames for i in found)
    )


def expected_folders(there: Sequence[Folder]) -> tuple[set[Folder], str]:
    """Without a config: Human3.6M's whole set for its subjects, or else every combination of what is there."""

    def all_of(subjects: Iterable[int], sequences: Iterable[tuple[int, int]], cameras: Iterable[int]) -> set[Folder]:
        return {Folder(s, a, b, c) for s, (a, b), c in itertools.product(subjects, sequences, cameras)}

    subjects = {folder.subject for folder in there}
    most = max((len({(f.action, f.subaction) for f in there if f.subject == s}) for s in subjects), default=0)
    if most >= _MANY_SEQUENCES:
        whole = set(itertools.product(H36M_ACTS, (1, 2)))
        return all_of(subjects, whole, H36M_CAMERAS), "Human3.6M's 15 acts x 2 subactions x 4 cameras"
    sequences, cameras = {(f.action, f.subaction) for f in there}, {f.camera for f in there}
    return all_of(subjects, sequences, cameras), "every sequence and camera that any subject has"


def _of_config(config: DatasetConfig) -> tuple[set[Folder], str]:
    parts = itertools.product(config.subjects, config.acts, config.subacts, config.cameras)
    return {Folder(*part) for part in parts}, "dataset.subjects, acts, subacts and cameras of the config"
