"""Is the scheduler that a profile wants at hand? Asked before anything is submitted. Free of heavy imports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from codebase.errors import UserError

# What each executor plugin calls on the login node; any one of a group's commands will do.
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "slurm": (("sbatch",), ("squeue", "sacct"), ("scancel",)),
    "lsf": (("bsub",), ("bjobs",), ("bkill",), ("badmin",), ("lsclusters",)),
    "cluster-generic": (("bsub",), ("bjobs",), ("bkill",)),
}
OTHER = {"slurm": "lsf", "lsf": "slurm", "cluster-generic": "slurm"}
# What the lsf plugin reads from `badmin showconf mbd`; without them it dies of a KeyError.
LSF_KEYS = ("LSF_CONFDIR", "LSB_SHAREDIR")
BADMIN = "badmin showconf mbd"
SECONDS = 60.0
# of a job that LSF may still bring to its end; a lost host (UNKWN) may come back
UNFINISHED = ("PEND", "RUN", "PROV", "WAIT", "PSUSP", "USUSP", "SSUSP", "UNKWN")
# What a refused submission says, and what to change in the site file.
REFUSALS = (
    (r"No such queue", "lsf_queue (`bqueues` lists those there are)"),
    (r"invalid partition", "slurm_partition (`sinfo -s` lists those there are)"),
    (r"invalid (?:account|project)|account .* to be invalid|not a member of project", "slurm_account or lsf_project"),
    (r"Bad resource requirement|Bad GPU requirement|Illegal option", "gpu: how this site asks for one, or lsf_extra"),
    (r"configuration is not available|Invalid generic resource|Invalid GRES", "gpu, or less mem_mb: no node has that"),
    (r"time limit.{0,20}invalid|RUNLIMIT|exceeds? .{0,20}run ?limit", "runtime, to less than the queue's limit"),
)


def require_scheduler(executor: str, submit_command: str = "") -> None:
    """Refuse to begin where the executor's scheduler cannot be reached.

    Args:
        executor: name of Snakemake's executor plugin; others than Slurm's and LSF's pass.
        submit_command: of cluster-generic; only that of our profile is known.

    Raises:
        UserError: a command is not on PATH, or LSF's badmin gives no answer; names the profile that would do.
    """
    if executor == "cluster-generic" and "lsf-generic" not in submit_command:
        return
    absent = [" or ".join(names) for names in NEEDED.get(executor, ()) if not any(map(shutil.which, names))]
    if absent:
        raise UserError(
            f"The profile submits by {executor}, and there is no {', no '.join(absent)} on PATH.",
            where=f"PATH={os.environ.get('PATH', '')}",
            expected="a login node of the cluster, at some sites after `module load` or after LSF's profile.lsf",
            mend=_mend(executor, absent),
        )
    if executor == "lsf":
        _require_badmin()


def refusal_hint(log: str) -> str:
    """What to change after a submission that the scheduler refused, by Snakemake's log; empty where none was."""
    for pattern, change in REFUSALS:
        if found := re.search(rf"^.*(?:{pattern}).*$", log, flags=re.MULTILINE | re.IGNORECASE):
            return (
                f"The scheduler refused a job: {found[0].strip()[:300]}\n  to mend:  change {change}, in your site file"
                ", and run\n            `python -m codebase profile NAME SITE.yaml` again; what is finished is kept"
            )
    return ""


def still_runs(job: str) -> bool:
    """Whether LSF says that it has not finished a job; no, where it says nothing."""
    argv = ["bjobs", "-noheader", "-o", "stat", job]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() in UNFINISHED


def _mend(executor: str, absent: Sequence[str]) -> str:
    if executor == "lsf" and set(absent) <= {"badmin", "lsclusters"}:
        return "use --profile lsf-generic, which needs bsub, bjobs and bkill alone (docs/clusters.md)"
    return (
        f"run it on the login node; for the other scheduler use --profile {OTHER[executor]}; "
        "to run on this machine use --profile cluster_profiles/local, or `bash train.sh`"
    )


def _require_badmin() -> None:
    """The lsf plugin begins with badmin, which some sites keep from users."""
    try:
        done = subprocess.run(BADMIN.split(), capture_output=True, text=True, timeout=SECONDS, check=False)
        answer, said = done.stdout, (done.stderr or done.stdout).strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        answer, said = "", str(error)
    found = {line.partition("=")[0].strip() for line in answer.splitlines()}
    lacking = [key for key in LSF_KEYS if key not in found]
    if lacking:
        raise UserError(
            f"`{BADMIN}` does not say {' and '.join(lacking)}: {said[-300:] or 'no answer'}",
            expected="the parameters of mbatchd, with which Snakemake's plugin for LSF begins",
            mend="use --profile lsf-generic, which needs bsub, bjobs and bkill alone (docs/clusters.md)",
        )
