"""Devices and number formats: bf16 and channels_last where the hardware computes them natively."""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from codebase.errors import UserError
from codebase.logs import log

Precision = Literal["auto", "fp32", "bf16"]
M = TypeVar("M", bound=nn.Module)


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of `runtime.device`; auto takes a GPU where there is one, and says so where a job's GPU is not found.

    Raises:
        UserError: cuda is asked for, and torch finds no GPU; says what it was built with and what the job was given.
    """
    if wanted == "cpu" or torch.cuda.is_available():
        return torch.device("cpu" if wanted == "cpu" else "cuda")
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    why = f"torch {torch.__version__} is built {build}"
    tried = f"{why}; CUDA_VISIBLE_DEVICES is {given or 'not set'}"
    if wanted == "cuda":
        raise UserError(
            "runtime.device asks for a GPU, and torch finds none.",
            where=f"{socket.gethostname()}: {tried}",
            expected="a job that holds a GPU, and a build of torch for it (envs/gpu.txt)",
            mend="ask for a GPU (`gpu` in the site file, docs/clusters.md), or set runtime.device to auto or cpu",
        )
    if given:
        log.warning("the job was given GPU %s, but torch finds none: it runs on the CPU (%s)", given, why)
    return torch.device("cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware (a CPU: AMX or AVX512-BF16); else it is emulated, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(probe() for probe in probes if probe is not None)


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype in which heavy layers compute."""
    wants_bf16 = precision == "bf16" or (precision == "auto" and has_bf16(device))
    return torch.bfloat16 if wants_bf16 else torch.float32


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which convolutions and products compute in bf16, or as they are for fp32. Losses belong outside."""
    if dtype_of(precision, device) is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def place(module: M, device: torch.device) -> M:
    """The module on `device`, convolutions in channels_last (measured on a CPU: x1.4 in fp32, x1.6 in bf16)."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
