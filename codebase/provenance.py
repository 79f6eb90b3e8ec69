"""Where an artefact comes from: digests of files, versions, the commit."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from codebase import __version__


def file_digest(path: Path) -> str:
    """16 hex digits of the SHA-256 of the file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def weights_digest(*files: Path | None) -> str:
    """What the contents of files of weights add to the digest of a job's settings: nothing without any.

    Their times say nothing: an environment that is made anew installs the same weights.
    """
    return "".join(f"-{_remembered(path)}" for path in files if path is not None)


@cache
def _remembered(path: Path) -> str:
    return file_digest(path)[:12]


@cache
def git_commit() -> str:
    """The commit of the code, with "+" if the tree has changes; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def versions(*packages: str) -> dict[str, str]:
    """Versions of PoseMill, Python and the named packages."""
    found = {"posemill": __version__, "commit": git_commit(), "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in packages}
