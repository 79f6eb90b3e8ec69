"""The live Slurm of the cluster tests: started in the mode that a test wants, stopped at the end.

Where it cannot start, tests are skipped with the reason, or fail where POSEMILL_SLURM=required (in CI).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # what a shell runs in the background does not hear Ctrl-C, and neither would what the tests start and interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)

SCRIPT = Path(__file__).with_name("slurm.sh")
CANNOT = 3
DONE = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "NODE_FAIL")


@dataclass(frozen=True)
class Job:
    """One job as slurmctld tells it.

    Attributes:
        id, state, partition, node: Slurm's words; `node` is empty before its start.
        rule: name of the Snakemake rule, or "".
        folder: where it was submitted.
        gpus, gpus_per_node: as it asked for them, of the job or of each of its nodes.
        memory_mb, restarts, exit_code: what it asked for, how often it was requeued, "status:signal".
        start, end: of the last start; without meaning for a job that waits.
    """

    id: str
    state: str
    partition: str
    node: str
    rule: str
    folder: Path
    gpus: int
    memory_mb: int
    restarts: int
    exit_code: str
    start: datetime
    end: datetime
    gpus_per_node: int = 0

    @property
    def over(self) -> bool:
        return self.state in DONE


def call(*argv: str, timeout: float = 60, check: bool = True) -> str:
    """A command's stdout. Clients hang while slurmctld is away, hence the timeout."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)} left with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def wait_for(what: str, question: Callable[[], object], timeout: float, every: float = 0.2) -> object:
    """Ask until the answer is true; the answer. After `timeout` seconds the test fails."""
    end = time.monotonic() + timeout
    while not (answer := question()):
        assert time.monotonic() < end, f"waited {timeout:.0f} s for {what}"
        time.sleep(every)
    return answer


def _value(line: str, key: str, default: str = "") -> str:
    found = re.search(rf"(?:^|\s){re.escape(key)}=(\S*)", line)
    return default if found is None or found[1] in ("(null)", "N/A", "Unknown", "None") else found[1]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.max


def _megabytes(text: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)([MGT]?)", text or "0").groups()  # type: ignore[union-attr]
    return round(float(number) * {"": 1, "M": 1, "G": 1024, "T": 1024**2}[unit])


def parse_job(line: str) -> Job:
    """A line of `scontrol show job --oneliner`."""
    gpus, per_node = (re.search(rf"TresPer{what}=gres:gpu:(?:[a-z]\w*:)?(\d+)", line) for what in ("Job", "Node"))
    rule = re.search(r"Comment=rule_(\w+?)(?:_wildcards_\S*)?\s", line)
    return Job(
        _value(line, "JobId"), _value(line, "JobState"), _value(line, "Partition"), _value(line, "NodeList"),
        rule[1] if rule else "", Path(_value(line, "WorkDir")), int(gpus[1]) if gpus else 0,
        _megabytes(_value(line, "MinMemoryNode")), int(_value(line, "Restarts", "0")), _value(line, "ExitCode"),
        _time(_value(line, "StartTime")), _time(_value(line, "EndTime")), int(per_node[1]) if per_node else 0,
    )  # fmt: skip


@dataclass(frozen=True)
class Slurm:
    """The cluster that runs; `accounting` says whether it has a database of finished jobs."""

    accounting: bool

    def jobs(self, folder: Path | None = None) -> list[Job]:
        """Every job that slurmctld knows (for four hours), of one folder if asked, in order of submission."""
        lines = call("scontrol", "show", "job", "--oneliner", "--all").splitlines()
        found = [parse_job(line) for line in lines if line.startswith("JobId=")]
        return sorted((job for job in found if folder in (None, job.folder)), key=lambda job: int(job.id))

    def active(self, folder: Path | None = None) -> list[Job]:
        """Those that wait, run or end just now."""
        return [job for job in self.jobs(folder) if not job.over]


def script(*words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Call slurm.sh."""
    return subprocess.run(
        ["bash", SCRIPT, *words], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
    )


class Manager:
    """Holds the one Slurm of this host in one of its two modes."""

    def __init__(self) -> None:
        self.started = False
        self.reasons: dict[bool, str] = {}

    def ensure(self, *, accounting: bool) -> Slurm:
        """It runs in this mode; otherwise the test is skipped, or fails where a Slurm is required."""
        if not self.reasons.get(accounting):
            self.reasons[accounting] = self._start(accounting=accounting)
        if self.reasons[accounting]:
            refuse = pytest.fail if os.environ.get("POSEMILL_SLURM") == "required" else pytest.skip
            refuse(f"no Slurm: {self.reasons[accounting]}")
        return Slurm(accounting)

    def _start(self, *, accounting: bool) -> str:
        """Start it, or stop ours and start it in the other mode; why that was not possible, or nothing."""
        running = script("status")
        mode, somebodys = running.stdout.partition("mode: ")[2].partition(",")[0], running.returncode == 0
        if self.started and mode != ("accounting" if accounting else "plain"):
            self.stop()
            somebodys = False
        done = script("start", *(["--accounting"] if accounting else []))
        if done.returncode:
            return done.stderr.strip() or "slurm.sh gave no reason"
        self.started |= not somebodys
        return ""

    def stop(self) -> None:
        if self.started:
            script("stop")
            self.started = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests on a live scheduler, unless `-m` speaks of them."""
    if "cluster" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("cluster")])
        items[:] = [item for item in items if not item.get_closest_marker("cluster")]


@pytest.fixture(scope="session")
def manager() -> Iterator[Manager]:
    """The keeper of the one Slurm; stops it at the end if it started it."""
    found = Manager()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def slurm(manager: Manager) -> Slurm:
    """Slurm without an accounting database; with one where POSEMILL_SLURM_ACCOUNTING says `yes`."""
    return manager.ensure(accounting=os.environ.get("POSEMILL_SLURM_ACCOUNTING") == "yes")


@pytest.fixture(scope="module")
def slurm_with_accounting(manager: Manager) -> Slurm:
    """Slurm with slurmdbd and MariaDB."""
    return manager.ensure(accounting=True)
