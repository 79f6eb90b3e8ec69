"""Where the official files of one subject are: the extracted tree, the archives of the portal, or some of each.

A file is known by the end of its path (S1/Videos/Directions 1.54138969.mp4), wherever the tree lies and whatever an
archive is called. Archives are read as streams, once, and nothing is unpacked under a name that an archive chose: a
member's path only says what it is, and what is wanted goes to a file that we name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from codebase.data.human36m import parse_folder
from codebase.errors import DataError
from codebase.logs import log

WORLD, MONO, PIXELS = "D3_Positions", "D3_Positions_mono", "D2_Positions"
VIDEOS, SILHOUETTES, BOXES = "Videos", "ground_truth_bs", "ground_truth_bb"
SUFFIXES = {WORLD: "cdf", MONO: "cdf", PIXELS: "cdf", VIDEOS: "mp4", SILHOUETTES: "mat", BOXES: "mat"}
_PARENTS = r"(?:MyPoseFeatures/|MySegmentsMat/|Poses_)?"  # Poses_: as one common script unpacks them
_PATH = re.compile(rf"(?:^|/)S(\d+)/{_PARENTS}({'|'.join(SUFFIXES)})/([^/]+)\.(cdf|mp4|mat)")
_CAMERA = re.compile(r"(.+)\.(\d{8})")
_PACKED = (".tgz", ".tar.gz", ".tar")
_PEEKED_MEMBERS, _DEEPEST = 200, 5
_BROKEN = (tarfile.TarError, EOFError, zlib.error, OSError)


@dataclass(frozen=True, order=True)
class Item:
    """One official file of a subject.

    Attributes:
        kind: one of SUFFIXES.
        prefix: the sequence's name in file names, such as "Directions 1".
        camera: the camera's name; "" for files that all cameras share.
    """

    kind: str
    prefix: str
    camera: str = ""

    def __str__(self) -> str:
        camera = f".{self.camera}" if self.camera else ""
        return f"{self.kind}/{self.prefix}{camera}.{SUFFIXES[self.kind]}"


def parse(path: str) -> tuple[int, Item] | None:
    """Subject and file that a path means, or None."""
    match = _PATH.search(path)
    if match is None or match.end() != len(path) or SUFFIXES[match[2]] != match[4]:
        return None
    named = _CAMERA.fullmatch(match[3])
    prefix, camera = (named[1], named[2]) if named else (match[3], "")
    return int(match[1]), Item(match[2], prefix, camera)


@dataclass
class Archive:
    """An archive of one subject and one kind, as its first known member says."""

    path: Path
    kind: str
    digest: str = ""


@dataclass
class Source:
    """The files of one subject.

    Attributes:
        local: files that lie in an extracted tree.
        archives: archives that hold files of the subject.
        troubles: what was refused in archives or could not be read, one line each.
    """

    root: Path
    subject: int
    local: dict[Item, Path] = field(default_factory=dict)
    archives: list[Archive] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing of the subject is there."""
        return not self.local and not self.archives

    def names(self, item: Item) -> bool:
        """Whether the item is in the tree, or may be in an archive of its kind."""
        return item in self.local or any(archive.kind == item.kind for archive in self.archives)

    def stamp(self, items: Iterable[Item], *, besides: str = "") -> str:
        """A short text that changes with the items' files, the archives that may hold them, and `besides`."""
        paths = set()
        for item in items:
            here = self.local.get(item)
            paths |= {here} if here else {archive.path for archive in self.archives if archive.kind == item.kind}
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths)]
        return hashlib.sha256((repr(stats) + besides).encode()).hexdigest()[:12]

    def gather(self, items: Collection[Item], scratch: Path) -> dict[Item, Path]:
        """Where the items lie that there are; those of archives are put into `scratch`."""
        found = {item: self.local[item] for item in items if item in self.local}
        return found | dict(self.stream([item for item in items if item not in found], scratch))

    def stream(self, items: Collection[Item], scratch: Path) -> Iterator[tuple[Item, Path]]:
        """The items that archives hold, in the archives' order, each put into `scratch` when it is asked for."""
        wanted = set(items)
        for archive in self.archives:
            of_kind = {item for item in wanted if item.kind == archive.kind}
            if of_kind:
                for item, path in self._read(archive, of_kind, scratch):
                    wanted.discard(item)
                    yield item, path

    def missing(self, item: Item) -> str:
        """Why an item is not there."""
        broken = f" ({'; '.join(self.troubles[:3])})" if self.troubles else ""
        return f"{item} of S{self.subject} is not in the source{broken}"

    def trouble(self, text: str) -> None:
        """Note what was refused or could not be read, once."""
        if text not in self.troubles:
            log.warning("S%d: %s", self.subject, text)
            self.troubles.append(text)

    def _read(self, archive: Archive, wanted: set[Item], scratch: Path) -> Iterator[tuple[Item, Path]]:
        refused: list[str] = []
        partial: Path | None = None
        try:
            with archive.path.open("rb") as handle:
                hashed = _Hashed(handle)
                for member, stream in _members(hashed, archive.path, refused):
                    known = parse(member.name)
                    if known is None or known[0] != self.subject or known[1] not in wanted:
                        continue
                    wanted.discard(known[1])
                    partial = scratch / f"{len(wanted):04d}_{_plain(known[1])}"
                    with partial.open("wb") as target:
                        shutil.copyfileobj(stream, target, 1 << 20)
                    whole, partial = partial, None
                    yield known[1], whole
                archive.digest = hashed.digest()
        except _BROKEN as error:
            self.trouble(f"{archive.path.name} is broken: {str(error) or type(error).__name__}")
        finally:
            if partial is not None:  # the archive ended in the middle of a member
                partial.unlink(missing_ok=True)
            for line in refused:
                self.trouble(line)


def open_source(root: Path, subject: int) -> Source:
    """Find the files of a subject under `root`: in folders S{n}, and in archives by what they hold.

    Raises:
        DataError: `root` is no folder, or cannot be read.
    """
    if not root.is_dir():
        raise DataError("The source is no folder.", where=root, expected="archives, or folders such as S1")
    source = Source(root, subject)
    for path in _files(root, source):
        if path.name.endswith(_PACKED):
            kind = _peek(path, source)
            if kind is not None:
                source.archives.append(Archive(path, kind))
            continue
        known = parse(path.relative_to(root.parent).as_posix())
        if known is None or known[0] != subject:
            continue
        if path.is_file():
            source.local.setdefault(known[1], path)
        else:  # a link that leads nowhere
            source.trouble(f"{path} is no file")
    return source


def _files(root: Path, source: Source) -> Iterator[Path]:
    """Files under the folder, some levels deep, without the folders of other subjects and of dataset trees."""

    def unreadable(error: OSError) -> None:
        if error.filename == str(root):
            raise DataError(f"The source cannot be read: {error.strerror}", where=root) from None
        source.trouble(f"{error.filename} cannot be read: {error.strerror}")

    # large folders are often links to another disk; a link that leads back ends at the depth
    for folder, folders, files in os.walk(root, onerror=unreadable, followlinks=True):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(f for f in folders if depth < _DEEPEST and not _is_other(f, source.subject))
        yield from (Path(folder) / name for name in sorted(files))


def _is_other(name: str, subject: int) -> bool:
    match = re.fullmatch(r"S(\d+)", name)
    return parse_folder(name) is not None or (match is not None and int(match[1]) != subject)


def _peek(path: Path, source: Source) -> str | None:
    """The kind of an archive of the subject, from its first known member; None for another's, or none of ours."""
    refused: list[str] = []
    try:
        with path.open("rb") as handle:
            for count, (member, _) in enumerate(_members(handle, path, refused)):
                known = parse(member.name)
                if known is not None:
                    return known[1].kind if known[0] == source.subject else None
                if count >= _PEEKED_MEMBERS:
                    break
    except _BROKEN as error:
        source.trouble(f"{path.name} is unreadable: {str(error) or type(error).__name__}")
    for line in refused:
        source.trouble(line)
    return None


def _members(handle: _Readable, path: Path, refused: list[str]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Regular files of a tar stream with honest relative paths; everything else but folders goes to `refused`."""
    with tarfile.open(fileobj=handle, mode="r|*") as tar:  # type: ignore[call-overload]  # it only calls read()
        for member in tar:
            reason = _refusal(member)
            stream = None if reason else tar.extractfile(member)
            if reason:
                refused.append(f"{path.name}: refused {member.name!r}: {reason}")
            elif stream is not None:
                yield member, stream


def _refusal(member: tarfile.TarInfo) -> str:
    """Why a member is not touched; "" for folders and files with a plain relative path."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        return "its path leads outside"
    if member.issym() or member.islnk():
        return "it is a link"
    if not (member.isfile() or member.isdir()):
        return "it is no regular file"
    return ""


def _plain(item: Item) -> str:
    """A file name for an item, of harmless characters."""
    text = f"{item.kind}_{item.prefix}_{item.camera}"
    return re.sub(r"[^A-Za-z0-9_]", "_", text)[:120] + "." + SUFFIXES[item.kind]


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Hashed:
    """A file that is hashed while it is read from its beginning to its end."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle, self._hash = handle, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        block = self._handle.read(size)
        self._hash.update(block)
        return block

    def digest(self) -> str:
        """16 hex digits of the whole file, whose rest is read for it."""
        while self.read(1 << 20):
            pass
        return self._hash.hexdigest()[:16]
