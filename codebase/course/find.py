"""The checkpoint that a command line names; free of torch, so that a wrong name is said at once."""

from __future__ import annotations

import http.client
import urllib.request
from pathlib import Path

from codebase.errors import DataError
from codebase.files import atomic_path

_FETCH_S = 60


def find_model(name: Path, folder: Path) -> Path:
    """The checkpoint `name`: a path, a name in `folder`, or an http(s) address, which is fetched into it.

    Raises:
        DataError: there is none; the message lists those that exist in `folder`.
    """
    address = str(name)
    if address.startswith(("http:", "https:")):
        return _fetch(address if "://" in address else address.replace(":/", "://", 1), folder)
    for candidate in (name, folder / name):
        if candidate.is_file():
            return candidate
    found = sorted(folder.glob("model_*.pt"), key=lambda path: (len(path.name), path.name))
    raise DataError(
        "The model file does not exist.", where=name,
        expected=f"one of those in {folder}: {', '.join(path.name for path in found) or 'none yet'}",
        mend="name one of them, or train: python train.py CONFIG",
    )  # fmt: skip


def _fetch(address: str, folder: Path) -> Path:
    target = folder / "fetched" / address.rpartition("/")[2]
    try:
        with urllib.request.urlopen(address, timeout=_FETCH_S) as answer, atomic_path(target) as temporary:  # noqa: S310
            temporary.write_bytes(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataError(f"The model file cannot be fetched: {error}", where=address, mend="name a file") from None
    return target
