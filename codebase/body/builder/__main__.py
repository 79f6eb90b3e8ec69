"""`python -m codebase.body.builder --output assets/free_body.npz`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from codebase.body.builder.build import build
from codebase.body.builder.pack import write

logger = logging.getLogger("codebase.body.builder")


def main() -> None:
    """Build the free body and its report beside it (`.json`)."""
    parser = argparse.ArgumentParser(prog="python -m codebase.body.builder", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("assets/free_body.npz"))
    parser.add_argument("--bodies", type=int, default=400, help="random bodies that the shape space is made from")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arrays, report = build(options.bodies, options.seed)
    write(options.output, arrays, report)
    logger.info("%s: %s", options.output, report)


if __name__ == "__main__":
    main()
