"""Logging for batch logs and terminals: plain lines in a file, a bar only where somebody watches."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from codebase.jobs import describe_job

T = TypeVar("T")
log = logging.getLogger("posemill")


def configure_logging(level: int = logging.INFO) -> None:
    """Log to stderr, one line a record, with the time."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname).1s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )


def log_job(argv: Sequence[str], *, commit: str, gpu_names: bool) -> None:
    """The first line of a job: host, job id, GPU, process, commit, time and command, so that a job can be found.

    `status` reads it (codebase/status/signs.py).

    Args:
        argv: what runs.
        commit: of the code.
        gpu_names: whether to ask what the visible GPUs are called; for stages that use one.
    """
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "all") or "none"
    names = _gpu_names(gpu) if gpu_names else ""
    log.info(
        "host %s, job %s, gpu %s%s, pid %d, commit %s, %s: %s",
        socket.gethostname(), describe_job(), gpu, f" ({names})" if names else "", os.getpid(), commit,
        time.strftime("%Y-%m-%dT%H:%M:%S%z"), shlex.join(argv),
    )  # fmt: skip


def log_end(how: str, seconds: float) -> None:
    """The last line of a job: `done`, `error`, `killed`, `out of time`, `interrupted` or `fault`; the error follows."""
    log.info("ended after %.1f s: %s", seconds, how)


def _gpu_names(visible: str) -> str:
    """What the driver calls the visible GPUs; asked of nvidia-smi, which makes no context on them."""
    if visible == "none" or not shutil.which("nvidia-smi"):
        return ""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    asked += [] if visible == "all" else ["-i", visible]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " + ".join(done.stdout.split("\n")).strip(" +") if done.returncode == 0 else ""


def progress(items: Iterable[T], *, total: int, what: str, every_s: float = 20.0) -> Iterator[T]:
    """Iterate with a bar on a terminal, or a plain line now and then in a batch log."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit="", leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_s or done == total:
            last = now
            log.info("%s: %d of %d, %.1f a second", what, done, total, done / max(now - start, 1e-9))
