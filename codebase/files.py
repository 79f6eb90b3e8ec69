"""Reading and writing artefacts: atomic writes, loads that run nothing, errors that name the file."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py

from codebase.errors import DataError, UserError
from codebase.failures import disk_is_full

FULL = (errno.ENOSPC, errno.EDQUOT)
# how torch, numpy and HDF5 say that a write failed, without the reason
_WRITERS = (
    "PytorchStreamWriter",
    " requested and ",
    "unexpected pos",
    "iostream error",
    "file write failed",
    "unable to",
)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`, on failure removed.

    Raises:
        UserError: the disk is full, or a quota used up; what stood at `path` before stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files of mode 600; artefacts get what the user's umask gives any other file
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        full = _full(error, path.parent)
        if full is None:
            raise
        raise _no_room(path, temporary, full) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder last, where the file system can; a power cut forgets names, too."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _full(error: BaseException, folder: Path) -> int | None:
    """ENOSPC or EDQUOT if that is why writing failed; libraries may hide it, so another small file is tried."""
    if getattr(error, "errno", None) in FULL:
        return error.errno  # type: ignore[attr-defined]
    if not disk_is_full(error) and not any(word in str(error) for word in _WRITERS):
        return None
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as another:
        return another.errno if another.errno in FULL else None
    return errno.ENOSPC if disk_is_full(error) else None


def _no_room(path: Path, temporary: Path | None, number: int) -> UserError:
    with suppress(OSError):
        written = temporary.stat().st_size if temporary is not None else 0
        usage = shutil.disk_usage(path.parent)
        have = f"{written:,} bytes of it were written; {usage.free:,} of {usage.total:,} bytes are free"
        what = "the quota is used up" if number == errno.EDQUOT else "the disk is full"
        return UserError(
            f"The file could not be written: {what}.", where=path, expected=f"room for it: {have}",
            mend="free some (quota -s, df -h), or put results on another disk: results=/scratch/$USER/results; "
            "run again, what is finished stays",
        )  # fmt: skip
    return UserError("The file could not be written: no room is left.", where=path, mend="free some, and run again")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Append UTF-8 text; a full disk or quota is a UserError that names the file."""
    try:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(text)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_room(path, None, error.errno or errno.ENOSPC) from None


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, keys in the given order, no NaN."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON is any shape
    """Read JSON; a missing or broken file is a DataError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise missing(path) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"The file is no valid JSON: {error}", where=path) from None


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows (all with the keys of the first) as CSV, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def create_h5(path: Path, *, format_name: str, version: int = 1) -> Iterator[h5py.File]:
    """A new HDF5 file, written atomically, with `format` and `version` as attributes."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"], file.attrs["version"] = format_name, version
        yield file


@contextmanager
def open_h5(path: Path, *, format_name: str, version: int = 1) -> Iterator[h5py.File]:
    """An existing HDF5 file of the expected format.

    Raises:
        DataError: the file is missing, no HDF5, or of another format or version.
    """
    if not path.is_file():
        raise missing(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"The file is no readable HDF5: {error}", where=path, mend="delete it and run again") from None
    with file:
        found = (file.attrs.get("format"), file.attrs.get("version"))
        if found != (format_name, version):
            raise DataError(
                f"The file has format {found[0]!r} version {found[1]}.",
                where=path,
                expected=f"format {format_name!r} version {version}",
                mend="delete it and run the stage that makes it again",
            )
        yield file


def missing(path: Path, *, mend: str = "run the stage that makes it, or correct the path") -> DataError:
    """The error for a file that is not there."""
    return DataError("The file does not exist.", where=path, mend=mend)
