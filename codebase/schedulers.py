"""Is the scheduler that a profile wants at hand? Asked before anything is submitted. Free of heavy imports."""

from __future__ import annotations

import os
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


def _mend(executor: str, absent: Sequence[str]) -> str:
    if executor == "lsf" and set(absent) <= {"badmin", "lsclusters"}:
        return "use --profile lsf-generic, which needs bsub, bjobs and bkill alone (docs/clusters.md)"
    return (
        f"run it on the login node; for the other scheduler use --profile {OTHER[executor]}; "
        "to run on this machine use --profile local, or `bash train.sh`"
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
