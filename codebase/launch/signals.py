"""The signals by which schedulers end jobs, passed on to the processes that can save."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from types import FrameType

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
    """Let Snakemake start nothing more, and its training stages save and leave."""
    import psutil  # type: ignore[import-untyped]  # Snakemake depends on it

    # not print(): a handler may interrupt one
    os.write(2, f"Got {signal.Signals(number).name}: training stages save and leave.\n".encode())
    try:
        children = psutil.Process(snakemake.pid).children(recursive=True)
        snakemake.terminate()  # it waits for the jobs that run
        for child in children:
            if any(word.startswith("train-") for word in child.cmdline()[:5]):
                child.send_signal(number)
    except psutil.Error:
        return  # it is over already
