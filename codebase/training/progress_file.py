"""What a training run says of itself while it runs: `{run_dir}/progress.json`, which `status` reads."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from codebase.errors import UserError
from codebase.files import write_json
from codebase.jobs import job_id

log = logging.getLogger("posemill.train")
EVERY_S = 15.0


class ProgressFile:
    """Writes where the run stands: at each logged step, at least every EVERY_S, and when it ends.

    Keys: step, steps, steps_per_second, seconds_left, losses (the last logged figures), host, job (the scheduler's
    number or null), pid, started and updated (unix time; of this attempt), state ("running", "done" or "stopped").
    A process that was killed leaves "running" behind, and `updated` standing still.

    Args:
        run_dir: runs/{name}.
        steps: of the whole run.
        first: step at which this attempt starts.
        losses: figures that an earlier attempt logged last.
    """

    def __init__(self, run_dir: Path, steps: int, first: int, losses: Mapping[str, float]) -> None:
        self.path, self.steps, self.first, self.losses = run_dir / "progress.json", steps, first, losses
        self.started, self._clock = time.time(), time.monotonic()
        self._written = self._clock - EVERY_S

    def rate(self, step: int) -> float:
        """Steps a second in this attempt."""
        return (step - self.first) / max(time.monotonic() - self._clock, 1e-9)

    def now_and_then(self, step: int) -> None:
        """Write, unless that was done less than EVERY_S ago."""
        if time.monotonic() - self._written >= EVERY_S:
            self.write(step)

    def write(
        self,
        step: int,
        *,
        losses: Mapping[str, float] | None = None,
        state: Literal["running", "done", "stopped"] = "running",
    ) -> None:
        """Write now; `losses` replaces the figures shown so far."""
        self._written = time.monotonic()
        self.losses = self.losses if losses is None else losses
        rate = self.rate(step)
        left = (self.steps - step) / rate if rate > 0 else None
        content = {
            "step": step,
            "steps": self.steps,
            "steps_per_second": round(rate, 3),
            "seconds_left": None if left is None else round(left, 1),
            "losses": {name: value if math.isfinite(value) else None for name, value in self.losses.items()},
            "host": socket.gethostname(),
            "job": job_id() or None,
            "pid": os.getpid(),
            "started": round(self.started, 3),
            "updated": round(time.time(), 3),
            "state": state,
        }
        try:
            write_json(self.path, content)
        except (OSError, UserError) as error:  # it only informs: what matters is written elsewhere, and fails there
            log.warning("%s could not be written: %s", self.path, error)
