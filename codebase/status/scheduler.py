"""What Slurm or LSF knows of the user's jobs. Each question has a time limit: clients hang without their controller."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TIMEOUT_S = 10.0
ALIVE = frozenset({"waiting", "running"})
# Slurm's and LSF's words for what a job does; any other word is an end, good or bad
_WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "PEND", "PSUSP"}
    # LSF: in a chunk behind others, and on a host that is being woken up
    | {"WAIT", "PROV"}
)
_RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
_RUNNING_LSF = frozenset({"RUN", "USUSP", "SSUSP"})
_GOOD = frozenset({"COMPLETED", "DONE"})
# how bjobs says that there are none: of all, of those that are not over, of those asked for
_NO_JOB = r"No (?:unfinished )?job found|Job <[^>]*> is not found"


@dataclass(frozen=True)
class JobState:
    """One job as its scheduler tells it.

    Attributes:
        job: id, an array's element as 17_3 (Slurm) or 17[3] (LSF).
        word: the scheduler's own.
        where: host or node, or why it waits.
        code: exit code, where it is told; 128 + n where signal n killed it.
        comment: Slurm's, in which Snakemake names the rule; LSF's name of the job.
        folder: where it was submitted, where that is told.
    """

    job: str
    word: str
    where: str = ""
    code: int | None = None
    comment: str = ""
    folder: str = ""

    @property
    def what(self) -> str:
        """`waiting`, `running`, `lost` (LSF's UNKWN and ZOMBI: host out of contact), `done` or `failed`."""
        if self.word in _WAITING:
            return "waiting"
        if self.word in _RUNNING | _RUNNING_LSF:
            return "running"
        if self.word in ("UNKWN", "ZOMBI"):
            return "lost"
        return "done" if self.word in _GOOD else "failed"


@dataclass(frozen=True)
class Answer:
    """What was asked and what came back.

    Attributes:
        scheduler: `slurm`, `lsf`, or empty where neither is on PATH.
        jobs: by id.
        trouble: why there is no full answer; empty where all is well.
    """

    scheduler: str = ""
    jobs: dict[str, JobState] | None = None
    trouble: str = ""

    @property
    def known(self) -> dict[str, JobState]:
        """The jobs, none where nobody answered."""
        return self.jobs or {}


def ask(ids: Iterable[str] = (), scheduler: str = "") -> Answer:
    """The user's jobs that wait or run, and the ends of the jobs in `ids` as far as the scheduler remembers.

    Args:
        ids: jobs whose ends are wanted, too.
        scheduler: `slurm` or `lsf`; by default the one that is on PATH (some sites of Slurm have a bjobs, too).
    """
    wanted = [job for job in ids if job]
    if scheduler != "lsf" and shutil.which("squeue"):
        return _ask_slurm(wanted)
    if scheduler != "slurm" and shutil.which("bjobs"):
        return _ask_lsf(wanted)
    return Answer()


def _call(argv: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, output, and what went wrong; 124 after the time limit."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 124, "", f"{argv[0]} did not answer within {TIMEOUT_S:.0f} s"
    except OSError as error:
        return 127, "", str(error)
    said = " ".join((done.stderr or done.stdout).split())
    return done.returncode, done.stdout, f"{argv[0]}: {said}" if done.returncode else ""


def _ask_slurm(ids: Sequence[str]) -> Answer:
    # %i of an element is 17_3 with -r; %B is the batch host, %R the nodes or the reason to wait
    code, text, trouble = _call(["squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%A|%T|%R|%k|%Z"])
    if code:
        return Answer("slurm", None, trouble)
    jobs: dict[str, JobState] = {}
    for line in text.splitlines():
        if (found := parse_squeue(line)) is not None:
            # an element of an array has a number of its own, too
            jobs |= {found.job: found, line.split("|")[1]: found}
    over = [job for job in ids if job not in jobs or jobs[job].what not in ALIVE]
    ends, trouble = _ends(over)
    return Answer("slurm", jobs | ends, trouble)


def parse_squeue(line: str) -> JobState | None:
    """A line of `squeue -o "%i|%A|%T|%R|%k|%Z"`."""
    parts = line.split("|")
    if len(parts) < 6:
        return None
    job, _, word, where, *comment, folder = parts
    reason = "" if where in ("(null)", "(None)") else where.strip("()")
    found = "|".join(comment)
    return JobState(job, word, reason, None, "" if found == "(null)" else found, folder)


def _ends(ids: Sequence[str]) -> tuple[dict[str, JobState], str]:
    """How jobs ended: from the controller while it remembers, else from the accounting database; and its trouble.

    A database that does not answer is no trouble: many sites have none, and their sacct hangs.
    """
    found: dict[str, JobState] = {}
    trouble = ""
    for job in ids:
        code, text, said = _call(["scontrol", "show", "job", "--oneliner", job])
        if code == 0 and (state := parse_scontrol(job, text)) is not None:
            found[job] = state
        elif code and not re.search("invalid job id", said, flags=re.IGNORECASE):
            trouble = said
        if code == 124:
            return found, trouble
    missing = [job for job in ids if job not in found]
    if missing and shutil.which("sacct"):
        code, text, _ = _call(
            ["sacct", "-n", "-X", "-P", "-o", "JobID,State,ExitCode,NodeList", "-j", ",".join(missing)]
        )
        rows = [line.split("|") for line in text.splitlines()] if code == 0 else []
        found |= {row[0]: JobState(row[0], row[1].split()[0], row[3], _code(row[2])) for row in rows if len(row) == 4}
    return found, trouble if set(ids) - set(found) else ""


def parse_scontrol(job: str, text: str) -> JobState | None:
    """A line of `scontrol show job --oneliner`."""
    values = dict(re.findall(r"(\w+)=(\S*)", text.splitlines()[0] if text.strip() else ""))
    if "JobState" not in values:
        return None
    where = values.get("NodeList", "")
    return JobState(job, values["JobState"], "" if where == "(null)" else where, _code(values.get("ExitCode", "")))


def _code(text: str) -> int | None:
    """Of Slurm's `code:signal`."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    return None if not found else (128 + int(found[2]) if int(found[2]) else int(found[1]))


def _ask_lsf(ids: Sequence[str]) -> Answer:
    # with numbers bjobs tells of these alone, so first all that there are
    answer = _bjobs()
    known = {job.partition("[")[0] for job in answer.known}
    missing = [number for number in dict.fromkeys(job.partition("[")[0] for job in ids) if number not in known]
    if answer.trouble or not missing:
        return answer
    more = _bjobs(*missing)
    return Answer("lsf", answer.known | more.known, more.trouble)


def _bjobs(*numbers: str) -> Answer:
    """The user's jobs, or those of these numbers, over or not; that LSF does not know one is an answer as well."""
    fields = "jobid jobindex stat exit_code exec_host job_name delimiter='|'"
    code, text, trouble = _call(["bjobs", "-a", "-noheader", "-o", fields, *numbers])
    if code and not text.strip():
        nothing = re.search(_NO_JOB, trouble)
        return Answer("lsf", {} if nothing else None, "" if nothing else trouble)
    found = [parse_bjobs(line) for line in text.splitlines()]
    return Answer("lsf", {state.job: state for state in found if state is not None})


def parse_bjobs(line: str) -> JobState | None:
    """A line of `bjobs -o "jobid jobindex stat exit_code exec_host job_name delimiter='|'"`."""
    parts = [part.strip() for part in line.split("|")]
    if len(parts) != 6 or not parts[0].isdigit():
        return None
    number, index, word, code, where, name = parts
    job = number if index in ("", "0", "-") else f"{number}[{index}]"
    return JobState(job, word, "" if where == "-" else where, int(code) if code.isdigit() else None, name)
