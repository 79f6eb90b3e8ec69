"""The options of `python -m codebase launch`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

UNTIL = ("data", "enc_dec", "pose", "prior", "smpl", "hmr", "predictions")


class Unsaid(int):
    """A default, which can be told from the same number on the command line."""


DEFAULT_MINUTES, DEFAULT_MEM_MB = Unsaid(1440), Unsaid(16000)
VIAS = ("local", "bsub", "sbatch", "submitit")


def seconds(text: str) -> float:
    """Parse `240m` (minutes), `3600s` or `3600` (seconds).

    Raises:
        argparse.ArgumentTypeError: the text is no positive duration.
    """
    scale, number = {"m": (60.0, text[:-1]), "s": (1.0, text[:-1])}.get(text[-1:], (1.0, text))
    try:
        value = float(number) * scale
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 240m or 3600s")
    return value


def budget(wall_s: float) -> float:
    """The part of the wall time that training may use; the rest is for the start of the job and for the last save."""
    return wall_s - min(120.0, max(0.1 * wall_s, min(20.0, wall_s / 3)))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all options and the words."""
    parser.add_argument(
        "--via", choices=VIAS, default="local", help="who carries it: this machine, LSF, Slurm, submitit"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would run or be submitted")
    _add_needs(parser.add_argument_group("what the job needs"))
    _add_site(parser.add_argument_group("how the site wants it"))
    _add_sweep(parser.add_argument_group("sweeps"))
    _add_running(parser.add_argument_group("running"))
    parser.add_argument("words", nargs="*", metavar="CONFIG [key=value ...] | -- STAGE ...")


def _add_needs(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--cores", type=_at_least(1), help="of each node; default 4 in a job, all here")
    group.add_argument("--minutes", type=_at_least(1), default=DEFAULT_MINUTES, help="wall time, default 1440")
    group.add_argument("--mem-mb", type=_at_least(1), default=DEFAULT_MEM_MB, help="of each node, default 16000")
    group.add_argument("--gpus", type=_at_least(0), help="of each node; default 1 in a job, those that are there here")
    group.add_argument("--gpu-model", default="", help="as the site names it, such as a100")
    group.add_argument("--nodes", type=_at_least(1), default=1, help="for a training stage on several, default 1")


def _add_site(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--queue", default="", help="queue (bsub) or partition (sbatch, submitit)")
    group.add_argument("--account", default="", help="project (bsub) or account (sbatch, submitit)")
    group.add_argument(
        "--gpu-syntax",
        choices=("gpu", "rusage", "gpus", "gres"),
        help='bsub: gpu (-gpu "num=1", the default) or rusage (ngpus_excl_p, old sites); sbatch: gpus or gres',
    )
    group.add_argument(
        "--mem-per",
        choices=("core", "job"),
        default="",
        help="how memory is told; default core for bsub, job for Slurm",
    )
    group.add_argument(
        "--setup", action="append", default=[], metavar="LINE", help="shell line before the command; may be repeated"
    )
    group.add_argument("--site", default="", metavar="FILE", help="the site's file of `profile`; also $POSEMILL_SITE")
    group.add_argument("--log", default="", help="file of the job's output; default results/NAME/logs/launch-JOB.log")


def _add_sweep(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--sweep",
        nargs="+",
        action="extend",
        default=[],
        metavar="key=value,value",
        help="every combination is a run of its own, all of them one array",
    )
    group.add_argument("--max-running", type=_at_least(0), default=0, help="so many runs of a sweep at once")
    group.add_argument("--collect", action="store_true", help="print the table of the sweep in this folder")


def _add_running(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--wait", action="store_true", help="wait for the job, show how far it is, leave with its code")
    group.add_argument("--requeues", type=_at_least(0), default=20, help="attempts after the first, default 20")
    group.add_argument(
        "--executor", choices=("slurm", "local"), default="slurm", help="of submitit; local: a process of this machine"
    )
    group.add_argument(
        "--until",
        choices=UNTIL,
        help="stop when the data (index and crops), this network, or the predictions are there",
    )
    group.add_argument(
        "--time-budget", type=seconds, help="wall time of this run, such as 240m; stops and saves before"
    )
    # what a submitted script says to its own end: where to write how it went
    group.add_argument("--in-job", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    group.add_argument("--nolock", action="store_true", help=argparse.SUPPRESS)


def _at_least(low: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is below {low}")
        return value

    number.__name__ = "int"
    return number
