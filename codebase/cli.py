"""The command line: one subcommand a stage. It parses, sets up threads and logging, and calls; stages do the work.

Heavy libraries are imported only with the stage that is asked for. Exit codes: 0 done, 1 a fault of ours (with a
traceback), 2 something the user can mend (one message), 75 out of time with the state saved, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codebase.cli_tools import add_tools, finish
from codebase.commands import COMMANDS, Command
from codebase.errors import EXIT_OUT_OF_TIME, EXIT_USER_ERROR, KilledError, OutOfTimeError, UserError
from codebase.failures import disk_is_full
from codebase.launch.options import budget, seconds
from codebase.processes import MEMBER, limit_threads, spread

EXIT_INTERRUPTED = 130
# how a stage ended, in its log's last line
ENDS = {OutOfTimeError: "out of time", KilledError: "killed", UserError: "error", KeyboardInterrupt: "interrupted"}


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; to `launch` and to tools that take a config, key=value may also be said behind options."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    plain = "--" not in arguments and all("=" in word and word[0] != "-" for word in rest)
    if rest and plain and arguments[0] == "launch":
        options.words, rest = [*options.words, *rest], []
    elif rest and plain and hasattr(options, "overrides"):
        options.overrides, rest = [*options.overrides, *rest], []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the process's exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and not arguments[0].startswith("-"):
        arguments[0] = arguments[0].replace("_", "-")
    options = _parse(arguments)
    options.argv = arguments
    if MEMBER in os.environ:
        return importlib.import_module("codebase.training.spread").as_member(lambda: options.handler(options))
    try:
        return options.handler(options) or 0
    except KilledError as error:
        print(f"killed: {error}", file=sys.stderr)
        return 1
    except UserError as error:
        if options.traceback:
            raise
        _tell(error, str(error))
        return EXIT_USER_ERROR
    except OutOfTimeError as error:
        print(f"out of time: {error}; the state is saved, run the same command again to resume", file=sys.stderr)
        return EXIT_OUT_OF_TIME
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        full = disk_is_full(error, getattr(options, "output", None))
        if not full or options.traceback:
            raise
        _tell(error, full)
        return EXIT_USER_ERROR


def _tell(error: BaseException, said: str) -> None:
    """Print an error for people, also into a log on the disk that is full.

    Where the error came from, a half-written file may still be open, whose room the message needs: that is forgotten.
    And the log's last line may be torn.
    """
    one: BaseException | None = error
    while one is not None:
        before = one.__cause__ or one.__context__
        one.__traceback__ = one.__context__ = one.__cause__ = None
        one = before
    torn = any(full in said for full in ("disk is full", "quota is used up"))
    print(f"{chr(10) if torn else ''}error: {said}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; a test freezes its surface."""
    parser = argparse.ArgumentParser(prog="python -m codebase", description="PoseMill, stage by stage.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for stage, command in COMMANDS.items():
        _add_stage(commands, stage, command)
    add_tools(commands)
    return parser


def _add_stage(commands: Any, stage: str, command: Command) -> None:  # noqa: ANN401 - argparse has no public type for it
    parser = commands.add_parser(stage.replace("_", "-"), help=command.help, allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, help="the config of the run")
    for name, kind in command.options.items():
        nargs: dict[str, Any] = {"nargs": "*"} if name in command.lists else {}
        absent = () if name in command.lists else None
        nargs["default" if name in command.optional else "required"] = absent if name in command.optional else True
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=kind, **nargs)
    if command.trains:
        parser.add_argument("--time-budget", type=seconds, help="wall time of this job, such as 240m; saves before")
        parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="laid over the config")
    finish(parser, _run_stage, stage=stage)


def _run_stage(options: argparse.Namespace) -> None:
    from codebase.config import read_config

    config = read_config(options.config, getattr(options, "set", ()))
    limit_threads(config.runtime.threads if COMMANDS[options.stage].trains else 1)
    logs = importlib.import_module("codebase.logs")
    logs.configure_logging(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR)
    commit, start = importlib.import_module("codebase.provenance").git_commit(), time.monotonic()
    uses_gpu = COMMANDS[options.stage].trains or options.stage in ("embed", "predict", "measure_labels")
    alone = MEMBER not in os.environ
    if alone:
        logs.log_job(["python", "-m", "codebase", *sys.argv[1:]], commit=commit, gpu_names=uses_gpu)
    arguments = {name: getattr(options, name) for name in COMMANDS[options.stage].options}
    if COMMANDS[options.stage].trains:
        arguments["budget_s"] = None if options.time_budget is None else budget(options.time_budget)
    how = "done"
    try:
        trains = COMMANDS[options.stage].trains
        if not trains or not spread(options, getattr(config, options.stage.removeprefix("train_"))):
            importlib.import_module(f"codebase.stages.{options.stage}").run(config, **arguments)
    except BaseException as error:
        how = next(
            (end for kind, end in ENDS.items() if isinstance(error, kind)), "error" if disk_is_full(error) else "fault"
        )
        raise
    finally:
        if alone:
            logs.log_end(how, time.monotonic() - start)
