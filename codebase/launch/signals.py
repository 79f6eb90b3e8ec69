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
        return self

    def to(self, send: Callable[[int], object]) -> None:
        """Call `send` with each signal from now on."""
        self._send = send
        for number in (*_WARNINGS, signal.SIGTERM):
            previous = signal.signal(number, self._pass_on)
            self._previous.setdefault(number, previous)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.first = number if self.first is None else self.first
        if self._send is not None:
            self._send(number)


def stop_dag(snakemake: subprocess.Popen[str], number: int) -> None:
    """Let Snakemake start nothing more, its training stages save and leave, and the other stages end.

    Snakemake waits for the jobs that run, and the time limit does not: what it cuts off, nobody runs again. So a stage
    that does not listen to the signal (it cannot save, or has not begun to train) gets SIGTERM.
    """
    # not print(): a handler may interrupt one
    os.write(2, f"Got {signal.Signals(number).name}: training stages save and leave.\n".encode())
    try:
        children = psutil.Process(snakemake.pid).children(recursive=True)
    except psutil.Error:
        return  # it is over already
    snakemake.terminate()  # it waits for the jobs that run
    for child in children:
        # one that ended meanwhile must not keep the signal from the others
        with suppress(psutil.Error):
            if _is_stage(child.cmdline()):
                _stop_stage(child, number)


def _is_stage(words: Sequence[str]) -> bool:
    """Whether this is the command `python [-u] -m codebase STAGE ...`."""
    return "codebase" in words[1:4] and words[words.index("codebase") - 1] == "-m"


def _stop_stage(stage: psutil.Process, number: int) -> None:
    if _listens(stage.pid, number):
        stage.send_signal(number)
        return
    # its workers would go on without it
    for process in (*stage.children(recursive=True), stage):
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
