"""What ablations share: the name of what nothing is changed of, folders, options, and changes in words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import config_parser

BASE = "as configured"


def ablation_parser(
    description: str | None, variants: Collection[str], folder: str, seeds: Sequence[int] = (0,)
) -> argparse.ArgumentParser:
    """A parser of CONFIG, overrides, which variants and seeds, and where to.

    Args:
        description: the benchmark's docstring.
        variants: all that there are; they are run without --only.
        folder: the results' default, in the run's own.
        seeds: those without --seeds.
    """
    parser = config_parser(description)
    parser.add_argument("--only", nargs="+", choices=list(variants), default=list(variants), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--results", type=Path, help=f"folder, default {{root}}/{folder}")
    return parser


def slug(name: str) -> str:
    """A variant's name as a folder's."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)


def in_words(changes: Mapping[str, Any]) -> str:
    """What a variant changes, for a table."""
    return ", ".join(f"{key} {value}" for key, value in changes.items())
