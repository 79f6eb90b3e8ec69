"""What a job writes about itself beside its log: who runs it, since when, how it ended. Read by --wait."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from codebase.errors import EXIT_OUT_OF_TIME, EXIT_USER_ERROR, UserError
from codebase.jobs import job_id

_TIMEOUT_S = 60


def record_path(folder: Path, job: str) -> Path:
    """The record of a job."""
    return folder / f"job-{job}.json"


def run_recorded(folder: Path, requeues: int, run: Callable[[], int]) -> int:
    """Run `run` as the inside of a submitted job: keep a record, and requeue where it stopped with its state saved.

    LSF requeues by the exit code itself; Slurm is asked here. A job that was told to end (not 75) is left alone.
    """
    from codebase.files import write_json

    path = record_path(folder, job_id() or f"pid{os.getpid()}")
    attempt = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    record = {"job": job_id(), "host": socket.gethostname(), "pid": os.getpid(), "attempt": attempt}
    record |= {"argv": sys.argv[1:], "started": time.time(), "ended": None, "code": None}
    write_json(path, record)
    code: int | None = None
    try:
        code = run()
    except UserError:  # as the command line will leave with it
        code = EXIT_USER_ERROR
        raise
    finally:
        again = code == EXIT_OUT_OF_TIME and attempt < requeues
        write_json(path, record | {"ended": time.time(), "code": code, "again": again})
    if again and os.environ.get("SLURM_JOB_ID") and not os.environ.get("SUBMITIT_EXECUTOR"):
        _requeue(attempt, requeues)
    return code


def _requeue(attempt: int, requeues: int) -> None:
    print(f"Asking Slurm for attempt {attempt + 2} of at most {requeues + 1}.", file=sys.stderr, flush=True)
    argv = ["scontrol", "requeue", os.environ["SLURM_JOB_ID"]]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_S)
        said = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said:
        print(f"{' '.join(argv)}: {said}\nSubmit again to go on: the state is saved.", file=sys.stderr, flush=True)
