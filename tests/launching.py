"""What the tests of `launch` share: its options, commands for PATH, and a folder of a sweep."""

from codebase.cli import COMMANDS, build_parser
from codebase.launch import plan

STAGES = {name: stage.trains for name, stage in COMMANDS.items()}


def options(*words):
    """The parsed words of `launch`."""
    return build_parser().parse_args(["launch", *words])


def commands(*words):
    """The commands that would run inside the jobs."""
    return plan.plan_jobs(options(*words), STAGES).job.commands


def tool(folder, name, script):
    """A command for PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
