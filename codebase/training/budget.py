"""Stop before the wall: a time budget, and signals that ask for an orderly end."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

# SIGTERM: Slurm, LSF, Snakemake and Ctrl-C's batch cousins; SIGUSR1/2: warnings that sites send before the limit.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def left(seconds: float | None, begun: float) -> float | None:
    """What is left of a budget that counts from `begun` (of `time.monotonic`), below zero if it is spent.

    Reading large inputs and copying them to scratch may take longer than the margin before the time limit.
    """
    return None if seconds is None else seconds - (time.monotonic() - begun)


class Budget:
    """Answers, between two steps, whether to stop now. A context manager: inside, signals set a flag.

    Never relies on a signal alone: batch systems may send it to the shell, late, or not at all. The budget counts
    from `__enter__`; a margin of two of the slowest turns (a turn may hold a validation or a save) is kept, so that
    the turn at the end and the save after it still fit.

    Args:
        seconds: the budget; None means no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}
        self._start = self._turn = time.monotonic()
        self._slowest = 0.0

    def __enter__(self) -> Budget:
        self._start = self._turn = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C means now
        self.signal = signal.Signals(number)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the context was entered."""
        return time.monotonic() - self._start

    def turn(self) -> str | None:
        """Call once a turn of the loop; returns the reason to stop after this turn, or None."""
        now = time.monotonic()
        self._slowest, self._turn = max(self._slowest, now - self._turn), now
        return self.over()

    def begin_turn(self) -> None:
        """A turn begins now, whatever was done since the last one."""
        self._turn = time.monotonic()

    def over(self) -> str | None:
        """The reason to stop now, or None; call it instead of `turn` while waiting."""
        self.begin_turn()
        if self.signal is not None:
            return self.signal.name
        if self.seconds is not None and self.elapsed_s + 2 * self._slowest >= self.seconds:
            return f"time budget of {self.seconds:.0f} s"
        return None
