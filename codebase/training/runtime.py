"""What a training or embedding process sets up before it builds a model."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from codebase.config.root import RuntimeConfig
from codebase.training.precision import pick_device
from codebase.training.team import inside, join


def prepare(runtime: RuntimeConfig, seed: int) -> torch.device:
    """Set the number of threads, seed every generator, ask cuDNN for deterministic kernels; returns the device.

    Where torchrun started this process, it joins its team, and threads are shared by the processes of the host.
    Bit for bit on the CPU. On a GPU some kernels (upsampling, indexing backwards) still add up in any order.
    """
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if inside() else 1
    torch.set_num_threads(max(1, runtime.threads // here))
    seed_all(seed)
    torch.backends.cudnn.deterministic = True
    return join(pick_device(runtime.device))


def seed_all(seed: int) -> None:
    """Seed python's, numpy's global and torch's generators (all devices)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may use the global one; ours pass generators
    torch.manual_seed(seed)
