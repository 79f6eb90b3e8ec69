"""Filling a dataset tree, folder by folder: whole or not at all, never twice, never outside the dataset's folder.

A folder is written under `{dataset}/extracted/.S{n}/` and renamed into the tree when it is complete; a marker then
says what it was made from. `{dataset}/extracted/S{n}.json`, written last, says what is there and what was left out.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from codebase.data.doors.folder_writer import FolderWriter
from codebase.data.extracted import FORMAT, VERSION, count
from codebase.data.human36m import META, Folder, parse_folder, read_meta
from codebase.errors import DataError
from codebase.files import write_json, write_text
from codebase.logs import log

Kind = Literal["folder", "frame", "mask"]
_MARK = "PoseMill extracted this dataset tree, and may replace its frames when the config or the source changes.\n"


@dataclass
class TreeWriter:
    """The part of a dataset tree that belongs to one subject. May be sent to worker processes.

    Attributes:
        root: the dataset's folder.
        subject: whose part.
        wanted: the folders that the config asks for, sorted.
        digest: of all that decides the frames' content; a folder of another digest is made again.
        door: name of the door.
        jpeg_quality: of frames that come as pixels.
    """

    root: Path
    subject: int
    wanted: tuple[Folder, ...]
    digest: str
    door: str
    jpeg_quality: int = 95
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)
    _sources: list[dict[str, Any]] = field(default_factory=list, repr=False)
    _open: FolderWriter | None = field(default=None, repr=False)

    @property
    def scratch(self) -> Path:
        """A folder inside the dataset's folder for passing files; emptied when the subject is finished."""
        path = self._own / "scratch"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def bodies(self) -> Path:
        """Where a door whose source knows SMPL bodies writes them, format posemill.bodies."""
        return self.root / "bodies" / f"S{self.subject}.h5"

    @property
    def _own(self) -> Path:
        return self.root / "extracted" / f".S{self.subject}"

    @property
    def _list(self) -> Path:
        return self._own / "left_out.jsonl"

    def begin(self) -> None:
        """Claim the dataset's folder and forget what an interrupted run left half made.

        Raises:
            DataError: the folder holds somebody else's tree, or cannot be written.
        """
        claim(self.root)
        shutil.rmtree(self._own / "scratch", ignore_errors=True)
        shutil.rmtree(self._own / "half", ignore_errors=True)
        self._own.mkdir(parents=True, exist_ok=True)
        self._list.unlink(missing_ok=True)

    def has(self, folder: Folder, *, stamp: str = "") -> bool:
        """Whether the folder is complete, made with this config, and of this `stamp` (a door's word for its source)."""
        found = self._record(folder)
        return found is not None and (found["digest"], found["stamp"]) == (self.digest, stamp)

    @contextmanager
    def folder(self, folder: Folder, *, stamp: str = "") -> Iterator[FolderWriter]:
        """Write one folder. It appears in the tree, complete, when the block ends.

        A DataError in the block leaves the folder out with that reason, and is not raised further; any other exception
        leaves nothing behind either, and is. An older version of the folder is gone in all cases.
        """
        writer = FolderWriter(folder, self._own / "half" / folder.name, self.jpeg_quality)
        shutil.rmtree(writer.path, ignore_errors=True)
        self._forget(folder)
        writer.path.mkdir(parents=True)
        self._open = writer
        try:
            yield writer
            self._complete(writer, stamp)
        except DataError as error:
            self._open = None
            self.leave_out(folder.name, reason_of(error), "folder")
        finally:
            self._open = None
            shutil.rmtree(writer.path, ignore_errors=True)

    def leave_out(self, name: str, reason: str, kind: Kind, count: int = 1) -> None:
        """Say that something is not in the tree.

        Args:
            name: the folder's name, or folder/file.
            reason: one line.
            kind: a whole folder, frames of one, or masks.
            count: how many folders, frames or masks.
        """
        item = {"name": name, "reason": " ".join(reason.split()), "kind": kind, "count": count}
        if self._open is not None and name.partition("/")[0] == self._open.folder.name:
            self._open.left_out.append(item)  # kept with the folder, which a later run will not read again
            return
        with self._list.open("ab") as handle:  # one write, at the end: other workers append too
            handle.write(json.dumps(item).encode() + b"\n")

    def leave_out_rest(self, reason: str) -> None:
        """Leave out every wanted folder that is neither there nor left out already."""
        settled = {item["name"] for item in self._listed() if item["kind"] == "folder"}
        for folder in self.wanted:
            if folder.name not in settled and self._record(folder) is None:
                self.leave_out(folder.name, reason, "folder")

    def notes(self, folder: Folder) -> dict[str, Any]:
        """What was noted of a folder that is there; empty where it is not."""
        record = self._record(folder)
        return dict(record["notes"]) if record else {}

    def fact(self, name: str, value: object) -> None:
        """Put something worth knowing into the subject's file (plain JSON); call it in the main process."""
        self._facts[name] = value

    def source(self, path: Path | str, *, size: int, digest: str) -> None:
        """Note a source that was read; call it in the main process."""
        self._sources.append({"path": str(path), "bytes": size, "digest": digest})

    def finish(self, output: Path) -> dict[str, Any]:
        """Write the subject's file and return its content; every wanted folder is in it, there or left out."""
        self.leave_out_rest("the source holds nothing of it")
        folders = {folder.name: record for folder in self.wanted if (record := self._record(folder)) is not None}
        older = sorted(name for name, record in folders.items() if record["digest"] != self.digest)
        if older:  # their sources are gone, and with them the means to make them as the config now says
            log.warning("S%d: %d folders are of an earlier config: %s ...", self.subject, len(older), older[0])
            self.fact("of_an_earlier_config", older)
        listed = [item for item in self._listed() if item["kind"] != "folder" or item["name"] not in folders]
        left_out = listed + [item for record in folders.values() for item in record["left_out"]]
        kept = {n: {key: r[key] for key in ("frames", "masks", "poses", "size", "notes")} for n, r in folders.items()}
        content = {
            "format": FORMAT, "version": VERSION, "subject": self.subject, "door": self.door,
            "digest": self.digest, "counts": count(kept, left_out), "folders": kept,
            "left_out": sorted(left_out, key=lambda item: (str(item["name"]), str(item["reason"]))),
            "facts": self._facts, "sources": self._sources,
        }  # fmt: skip
        shutil.rmtree(self._own / "scratch", ignore_errors=True)
        shutil.rmtree(self._own / "half", ignore_errors=True)
        write_json(output, content)
        return content

    def _complete(self, writer: FolderWriter, stamp: str) -> None:
        """Check, rename into the tree, then mark."""
        if not writer.frames:
            raise DataError("no frame of the folder could be read")
        meta = read_meta(writer.path)
        target = self.root / writer.folder.name
        record = {
            "digest": self.digest, "stamp": stamp, "frames": writer.frames, "masks": writer.masks,
            "poses": len(meta.pose3d_world_mm), "size": [meta.width, meta.height], "left_out": writer.left_out,
            "notes": writer.notes,
        }  # fmt: skip
        writer.path.replace(target)
        write_json(self._marker(writer.folder), record)

    def _forget(self, folder: Folder) -> None:
        """Remove an older version of the folder: its marker first, so that a folder without one is never trusted."""
        self._marker(folder).unlink(missing_ok=True)
        target = self.root / folder.name
        if target.exists():
            old = self._own / "half" / f"{folder.name}.old"
            shutil.rmtree(old, ignore_errors=True)
            old.parent.mkdir(parents=True, exist_ok=True)
            target.replace(old)
            shutil.rmtree(old)

    def _marker(self, folder: Folder) -> Path:
        return self._own / f"{folder.name}.json"

    def _record(self, folder: Folder) -> dict[str, Any] | None:
        """What the marker says, where the folder is there."""
        try:
            record: dict[str, Any] = json.loads(self._marker(folder).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if (self.root / folder.name / META).is_file() else None

    def _listed(self) -> list[dict[str, Any]]:
        if not self._list.is_file():
            return []
        lines = [json.loads(line) for line in self._list.read_text(encoding="utf-8").splitlines()]
        return [dict(items) for items in dict.fromkeys(tuple(line.items()) for line in lines)]


def open_tree(
    root: Path,
    *,
    subject: int,
    acts: tuple[int, ...],
    subacts: tuple[int, ...],
    cameras: tuple[int, ...],
    digest: str,
    door: str,
    jpeg_quality: int,
) -> TreeWriter:
    """A writer for the folders of one subject; see `TreeWriter`."""
    wanted = tuple(Folder(*key) for key in sorted(itertools.product((subject,), acts, subacts, cameras)))
    tree = TreeWriter(root, subject, wanted, digest, door, jpeg_quality)
    tree.begin()
    return tree


def claim(root: Path) -> None:
    """Mark a new dataset folder as ours; refuse a tree without the mark, whose frames extraction would replace.

    Raises:
        DataError: the tree is somebody else's, or the folder cannot be written.
    """
    mark = root / "extracted" / "extracted.txt"
    # sequences first, then the mark: another subject's job may make both in between, in the other order
    holds_sequences = root.is_dir() and any(parse_folder(entry.name) for entry in root.iterdir())
    if holds_sequences and not mark.is_file():
        raise DataError(
            "The folder holds a dataset tree that was not extracted here; extraction would replace its frames.",
            where=root,
            expected="a new folder, or one that an earlier run extracted",
            mend="set dataset.kind to tree to read it, or dataset.root to another folder to extract into",
        )
    if not mark.is_file():
        try:
            write_text(mark, _MARK)
        except OSError as error:
            raise DataError(f"The dataset's folder cannot be written: {error.strerror}", where=root) from None


def reason_of(error: DataError) -> str:
    """One line that says what was wrong, without the folder that everybody knows."""
    file = f"{error.where.name}: " if isinstance(error.where, Path) else ""
    return file + error.what + (f" Expected: {error.expected}" if error.expected else "")
