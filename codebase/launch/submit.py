"""bsub and sbatch: submit a script, say in people's words why one is refused, and how to cancel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from codebase.errors import UserError

HERE = "submitit here"  # submitit's executor on this machine: a job's number is that of its process
CANCEL = {"bsub": "bkill", "sbatch": "scancel", "submitit": "scancel", HERE: "kill"}
_ARGV = {"bsub": ("bsub",), "sbatch": ("sbatch", "--parsable")}
_SUBMIT_TIMEOUT_S = 300
_ASK_TIMEOUT_S = 15
# what a refusal speaks of, the command that lists what the site has, and what to change
_HINTS: dict[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "sbatch": (
        ("invalid partition|partition.*not (exist|found)", ("sinfo", "-h", "-o", "%P"), "give --queue one of them"),
        ("account", ("sacctmgr", "-nP", "show", "assoc", "format=account"), "give --account one of yours"),
        (
            "generic resource|gres|gpu|node configuration is not available",
            ("sinfo", "-h", "-o", "%P %G"),
            "try --gpus 0 where there are none, --gpu-model as the site names it, --gpu-syntax gres, fewer --cores",
        ),
        ("time limit", ("sinfo", "-h", "-o", "%P %l"), "keep --minutes within the partition's limit"),
        ("memory", ("sinfo", "-h", "-o", "%P %m"), "lower --mem-mb, or try --mem-per core"),
        (
            "unable to contact|connection",
            ("scontrol", "ping"),
            "wait: the controller does not answer; nothing was submitted",
        ),
    ),
    "bsub": (
        ("no such queue|queue", ("bqueues",), "give --queue one of them"),
        ("project", (), "give --account a project of yours"),
        (
            "ngpus_excl_p|resource|gpu",
            ("bhosts", "-gpu"),
            "try --gpu-syntax gpu (LSF 10) or rusage (older), or --gpus 0",
        ),
        ("run ?limit|RUNLIMIT", ("bqueues", "-l"), "keep --minutes within the queue's limit"),
        ("memory|MEMLIMIT", (), "lower --mem-mb, or try --mem-per job"),
    ),
}
_LONGEST_LIST = 12  # lines


def submit(via: str, script: str) -> str:
    """Hand the script to `via`; returns the job's id.

    Raises:
        UserError: there is no such command, it refuses, does not answer, or answers with no id.
    """
    if not shutil.which(via):
        raise no_scheduler(via)
    try:
        done = subprocess.run(
            [*_ARGV[via]], input=script, capture_output=True, text=True, errors="replace", check=False,
            timeout=_SUBMIT_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{via} did not answer within {_SUBMIT_TIMEOUT_S} s; the job may have been submitted nevertheless.",
            mend=f"look with {'bjobs' if via == 'bsub' else 'squeue --me'} before trying again",
        ) from None
    if done.returncode:
        raise refusal(via, (done.stderr or done.stdout).strip())
    found = re.search(r"Job <(\d+)>" if via == "bsub" else r"^(\d+)", done.stdout, flags=re.MULTILINE)
    if not found:
        raise UserError(f"{via} answered without the job's id: {done.stdout.strip()}", mend="look for the job by hand")
    return found[1]


def no_scheduler(via: str) -> UserError:
    """The error where a carrier's command is not on PATH; it names the others that are."""
    there = [name for name in ("sbatch", "bsub") if name != via and shutil.which(name)]
    instead = f"use {there[0]}, which is here" if there else "log in to the cluster's login node, load its module"
    return UserError(
        f"There is no {via} on PATH.",
        expected=f"a login node whose scheduler has {via}",
        mend=f"{instead}, or run `bash train.sh local`; --dry-run prints what would be submitted",
    )


def refusal(via: str, said: str) -> UserError:
    """The error for a submission that `via` refused: its own words, what the site has, what to change."""
    scheduler = "bsub" if via == "bsub" else "sbatch"
    said = said.replace("\n", "\n  ")
    for pattern, ask, change in _HINTS[scheduler]:
        if re.search(pattern, said, flags=re.IGNORECASE):
            return UserError(f"{via} refused the job: {said}", expected=site_list(ask), mend=change)
    return UserError(f"{via} refused the job: {said}", mend="change --queue, --minutes, --mem-mb, --cores or --gpus")


def site_list(ask: Sequence[str]) -> str:
    """What the scheduler lists, on one line each; empty where it cannot be asked."""
    if not ask or not shutil.which(ask[0]):
        return ""
    try:
        done = subprocess.run(
            [*ask], capture_output=True, text=True, errors="replace", check=False, timeout=_ASK_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.rstrip() for line in dict.fromkeys(done.stdout.splitlines()) if line.strip()]
    more = [f"... {len(lines) - _LONGEST_LIST} more"] if len(lines) > _LONGEST_LIST else []
    shown = [*lines[:_LONGEST_LIST], *more]
    return (
        f"one of those that `{' '.join(ask)}` lists:" + "".join(f"\n            {line}" for line in shown)
        if shown
        else ""
    )


def cancel(via: str, jobs: Sequence[str]) -> str:
    """Cancel jobs that stand alone after a failure; returns what to tell people."""
    argv = [CANCEL[via], *jobs]
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=_ASK_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done is not None and done.returncode == 0:
        return f"what was submitted before ({', '.join(jobs)}) is cancelled"
    return f"submitted before, and still there: {', '.join(jobs)}; cancel with `{' '.join(argv)}`"
