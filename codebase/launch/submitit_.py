"""submitit carries an argv: parameters of its executor, and the submission."""

from __future__ import annotations

import io
import logging
import os
import shlex
import shutil
import subprocess
import uuid
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

from codebase.errors import UserError
from codebase.launch.carried import LIMIT, Carried
from codebase.launch.job import Job
from codebase.launch.render import one_node, warning_s
from codebase.launch.submit import cancel, no_scheduler, refusal

log = logging.getLogger("posemill.launch")


def parameters(job: Job, requeues: int) -> dict[str, Any]:
    """What submitit's Slurm executor is told. Pure.

    Raises:
        UserError: more than one node, on each of which submitit would start the command.
    """
    if job.nodes > 1:
        raise one_node("submitit")
    memory = (
        {"mem-per-cpu": f"{job.mem_mb_per_core}M"} if job.memory_by("submitit") == "core" else {"mem": f"{job.mem_mb}M"}
    )
    gpus = f"{job.gpu_model}:{job.gpus}" if job.gpu_model else str(job.gpus)
    gres = job.syntax("submitit") == "gres"
    found: dict[str, Any] = {
        "name": job.name,
        "timeout_min": job.minutes,
        "nodes": job.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": job.cores,
        "slurm_signal_delay_s": warning_s(job.minutes),
        # srun does not take over the job's cores by itself since Slurm 22.05
        "slurm_setup": [*job.setup, "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK", f"export {LIMIT}={requeues}"],
        "slurm_additional_parameters": memory
        | ({"gpus-per-node": gpus} if job.gpus and not gres else {})
        | ({"kill-on-invalid-dep": "yes"} if job.after else {}),
        "slurm_stderr_to_stdout": True,
    }
    found |= {"slurm_gres": f"gpu:{gpus}"} if job.gpus and gres else {}
    found |= {"slurm_partition": job.queue} if job.queue else {}
    found |= {"slurm_account": job.account} if job.account else {}
    found |= {"slurm_dependency": f"afterok:{job.after}"} if job.after else {}
    return found | ({"slurm_array_parallelism": job.max_running} if job.max_running else {})


def submitit_text(job: Job, requeues: int) -> str:
    """What is printed: the parameters and the commands."""
    lines = [f"# submitit {key}={value!r}" for key, value in parameters(job, requeues).items()]
    return "\n".join([*lines, *(shlex.join(argv) for argv in job.commands), ""])


def submit_submitit(job: Job, folder: Path, *, requeues: int, executor: str) -> list[str]:
    """Submit the commands, more than one as an array; returns their job ids.

    Args:
        job: what to submit.
        folder: of submitit's files and the jobs' output.
        requeues: attempts after the first.
        executor: `slurm`, or `local` for a process of this machine.

    Raises:
        UserError: there is no Slurm here, or it refuses.
    """
    from submitit import AutoExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    if executor == "slurm" and not (shutil.which("srun") and shutil.which("sbatch")):
        raise UserError(
            "submitit finds no Slurm here (no srun and sbatch on PATH), and LSF it does not know.",
            expected="a login node of a Slurm cluster",
            mend=no_scheduler("sbatch").mend + "; --executor local lets submitit run it on this machine",
        )
    limit = {"slurm_max_num_timeout": max(requeues, 1)} if executor == "slurm" else {}
    auto = AutoExecutor(folder=folder, cluster=executor, **limit)
    mark = f"posemill-{uuid.uuid4().hex[:12]}"
    comment = {"slurm_comment": mark} if executor == "slurm" else {}
    auto.update_parameters(**_known(job, requeues, executor), **comment)
    commands = [list(argv) for argv in job.commands]
    try:
        with redirect_stderr(io.StringIO()):  # submitit prints a refusal, and raises it as well
            jobs = auto.map_array(Carried(), commands) if len(commands) > 1 else [auto.submit(Carried(), commands[0])]
    except (FailedJobError, FailedSubmissionError) as error:
        _cancel_marked(mark)
        raise refusal("submitit", str(error).strip()) from None
    except BaseException:
        _cancel_marked(mark)
        raise
    return [str(one.job_id) for one in jobs]


def _cancel_marked(mark: str) -> None:
    """Cancel what Slurm took all the same: submitit may break between that and its knowing the number."""
    argv = ["squeue", "--me", "--noheader", "--format=%A %k"]
    with suppress(OSError, subprocess.TimeoutExpired):
        listed = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=15).stdout.splitlines()
        if jobs := sorted({line.split()[0] for line in listed if line.split()[1:] == [mark]}):
            log.warning("the submission broke off; %s", cancel("submitit", jobs))


def _known(job: Job, requeues: int, executor: str) -> dict[str, Any]:
    found = parameters(job, requeues)
    if executor == "slurm":
        return found
    os.environ[LIMIT] = str(requeues)  # its jobs are children of this process
    return {key: value for key, value in found.items() if not key.startswith("slurm_")} | {"gpus_per_node": job.gpus}
