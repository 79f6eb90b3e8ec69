"""Running here: from a terminal, or as the end of a job that was submitted."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from codebase.config import read_config
from codebase.errors import EXIT_OUT_OF_TIME, EXIT_USER_ERROR, UserError
from codebase.failures import tail, wants_a_person
from codebase.launch.options import budget
from codebase.launch.plan import Plan, config_of, cores_of, dag_argv, gpus_here, gpus_of, stage_words
from codebase.launch.signals import PassedOn, stop_dag, stop_late
from codebase.launch.sweep import table
from codebase.paths import Paths
from codebase.shared_data import MARKERS
from codebase.status.say import say

UP_TO_DATE = "Nothing to be done"
EXIT_SIGNAL = 128
# of a run that was told to stop: its time is over, or somebody ended it
_STOPPED = (EXIT_OUT_OF_TIME, EXIT_SIGNAL + signal.SIGTERM)
_ROOM = 64 << 10
_LOOK_S = 2.0


def run_here(options: argparse.Namespace, stages: Mapping[str, bool]) -> int:
    """Run the words of the command line on this machine; returns the exit code.

    75 only where a time limit was near and the state is saved; told to end (SIGTERM), it is 143.
    """
    words = list(options.words)
    if words and words[0].replace("-", "_") in stages:
        words = stage_words(options, words, stages[words[0].replace("-", "_")])
        say(shlex.join(["python", "-m", "codebase", *words]))
        return 0 if options.dry_run else run_command([sys.executable, "-m", "codebase", *words])
    _require_gpus(options)
    config, overrides = config_of(words)
    return run_dag(options, config, overrides)


def run_sweep_here(options: argparse.Namespace, plan: Plan, config: Path, overrides: Sequence[str]) -> int:
    """Run the points of a sweep one after the other; one that fails does not keep the others from running.

    One that was told to stop does, and all of them share the time budget.
    """
    assert plan.sweep is not None  # noqa: S101 - the caller asks for a sweep
    _require_gpus(options)
    codes: list[int] = []
    begun = time.monotonic()
    if plan.sweep.needs_data:
        say(f"First the data that all points share, in {plan.sweep.data}:")
        if code := run_dag(options, config, overrides, until="data"):
            return code
    for number, point in enumerate(plan.sweep.points, start=1):
        left = _time_left(options, begun)
        if left.time_budget is not None and left.time_budget <= 0:
            codes.append(EXIT_OUT_OF_TIME)
        if codes and codes[-1] in _STOPPED:
            count = len(plan.sweep.points) + 1 - number
            print(f"{count} of {len(plan.sweep.points)} runs have not begun.", file=sys.stderr)
            break
        say(f"Run {number} of {len(plan.sweep.points)}: {point.name}")
        codes.append(run_dag(left, config, [*overrides, *point.overrides]))
    if not options.dry_run:
        say(table_text(*table(plan.folder)))
    return max(codes)


def _time_left(options: argparse.Namespace, begun: float) -> argparse.Namespace:
    """The options, with what is left of the time budget, if there is one."""
    if options.time_budget is None:
        return options
    return argparse.Namespace(**vars(options) | {"time_budget": options.time_budget - (time.monotonic() - begun)})


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, the first left, the others right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def run_dag(options: argparse.Namespace, config: Path, overrides: Sequence[str], *, until: str | None = None) -> int:
    """The whole DAG of one config, or the part of it that `until` or the options name."""
    paths = Paths(read_config(config, overrides))
    targets = _targets(paths, until or options.until)
    more = ["--nolock"] if options.nolock or _restarted() else []
    argv = dag_argv(config, overrides, cores=cores_of(options), gpus=gpus_of(options), more=more, targets=targets)
    say(shlex.join(argv))
    if options.dry_run:
        return 0
    _require_cache()
    code, logs, idle = follow([sys.executable, *argv[1:]], environment(), options.time_budget)
    if code:
        return _failed(code, logs, goes_on=bool(options.sweep))
    say("Everything is up to date: nothing had to run." if idle else "Done.")
    if not targets:
        say(f"  report:  {paths.report}\n  metrics: {paths.metrics}")
    return 0


def _targets(paths: Paths, until: str | None) -> tuple[str, ...]:
    """The markers of the checks behind what is wanted; none for all."""
    names = {None: (), "data": MARKERS}.get(until, (until,))
    return tuple(str(path) for name in names if name for path in paths.markers(name))


def _failed(code: int, logs: Sequence[Path], *, goes_on: bool) -> int:
    """The exit code: 2 where a job's last words are an error for people. Snakemake's onerror has repeated them.

    Such an error another attempt would meet again, also where the time was over; only a sweep, which `goes_on` after
    an error, must know that it was told to stop.
    """
    if any(wants_a_person(tail(log)) for log in logs) and not (goes_on and code in _STOPPED):
        code = EXIT_USER_ERROR
    if code == EXIT_OUT_OF_TIME:
        print("Stopped before the time limit; what is done is kept, and the next attempt goes on.", file=sys.stderr)
    elif logs:
        print("Finished stages are kept: mend the cause and run the same command again.", file=sys.stderr)
    return code


def run_command(argv: Sequence[str], folder: Path | None = None) -> int:
    """Run one command, with the signals that a scheduler sends passed on to it; returns the exit code.

    Args:
        argv: the command.
        folder: where it runs; None: here.
    """
    with PassedOn() as signals:
        process = subprocess.Popen(argv, env=environment(), cwd=folder)
        signals.to(process.send_signal)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            # the terminal sent the command the same signal: let it save
            process.wait()
            raise
    if signals.first == signal.SIGTERM and code:
        return EXIT_SIGNAL + signal.SIGTERM
    return code if code >= 0 else EXIT_SIGNAL - code


def follow(
    argv: Sequence[str], environment: Mapping[str, str], time_budget: float | None = None
) -> tuple[int, list[Path], bool]:
    """Run Snakemake, pass on what it says; returns exit code, logs of failed jobs, and whether nothing had to run.

    Args:
        argv: the command.
        environment: of the command.
        time_budget: wall time in seconds; before its end the training stages are told to save and leave.
    """
    logs: dict[Path, None] = {}
    idle = False
    heard = threading.Event()

    def hear(process: subprocess.Popen[str]) -> None:
        nonlocal idle
        assert process.stderr is not None  # noqa: S101 - PIPE was asked for
        for line in process.stderr:
            # a full disk, or `| head`: whatever becomes of the line, Snakemake must not wait for a reader
            with suppress(OSError):
                sys.stderr.write(line)
            idle |= line.startswith(UP_TO_DATE)
            if found := re.match(r"\s+log: (.+?) \(check log file", line):
                logs.update({Path(name): None for name in found[1].split(", ")})
        heard.set()

    with PassedOn() as signals:
        process = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True, errors="replace")
        told: set[int] = set()
        signals.to(lambda number: stop_dag(process, number, told))
        # in a thread, which no signal interrupts: what was read and not yet passed on would be lost
        threading.Thread(target=hear, args=(process,), daemon=True).start()
        # not before: the end of a very short time would find nobody who passes it on
        with _alarm(time_budget):
            try:
                # not join(): in Python 3.11 a thread whose join was interrupted counts as ended
                while not heard.wait(_LOOK_S):
                    if signals.first is not None:
                        stop_late(process, signals.first, told)
            except KeyboardInterrupt:
                # the terminal sent Snakemake the same signal: let it stop its jobs, and say so
                heard.wait()
                process.wait()
                raise
            process.wait()
    return _code_of_dag(process.returncode, signals.first), list(logs), idle


def _code_of_dag(code: int, first: int | None) -> int:
    """The exit code of a Snakemake that may have been told to stop by the signal `first`; its own does not tell."""
    if code == 0 or first is None:
        return code if code >= 0 else EXIT_SIGNAL - code
    return EXIT_SIGNAL + signal.SIGTERM if first == signal.SIGTERM else EXIT_OUT_OF_TIME


@contextmanager
def _alarm(time_budget: float | None) -> Iterator[None]:
    """Warns this process itself before its time is over: a scheduler's signal may come late, or not at all."""
    if time_budget is None:
        yield
        return
    timer = threading.Timer(budget(time_budget), os.kill, (os.getpid(), signal.SIGUSR2))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def environment() -> dict[str, str]:
    """The environment of a command: this process's, with its Python first on PATH."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _restarted() -> bool:
    """Whether a scheduler runs this job again: what locked the folder is gone."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0 or os.environ.get("LSB_RESTART", "N").upper() == "Y"


def _require_cache() -> None:
    """Refuse to begin where Snakemake cannot copy the workflow's files: its own traceback would name no file."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "snakemake"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_ROOM))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise UserError(
            f"Snakemake cannot write its own files: {error.strerror}.",
            where=folder,
            expected="some kilobytes of room (quota -s, df -h)",
            mend="free some, or put them elsewhere: export XDG_CACHE_HOME=/scratch/$USER/cache",
        ) from None


def _require_gpus(options: argparse.Namespace) -> None:
    wanted, there = options.gpus or 0, gpus_here()
    if wanted <= there:
        return
    message = f"{wanted} GPU(s) are asked for, and this process sees {there}."
    if options.in_job:
        print(f"{message} The networks train on what is there.", file=sys.stderr)
        return
    raise UserError(
        message,
        expected="a driver that `nvidia-smi -L` knows, and CUDA_VISIBLE_DEVICES unset or naming its devices",
        mend="leave --gpus out to use what is there, or submit to a GPU queue with bsub or sbatch",
    )
