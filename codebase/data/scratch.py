"""Crops on a disk of this host: a training reads random batches, which a file server serves badly to many jobs.

`{scratch}/posemill-{user id}/{key}/S1.h5` is a copy of one file; its key names the source's path, size and time. Jobs
on a host share copies: who comes first copies, under a lock of the local file system, and the others wait. Copies stay
for the next job. When room is needed, those that no process uses are removed, the least recently used first; where
the scheduler gives each job a folder of its own ($TMPDIR), it removes all at the job's end.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

log = logging.getLogger("posemill.scratch")
SPARE = 64 << 20  # bytes that are left free
_PIECE = 8 << 20
_in_use: list[IO[bytes]] = []  # open until the process ends: each says that a copy is used


def near(files: Sequence[Path], scratch: Path | None) -> list[Path]:
    """Copies of the files in `scratch`, verified; the files themselves where it is None, or there is no room.

    Args:
        files: of any size; they are not changed.
        scratch: `runtime.scratch`; variables such as $TMPDIR are replaced.
    """
    if scratch is None:
        return list(files)
    place = Path(os.path.expandvars(scratch.expanduser()))
    if "$" in str(place):
        log.warning("runtime.scratch is %s, which is not set here: the files are read where they lie", scratch)
        return list(files)
    try:
        folder = place / f"posemill-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [_near(path, folder) for path in files]
    except OSError as error:
        log.warning("no copies in %s (%s): the files are read where they lie", place, error)
        return list(files)


def _near(source: Path, folder: Path) -> Path:
    about = source.resolve().stat()
    identity = f"{source.resolve()}|{about.st_size}|{about.st_mtime_ns}"
    entry = folder / hashlib.sha256(identity.encode()).hexdigest()[:16]
    copy, proof = entry / source.name, entry / "proof.json"
    with _alone(folder):  # one at a time on this host: two copies at once would take each other's room
        if not _is_whole(copy, proof, about.st_size):
            shutil.rmtree(entry, ignore_errors=True)
            if not _make_room(folder, about.st_size):
                free = shutil.disk_usage(folder).free
                log.warning(
                    "%s has no room for %s (%s bytes, %s free): it is read where it lies",
                    folder, source, f"{about.st_size:,}", f"{free:,}",
                )  # fmt: skip
                return source
            _copy(source, copy, proof)
        _use(entry)
    return copy


def _is_whole(copy: Path, proof: Path, size: int) -> bool:
    """Whether a copy was finished and verified, and still has its size."""
    try:
        return copy.stat().st_size == size == json.loads(proof.read_text(encoding="utf-8"))["size"]
    except (OSError, ValueError, KeyError):
        return False


def _copy(source: Path, copy: Path, proof: Path) -> None:
    """Copy, read the copy again, and write the proof last.

    Raises:
        OSError: the copy differs, or cannot be written; nothing of it stays.
    """
    copy.parent.mkdir(exist_ok=True)
    try:
        digest = hashlib.sha256()
        with source.open("rb") as reader, copy.open("wb") as writer:
            while piece := reader.read(_PIECE):
                digest.update(piece)
                writer.write(piece)
            writer.flush()
            os.fsync(writer.fileno())
        with copy.open("rb") as reader:
            if hashlib.file_digest(reader, "sha256").digest() != digest.digest():
                raise OSError(f"the copy of {source} differs from it")
        proof.write_text(json.dumps({"size": copy.stat().st_size, "sha256": digest.hexdigest(), "source": str(source)}))
    except OSError:
        shutil.rmtree(copy.parent, ignore_errors=True)
        raise
    log.info("copied %s to %s", source, copy)


def _make_room(folder: Path, size: int) -> bool:
    """Remove unused copies, the least recently used first, until `size` bytes fit; whether they do."""
    others = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=lambda entry: entry.stat().st_mtime)
    while shutil.disk_usage(folder).free < size + SPARE:
        if not others:
            return False
        oldest = others.pop(0)
        if not _is_used(oldest):
            log.info("removing %s, unused for longest", oldest)
            shutil.rmtree(oldest, ignore_errors=True)
    return True


def _use(entry: Path) -> None:
    """Mark as used by this process until it ends, and as used just now."""
    mark = (entry / "used").open("ab")
    fcntl.flock(mark, fcntl.LOCK_SH)
    _in_use.append(mark)
    os.utime(entry)


def _is_used(entry: Path) -> bool:
    try:
        with (entry / "used").open("rb") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; flock is good enough on a local disk, and ends with the process."""
    with (folder / "lock").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
