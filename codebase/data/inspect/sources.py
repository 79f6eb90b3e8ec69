"""What lies in a source that is no dataset tree: the expected beside the found, through the doors' own readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codebase.config import DatasetConfig
from codebase.config.rig import RigSequence
from codebase.data.doors.h36m_fetch import read_annotations
from codebase.data.doors.official.masks import open_masks
from codebase.data.doors.official.metadata import NAME as METADATA
from codebase.data.doors.official.metadata import Metadata, read_metadata
from codebase.data.doors.official.poses import read_poses
from codebase.data.doors.official.sources import MONO, PIXELS, SILHOUETTES, VIDEOS, WORLD, Item, open_source
from codebase.data.doors.official.sources import Source as Official
from codebase.data.doors.rig_source import FILE as RIG
from codebase.data.doors.rig_source import read_rig, source_of
from codebase.data.doors.videopose3d import FILE as POSITIONS
from codebase.data.doors.videopose3d import read_positions
from codebase.data.inspect.kinds import Source, names_in, subjects_in
from codebase.errors import DataError, UserError
from codebase.skeleton import H36M_ACTS, H36M_CAMERAS

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
            total += _official_subject(out, source, _wanted(subject, metadata, config))
        elif config:
            out.missing.append(f"S{subject}: nothing of it is there")
    if any("in archive" in row[1] for row in out.rows):
        out.notes.append("archives: opened to their first official member; what else is in them, extract will tell")
    out.notes.append("unpacked files: all listed; all headers of videos, all poses and lists of masks read")
    out.usable = f"videos with poses of {total} subjects" if total and metadata else ""
    return out


def _wanted(subject: int, metadata: Metadata | None, config: DatasetConfig | None) -> dict[str, list[Item]]:
    """The files that a subject should have, by kind; without metadata.xml their names are not known: then none."""
    out: dict[str, list[Item]] = {kind: [] for kind in (VIDEOS, WORLD, MONO, PIXELS, SILHOUETTES)}
    if metadata is None:
        return out
    for (owner, action, subaction), prefix in sorted(metadata.prefixes.items()):
        asked = config is None or (action in config.acts and subaction in config.subacts)
        if owner != subject or action not in H36M_ACTS or not asked:
            continue
        names = [name for n, name in metadata.camera_names.items() if config is None or n in config.cameras]
        out[VIDEOS] += [Item(VIDEOS, prefix, name) for name in names]
        if subject in _WITH_POSES:
            out[WORLD].append(Item(WORLD, prefix))
            for kind in (MONO, PIXELS, SILHOUETTES):
                out[kind] += [Item(kind, prefix, name) for name in names]
    return out


def _official_subject(out: Listing, source: Official, wanted: dict[str, list[Item]]) -> int:
    """Rows of one subject; 1 if it has videos and poses."""
    who = f"S{source.subject}"
    out.rows.append((who, who, ""))
    packed = {archive.kind: archive.path.name for archive in source.archives}
    local = {kind: [item for item in source.local if item.kind == kind] for kind in wanted}
    for kind, items in wanted.items():
        expected = f"{len(items)}" if items else "?"
        if kind in packed:
            also = f"{len(local[kind])} and more " if local[kind] else ""
            out.rows.append((f"|- {kind}  {expected}", f"|- {kind}  {also}in archive {packed[kind]}", "good"))
            continue
        # poses come from one of the two, pixels are only a check
        instead = {MONO: WORLD, WORLD: MONO}.get(kind)
        optional = kind == PIXELS or (instead is not None and bool(local[instead] or instead in packed))
        lacking = [item for item in items if item not in source.local]
        found = len(items) - len(lacking) if items else len(local[kind])
        out.rows.append(
            (f"|- {kind}  {expected}", f"|- {kind}  {found}", "good" if not lacking else "" if optional else "bad")
        )
        if lacking and not optional:
            names = ", ".join(map(str, lacking[:2])) + (" ..." if len(lacking) > 2 else "")
            out.missing.append(f"{who}: {len(lacking)} of {len(items)} files of {kind}: {names}")
    for item, path in sorted(source.local.items()):
        if reason := damage_of(item, path):
            out.missing.append(f"{who}: {item}: {reason}")
    has_poses = any(local[kind] or kind in packed for kind in (WORLD, MONO))
    return int(bool((local[VIDEOS] or VIDEOS in packed) and has_poses))


def damage_of(item: Item, path: Path) -> str:
    """What a look at an official file shows, "" if nothing: headers of videos, whole poses, the list of masks."""
    try:
        if item.kind == VIDEOS:
            return cut_short(path)
        if item.kind in (WORLD, MONO, PIXELS):
            read_poses(path, size=2 if item.kind == PIXELS else 3)
        else:
            with open_masks(path) as masks:
                return "" if len(masks) else "it holds no mask"
    except DataError as error:
        return error.what
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def cut_short(path: Path) -> str:
    """Whether an mp4's boxes (ISO 14496-12, 4.2) reach to its end and hold the table of frames; reads no frame."""
    length, place, kinds = path.stat().st_size, 0, set()
    with path.open("rb") as handle:
        while place + 8 <= length:
            handle.seek(place)
            head = handle.read(16)
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            kinds.add(kind)
            if size == 0:  # to the end of the file
                break
            if size < 8 or place + size > length:
                return "the video is cut short, or no mp4"
            place += size
    return "" if {b"ftyp", b"moov"} <= kinds else "no readable mp4: it lacks the table of its frames"


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
    home = root if subjects_in(root) else root / "processed"
    for subject, folder in _subjects(home, config, out):
        there = [name for name in names_in(folder) if (folder / name).is_dir()]
        good = {name: views for name in there if (views := _annotated(folder / name, subject, out))}
        sequences += len(good)
        out.rows.append((f"S{subject}", f"S{subject}", ""))
        out.row("|- sequences", _sequences(config), len(there))
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
        out.row(f"S{subject} sequences", _sequences(config), found)
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
        out.row("|- image folders", _cameras(config) * _sequences(config), len(images))
        out.row("`- folders of npz", _cameras(config) * _sequences(config), len(labels))
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
    # one for all, or one a subject where the cameras moved in between
    own = {subject: folder / RIG for subject, folder in subjects_in(root).items() if (folder / RIG).is_file()}
    whole = root if root.is_file() else root / RIG
    pictures = 0
    for subject, path in [*([(None, whole)] if whole.is_file() else []), *own.items()]:
        try:
            rig = read_rig(path)
        except UserError as error:
            out.missing.append(f"{path.relative_to(whole.parent)}: {error.what}")
            continue
        for sequence in rig.sequences:
            mine = sequence.subject not in own if subject is None else sequence.subject == subject
            if mine and (config is None or sequence.subject in config.subjects):
                pictures += _rig_sequence(out, sequence, path.parent)
    out.usable = f"{pictures} pictures" if pictures else ""
    return out


def _rig_sequence(out: Listing, sequence: RigSequence, base: Path) -> int:
    counts, who = {}, f"S{sequence.subject} act {sequence.act}.{sequence.subact}"
    for name, view in sequence.views.items():
        try:
            counts[name] = len(source_of(view, sequence, base).numbers)
        except (UserError, OSError) as error:
            out.missing.append(f"{who}, {name}: {getattr(error, 'what', error)}")
            counts[name] = 0
    most = max(counts.values(), default=0)
    for name, count in counts.items():
        out.row(f"{who} {name}: pictures", most, count)
        if 0 < count < most:
            out.missing.append(f"{who}, {name}: {most - count} pictures fewer than another camera")
    return sum(counts.values())


def _sequences(config: DatasetConfig | None) -> int:
    return len(config.acts) * len(config.subacts) if config else 2 * len(H36M_ACTS)


def _cameras(config: DatasetConfig | None) -> int:
    return len(config.cameras) if config else len(H36M_CAMERAS)


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
