"""Devices and number formats: bf16 and channels_last where the hardware computes them natively."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from torch import nn

Precision = Literal["auto", "fp32", "bf16"]
M = TypeVar("M", bound=nn.Module)


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of `runtime.device`; auto takes a GPU where there is one."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


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
