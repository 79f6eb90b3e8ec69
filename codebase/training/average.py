"""A running average of a network's weights (Polyak), which is smoother than the weights of the last step."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Average(nn.Module, Generic[M]):
    """Holds a copy of `net` whose floating-point weights and buffers follow it; always in eval mode.

    Args:
        net: the network that is trained.
        decay: largest weight of the past in each update; early updates forget faster.
    """

    def __init__(self, net: M, decay: float) -> None:
        super().__init__()
        self.net: M = copy.deepcopy(net).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Follow `net` after its step number `step` (from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        mine, its = list(self.net.state_dict().values()), list(net.state_dict().values())
        floats = [(a, b) for a, b in zip(mine, its, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], weight)
        for a, b in zip(mine, its, strict=True):
            if not a.is_floating_point():
                a.copy_(b)
