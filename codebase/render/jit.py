"""How numba kernels are compiled: once a machine, kept beside the source, without the interpreter's lock."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function`; run-time shape checks that a test run wraps around it are taken off first."""
    compiled: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")(inspect.unwrap(function))
    return compiled
