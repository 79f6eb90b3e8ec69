"""The course's own command, carried as the course carried it: `bash train.sh bsub configs/modelfinal.yaml`."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from codebase.config.course import ROOT, CourseConfig, CourseLaunch, is_course, read_course_config
from codebase.errors import UserError
from codebase.launch.job import Job
from codebase.launch.local import environment, run_command
from codebase.launch.options import Unsaid
from codebase.launch.render import RENDER
from codebase.launch.submit import CANCEL, no_scheduler, refusal, submit
from codebase.status.say import say

HOME = "codebase"
_SUBMIT_TIMEOUT_S = 300


def course_of(words: Sequence[str]) -> Path | None:
    """The YAML of the course that the words of the command line name first, if they do."""
    first = Path(words[0]) if words and words[0].endswith((".yaml", ".yml")) else None
    return first if first is not None and is_course(first) else None


def launch_course(options: argparse.Namespace, config_file: Path) -> int:
    """Run, print or submit `cd codebase && python train.py ../CONFIG`; returns the exit code.

    Options of the command line win over the section `launch` of the YAML.

    Raises:
        UserError: the YAML or an option is refused, or the scheduler's command is not there or refuses.
    """
    overrides = options.words[1:]
    config = read_course_config(config_file, overrides)
    wishes = {name: getattr(options, name) for name in ("sweep", "until", "collect", "wait", "time_budget")}
    wishes["nodes"] = options.nodes > 1
    if (unmet := [f"--{name.replace('_', '-')}" for name, wish in wishes.items() if wish]) or options.via == "submitit":
        raise UserError(
            "The course's training is one job on one node, which nobody waits for.", where="launch",
            expected="--via local, bsub or sbatch",
            mend=f"leave out {', '.join(unmet)}" if unmet else "submitit carries configs of the workflow",
        )  # fmt: skip
    if options.setup and options.via != "sbatch":
        raise UserError(
            "--setup is for the script of a job, and the course's line has none.", where="launch",
            expected="--setup with --via sbatch",
            mend="run it in this shell first: bsub hands the environment on",
        )  # fmt: skip
    command = train_command(config_file, overrides)
    if options.via == "sbatch":
        return _sbatch(options, config, command)
    per_job = options.mem_per == "job"
    argv = command if options.via == "local" else bsub_argv(_needs(options, config), command, per_job=per_job)
    say(f"cd {HOME} && {_shown(argv)}")
    if options.dry_run:
        return 0
    if options.via == "local":
        return run_command([sys.executable, *command[1:]], ROOT / HOME)
    job = _bsub(argv)
    say(f"submitted: job {job}; to cancel: {CANCEL['bsub']} {job}")
    return 0


def train_command(config_file: Path, overrides: Sequence[str]) -> tuple[str, ...]:
    """What runs inside the folder codebase/."""
    return ("python", "train.py", os.path.relpath(config_file.resolve(), ROOT / HOME), *overrides)


def bsub_argv(needs: CourseLaunch, command: Sequence[str], *, per_job: bool = False) -> tuple[str, ...]:
    """The course's line: `bsub -n 6 -W 96:00 -o out.txt -R "rusage[mem=4096, ngpus_excl_p=1]" python train.py ...`,
    or with `-gpu` where the site's LSF wants it; `per_job`: its memory is told of the whole job.
    """
    mem_mb = needs.mem_mb_per_core * (needs.cores if per_job else 1)
    argv = ["bsub", "-n", str(needs.cores), "-W", f"{needs.minutes // 60}:{needs.minutes % 60:02d}", "-o", needs.output]
    old = needs.gpus and needs.gpu_syntax == "rusage"
    argv += ["-R", f"rusage[mem={mem_mb}{f', ngpus_excl_p={needs.gpus}' if old else ''}]"]
    if old and needs.gpu_model:
        argv += ["-R", f"select[gpu_model0=={needs.gpu_model}]"]
    if old and needs.gpu_memory_mb:
        argv += ["-R", f"select[gpu_mtotal0>={needs.gpu_memory_mb}]"]
    if needs.gpus and not old:
        model = f":gmodel={needs.gpu_model}" if needs.gpu_model else ""
        memory = f":gmem={needs.gpu_memory_mb}MB" if needs.gpu_memory_mb else ""
        argv += ["-gpu", f"num={needs.gpus}{model}{memory}"]
    argv += ["-q", needs.queue] if needs.queue else []
    argv += ["-P", needs.account] if needs.account else []
    argv += ["-Q", "75"] if needs.requeue else []
    return (*argv, *command)


def _needs(options: argparse.Namespace, config: CourseConfig) -> CourseLaunch:
    """The section `launch`, with what the command line says in its place."""
    said = {
        "cores": options.cores, "gpus": options.gpus, "gpu_model": options.gpu_model, "queue": options.queue,
        "account": options.account, "output": options.log, "gpu_syntax": options.gpu_syntax,
        "minutes": None if isinstance(options.minutes, Unsaid) else options.minutes,
    }  # fmt: skip
    given = {key: value for key, value in said.items() if value not in (None, "")}
    if not isinstance(options.mem_mb, Unsaid):  # of the whole job
        given["mem_mb_per_core"] = -(-options.mem_mb // given.get("cores", config.launch.cores))
    if given.get("gpu_syntax") not in (None, "gpu", "rusage"):
        raise UserError(f"--gpu-syntax {given['gpu_syntax']} is no way of LSF.", expected="rusage or gpu")
    none = {"gpus": 0} if config.device == "cpu" and options.gpus is None else {}
    return config.launch.model_copy(update=given | none)


def _shown(argv: Sequence[str]) -> str:
    """As one types it: in double quotes, which LSF's own pages use."""
    return " ".join(_quoted(word) for word in argv)


def _quoted(word: str) -> str:
    if re.fullmatch(r"[\w@%+:,./-]+", word):
        return word
    return shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"'


def _bsub(argv: Sequence[str]) -> str:
    """Submit from inside codebase/, where the job then runs; returns its number."""
    if not shutil.which("bsub"):
        raise no_scheduler("bsub")
    try:
        done = subprocess.run(
            argv, cwd=ROOT / HOME, env=environment(), capture_output=True, text=True, errors="replace", check=False,
            timeout=_SUBMIT_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(
            f"bsub did not answer within {_SUBMIT_TIMEOUT_S} s; the job may have been submitted nevertheless.",
            mend="look with bjobs before trying again",
        ) from None
    found = re.search(r"Job <(\d+)>", done.stdout)
    if done.returncode or not found:
        raise refusal("bsub", (done.stderr or done.stdout).strip())
    return found[1]


def _sbatch(options: argparse.Namespace, config: CourseConfig, command: Sequence[str]) -> int:
    """The same as a script of Slurm's.

    Raises:
        UserError: the YAML asks for what LSF alone does here, or Slurm refuses.
    """
    if unmet := [name for name in ("requeue", "gpu_memory_mb") if getattr(config.launch, name)]:
        raise UserError(
            f"launch.{' and launch.'.join(unmet)}: that is asked of LSF alone.",
            where=options.words[0],
            expected="--via bsub; Slurm knows GPUs by their model, --gpu-model",
            mend="for Slurm: launch.requeue=false launch.gpu_memory_mb=0; the same command goes on where it stopped",
        )
    needs = _needs(argparse.Namespace(**vars(options) | {"gpu_syntax": None}), config)
    shell = f"cd {HOME} && exec {shlex.join(command)}"
    name = re.sub(r"[^\w.-]+", "_", Path(command[2]).stem)
    job = Job(
        commands=(("bash", "-c", shell),), name=f"posemill-{name}", log=str(HOME / Path(needs.output)),
        cores=needs.cores, minutes=needs.minutes, mem_mb=needs.mem_mb_per_core * needs.cores,
        mem_per=options.mem_per, gpus=needs.gpus, gpu_model=needs.gpu_model,
        gpu_syntax=options.gpu_syntax, queue=needs.queue, account=needs.account,
        setup=(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH", *options.setup), requeue=False,
    )  # fmt: skip
    script = RENDER["sbatch"](job)
    say(script)
    if not options.dry_run:
        main = submit("sbatch", script)
        say(f"submitted: job {main}; to cancel: {CANCEL['sbatch']} {main}")
    return 0
