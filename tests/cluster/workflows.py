"""Snakemake on a cluster, as a user runs it: in a house, by the name of a profile that a small site file changes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml
from conftest import REPOSITORY, make_house

from tests.cluster.scheduler import Slurm

TINY = REPOSITORY / "tests/data/tiny.yaml"
IMPATIENT = REPOSITORY / "tests/cluster/impatient.py"
# patience for one job on a slow and busy machine
LONG = 500.0
SITE = {"latency-wait": 20, "jobs": 8}
WITHOUT_ACCOUNTING = {"slurm-status-command": "squeue", "slurm-no-account": True}
WITH_ACCOUNT = {"default-resources": {"slurm_account": "posemill"}}


class House:
    """A copy of the repository's working parts with its own profiles, in which Snakemake runs.

    Args:
        root: folder that does not exist yet.
        slurm: the cluster, for the site file.
        site: more keys of the site file.
    """

    def __init__(self, root: Path, slurm: Slurm, **site: object) -> None:
        self.slurm, self.root, self.log = slurm, make_house(root), root / "snakemake.log"
        shutil.copy(TINY, self.root / "configs/tiny.yaml")
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("SNAKEMAKE", "SLURM"))
        }
        self.environment |= {"XDG_CONFIG_HOME": str(root / "home"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        mode = WITH_ACCOUNT if slurm.accounting else WITHOUT_ACCOUNTING
        (root / "site.yaml").write_text(yaml.safe_dump({**SITE, **mode, **site}))
        self.say("codebase", "profile", "slurm", "site.yaml")

    def say(self, *argv: str, timeout: float = 120) -> str:
        """Run `python -m ...` here to its end; its output."""
        done = subprocess.run(
            [sys.executable, "-m", *argv], cwd=self.root, env=self.environment, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *words: str, config: str = "configs/tiny.yaml") -> subprocess.Popen[bytes]:
        """`snakemake --profile slurm ...` in a process group of its own; what it says goes to `snakemake.log`."""
        argv = [sys.executable, str(IMPATIENT), "--profile", "slurm", "--configfile", config, *words]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                argv, cwd=self.root, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def finish(self, process: subprocess.Popen[bytes], timeout: float = LONG) -> None:
        """Wait for a Snakemake that must succeed; otherwise it is interrupted, so that no job of it stays."""
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            end(process)
            raise AssertionError(f"not done after {timeout:.0f} s:\n{self.said()}") from None
        assert code == 0, self.said()

    def said(self) -> str:
        """All that Snakemake said here."""
        return self.log.read_text(errors="replace")

    def processes(self, stage: str) -> list[psutil.Process]:
        """The processes `python -m codebase STAGE` that run in this house."""
        return running(self.root, stage)


def running(root: Path, stage: str) -> list[psutil.Process]:
    """The processes `python -m codebase STAGE` that run in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:4] == ["-m", "codebase", stage] and process.cwd() == str(root):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end(process: subprocess.Popen[bytes], patience: float = 60) -> None:
    """Interrupt a Snakemake, as Ctrl-C does; kill it if that takes too long."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def first_line(log: Path) -> dict[str, str]:
    """What a job says about itself at its start: host, job, gpu, and the command."""
    line = next(line for line in log.read_text().splitlines() if re.search(r"\bhost ", line))
    found = re.search(r"\bhost (?P<host>[^,]+), job (?:[a-z]+ )?(?P<job>\d+), gpu (?P<gpu>.+?), pid", line)
    assert found is not None, line
    return found.groupdict() | {"line": line}


def history(run: Path) -> list[int]:
    """The steps of a run's history.jsonl, in the order of writing; an unreadable line fails the test."""
    return [int(json.loads(line)["step"]) for line in (run / "history.jsonl").read_text().splitlines()]


@contextmanager
def written_by(run: Path) -> Iterator[list[int]]:
    """Watch who writes a run's folder; the list fills with the pids that its progress.json names, at each change."""
    pids: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            with suppress(OSError, ValueError):
                pid = json.loads((run / "progress.json").read_text())["pid"]
                if pids[-1:] != [pid]:
                    pids.append(pid)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield pids
    finally:
        over.set()
        thread.join()
