"""A run that is finished is not trained again by a duplicate of its job, also where the workflow deleted its output.

Snakemake removes the declared output when it starts a job, and when the job fails. After it was killed and restarted
it starts jobs whose first copy still runs, or ended unseen. So a finished model has a second name that is no declared
output, `{run_dir}/finished/{digest}.pt` (a hard link: no space), from which a duplicate takes it. The workflow
removes these names once all of it succeeded, so that a forced run after that trains again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from codebase.files import atomic_path

log = logging.getLogger("posemill.finished")
WORKFLOW = "POSEMILL_WORKFLOW"  # set by workflow/rules/common.smk


def kept(output: Path, digest: str) -> Path:
    """The second name of the finished model of a run."""
    return output.parent / "finished" / f"{digest}.pt"


def publish(output: Path, digest: str) -> None:
    """Give the kept model its declared name."""
    source = kept(output, digest)
    with atomic_path(output) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # no hard links here
            shutil.copyfile(source, temporary)
        os.utime(temporary)  # newer than the inputs, as the workflow asks


def adopt(output: Path, digest: str, *, since: float) -> bool:
    """Whether `output` now is the finished model of this very run; otherwise nothing of an earlier one is kept.

    It is, if it stands there already, or if its second name is there and the workflow runs this process (it forgets
    the names after its success), or the run was finished since this process started.

    Args:
        since: unix time of this process's start.
    """
    if _digest_of(output) == digest:
        log.info("%s is finished with these settings and inputs already: to train again, delete it", output)
        return True
    second = kept(output, digest)
    wanted = os.environ.get(WORKFLOW) or (second.is_file() and second.stat().st_mtime >= since)
    if wanted and _digest_of(second) == digest:
        publish(output, digest)
        log.info("another job finished this run: took %s from it (to train again, delete %s)", output, second.parent)
        return True
    shutil.rmtree(second.parent, ignore_errors=True)
    return False


def _digest_of(path: Path) -> str | None:
    """The digest of the run that a checkpoint says it is of."""
    try:
        content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content.get("digest")
    except Exception:  # a missing or damaged file is of no run
        return None
