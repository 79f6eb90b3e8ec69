"""What lies in a source that is no dataset tree: the expected beside the found, through the doors' own readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codebase.config import DatasetConfig
from codebase.data.doors.h36m_fetch import read_annotations
from codebase.data.doors.official.metadata import NAME as METADATA
from codebase.data.doors.official.metadata import Metadata, read_metadata
from codebase.data.doors.official.sources import MONO, PIXELS, SILHOUETTES, VIDEOS, WORLD, open_source
from codebase.data.doors.official.sources import Source as Official
from codebase.data.doors.rig_source import FILE as RIG
from codebase.data.doors.rig_source import read_rig, source_of
from codebase.data.doors.videopose3d import FILE as POSITIONS
from codebase.data.doors.videopose3d import read_positions
from codebase.data.inspect.kinds import Source, names_in, subjects_in
from codebase.errors import DataError, UserError
from codebase.skeleton import H36M_ACTS, H36M_CAMERAS

_SEQUENCES = 2 * len(H36M_ACTS)
# of Human3.6M; those without poses are named, not missed
_WITH_POSES = (1, 5, 6, 7, 8, 9, 11)
_SMALLEST_BYTES = 64
Line = tuple[str, str, str]


@dataclass
class Listing:
    """A source's content.

    Attributes:
        door: the value of extract.door that reads it.
        usable: how much of it is, in words; "" if nothing.
        rows: (expected, found, "good" or "bad").
        missing: what is missing or damaged.
        notes: what was looked at, and what was not.
    """

    door: str
    usable: str = ""
    rows: list[Line] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, name: str, expected: int, found: int) -> None:
        """A line of counts."""
        self.rows.append((f"{name}  {expected}", f"{name}  {found}", "good" if found >= expected else "bad"))


def list_source(source: Source, config: DatasetConfig | None) -> Listing:
    """What the source holds of the config's subjects, or of all that it has."""
    return _LISTERS[source.kind](source.root, config)


def _official(root: Path, config: DatasetConfig | None) -> Listing:
    out = Listing("official")
    base = root.parent if root.is_file() else root
    metadata = _metadata(base, out)
    total = 0
    for subject in config.subjects if config else range(1, 12):
        source = open_source(base, subject)
        out.missing += [line for line in source.troubles if line not in out.missing]
        if not source.empty:
            total += _official_subject(out, source, metadata)
        elif config:
            out.missing.append(f"S{subject}: nothing of it is there")
    if any("archive" in row[1] for row in out.rows):
        out.notes.append("archives: opened to their first official member; what else is in them, extract will tell")
    out.usable = f"videos with poses of {total} subjects" if total and metadata else ""
    return out


def _official_subject(out: Listing, source: Official, metadata: Metadata | None) -> int:
    """Rows of one subject; 1 if it has videos and poses."""
    subject = source.subject
    out.rows.append((f"S{subject}", f"S{subject}", ""))
    counts = Counter(item.kind for item in source.local)
    packed = {archive.kind: archive.path.name for archive in source.archives}
    sequences = sum(s == subject and a > 1 for s, a, _ in metadata.prefixes) if metadata else _SEQUENCES
    for kind, each in ((VIDEOS, 4), (WORLD, 1), (MONO, 4), (PIXELS, 4), (SILHOUETTES, 4)):
        expected = sequences * each if subject in _WITH_POSES or kind == VIDEOS else 0
        if kind in packed:
            out.rows.append((f"|- {kind}  {expected}", f"|- {kind}  {counts[kind]} and archive {packed[kind]}", "good"))
            continue
        # poses come from one of the two, pixels are only a check
        optional = kind == PIXELS or (kind == MONO and counts[WORLD]) or (kind == WORLD and counts[MONO])
        state = "good" if counts[kind] >= expected else "" if optional else "bad"
        out.rows.append((f"|- {kind}  {expected}", f"|- {kind}  {counts[kind]}", state))
        if state == "bad":
            out.missing.append(f"S{subject}: {expected - counts[kind]} of {expected} files of {kind}")
    small = [str(item) for item, path in source.local.items() if path.stat().st_size < _SMALLEST_BYTES]
    out.missing += [f"S{subject}: {name} is empty" for name in small]
    has_poses = counts[WORLD] or counts[MONO] or WORLD in packed or MONO in packed
    return int(bool((counts[VIDEOS] or VIDEOS in packed) and has_poses))


def _metadata(root: Path, out: Listing) -> Metadata | None:
    paths = [*root.glob(METADATA), *root.glob(f"*/{METADATA}")]
    try:
        found = read_metadata(paths[0]) if paths else None
    except DataError as error:
        out.missing.append(f"{METADATA}: {error.what}")
        found = None
    else:
        if found is None:
            out.missing.append(f"{METADATA} of the software bundle, which holds the cameras and the names")
    out.rows.append((METADATA, METADATA if found else "-", "good" if found else "bad"))
    return found


def _fetched(root: Path, config: DatasetConfig | None) -> Listing:
    out = Listing("h36m_fetch")
    sequences = 0
    for subject, folder in _subjects(root, config, out):
        there = [name for name in names_in(folder) if (folder / name).is_dir()]
        good = {name: views for name in there if (views := _annotated(folder / name, subject, out))}
        sequences += len(good)
        out.rows.append((f"S{subject}", f"S{subject}", ""))
        out.row("|- sequences", _SEQUENCES, len(there))
        out.row("|- annot.h5", len(there), len(good))
        cameras = sum(len(names_in(folder / name / "imageSequence")) for name in good)
        out.row("`- image folders", sum(good.values()), cameras)
        if cameras < sum(good.values()):
            out.missing.append(f"S{subject}: {sum(good.values()) - cameras} folders imageSequence/CAMERA")
    out.usable = f"{sequences} sequences" if sequences else ""
    return out


def _annotated(folder: Path, subject: int, out: Listing) -> int:
    try:
        return len(read_annotations(folder / "annot.h5", subject))
    except DataError as error:
        out.missing.append(f"S{subject}/{folder.name}/annot.h5: {error.what}")
        return 0


def _videopose3d(root: Path, config: DatasetConfig | None) -> Listing:
    out = Listing("videopose3d")
    path = root if root.is_file() else root / POSITIONS
    _metadata(path.parent, out)
    total = 0
    for subject in config.subjects if config else _WITH_POSES:
        try:
            found = len(read_positions(path, subject))
        except DataError as error:
            out.missing.append(f"S{subject}: {error.what}")
            found = 0
        out.row(f"S{subject} sequences", _SEQUENCES, found)
        total += found
    out.notes.append("poses only: the frames are a jpg tree or the videos, named by extract.frames")
    out.usable = f"poses of {total} sequences" if total else ""
    return out


def _course(root: Path, config: DatasetConfig | None) -> Listing:
    out = Listing("course")
    annotations = 0
    for subject, folder in _subjects(root, config, out):
        images = {name for name in names_in(folder / "Images") if "." in name}
        labels = {name for name in names_in(folder) if "." in name and (folder / name).is_dir()}
        out.rows.append((f"S{subject}", f"S{subject}", ""))
        out.row("|- image folders", len(H36M_CAMERAS) * _SEQUENCES, len(images))
        out.row("`- folders of npz", len(H36M_CAMERAS) * _SEQUENCES, len(labels))
        if images and labels - images:
            out.missing.append(
                f"S{subject}: {len(labels - images)} folders of npz have no images: {min(labels - images)}"
            )
        files = sum(name.endswith(".npz") for label in labels for name in names_in(folder / label))
        annotations += files
        empty = [f for label in labels for f in (folder / label).glob("*.npz") if f.stat().st_size < _SMALLEST_BYTES]
        out.missing += [f"{path.relative_to(root)} is empty" for path in empty[:5]]
    out.usable = f"{annotations} annotated frames" if annotations else ""
    return out


def _rig(root: Path, config: DatasetConfig | None) -> Listing:
    out = Listing("rig")
    path = root if root.is_file() else root / RIG
    try:
        rig = read_rig(path)
    except UserError as error:
        out.missing.append(error.what)
        return out
    pictures = 0
    for sequence in rig.sequences:
        if config and sequence.subject not in config.subjects:
            continue
        counts = {}
        for name, view in sequence.views.items():
            try:
                counts[name] = len(source_of(view, sequence, path.parent).numbers)
            except (UserError, OSError) as error:
                out.missing.append(f"S{sequence.subject} act {sequence.act}, {name}: {getattr(error, 'what', error)}")
                counts[name] = 0
        most = max(counts.values(), default=0)
        for name, count in counts.items():
            out.row(f"S{sequence.subject} act {sequence.act}.{sequence.subact} {name}: pictures", most, count)
            if 0 < count < most:
                out.missing.append(f"S{sequence.subject} act {sequence.act}, {name}: {most - count} pictures fewer")
        pictures += sum(counts.values())
    out.usable = f"{pictures} pictures of {len(rig.sequences)} sequences" if pictures else ""
    return out


def _subjects(root: Path, config: DatasetConfig | None, out: Listing) -> Iterator[tuple[int, Path]]:
    there = subjects_in(root)
    for subject in config.subjects if config else ():
        if subject not in there:
            out.missing.append(f"S{subject}: no folder S{subject}")
    yield from ((s, folder) for s, folder in there.items() if config is None or s in config.subjects)


_LISTERS: dict[str, Callable[[Path, DatasetConfig | None], Listing]] = {
    "official": _official, "archives": _official, "h36m_fetch": _fetched, "videopose3d": _videopose3d,
    "course": _course, "rig": _rig,
}  # fmt: skip
