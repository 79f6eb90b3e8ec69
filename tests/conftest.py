"""What all tests share: threads that do not spin, reproducible hypothesis, a copy of the repository to work in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

pytest_plugins = ["tests.cluster.scheduler"]
REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = ("workflow", "cluster_profiles", "configs", "envs")

settings.register_profile("posemill", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("posemill")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


def make_house(root: Path) -> Path:
    """A copy of what the workflow needs, in which files may be changed and results written.

    What Python and numba compiled is shared with all others (it knows its source by size and time of writing): a minute
    of processor for each house in which the whole DAG runs.
    """
    root.mkdir(parents=True)
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, root / room)
    shutil.copytree(REPOSITORY / "codebase", root / "codebase", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in {path.parent for path in (root / "codebase").rglob("*.py")}:
        compiled = REPOSITORY / folder.relative_to(root) / "__pycache__"
        compiled.mkdir(exist_ok=True)
        (folder / "__pycache__").symlink_to(compiled)
    shutil.copy(REPOSITORY / "Snakefile", root)
    (root / "assets").symlink_to(REPOSITORY / "assets")
    return root


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the repository's working parts, for one test."""
    return make_house(tmp_path / "house")


def run_in(folder: Path, *argv: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `python -m ...` in a folder; the output is captured, the exit code is the caller's to judge."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE")}
    return subprocess.run(
        [sys.executable, "-m", *argv], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture
def in_house(house: Path) -> Run:
    """Run `python -m ...` in the copy of the repository."""
    return lambda *argv, timeout=120: run_in(house, *argv, timeout=timeout)
