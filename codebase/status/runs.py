"""Where each job of a run stands."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codebase.config import Config, read_config
from codebase.errors import DataError, UserError
from codebase.status.scheduler import ALIVE, Answer, JobState
from codebase.status.signs import Signs, read_signs
from codebase.status.tasks import Task, tasks

STATES = ("done", "running", "failed", "stopped", "lost?", "queued", "waiting", "not started")
# without scheduler and on another host, silence is all there is to go by; training speaks every 15 s, others every 20 s
SILENCE_S = 600.0


@dataclass(frozen=True)
class Standing:
    """One job and where it stands.

    Attributes:
        task: the job.
        state: one of STATES; `done` means that its output is there, not that it is up to date with the config.
        signs: what it left behind; None where nothing.
        why: what it waits for, why it is taken for lost, or the scheduler's word.
    """

    task: Task
    state: str
    signs: Signs | None = None
    why: str = ""


def read_run(run: Path) -> Config:
    """The config of a run's folder, or of a config file.

    Raises:
        DataError: it is neither.
    """
    if run.is_dir():
        if not (run / "config.yaml").is_file():
            raise DataError(
                "This folder is no run: it has no config.yaml.", where=run, expected="a folder such as results/mini"
            )
        config = read_config(run / "config.yaml")
        return config.model_copy(update={"results": run.parent, "name": run.name})
    return read_config(run)


def standings(config: Config, answer: Answer) -> list[Standing]:
    """Where each job of the run stands, by its files and by what the scheduler answered."""
    found: list[Standing] = []
    unfinished: set[str] = set()
    queue = _queue(answer)
    for task in tasks(config):
        standing = _stand(task, answer, queue.get((task.rule, task.wildcards)), unfinished)
        found.append(standing)
        if standing.state != "done":
            unfinished.add(task.rule)
    return found


def _stand(task: Task, answer: Answer, queued: JobState | None, unfinished: Iterable[str]) -> Standing:
    signs = read_signs(task.log, task.run_dir)
    if task.output.exists():
        return Standing(task, "done", signs)
    # where it ended well, its output was deleted since, to be made again
    if signs is not None and signs.ended != "done":
        state, why = _judge(signs, answer)
        if state != "running" and queued is not None:
            return Standing(task, "queued", signs, f"job {queued.job}, {queued.word.lower()} {queued.where}".rstrip())
        return Standing(task, state, signs, why)
    if queued is not None:
        return Standing(task, "queued", None, f"job {queued.job}, {queued.word.lower()} {queued.where}".rstrip())
    first = [rule for rule in task.after if rule in unfinished]
    return Standing(task, "waiting", None, f"for {', '.join(first)}") if first else Standing(task, "not started")


def _judge(signs: Signs, answer: Answer) -> tuple[str, str]:
    """The state of a job that began and has not written its output."""
    if signs.ended:
        return ("stopped" if signs.ended == "out of time" else "failed"), signs.ended
    # another scheduler's number means nothing to this one
    asked = bool(signs.job) and signs.scheduler in ("", answer.scheduler)
    state = answer.known.get(signs.job) or answer.known.get(f"{signs.job}[0]")
    if asked and state is not None:
        if state.what in ALIVE:
            return ("running", state.word) if state.what == "running" else ("queued", f"{state.word} again")
        return (
            ("lost?", "the host is out of contact") if state.what == "lost" else ("failed", f"{state.word} (killed?)")
        )
    if asked and answer.scheduler and not answer.trouble:
        return "lost?", f"the scheduler does not know job {signs.job}"
    if signs.host == socket.gethostname() and signs.pid:
        return ("running", "") if lives(signs.pid) else ("failed", "its process is gone, without a last word: killed?")
    silent = time.time() - signs.seen
    return ("running", "") if silent < SILENCE_S else ("lost?", "no sign of life, and nobody to ask")


def lives(pid: int) -> bool:
    """Whether a process of this machine runs; one that is over and not yet collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            not in "ZX"
        )
    except OSError:
        return True


def _queue(answer: Answer) -> dict[tuple[str, str], JobState]:
    """The waiting jobs of Snakemake's executors, by rule and wildcards: Slurm's comment or LSF's name of the job."""
    here = str(Path.cwd())
    waiting = [one for one in answer.known.values() if one.what == "waiting" and one.folder in ("", here)]
    return {_rule_of(one.comment): one for one in reversed(waiting)}


def _rule_of(comment: str) -> tuple[str, str]:
    """Rule and values of the wildcards, joined by `_`, that a profile's executor puts into what the scheduler shows.

    rule_crops_wildcards_9 (Slurm), Snakemake_rule_embed_rival:encoder=a,subject=9___(uuid) (LSF; a `/` of a value is
    `___`), posemill_crops:subject=9 (lsf-generic).
    """
    name = comment.partition("___(")[0]
    rule, _, given = name.partition(":")
    if given:
        wildcards = "_".join(word.partition("=")[2] for word in given.split(",")).replace("___", "_").replace("/", "_")
    else:
        rule, _, wildcards = name.partition("_wildcards_")
    return re.sub("^(?:(?:Snakemake_)?rule_|posemill_)", "", rule), wildcards


def unfinished_jobs(configs: Iterable[Config]) -> tuple[list[str], str]:
    """The jobs that the runs' logs name and that may still run, and their scheduler (empty: unknown)."""
    unfinished = [task for config in configs for task in tasks(config) if not task.output.exists()]
    found = [signs for task in unfinished if (signs := read_signs(task.log, task.run_dir)) is not None and signs.job]
    schedulers = [signs.scheduler for signs in found if signs.scheduler]
    return [signs.job for signs in found if not signs.ended], schedulers[-1] if schedulers else ""


def headline(root: Path) -> str:
    """How far a run is, in a few words; no question to the scheduler. Empty where it has not begun."""
    try:
        found = standings(read_run(root), Answer())
    except UserError:
        return ""
    running = [one for one in found if one.state == "running"]
    done = sum(one.state == "done" for one in found)
    return ", ".join(
        [f"{done} of {len(found)} done", *(f"{_label(one.task)} {how_far(one.signs)}".strip() for one in running)]
    )


def _label(task: Task) -> str:
    return task.rule if task.name == "all" else f"{task.rule} {task.name}"


def how_far(signs: Signs | None) -> str:
    """`340 of 850 (40 %), 3.2 a second, 2 min left, loss 0.123`, as far as it is known."""
    if signs is None or signs.step is None or not signs.steps:
        return ""
    parts = [f"{signs.step} of {signs.steps} ({100 * signs.step // signs.steps} %)"]
    parts += [f"{signs.rate:.3g} a second"] if signs.rate else []
    parts += [f"{duration(signs.seconds_left)} left"] if signs.seconds_left is not None else []
    loss = main_loss(signs.losses or {})
    return ", ".join([*parts, *([f"{loss[0]} {loss[1]:.4g}"] if loss else [])])


def main_loss(losses: Mapping[str, float | None]) -> tuple[str, float] | None:
    """The figure named loss, or the first that is there."""
    there = {name: value for name, value in losses.items() if value is not None}
    name = "loss" if "loss" in there else next(iter(there), "")
    return (name if name == "loss" else f"loss {name}", there[name]) if name else None


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for unit, size in (("d", 86400), ("h", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def runs_in(folder: Path) -> Sequence[Path]:
    """Folders of runs, the one that changed last first."""
    found = [path.parent for path in folder.glob("*/config.yaml")]
    return sorted(found, key=lambda run: -max(map(_changed, (run, *run.glob("logs"), *run.glob("logs/*")))))


def _changed(path: Path) -> float:
    """When it changed last; long ago for what is gone meanwhile, or a link to nothing."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
