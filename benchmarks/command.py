"""The command line of benchmarks on a config: CONFIG, key=value over it, and each one's own options."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from codebase.config import Config, read_config
from codebase.processes import limit_threads


def config_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of CONFIG and overrides, to which a benchmark adds its options.

    Args:
        description: the benchmark's docstring, shown as it is.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return parser


def configured(parser: argparse.ArgumentParser, level: int = logging.INFO) -> tuple[Config, argparse.Namespace]:
    """The config and the options of this command; from here on logging is set up and threads are bounded.

    Raises:
        ConfigError: the config is not valid.
    """
    options = parser.parse_intermixed_args()
    log_to_terminal(level)
    config = read_config(options.config, options.overrides)
    use_threads(config.runtime.threads)
    return config, options


def log_to_terminal(level: int = logging.INFO) -> None:
    """What is logged, with the time."""
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def use_threads(threads: int) -> None:
    """Bound the threads of this process and of those that it starts.

    The environment is for the latter, and for what is not imported yet: torch is, and has read it already.
    """
    limit_threads(threads)
    torch.set_num_threads(threads)
