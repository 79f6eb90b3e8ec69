"""What submitit pickles: this class by its name, and a list of strings. The state of a run is on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
from types import FrameType
from typing import Any

from codebase.errors import EXIT_OUT_OF_TIME

LIMIT = "POSEMILL_REQUEUES"  # variable of the job's environment: attempts after the first
_KILLED = 128


class Carried:
    """Runs an argv as a job of submitit.

    Before the time limit, and where a site warns before it preempts, submitit gets SIGUSR2: it calls `checkpoint`,
    which lets the command save and leave, and requeues the job. The same happens when the command leaves with 75 (its
    own time budget is over). SIGTERM is passed on and asks for nothing: a preempted job comes back by Slurm's hand, a
    cancelled one stays away.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_end = False

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    def __call__(self, argv: list[str]) -> int:
        """Run it; returns 0, and leaves the process with the command's code otherwise."""
        signal.signal(signal.SIGTERM, self._end)
        code = self._run(argv)
        while code == EXIT_OUT_OF_TIME and not self._told_to_end and attempts_left():
            if os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
                signal.raise_signal(signal.SIGUSR2)  # submitit's handler: checkpoint, requeue, leave
            _count_attempt()
            code = self._run(argv)
        if code:
            raise SystemExit(code if code > 0 else _KILLED - code)
        return code

    def checkpoint(self, argv: list[str]) -> object:
        """Let the command save; returns what to submit again, or None where it may not be."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR2)
            # not wait(): this runs in a signal's handler, inside the wait() below
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Carried(), argv) if attempts_left() else None

    def _run(self, argv: list[str]) -> int:
        with subprocess.Popen(argv) as process:
            self._process = process
            if self._told_to_end:  # while it was being started
                process.terminate()
            return process.wait()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._told_to_end = True
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)


def attempts_left() -> int:
    """How often this job may be run again; Slurm counts preemptions, too, of which there may be more."""
    return max(0, int(os.environ.get(LIMIT, "20")) - int(os.environ.get("SLURM_RESTART_COUNT", "0")))


def _count_attempt() -> None:
    """Without a scheduler that counts, count here."""
    os.environ["SLURM_RESTART_COUNT"] = str(int(os.environ.get("SLURM_RESTART_COUNT", "0")) + 1)
