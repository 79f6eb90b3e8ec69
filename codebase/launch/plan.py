"""From the words of the command line to jobs."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codebase.config import Config, apply_overrides, read_config
from codebase.errors import UserError
from codebase.launch.job import Argv, Job
from codebase.launch.sweep import Sweep, read_sweep
from codebase.paths import Paths

DEFAULT_CONFIG = Path("configs/mini.yaml")
PYTHON = ("python", "-m", "codebase")
NETWORKS = ("enc_dec", "pose", "image_pose", "prior", "smpl", "hmr")
_CORES_OF_A_JOB = 4
_DRIVER_S = 60.0
# of each carrier: the job's id in the name of a log, alone and in an array
_LOG_NAMES = {
    "bsub": ("launch-%J.log", "launch-%J_%I.log"),
    "sbatch": ("launch-%j.log", "launch-%A_%a.log"),
}


@dataclass(frozen=True)
class Plan:
    """All that one call carries out.

    Attributes:
        job: the job; its commands are what runs inside.
        folder: where logs and records of the jobs go.
        runs: roots of the runs that the commands work on, one a command; None for a single stage.
        data: a job that makes the data which the points of a sweep share; None where it is there, or not shared.
        sweep: what is swept; None without.
    """

    job: Job
    folder: Path
    runs: tuple[Path | None, ...]
    data: Job | None = None
    sweep: Sweep | None = None


def dag_argv(
    config: Path,
    overrides: Sequence[str],
    *,
    cores: int = 0,
    gpus: int = 0,
    more: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> Argv:
    """The command that runs the whole DAG here, on `cores` (0: all), at most `gpus` jobs on a GPU at once."""
    argv = ["python", "-m", "snakemake", "--profile", "cluster_profiles/local", "--configfile", str(config)]
    values = [f"{key}={json.dumps(value)}" for key, value in apply_overrides(overrides).items()]
    argv += ["--config", *values] if values else []
    argv += ["--cores", str(cores)] if cores else []
    argv += ["--resources", f"gpu={gpus}"] if gpus else []
    argv += more
    return (*argv, "--", *targets) if targets else tuple(argv)


def plan_jobs(options: argparse.Namespace, stages: Mapping[str, bool]) -> Plan:
    """What `options` ask to be submitted. The words begin with one of `stages`, or name a config.

    Args:
        options: of the command line.
        stages: all of them, and whether each trains: takes --time-budget and resumes.

    Raises:
        UserError: the config or a swept value is wrong, or the options do not fit together.
    """
    words = list(options.words)
    if words and words[0].replace("-", "_") in stages:
        return _plan_stage(options, words, stages[words[0].replace("-", "_")])
    if options.nodes > 1:
        raise one_node_for_all()
    config, overrides = config_of(words)
    return _plan_sweep(options, config, overrides) if options.sweep else _plan_run(options, config, overrides)


def one_node_for_all() -> UserError:
    """The error for a whole DAG in one job, of which a part wants several nodes."""
    return UserError(
        "The whole DAG inside one job runs on one node.",
        expected="--nodes with a training stage: launch --via sbatch --nodes 2 -- train-enc-dec ...",
        mend="leave --nodes and nodes of the config's sections out, or use snakemake --profile slurm",
    )


def config_of(words: Sequence[str]) -> tuple[Path, list[str]]:
    """The config's file and the overrides that `words` give."""
    if words and "=" not in words[0]:
        return Path(words[0]), list(words[1:])
    return DEFAULT_CONFIG, list(words)


def _plan_stage(options: argparse.Namespace, words: list[str], trains: bool) -> Plan:
    words = stage_words(options, words, trains)
    if trains:
        options = _as_configured(options, words)
    if trains and "--time-budget" not in words:
        words = [*words, "--time-budget", _time_budget(options)]
    folder = Path("results/logs")
    inner = (*PYTHON, "launch", *_in_job(options, folder), "--", *words)
    return Plan(_job(options, (inner,), f"posemill-{words[0]}", folder), folder, (None,))


def stage_words(options: argparse.Namespace, words: Sequence[str], trains: bool) -> list[str]:
    """The words of a single stage, `--name=value` as two, with the time budget that `launch` itself was given.

    Raises:
        UserError: `launch` was given an option that is a whole DAG's.
    """
    if options.sweep or options.until:
        raise UserError(
            "A single stage is neither swept nor cut off.",
            expected="a config: launch --sweep enc_dec.seed=0,1 configs/mini.yaml",
            mend="leave --sweep and --until out, or leave the stage out",
        )
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if options.time_budget is None or "--time-budget" in words:
        return words
    if not trains:
        raise UserError(
            f"--time-budget is for what can save and go on, and {words[0]} cannot.",
            expected="--time-budget with a config or with a training stage",
            mend="leave it out; --minutes is the wall time of a job",
        )
    return [*words, "--time-budget", _time_budget(options)]


def _time_budget(options: argparse.Namespace) -> str:
    """The wall time that a command is told: the job's, or the shorter time that was asked for."""
    if options.time_budget is None:
        return f"{options.minutes}m"
    return f"{options.time_budget if options.via == 'local' else min(options.time_budget, 60 * options.minutes):g}s"


def _as_configured(options: argparse.Namespace, words: Sequence[str]) -> argparse.Namespace:
    """The options, with as many GPUs and nodes as the config of the training stage says, unless they say it."""
    config = Path(words[words.index("--config") + 1]) if "--config" in words[:-1] else None
    if config is None or not config.is_file():
        return options
    after = words[words.index("--set") + 1 :] if "--set" in words else []
    overrides = list(itertools.takewhile(lambda word: not word.startswith("--"), after))
    section = getattr(read_config(config, overrides), words[0].replace("-", "_").removeprefix("train_"))
    gpus = section.gpus if options.gpus is None else options.gpus
    return argparse.Namespace(**vars(options) | {"gpus": gpus, "nodes": max(options.nodes, section.nodes)})


def _with_gpus_of(options: argparse.Namespace, *configs: Config) -> argparse.Namespace:
    """The options, with as many GPUs as any training of a DAG in one job wants, unless they say it.

    Raises:
        UserError: a training wants several nodes.
    """
    wanted = [getattr(config, network) for config in configs for network in NETWORKS]
    if any(section.nodes > 1 for section in wanted):
        raise one_node_for_all()
    if options.gpus is not None or options.via == "local" or any(one.runtime.device == "cpu" for one in configs):
        return options
    return argparse.Namespace(**vars(options) | {"gpus": max(section.gpus for section in wanted)})


def _plan_run(options: argparse.Namespace, config: Path, overrides: list[str]) -> Plan:
    found = read_config(config, overrides)
    options, paths = _with_gpus_of(options, found), Paths(found)
    folder = paths.root / "logs"
    inner = dag_command(options, folder, config, overrides)
    return Plan(_job(options, (inner,), f"posemill-{paths.root.name}", folder), folder, (paths.root,))


def _plan_sweep(options: argparse.Namespace, config: Path, overrides: list[str]) -> Plan:
    sweep = read_sweep(config, overrides, options.sweep)
    options = _with_gpus_of(options, *(read_config(config, [*overrides, *point.overrides]) for point in sweep.points))
    folder = sweep.folder
    # the points run side by side in one working directory, each with results of its own
    points = [dag_command(options, folder, config, [*overrides, *p.overrides], "--nolock") for p in sweep.points]
    job = _job(options, tuple(points), f"posemill-{folder.name}", folder)
    data = None
    if sweep.needs_data:
        inner = dag_command(options, folder, config, overrides, gpus=0, until="data")
        data = replace(_job(options, (inner,), f"posemill-{folder.name}-data", folder), gpus=0)
    return Plan(job, folder, tuple(point.root for point in sweep.points), data, sweep)


def dag_command(
    options: argparse.Namespace,
    folder: Path,
    config: Path,
    overrides: Sequence[str],
    *more: str,
    gpus: int | None = None,
    until: str | None = None,
) -> Argv:
    """What runs inside a job that does the whole DAG of one config, or the part that `until` or the options name."""
    gpus = gpus_of(options) if gpus is None else gpus
    until = until or options.until
    needs = ["--cores", str(cores_of(options)), "--gpus", str(gpus), "--time-budget", _time_budget(options)]
    part = ["--until", until] if until else []
    return (*PYTHON, "launch", *_in_job(options, folder), *needs, *more, *part, str(config), *overrides)


def _in_job(options: argparse.Namespace, folder: Path) -> tuple[str, ...]:
    return ("--in-job", str(folder), "--requeues", str(options.requeues))


def cores_of(options: argparse.Namespace) -> int:
    """The cores that were asked for, or the usual number."""
    return options.cores or (_CORES_OF_A_JOB if options.via != "local" else os.cpu_count() or 1)


def gpus_of(options: argparse.Namespace) -> int:
    """The GPUs that were asked for, or the usual number: one in a job, all that are there on this machine."""
    if options.gpus is not None:
        return options.gpus
    return 1 if options.via != "local" else gpus_here()


def gpus_here() -> int:
    """The GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1", "NoDevFiles")])
    if not shutil.which("nvidia-smi"):
        return 0
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=_DRIVER_S)
    except (OSError, subprocess.TimeoutExpired):  # of a driver that hangs no GPU is to be had
        return 0
    return sum(line.startswith("GPU") for line in done.stdout.splitlines())


def _job(options: argparse.Namespace, commands: tuple[Argv, ...], name: str, folder: Path) -> Job:
    log = options.log
    if not log and options.via in _LOG_NAMES:
        log = str(folder / _LOG_NAMES[options.via][len(commands) > 1])
    return Job(
        commands=commands,
        name=name,
        log=log,
        cores=cores_of(options),
        minutes=options.minutes,
        mem_mb=options.mem_mb,
        mem_per=options.mem_per,
        gpus=gpus_of(options),
        gpu_model=options.gpu_model,
        gpu_syntax=options.gpu_syntax,
        nodes=options.nodes,
        queue=options.queue,
        account=options.account,
        # a batch shell may find another python than the one that is at work here
        setup=(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH", *options.setup),
        max_running=options.max_running,
        requeue=options.requeues > 0,
    )
