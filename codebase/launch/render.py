"""What is handed to bsub and sbatch, as text. Pure functions of the job."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from codebase.errors import EXIT_OUT_OF_TIME, UserError
from codebase.launch.job import Argv, Job

WARNING_S = 120  # Slurm warns so long before the time limit, as far as the limit allows


def bsub_script(job: Job) -> str:
    """The script for `bsub < script`.

    Memory is told by the core unless the job says otherwise. `-Q 75` lets LSF itself run the job again when it stopped
    before its time limit with its state saved.

    Raises:
        UserError: more than one node; a training is spread by Slurm's srun alone.
    """
    if job.nodes > 1:
        raise one_node("bsub")
    flags = [
        f"-J {_array_name(job)}",
        f"-n {job.cores}",
        f"-W {job.minutes // 60}:{job.minutes % 60:02d}",
        f"-o {shlex.quote(job.log)}",
        *_bsub_resources(job),
        *([f"-q {shlex.quote(job.queue)}"] if job.queue else []),
        *([f"-P {shlex.quote(job.account)}"] if job.account else []),
        *([f'-w "done({job.after})" -ti'] if job.after else []),
        *([f"-Q {EXIT_OUT_OF_TIME}"] if job.requeue else []),
    ]
    return _script("#BSUB", flags, job, index="${LSB_JOBINDEX}", first=1)


def one_node(via: str) -> UserError:
    """The error where a carrier cannot give a job several nodes."""
    return UserError(
        f"A training is spread over several nodes by Slurm's srun, which {via} does not have around it.",
        expected="--nodes with --via sbatch",
        mend="leave --nodes out; several GPUs of one node: enc_dec.gpus in the config, and --gpus",
    )


def _array_name(job: Job) -> str:
    limit = f"%{job.max_running}" if job.max_running else ""
    return f'"{job.name}[1-{len(job.commands)}]{limit}"' if len(job.commands) > 1 else job.name


def _bsub_resources(job: Job) -> Iterator[str]:
    memory = job.mem_mb_per_core if job.memory_by("bsub") == "core" else job.mem_mb
    old = job.gpus and job.syntax("bsub") == "rusage"
    yield f'-R "rusage[mem={memory}, ngpus_excl_p={job.gpus}]"' if old else f'-R "rusage[mem={memory}]"'
    yield '-R "span[hosts=1]"'
    if old and job.gpu_model:
        yield f'-R "select[gpu_model0=={job.gpu_model}]"'
    elif job.gpus and not old:
        yield f'-gpu "num={job.gpus}{f":gmodel={job.gpu_model}" if job.gpu_model else ""}"'


def sbatch_script(job: Job) -> str:
    """The script for `sbatch < script`.

    The warning before the time limit goes to the command alone (`B:`, which `exec` puts in the shell's place); it
    saves, leaves with 75 and asks for its own requeue. With several nodes the command runs on the first, and the stage
    itself starts its processes on the others.
    """
    flags = [
        f"--job-name={job.name}",
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={job.cores}",
        f"--time={job.minutes}",
        f"--mem-per-cpu={job.mem_mb_per_core}M" if job.memory_by("sbatch") == "core" else f"--mem={job.mem_mb}M",
        *_sbatch_gpus(job),
        *([f"--partition={shlex.quote(job.queue)}"] if job.queue else []),
        *([f"--account={shlex.quote(job.account)}"] if job.account else []),
        *([f"--array={_slurm_range(job)}"] if len(job.commands) > 1 else []),
        *([f"--dependency=afterok:{job.after}", "--kill-on-invalid-dep=yes"] if job.after else []),
        *(["--requeue", f"--signal=B:USR2@{warning_s(job.minutes)}"] if job.requeue else ["--no-requeue"]),
        "--open-mode=append",
        f"--output={shlex.quote(job.log)}",
    ]
    return _script("#SBATCH", flags, job, index="${SLURM_ARRAY_TASK_ID}", first=0)


def warning_s(minutes: int) -> int:
    """Seconds before the time limit at which the job is warned."""
    return min(WARNING_S, 6 * minutes)


def _slurm_range(job: Job) -> str:
    return f"0-{len(job.commands) - 1}" + (f"%{job.max_running}" if job.max_running else "")


def _sbatch_gpus(job: Job) -> Iterator[str]:
    if not job.gpus:
        return
    what = f"{job.gpu_model}:{job.gpus}" if job.gpu_model else str(job.gpus)
    if job.syntax("sbatch") == "gres":
        yield f"--gres=gpu:{what}"
    else:
        yield f"--gpus-per-node={what}" if job.nodes > 1 else f"--gpus={what}"


def _script(mark: str, flags: Sequence[str], job: Job, *, index: str, first: int) -> str:
    for flag in flags:
        if "\n" in flag:
            raise UserError(
                f"What the job is asked for goes over one line: {flag!r}", expected="one line a flag",
                mend="correct the option, the name of the folder, or the site file",
            )  # fmt: skip
    head = ["#!/usr/bin/env bash", *(f"{mark} {flag}" for flag in flags)]
    # before `set -u`, which the functions of `module` and `conda` do not bear
    lines = [*head, *job.setup, "set -euo pipefail", *_body(job.commands, index, first), ""]
    return "\n".join(lines)


def _body(commands: Sequence[Argv], index: str, first: int) -> Iterator[str]:
    if len(commands) == 1:
        yield f"exec {shlex.join(commands[0])}"
        return
    yield f"case {index} in"
    for number, argv in enumerate(commands, start=first):
        yield f"    {number}) exec {shlex.join(argv)} ;;"
    yield "esac"


RENDER = {"bsub": bsub_script, "sbatch": sbatch_script}
