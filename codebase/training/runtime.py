"""What a training or embedding process sets up before it builds a model."""

from __future__ import annotations

import ctypes
import os
import platform
import random

import numpy as np
import torch

from codebase.config.root import RuntimeConfig
from codebase.training.precision import pick_device
from codebase.training.team import inside, join

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, in malloc.h


def prepare(runtime: RuntimeConfig, seed: int) -> torch.device:
    """Set the number of threads, seed every generator, ask for deterministic kernels; returns the device.

    Where torchrun started this process, it joins its team, and threads are shared by the processes of the host.
    Bit for bit on the CPU with as many threads. On a GPU some kernels (upsampling, indexing backwards) still add up in
    any order.
    """
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if inside() else 1
    torch.set_num_threads(max(1, runtime.threads // here))
    seed_all(seed)
    torch.backends.cudnn.deterministic = True
    device = pick_device(runtime.device)
    if device.type == "cpu":
        _keep_freed_memory()
    _add_up_in_order(device.type == "cpu")
    return join(device)


def _keep_freed_memory() -> None:
    """Have glibc keep what large tensors leave free: given back and asked for anew, each page is zeroed every step."""
    if platform.libc_ver()[0] == "glibc":
        malloc = ctypes.CDLL(None)
        malloc.mallopt(_MMAP_MAX, 0)
        malloc.mallopt(_TRIM_THRESHOLD, -1)


def _add_up_in_order(on_cpu: bool) -> None:
    """Without this, threads add the gradients of rows that were gathered twice (`x[rows]`) in any order.

    On the CPU that is the one such kernel, and in order it costs next to nothing. On a GPU the switch would refuse
    kernels that have no deterministic twin.
    """
    torch.use_deterministic_algorithms(on_cpu)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only finds faults


def seed_all(seed: int) -> None:
    """Seed python's, numpy's global and torch's generators (all devices)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may use the global one; ours pass generators
    torch.manual_seed(seed)
