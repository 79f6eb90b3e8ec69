"""Signs of life that a job leaves behind: first and last line of its log, and a training run's progress.json."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codebase.failures import last_lines, stopped_message, tail, user_message

# as codebase.logs.log_job and log_end write them
_FIRST = re.compile(
    r"host (?P<host>\S+), job (?P<job>none|(?:slurm|lsf) [^,]+), gpu (?P<gpu>.*?), pid (?P<pid>\d+),"
    r" commit (?P<commit>\S+), (?P<time>\S+): "
)
_LAST = re.compile(r"^\S+ \w ended after [\d.]+ s: (?P<how>.+)$", flags=re.MULTILINE)
_BAR = re.compile(
    r"^\S+ \w (?P<what>.+): (?P<step>\d+) of (?P<steps>\d+), (?P<rate>[\d.]+) a second", flags=re.MULTILINE
)
_HEAD_BYTES = 8192
# what progress.json calls it, in the words of a log's last line
_ENDS = {"done": "done", "stopped": "out of time"}


@dataclass(frozen=True)
class Signs:
    """What is known of a job from its files.

    Attributes:
        host, scheduler, job, pid: who runs it; the job's id as the scheduler's commands take it.
        ended: how it ended, in its own words; empty while it runs, and where it was killed.
        seen: unix time of its last sign of life.
        message: the error for people at its end, or its last lines where it failed otherwise.
        step, steps, rate, seconds_left, losses: how far it is, as far as it tells.
    """

    host: str = ""
    scheduler: str = ""
    job: str = ""
    pid: int = 0
    ended: str = ""
    seen: float = 0.0
    message: str = ""
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    losses: dict[str, float] | None = None


def read_signs(log: Path, run_dir: Path | None) -> Signs | None:
    """What a job left behind; None where there is no log and no progress."""
    progress, text = _progress(run_dir), tail(log)
    if not progress and not log.is_file():
        return None
    values: dict[str, Any] = _of_log(log, text)
    if progress:
        # a run by hand has no log of the workflow, or an older one
        if not values.get("host") or float(progress.get("started") or 0) > values["seen"]:
            values = {"seen": 0.0, "host": progress["host"], "job": progress.get("job") or ""}
            values |= {"pid": int(progress.get("pid") or 0), "ended": _ENDS.get(str(progress.get("state")), "")}
        values["seen"] = max(values["seen"], float(progress["updated"]))
        named = {key: progress.get(key) for key in ("step", "steps", "seconds_left", "losses")}
        values |= named | {"rate": progress.get("steps_per_second")}
    return Signs(**values)


def _of_log(log: Path, text: str) -> dict[str, Any]:
    try:
        seen = log.stat().st_mtime
        with log.open("rb") as handle:
            first = _FIRST.search(handle.read(_HEAD_BYTES).decode("utf-8", errors="replace"))
    except OSError:
        return {}
    values: dict[str, Any] = {"seen": seen}
    if first:
        scheduler = "" if first["job"] == "none" else first["job"].split()[0]
        values |= {"host": first["host"], "scheduler": scheduler}
        values |= {"job": plain_id(first["job"]), "pid": int(first["pid"])}
    if last := _LAST.search(text):
        values["ended"] = last["how"]
    values["message"] = user_message(text).rstrip() or stopped_message(text) or "\n".join(last_lines(text, 4))
    if bars := list(_BAR.finditer(text)):
        bar, rate = bars[-1], float(bars[-1]["rate"])
        step, steps = int(bar["step"]), int(bar["steps"])
        values |= {"step": step, "steps": steps, "rate": rate, "seconds_left": (steps - step) / rate if rate else None}
    return values


def plain_id(described: str) -> str:
    """`slurm 18 (17_3)` -> `17_3`, `lsf 17[3]` -> `17[3]`, `none` -> empty."""
    inner = re.search(r"\((\S+)\)", described)
    return "" if described == "none" else inner[1] if inner else described.split()[-1]


def _progress(run_dir: Path | None) -> dict[str, Any]:
    if run_dir is None:
        return {}
    try:
        found = json.loads((run_dir / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and {"step", "steps", "updated", "host"} <= set(found)
    return found if whole and isinstance(found["updated"], int | float) else {}
