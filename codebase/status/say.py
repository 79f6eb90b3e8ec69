"""What a command answers on standard output."""

from __future__ import annotations

import os
import sys


def say(text: str, end: str = "\n") -> bool:
    """Write it at once; returns whether anybody reads on: `| head` is no reason to leave the work behind it undone."""
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        # for what follows, and for what the interpreter flushes at its end
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return False
    return True
