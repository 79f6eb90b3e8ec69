"""One command, four carriers: run it here, or as one job of LSF (bsub), Slurm (sbatch) or submitit.

The command is the whole DAG inside one job (CONFIG key=value ...), or a single stage (-- STAGE ...). For a job per
rule use `snakemake --profile cluster_profiles/slurm` instead. What would be submitted is text made by pure functions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from codebase.config import apply_overrides, read_config
from codebase.errors import EXIT_USER_ERROR, UserError
from codebase.paths import Paths

DEFAULT_CONFIG = Path("configs/mini.yaml")
UP_TO_DATE = "Nothing to be done"


@dataclass(frozen=True)
class Job:
    """A command and what it needs; memory in MB for the whole job, time in minutes."""

    argv: tuple[str, ...]
    name: str
    log: Path
    cores: int = 2
    minutes: int = 1440
    mem_mb: int = 16000
    gpus: int = 1
    queue: str = ""


def dag_argv(config: Path, overrides: Sequence[str], *, cores: int = 0, gpus: int = 0) -> tuple[str, ...]:
    """The command that runs the whole DAG here, on `cores` (0: all), at most `gpus` jobs on a GPU at once."""
    argv = ["python", "-m", "snakemake", "--profile", "cluster_profiles/local", "--configfile", str(config)]
    values = [f"{key}={json.dumps(value)}" for key, value in apply_overrides(overrides).items()]
    argv += ["--config", *values] if values else []
    argv += ["--cores", str(cores)] if cores else []
    argv += ["--resources", f"gpu={gpus}"] if gpus else []
    return tuple(argv)


def render_bsub(job: Job) -> str:
    """The script for `bsub < script`. LSF counts memory per core."""
    lines = [
        f"#BSUB -J {job.name}",
        f"#BSUB -n {job.cores}",
        f"#BSUB -W {job.minutes // 60}:{job.minutes % 60:02d}",
        f'#BSUB -R "rusage[mem={-(-job.mem_mb // job.cores)}] span[hosts=1]"',
        *([f'#BSUB -gpu "num={job.gpus}"'] if job.gpus else []),
        *([f"#BSUB -q {job.queue}"] if job.queue else []),
        f"#BSUB -o {job.log}",
    ]
    return _script(lines, job)


def render_sbatch(job: Job) -> str:
    """The script for `sbatch < script`."""
    lines = [
        f"#SBATCH --job-name={job.name}",
        "#SBATCH --nodes=1",
        f"#SBATCH --cpus-per-task={job.cores}",
        f"#SBATCH --time={job.minutes}",
        f"#SBATCH --mem={job.mem_mb}M",
        *([f"#SBATCH --gpus={job.gpus}"] if job.gpus else []),
        *([f"#SBATCH --partition={job.queue}"] if job.queue else []),
        f"#SBATCH --output={job.log}",
    ]
    return _script(lines, job)


def _script(lines: Sequence[str], job: Job) -> str:
    return "\n".join(["#!/usr/bin/env bash", *lines, "set -euo pipefail", f"exec {shlex.join(job.argv)}", ""])


RENDER = {"bsub": render_bsub, "sbatch": render_sbatch}


def launch(options: argparse.Namespace, stages: Container[str]) -> int:
    """Carry out `python -m codebase launch`; returns the exit code.

    The words begin with one of `stages`, or name a config.

    Raises:
        UserError: the config is wrong, or the scheduler's command is not there or refuses.
    """
    job, paths = _job(options, stages)
    if options.via == "local":
        return _here(job, paths, dry_run=options.dry_run)
    text = RENDER[options.via](job) if options.via in RENDER else shlex.join(job.argv)
    print(text, flush=True)
    if not options.dry_run:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        print(_submit(options.via, text) if options.via in RENDER else _submitit(job))
    return 0


def _job(options: argparse.Namespace, stages: Container[str]) -> tuple[Job, Paths | None]:
    words = list(options.words)
    cluster = options.via != "local"
    if words and words[0].replace("-", "_") in stages:
        argv: tuple[str, ...] = ("python", "-m", "codebase", *words)
        name, folder, paths = words[0], Path("results/logs"), None
    else:
        config = Path(words.pop(0)) if words and "=" not in words[0] else DEFAULT_CONFIG
        paths = Paths(read_config(config, words))
        name, folder = paths.root.name, paths.root / "logs"
        argv = dag_argv(config, words, cores=options.cores, gpus=options.gpus if cluster else _gpus_here())
    log = folder / ("launch-%J.log" if options.via == "bsub" else "launch-%j.log")
    cores = options.cores or (4 if cluster else os.cpu_count() or 1)
    job = Job(argv, f"posemill-{name}", log, cores, options.minutes, options.mem_mb, options.gpus, options.queue)
    return job, paths


def _gpus_here() -> int:
    if not shutil.which("nvidia-smi"):
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU") for line in done.stdout.splitlines())


def _submit(via: str, script: str) -> str:
    if not shutil.which(via):
        raise UserError(
            f"There is no {via} on PATH.",
            expected=f"a login node whose scheduler has {via}",
            mend="log in there, or run `bash train.sh local`; --dry-run prints what would be submitted",
        )
    done = subprocess.run([via], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"{via} refused the job: {(done.stderr or done.stdout).strip()}",
            mend="correct --queue, --minutes, --mem-mb or --gpus",
        )
    return done.stdout.strip()


def _submitit(job: Job) -> str:
    from submitit import AutoExecutor
    from submitit.helpers import CommandFunction

    executor = AutoExecutor(folder=job.log.parent / "submitit")
    executor.update_parameters(
        name=job.name, timeout_min=job.minutes, cpus_per_task=job.cores, mem_gb=-(-job.mem_mb // 1000)
    )
    if job.gpus and executor.cluster != "local":
        executor.update_parameters(gpus_per_node=job.gpus)
    if job.queue and executor.cluster == "slurm":
        executor.update_parameters(slurm_partition=job.queue)
    submitted = executor.submit(CommandFunction(list(job.argv), verbose=False))
    return f"submitted as {submitted.job_id}; its output: {submitted.paths.stdout}"


def _here(job: Job, paths: Paths | None, *, dry_run: bool) -> int:
    print(shlex.join(job.argv), flush=True)
    if dry_run:
        return 0
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    if paths is None:
        return subprocess.run([sys.executable, *job.argv[1:]], env=environment, check=False).returncode
    code, logs, idle = _follow([sys.executable, *job.argv[1:]], environment)
    if code:
        return _explain_failure(code, logs)
    print("Everything is up to date: nothing had to run." if idle else "Done.")
    print(f"  report:  {paths.report}\n  metrics: {paths.metrics}")
    return 0


def _follow(argv: Sequence[str], environment: dict[str, str]) -> tuple[int, list[Path], bool]:
    """Run Snakemake, pass on what it says; returns exit code, logs of failed jobs, and whether nothing had to run."""
    logs: dict[Path, None] = {}
    idle = False
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None  # noqa: S101 - PIPE was asked for
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                idle |= line.startswith(UP_TO_DATE)
                if found := re.match(r"\s+log: (.+?) \(check log file", line):
                    logs |= {Path(name): None for name in found[1].split(", ")}
        except KeyboardInterrupt:
            # the terminal sent Snakemake the same signal: let it stop its jobs
            process.wait()
            raise
    return process.returncode, list(logs), idle


def _explain_failure(code: int, logs: Sequence[Path]) -> int:
    """Say which logs to read, and repeat messages meant for the user, each once; the exit code then is 2."""
    messages: dict[str, None] = {}
    for log in logs:
        print(f"A job failed; its log: {log}", file=sys.stderr)
        if log.is_file() and (message := user_message(log.read_text(encoding="utf-8", errors="replace"))):
            messages[message] = None
    for message in messages:
        print(message, file=sys.stderr)
    if logs:
        print("Finished stages are kept: mend the cause and run the same command again.", file=sys.stderr)
    return EXIT_USER_ERROR if messages else code


def user_message(log: str) -> str:
    """The error for people that a log ends with, or nothing."""
    found = re.search(r"^error: .*(?:\n.+)*\n?\Z", log, flags=re.MULTILINE)
    return found[0] if found else ""
