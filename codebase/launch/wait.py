"""Waiting for submitted jobs: how far they are, until the last one is over."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codebase.launch.record import record_path
from codebase.launch.submit import CANCEL, HERE
from codebase.status.runs import headline, lives
from codebase.status.say import say
from codebase.status.scheduler import ALIVE, Answer, JobState, ask

EXIT_LOST = 1
_EVERY_S, _EVERY_PLAIN_S = 3.0, 60.0
# to look at many runs on a slow file server takes long: most of the time nobody does
_IDLE, _LONGEST_PAUSE_S = 10, 60.0
# a job that the scheduler does not know (any more) may still be writing its record over a slow file system
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Waited:
    """One job under observation.

    Attributes:
        job: its id.
        run: root of the run that it works on; None for a single stage.
        line: what to show.
        code: its exit code once it is over.
        missing_since: when the scheduler and the record first had nothing of it.
    """

    job: str
    run: Path | None
    line: str = "submitted"
    code: int | None = None
    missing_since: float | None = None


def wait_for(via: str, jobs: Sequence[str], runs: Sequence[Path | None], folder: Path) -> dict[str, int]:
    """Wait until all jobs are over; returns the exit code of each.

    On a terminal a line a job is renewed in place; elsewhere a line is printed when a job's state changes, and now and
    then for how far it is. Ctrl-C ends the waiting, not the jobs: it says how to cancel them.
    """
    waited = [Waited(job, run) for job, run in zip(jobs, runs, strict=True)]
    screen = _Screen()
    try:
        while True:
            begun = time.monotonic()
            answer = _ask(via, jobs)
            waited = [_look(one, answer, folder) for one in waited]
            screen.show([f"{one.job}  {one.line}" for one in waited], over=all(one.code is not None for one in waited))
            if all(one.code is not None for one in waited):
                return {one.job: one.code or 0 for one in waited}
            time.sleep(max(_EVERY_S, min(_LONGEST_PAUSE_S, _IDLE * (time.monotonic() - begun))))
    except KeyboardInterrupt:
        alive = [one.job for one in waited if one.code is None]
        print(f"\nNot waiting any more; still submitted: {', '.join(alive)}", file=sys.stderr)
        print(f"To cancel: {CANCEL[via]} {' '.join(_main_ids(alive))}", file=sys.stderr)
        raise


def _ask(via: str, jobs: Sequence[str]) -> Answer:
    if via != HERE:
        return ask(jobs, "lsf" if via == "bsub" else "slurm")
    return Answer(HERE, {job: JobState(job, "RUNNING") for job in jobs if lives(int(job))})


def _main_ids(jobs: Sequence[str]) -> list[str]:
    """The ids to cancel by: an array as a whole where all of it is meant is one word, its elements another each."""
    return [f"'{job}'" if "[" in job else job for job in jobs]


def _look(one: Waited, answer: Answer, folder: Path) -> Waited:
    """The job as scheduler and record tell it now."""
    if one.code is not None:
        return one
    state, record = answer.known.get(one.job), _record(folder, one.job)
    if state is not None and state.what in ALIVE:
        far = headline(one.run) if one.run is not None and state.what == "running" else ""
        words = [state.word.lower(), *([f"({state.where})"] if state.where else []), *([far] if far else [])]
        return replace(one, line=" ".join(words), missing_since=None)
    if record is not None and record["code"] is not None and not record.get("again"):
        # where the scheduler killed it, that is the truth: the record may be of an attempt before
        code = state.code if state is not None and state.code else record["code"]
        return _over(one, int(code), state.word if state is not None else "")
    if state is not None and state.what != "lost" and not _comes_back(state, record):
        code = state.code if state.code is not None else int(state.what != "done")
        return _over(one, code or int(state.what == "failed"), state.word)
    if answer.scheduler == "" or answer.trouble:
        line = f"the scheduler does not answer: {answer.trouble or 'it is not on PATH'}"
        return replace(one, line=line, missing_since=None)
    since = one.missing_since if one.missing_since is not None else time.monotonic()
    if time.monotonic() - since > _PATIENCE_S:
        if record is not None and record["code"] is not None:
            return _over(one, int(record["code"]), "and did not come back")
        return _over(one, EXIT_LOST, "lost: the scheduler does not know it, and it left no record")
    return replace(one, line="ended, to be run again" if record else "unknown to the scheduler", missing_since=since)


def _comes_back(state: JobState, record: Mapping[str, Any] | None) -> bool:
    """Whether the scheduler is about to run it again: it ended as it does where that was asked for."""
    return record is not None and bool(record.get("again")) and state.code == record["code"]


def _over(one: Waited, code: int, word: str) -> Waited:
    said = "done" if code == 0 else f"failed with code {code}"
    return replace(one, code=code, line=f"{said}{f' ({word.lower()})' if word else ''}")


def _record(folder: Path, job: str) -> dict[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads(record_path(folder, job).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(found) if "code" in found else None


class _Screen:
    """Lines that are renewed in place on a terminal, or printed when they say something new."""

    def __init__(self) -> None:
        self._tty = sys.stdout.isatty()
        self._lines: list[str] = []
        self._printed = 0.0

    def show(self, lines: list[str], *, over: bool) -> None:
        if self._tty:
            width, height = shutil.get_terminal_size()
            shown = [line[: width - 1] for line in lines[: max(1, height - 2)]]
            up = f"\x1b[{len(self._lines)}A" if self._lines else ""
            say(up + "".join(f"\x1b[2K{line}\n" for line in shown), end="")
            self._lines = shown
        else:
            now = time.monotonic()
            due = over or now - self._printed >= _EVERY_PLAIN_S
            old = [_state(line) for line in self._lines]
            fresh = [line for line in lines if line not in self._lines and (due or _state(line) not in old)]
            if fresh:
                self._printed, self._lines = now, lines
                say("\n".join(f"{time.strftime('%H:%M:%S')} {line}" for line in fresh))


def _state(line: str) -> str:
    """A job and its state without how far it is."""
    return " ".join(line.split()[:2])
