"""The signals by which schedulers end jobs, passed on to the processes that can save."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]  # Snakemake depends on it

_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)


class PassedOn:
    """A context in which SIGTERM, SIGUSR1 and SIGUSR2 go to a command and are remembered.

    A command that is started inside it ignores the warnings until it handles them itself: Slurm may send them to every
    process of a job, and neither Snakemake nor a stage that cannot save should die of one.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._send: Callable[[int], object] | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> PassedOn:
        for number in _WARNINGS:
            self._previous[number] = signal.signal(number, signal.SIG_IGN)
        # which would end this process, and leave the command that it is starting behind
        self._previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._pass_on)
        return self

    def to(self, send: Callable[[int], object]) -> None:
        """Call `send` with each signal from now on, and with a SIGTERM that came while the command was started."""
        self._send = send
        for number in _WARNINGS:
            signal.signal(number, self._pass_on)
        if self.first is not None:
            send(self.first)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.first = number if self.first is None else self.first
        if self._send is not None:
            self._send(number)


def stop_dag(snakemake: subprocess.Popen[str], number: int, told: set[int]) -> None:
    """Let Snakemake start nothing more, its training stages save and leave, and the other stages end.

    Snakemake waits for the jobs that run, and the time limit does not: what it cuts off, nobody runs again. So a stage
    that does not listen to the signal (it cannot save, or has not begun to train) gets SIGTERM.

    Args:
        snakemake: the process.
        number: of the signal.
        told: process ids of the stages that got a signal; those that get it here are added.
    """
    # not print(): a handler may interrupt one; a disk that is full keeps no stage from being told
    with suppress(OSError):
        os.write(2, f"Got {signal.Signals(number).name}: training stages save and leave.\n".encode())
    children = _descendants(snakemake)
    snakemake.terminate()  # it waits for the jobs that run
    _tell(children, number, told)


def stop_late(snakemake: subprocess.Popen[str], number: int, told: set[int]) -> None:
    """The same for stages that Snakemake was just about to start: nobody else would tell them."""
    _tell([child for child in _descendants(snakemake) if child.pid not in told], number, told)


def _descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []  # it is over already


def _tell(processes: Sequence[psutil.Process], number: int, told: set[int]) -> None:
    for process in processes:
        # one that ended meanwhile must not keep the signal from the others
        with suppress(psutil.Error):
            if _is_stage(process.cmdline()):
                told.add(process.pid)
                _stop_stage(process, number)


def _is_stage(words: Sequence[str]) -> bool:
    """Whether this is the command `python [-u] -m codebase STAGE ...`."""
    return "codebase" in words[1:4] and words[words.index("codebase") - 1] == "-m"


def _stop_stage(stage: psutil.Process, number: int) -> None:
    if _listens(stage.pid, number):
        stage.send_signal(number)
        return
    # its workers would go on without it; it first, or it would call the end of its workers an error
    for process in (stage, *stage.children(recursive=True)):
        with suppress(psutil.Error):
            process.terminate()


def _listens(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal, as Linux tells; assumed where it does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, flags=re.MULTILINE)
    return found is None or bool(int(found[1], 16) >> (number - 1) & 1)
