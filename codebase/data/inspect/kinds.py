"""Which kind of source a folder is, told from names alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from codebase.data.doors.official.sources import open_source
from codebase.data.human36m import parse_folder
from codebase.errors import DataError

_SUBJECT = re.compile(r"S\d{1,2}")
_ARCHIVE = re.compile(r"(?i).*(video|pose|positions|segment|subjectspecific|mat_gt_b).*\.(tgz|tar|tar\.gz)")
_PACKED = (".tgz", ".tar.gz", ".tar")
_OFFICIAL = ("MyPoseFeatures", "MySegmentsMat", "Videos")
_ALMOST = re.compile(r"(?i)s_?\d+[_-]act(ion)?_?\d+.*")
_LOOKED_AT = 200


@dataclass(frozen=True)
class Source:
    """A recognised folder.

    Attributes:
        kind: one of KINDS.
        root: the folder, or the one file that stands for it.
        evidence: the name that told.
    """

    kind: str
    root: Path
    evidence: str

    @property
    def title(self) -> str:
        """What the kind is called."""
        return KINDS[self.kind]


KINDS = {
    "tree": "dataset tree (s_01_act_02_subact_01_ca_01/..._000001.jpg, h36m_meta.mat)",
    "rig": "calibrated rig (rig.json)",
    "videopose3d": "VideoPose3D's poses (data_3d_h36m.npz)",
    "h36m_fetch": "h36m-fetch's processed/ (S1/Directions-1/annot.h5)",
    "course": "course tree (S1/Images/Directions 1.54138969/ and its npz)",
    "official": "extracted official Human3.6M (S1/MyPoseFeatures, S1/Videos, S1/MySegmentsMat)",
    "archives": "official Human3.6M archives (Videos, Poses_D3_Positions, Segments ... .tgz)",
}


def recognise(root: Path) -> Source:
    """The kind of `root`.

    Raises:
        DataError: it does not exist, cannot be read, or is of no known kind; says what was looked for and the nearest
            guess.
    """
    try:
        there = root.exists()
    except OSError as error:
        raise DataError(f"The path cannot be read: {error.strerror}", where=root, mend="ask its owner") from None
    if not there:
        raise DataError("There is nothing to check: the path does not exist.", where=root, mend="correct the path")
    for kind, sign in _SIGNS.items():
        if evidence := sign(root):
            return Source(kind, root, evidence)
    looked_for = "one of\n" + "\n".join(f"            - {title}" for title in KINDS.values())
    raise DataError(
        f"Nothing here is known: {_there(root)}.", where=root, expected=looked_for, mend=_nearest(root)
    )  # fmt: skip


def names_in(folder: Path) -> list[str]:
    """Sorted names in a folder; none where it is no folder.

    Raises:
        DataError: the folder may not be read.
    """
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"The folder cannot be read: {error.strerror}", where=folder, mend="ask its owner") from None


def subjects_in(root: Path) -> dict[int, Path]:
    """Folders S1, S5 ... of a root that is laid out by subject."""
    return {int(name[1:]): root / name for name in names_in(root) if _SUBJECT.fullmatch(name)}


def archives_in(root: Path) -> list[Path]:
    """Archives in the root or in folders of it."""
    folders = [root, *(root / name for name in names_in(root)[:_LOOKED_AT] if (root / name).is_dir())]
    return [folder / name for folder in folders for name in names_in(folder) if name.endswith(_PACKED)]


def _is_tree(root: Path) -> str:
    return next((name for name in names_in(root) if parse_folder(name)), "")


def _is_rig(root: Path) -> str:
    if root.name == "rig.json" or "rig.json" in names_in(root):
        return "rig.json"
    return _first_in_subjects(root, lambda subject: (name for name in names_in(subject) if name == "rig.json"))


def _is_videopose3d(root: Path) -> str:
    wanted = "data_3d_h36m.npz"
    return wanted if root.name == wanted or wanted in names_in(root) else ""


def _is_fetched(root: Path) -> str:
    def marked(folder: Path) -> bool:
        return (folder / "annot.h5").exists() or (folder / "imageSequence").is_dir()

    def signs(subject: Path) -> Iterator[str]:
        return (name for name in names_in(subject) if marked(subject / name))

    return _first_in_subjects(root, signs) or _first_in_subjects(root / "processed", signs)


def _is_course(root: Path) -> str:
    def signs(subject: Path) -> Iterator[str]:
        # <action>.<camera>/000000.npz, with the frames beside them in Images/ or in a tree of their own
        if any("." in name for name in names_in(subject / "Images")):
            yield "Images"
        for name in names_in(subject):
            if re.fullmatch(r".+\.\d{8}", name) and any(file.endswith(".npz") for file in names_in(subject / name)):
                yield name

    return _first_in_subjects(root, signs)


def _is_official(root: Path) -> str:
    return _first_in_subjects(root, lambda subject: (name for name in _OFFICIAL if (subject / name).is_dir()))


def _is_archives(root: Path) -> str:
    if root.is_file():
        return root.name if _ARCHIVE.fullmatch(root.name) else ""
    packed = archives_in(root)
    named = next((path for path in packed if _ARCHIVE.fullmatch(path.name)), None)
    if named:
        return str(named.relative_to(root))
    # the portal's links call them otherwise: then what is inside tells
    inside = (archive.path for s in range(1, 12) for archive in open_source(root, s).archives) if packed else iter(())
    return next((str(path.relative_to(root)) for path in inside), "")


def _first_in_subjects(root: Path, signs: Callable[[Path], Iterable[str]]) -> str:
    for folder in subjects_in(root).values():
        for name in signs(folder):
            return f"{folder.name}/{name}"
    return ""


_SIGNS: dict[str, Callable[[Path], str]] = {
    "tree": _is_tree, "rig": _is_rig, "videopose3d": _is_videopose3d, "h36m_fetch": _is_fetched,
    "course": _is_course, "official": _is_official, "archives": _is_archives,
}  # fmt: skip


def _there(root: Path) -> str:
    if root.is_file():
        return f"a file of {root.stat().st_size} bytes"
    names = names_in(root)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"the folder holds {shown}" if names else "the folder is empty"


def _nearest(root: Path) -> str:
    """The nearest folder of a known kind, or the name most like one of ours."""
    for candidate in _around(root):
        for kind, sign in _SIGNS.items():
            try:
                evidence = sign(candidate)
            except DataError:
                continue
            if evidence:
                return f"{candidate} looks like {KINDS[kind]}: give that folder"
    almost = next((name for name in names_in(root) if _ALMOST.fullmatch(name)), "")
    if almost:
        return f"{almost!r} is almost a name of the dataset tree: write it as s_01_act_02_subact_01_ca_01"
    return "give the folder that holds one of these; docs/datasets.md shows each"


def _around(root: Path) -> Iterator[Path]:
    """Folders within two levels below, then the two above."""
    below = [root / name for name in names_in(root)[:_LOOKED_AT] if (root / name).is_dir()]
    yield from below
    for folder in below:
        try:
            yield from (folder / name for name in names_in(folder)[:_LOOKED_AT] if (folder / name).is_dir())
        except DataError:
            continue
    yield from list(root.resolve().parents)[:2]
