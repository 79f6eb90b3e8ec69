"""`python -m codebase status`: a table, JSON, or the table again and again."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codebase.config import Config, read_config
from codebase.errors import ConfigError, DataError, UserError
from codebase.status.runs import STATES, Standing, duration, how_far, read_run, runs_in, standings, unfinished_jobs
from codebase.status.say import say
from codebase.status.scheduler import Answer, ask

_INDENT = " " * 6


def status(run: Path | None, overrides: Sequence[str], *, as_json: bool, watch_s: float | None, results: Path) -> int:
    """Print where a run stands; without one, a line for each run in `results`. 1 if anything failed or is lost.

    Raises:
        DataError: there is no such run, or none at all.
    """
    while True:
        text, bad = _all_runs(results, as_json) if run is None else _one_run(run, overrides, as_json)
        clear = "\x1b[H\x1b[2J" if watch_s and sys.stdout.isatty() else ""
        if not say(clear + text) or watch_s is None:
            return int(bad)
        time.sleep(watch_s)


def _one_run(run: Path, overrides: Sequence[str], as_json: bool) -> tuple[str, bool]:
    if overrides and run.is_dir():
        raise ConfigError(
            f"A run's folder takes no overrides: {' '.join(overrides)}", where=run,
            expected="a run's folder, or a config with key=value", mend=f"python -m codebase status {run}",
        )  # fmt: skip
    config = read_config(run, overrides) if overrides else read_run(run)
    answer = ask(*unfinished_jobs([config]))
    found = standings(config, answer)
    root = config.results / config.name
    text = json.dumps(as_data(root, found, answer), indent=2) if as_json else "\n".join(table(root, found, answer))
    return text, any(one.state in ("failed", "lost?") for one in found)


def _all_runs(results: Path, as_json: bool) -> tuple[str, bool]:
    runs = runs_in(results)
    if not runs:
        raise DataError(
            "There is no run yet.", where=results, expected="folders with a config.yaml", mend="bash train.sh"
        )
    if len(runs) == 1 and not as_json:
        return _one_run(runs[0], (), as_json)
    configs, odd = _configs(runs)
    answer = ask(*unfinished_jobs(configs.values()))
    found = {run: standings(config, answer) for run, config in configs.items()}
    bad = any(one.state in ("failed", "lost?") for each in found.values() for one in each)
    if as_json:
        data = [as_data(run, each, answer) for run, each in found.items()]
        data += [{"run": str(run), "scheduler": "", "trouble": trouble, "jobs": []} for run, trouble in odd.items()]
        return json.dumps(data, indent=2), bad
    width = max(len(str(run)) for run in runs)
    said = {run: _summary(each) for run, each in found.items()} | odd
    lines = [f"{str(run).ljust(width)}  {said[run]}" for run in runs]
    return "\n".join([*lines, *_trouble(answer), "More of one: python -m codebase status RUN"]), bad


def _configs(runs: Sequence[Path]) -> tuple[dict[Path, Config], dict[Path, str]]:
    """The configs that can be read, and what to say of the others."""
    configs, odd = {}, {}
    for run in runs:
        try:
            configs[run] = read_run(run)
        except UserError:
            odd[run] = "its config.yaml is not of this version of the schema"
    return configs, odd


def _summary(found: Sequence[Standing]) -> str:
    counts = Counter(one.state for one in found)
    shown = [
        f"{counts[state]} {state}"
        for state in STATES
        if counts[state] and state not in ("waiting", "not started", "done")
    ]
    running = [f"{one.task.rule} {how_far(one.signs)}".strip() for one in found if one.state == "running"]
    return "; ".join([f"{counts['done']} of {len(found)} done", *shown, *running[:2]])


def table(root: Path, found: Sequence[Standing], answer: Answer) -> list[str]:
    """The lines that people read: one a rule, and one a job that is neither done nor waiting."""
    rules = list(dict.fromkeys(_group(one) for one in found))
    width = max(len(rule) for rule in rules)
    lines = [f"{root}: {_summary(found).partition(';')[0]}"]
    for rule in rules:
        lines += _rule_lines(rule, [one for one in found if _group(one) == rule], width)
    return [*lines, *_trouble(answer)]


def _group(one: Standing) -> str:
    return "check" if one.task.rule.startswith("check_") else one.task.rule


def _rule_lines(rule: str, found: Sequence[Standing], width: int) -> Iterator[str]:
    states = [one.state for one in found]
    head = next(
        (s for s in ("failed", "lost?", "running", "stopped", "queued", "not started", "waiting") if s in states),
        "done",
    )
    done = f"{states.count('done')} of {len(found)}" if len(found) > 1 else ""
    whys = list(dict.fromkeys(one.why for one in found if one.state == "waiting")) if head == "waiting" else []
    whys = whys[:1] if len(found) > 1 else whys
    detail = "" if len(found) > 1 or head in ("waiting", "not started", "done") else _detail(found[0])
    yield f"  {rule.ljust(width)}  {head.ljust(11)}  {'  '.join(t for t in (done, *whys, detail) if t)}".rstrip()
    for one in found:
        if one.state in ("done", "waiting", "not started"):
            continue
        if len(found) > 1:
            yield f"{_INDENT}{one.task.name}: {one.state} {_detail(one)}".rstrip()
        if one.state in ("failed", "lost?", "stopped") and one.signs is not None:
            yield f"{_INDENT}log: {one.task.log}"
            yield from (f"{_INDENT}  {line}" for line in one.signs.message.splitlines())


def _detail(one: Standing) -> str:
    signs = one.signs
    if signs is None:
        return one.why
    who = [
        f"host {signs.host}" if signs.host else "",
        f"job {signs.job}" if signs.job else f"pid {signs.pid}" if signs.pid else "",
    ]
    ago = f"last sign of life {duration(max(0.0, time.time() - signs.seen))} ago" if signs.seen else ""
    why = "" if one.state == "running" else one.why
    return "; ".join(part for part in (why, how_far(signs), ", ".join(w for w in who if w), ago) if part)


def _trouble(answer: Answer) -> list[str]:
    return [f"The scheduler gave no full answer: {answer.trouble}"] if answer.trouble else []


def as_data(root: Path, found: Sequence[Standing], answer: Answer) -> dict[str, Any]:
    """The same for programs."""
    rows = []
    for one in found:
        signs = asdict(one.signs) if one.signs else {}
        task = one.task
        rows.append(
            {"rule": task.rule, "name": task.name, "state": one.state, "why": one.why}
            | {"output": str(task.output), "log": str(task.log), **signs}
        )
    return {"run": str(root), "scheduler": answer.scheduler, "trouble": answer.trouble, "jobs": rows}
