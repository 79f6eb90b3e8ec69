"""`python -m codebase launch`: print, submit, wait; what was submitted is not left alone when a later step fails."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from codebase.errors import UserError
from codebase.failures import disk_is_full, last_words
from codebase.launch import sweep as sweeps
from codebase.launch.course import course_of, launch_course
from codebase.launch.job import Job
from codebase.launch.local import run_here, run_sweep_here, table_text
from codebase.launch.plan import Plan, config_of, plan_jobs
from codebase.launch.record import run_recorded
from codebase.launch.render import RENDER
from codebase.launch.site import apply_site
from codebase.launch.submit import CANCEL, HERE, cancel, submit
from codebase.launch.submitit_ import submit_submitit, submitit_text
from codebase.launch.wait import wait_for
from codebase.status.say import say

_DATA_JOB = "ID_OF_THE_JOB_ABOVE"


def launch(options: argparse.Namespace, stages: Mapping[str, bool]) -> int:
    """Carry out `python -m codebase launch`; returns the exit code.

    The words begin with one of `stages`, or name a config.

    Raises:
        UserError: the config or an option is wrong, or the scheduler's command is not there or refuses.
    """
    apply_site(options)
    _unmix(options)
    _require_job(options)
    if course := course_of(options.words):
        return launch_course(options, course)
    if options.collect:
        return _collect(options)
    if options.via == "local":
        return _local(options, stages)
    plan = plan_jobs(options, stages)
    if plan.data is not None and _carrier(options) == HERE:
        raise UserError(
            "submitit on this machine starts all jobs at once, and this sweep's data must be made before.",
            where=plan.sweep.data if plan.sweep else None,
            expected="the data of the base run, or --via local, which does one after the other",
            mend="python -m codebase launch --until data CONFIG first",
        )
    if options.dry_run:
        for job in _in_order(plan, _DATA_JOB):
            say(_text(options, job))
        return 0
    data, jobs = _submit_all(options, plan)
    if options.via == "submitit":
        print(f"submitit keeps its files, and the jobs' output, in {plan.folder / 'submitit'}", file=sys.stderr)
    return _wait(options, plan, data, jobs) if options.wait else 0


def _unmix(options: argparse.Namespace) -> None:
    """Give back the CONFIG and its overrides that `--sweep key=... CONFIG key=value` swallowed."""
    first = next((place for place, word in enumerate(options.sweep) if "=" not in word), len(options.sweep))
    options.words = [*options.sweep[first:], *options.words]
    options.sweep = options.sweep[:first]


def _carrier(options: argparse.Namespace) -> str:
    """Who has the jobs, for whoever asks for them or cancels them."""
    return HERE if options.via == "submitit" and options.executor == "local" else str(options.via)


def _require_job(options: argparse.Namespace) -> None:
    """Refuse what only a job has: it would be forgotten without a word.

    Raises:
        UserError: --setup or --log without a script.
    """
    unmet = [f"--{name}" for name in ("setup", "log") if getattr(options, name)]
    if options.via == "local" and unmet:
        raise UserError(
            f"{' and '.join(unmet)}: that is for the script of a job, and this runs here.",
            expected="--via bsub, sbatch or submitit",
            mend="say it in this shell: `module load cuda; bash train.sh ... 2>&1 | tee FILE`",
        )
    if options.via == "submitit" and options.log:
        raise UserError(
            "--log: submitit names the files of its jobs' output itself.",
            expected="results/NAME/logs/submitit/JOB_0_log.out",
            mend="leave it out, or use --via sbatch",
        )


def _local(options: argparse.Namespace, stages: Mapping[str, bool]) -> int:
    if options.in_job:
        return run_recorded(options.in_job, options.requeues, lambda: run_here(options, stages))
    if not options.sweep:
        return run_here(options, stages)
    plan = plan_jobs(options, stages)
    if not options.dry_run:
        _write_manifest(plan, [])
    return run_sweep_here(options, plan, *config_of(options.words))


def _in_order(plan: Plan, data_job: str) -> Sequence[Job]:
    return (plan.job,) if plan.data is None else (plan.data, replace(plan.job, after=data_job))


def _text(options: argparse.Namespace, job: Job) -> str:
    return submitit_text(job, options.requeues) if options.via == "submitit" else RENDER[options.via](job)


def _submit_all(options: argparse.Namespace, plan: Plan) -> tuple[list[str], list[str]]:
    """Submit the job of the data, if there is one, and the others; returns the ids of both."""
    try:
        for folder in (plan.folder, Path(plan.job.log).parent):
            folder.mkdir(parents=True, exist_ok=True)
        for job in _in_order(plan, _DATA_JOB):
            _keep(plan.folder / f"{job.name}.sh", _text(options, job))
        data = _submit(options, plan.data, plan.folder) if plan.data is not None else []
    except OSError as error:
        raise _cannot_write(error, plan.folder) from None
    job = replace(plan.job, after=data[0]) if data else plan.job
    try:
        jobs = _submit(options, job, plan.folder)
    except (UserError, OSError) as error:
        if not data:
            raise _cannot_write(error, plan.folder) if isinstance(error, OSError) else error from None
        what = str(_cannot_write(error, plan.folder)) if isinstance(error, OSError) else str(error)
        raise UserError(f"{what}\n  {cancel(options.via, data)}") from None
    if plan.sweep is not None:
        _write_manifest(plan, jobs)
        print(
            f"The table of results: python -m codebase launch --collect {shlex.quote(str(plan.folder))}",
            file=sys.stderr,
        )
    return data, jobs


def _keep(path: Path, text: str) -> None:
    """Write what is submitted beside the logs; a disk that is full shows now, not as a job without a log."""
    with path.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _submit(options: argparse.Namespace, job: Job, folder: Path) -> list[str]:
    text = _text(options, job)
    say(text)
    if job.after:  # what was kept at first does not know yet after which job
        _keep(folder / f"{job.name}.sh", text)
    if options.via == "submitit":
        found = submit_submitit(job, folder / "submitit", requeues=options.requeues, executor=options.executor)
    else:
        main = submit(options.via, text)
        count = len(job.commands)
        elements = [f"{main}[{n + 1}]" if options.via == "bsub" else f"{main}_{n}" for n in range(count)]
        found = [main] if count == 1 else elements
    main = " ".join(found) if _carrier(options) == HERE else found[0].partition("_")[0].partition("[")[0]
    what = f"{len(found)} jobs, {found[0]} to {found[-1]}" if len(found) > 1 else f"job {main}"
    say(f"submitted: {what}; to cancel: {CANCEL[_carrier(options)]} {main}")
    return found


def _cannot_write(error: OSError, folder: Path) -> UserError:
    full = disk_is_full(error, folder)
    if full:
        return UserError(full)
    return UserError(
        f"The folder of the job's logs cannot be written: {error.strerror}.",
        where=error.filename or folder,
        mend="put results elsewhere: results=/scratch/$USER/results",
    )


def _write_manifest(plan: Plan, jobs: Sequence[str]) -> None:
    from codebase.files import write_json

    assert plan.sweep is not None  # noqa: S101 - callers ask for a sweep
    write_json(plan.folder / sweeps.MANIFEST, sweeps.manifest(plan.sweep, jobs))


def _wait(options: argparse.Namespace, plan: Plan, data: Sequence[str], jobs: Sequence[str]) -> int:
    runs: list[Path | None] = [plan.sweep.data] * len(data) if plan.sweep is not None else []
    codes = wait_for(_carrier(options), [*data, *jobs], [*runs, *plan.runs], plan.folder)
    logs = [_log(options.via, plan, job) for job, code in codes.items() if code]
    if logs:
        print(last_words(logs), file=sys.stderr)
    if plan.sweep is not None:
        say(table_text(*sweeps.table(plan.folder)))
    return next((code for code in codes.values() if code), 0)


def _log(via: str, plan: Plan, job: str) -> Path:
    """The file of a job's output, its id in the place where the scheduler puts it."""
    if via == "submitit":
        return plan.folder / "submitit" / f"{job}_0_log.out"
    main, index = ([*re.split(r"[_\[\]]", job), ""])[:2]
    name = plan.job.log if index or plan.data is None else plan.data.log
    for place, value in {"%A": main, "%a": index, "%J": main, "%I": index, "%j": job}.items():
        name = name.replace(place, value)
    return Path(name)


def _collect(options: argparse.Namespace) -> int:
    """Print the table of the sweep in the folder that the words name, and write it beside as table.csv."""
    if len(options.words) != 1:
        raise UserError(
            "--collect wants the folder of one sweep.",
            expected="launch --collect results/sweeps/NAME-DIGEST",
            mend="ls results/sweeps",
        )
    from codebase.files import write_csv

    folder = Path(options.words[0])
    header, rows = sweeps.table(folder)
    say(table_text(header, rows))
    target = (folder if folder.is_dir() else folder.parent) / "table.csv"
    write_csv(target, [dict(zip(header, row, strict=True)) for row in rows])
    print(f"also in {target}", file=sys.stderr)
    return 0
