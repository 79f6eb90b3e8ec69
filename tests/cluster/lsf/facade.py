"""The commands of LSF that PoseMill and Snakemake's plugin call, carried out by a Slurm that runs. For tests only.

What it proves: that our lines, read as we read LSF's manual pages, ask for the right cores, memory, minutes and GPUs;
that real jobs start, are killed and end by them; and that Snakemake's plugin, our profiles and `launch` take the
answers as they should. What it does not prove: LSF. Texts and exit codes are written after the documentation of LSF
10.1 and logs that people published; what the manual leaves open, a site's esub scripts, the limits of its queues, the
signals before a run limit and its way of counting memory are not imitated.

It is strict: an option that our callers do not send is refused, as LSF refuses one that it does not know. A job's
memory is the `rusage` of a core times the cores, and is enforced (LSF reserves it, and kills by -M or where the site
says so).

State: $LSF_FACADE, a folder: `jobs/ID.json`, `conf/` (what badmin points to), `lost` (see `lose`), `calls` (every
command line).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

CLUSTER = "facade"
QUEUES = ("gpu", "urgent", "cpu")
DEFAULT_QUEUE = "gpu"
REFUSED = 255
# Slurm's states as LSF's; a lost host (UNKWN) is made by `lose`
STATES = {
    "PENDING": "PEND", "CONFIGURING": "PEND", "REQUEUED": "PEND", "REQUEUE_HOLD": "PSUSP", "RUNNING": "RUN",
    "COMPLETING": "RUN", "SUSPENDED": "SSUSP", "COMPLETED": "DONE",
}  # fmt: skip


class Refusal(SystemExit):
    """Leaves with a message on stderr, as LSF's commands do."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        sys.stderr.write(message + "\n")
        super().__init__(code)


@dataclass
class Record:
    """What LSF would know of a job beside its state; `id` is Slurm's number, and so LSF's here."""

    id: str
    name: str
    queue: str
    project: str
    command: str
    folder: str
    elements: int = 0

    def save(self) -> None:
        path = root() / "jobs" / f"{self.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)))


def root() -> Path:
    """The facade's folder."""
    name = os.environ.get("LSF_FACADE")
    if not name:
        raise Refusal("The facade of LSF needs $LSF_FACADE, a folder of its own.")
    return Path(name)


def note_call() -> None:
    """Keep the command line, for tests to read; one write, so that lines of parallel calls do not mix."""
    root().mkdir(parents=True, exist_ok=True)
    line = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with (root() / "calls").open("a") as log:
        log.write(line + "\n")


def record(number: str) -> Record | None:
    path = root() / "jobs" / f"{number}.json"
    return Record(**json.loads(path.read_text())) if path.is_file() else None


def records() -> list[Record]:
    return [Record(**json.loads(path.read_text())) for path in sorted((root() / "jobs").glob("*.json"))]


def slurm(*argv: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Call Slurm; its clients hang while the controller is away, as LSF's say `please wait` and do."""
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def states(number: str) -> list[tuple[int, str, str, str]]:
    """Index (0: no array), LSF's state, exit code and host of each element that there is of a job."""
    found = slurm("squeue", "-h", "-r", "-t", "all", "-j", number, "-o", "%i|%T|%N")
    rows = []
    for line in found.stdout.splitlines():
        job, word, node = line.split("|")
        index = int(job.partition("_")[2] or 0)
        state = STATES.get(word, "EXIT")
        rows.append((index, state, _exit_code(job) if state == "EXIT" else "-", node or "-"))
    return rows


def _exit_code(job: str) -> str:
    shown = slurm("scontrol", "show", "job", "--oneliner", job).stdout
    code, _, signal = shown.partition(" ExitCode=")[2].split(" ")[0].partition(":")
    return str(128 + int(signal)) if signal.isdigit() and int(signal) else code or "1"


def lost(name: str) -> str | None:
    """What happens to a job of this name in place of its work: None for a sound host. One job a line of `lost`."""
    path = root() / "lost"
    lines = path.read_text().splitlines() if path.is_file() else []
    for place, line in enumerate(lines):
        pattern, _, command = line.partition("\t")
        if pattern in name:
            path.write_text("\n".join(lines[:place] + lines[place + 1 :]))
            return command or "true"
    return None


def write_configuration() -> Path:
    """The files that `badmin showconf` points to."""
    conf = root() / "conf"
    params = conf / "lsbatch" / CLUSTER / "configdir" / "lsb.params"
    params.parent.mkdir(parents=True, exist_ok=True)
    params.write_text(f"Begin Parameters\nDEFAULT_QUEUE = {DEFAULT_QUEUE}   # of this facade\nEnd Parameters\n")
    events = root() / "share" / CLUSTER / "logdir" / "lsb.events"
    events.parent.mkdir(parents=True, exist_ok=True)
    events.touch()
    return conf


def now() -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y")
