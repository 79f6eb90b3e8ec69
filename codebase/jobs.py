"""Which job of which scheduler this process is; from its environment alone."""

from __future__ import annotations

import os
from collections.abc import Mapping


def job_id(environment: Mapping[str, str] = os.environ) -> str:
    """The id as the scheduler's commands take it: 17, an array's element 17_3 (Slurm) or 17[3] (LSF); empty without."""
    if lsf := environment.get("LSB_JOBID"):
        index = environment.get("LSB_JOBINDEX", "0")
        return lsf if index in ("", "0") else f"{lsf}[{index}]"
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return environment.get("SLURM_JOB_ID", "") or environment.get("SUBMITIT_LOCAL_JOB_ID", "")


def describe_job(environment: Mapping[str, str] = os.environ) -> str:
    """For people: `slurm 18 (17_3)`, `lsf 17[3]`, or none."""
    found = job_id(environment)
    if not found:
        return "none"
    if environment.get("LSB_JOBID"):
        return f"lsf {found}"
    own = environment.get("SLURM_JOB_ID", "")
    if not own:
        return "none"
    return f"slurm {own}" if own == found else f"slurm {own} ({found})"
