"""Logging for batch logs and terminals: plain lines in a file, a bar only where somebody watches."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

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


def log_job(argv: Sequence[str]) -> None:
    """The first line of a job: host, job id, device and command, so that a failed job can be found."""
    job = next((os.environ[k] for k in ("LSB_JOBID", "SLURM_JOB_ID") if os.environ.get(k)), "none")
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
    log.info("host %s, job %s, gpu %s: %s", socket.gethostname(), job, devices, shlex.join(argv))


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
