"""Cheap smooth noise inside numba kernels."""

from __future__ import annotations

import numpy as np

from codebase.render.jit import kernel


@kernel
def lattice(i, j):  # type: ignore[no-untyped-def]
    """A hash of two integers to [0, 1)."""
    h = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@kernel
def noise2(x, y):  # type: ignore[no-untyped-def]
    """Value noise in [0, 1) with features of size 1."""
    fx, fy = np.floor(x), np.floor(y)
    i, j = int(fx), int(fy)
    s, t = x - fx, y - fy
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    low = lattice(i, j) * (1 - s) + lattice(i + 1, j) * s
    high = lattice(i, j + 1) * (1 - s) + lattice(i + 1, j + 1) * s
    return low * (1 - t) + high * t


@kernel
def smoothstep(low, high, x):  # type: ignore[no-untyped-def]
    """0 below `low`, 1 above `high`, smooth between."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)
