"""Optimisers, one clipped step, and the schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codebase.config import HmrConfig, TrainConfig


def adam(config: TrainConfig, *modules: nn.Module, rates: Sequence[float] | None = None) -> torch.optim.Optimizer:
    """Fused AdamW over the trainable parameters of `modules`; weight decay spares vectors (biases, norms).

    Args:
        config: learning rate and weight decay.
        modules: what is trained.
        rates: a factor of the learning rate for each of the modules; None: 1 for all.
    """
    parts = [modules] if rates is None else [(module,) for module in modules]
    groups: list[dict[str, Any]] = []
    for part, rate in zip(parts, rates or (1.0,), strict=True):
        params = [p for module in part for p in module.parameters() if p.requires_grad]
        own = {} if rates is None else {"lr": rate * config.learning_rate}
        groups.append({"params": [p for p in params if p.ndim > 1], "weight_decay": config.weight_decay, **own})
        groups.append({"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0, **own})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)


def make(config: HmrConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that the section names, `adam` or plain SGD; `model.encoder` learns at `encoder_rate`."""
    if config.optimizer == "adam" and config.encoder_rate == 1:
        return adam(config, model)
    encoder = model.get_submodule("encoder")
    others = nn.ModuleList(part for name, part in model.named_children() if name != "encoder")
    if config.optimizer == "adam":
        return adam(config, others, encoder, rates=(1.0, config.encoder_rate))
    params = [p for p in others.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": params}]
    if own := [p for p in encoder.parameters() if p.requires_grad]:
        groups.append({"params": own, "lr": config.encoder_rate * config.learning_rate})
    return torch.optim.SGD(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def step(loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> Tensor:
    """Backward, clip the norm of the gradient to `clip`, step; returns the norm before clipping.

    A gradient that is not finite changes no weight: the loop then stops on the loss or the norm, with the last good
    weights still in place.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    params: Iterable[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(params, clip)
    if torch.isfinite(norm):
        optimizer.step()
    return norm.detach()


def rate_factor(config: TrainConfig, step_index: int) -> float:
    """Factor of the learning rate at a step (from 0): linear warm-up, then half a cosine to zero (or no decay)."""
    warmup = min(config.warmup_steps, config.steps)
    if step_index < warmup:
        return (step_index + 1) / warmup
    if getattr(config, "decay", "cosine") == "none":
        return 1.0
    done = (step_index - warmup) / max(config.steps - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def set_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to `factor` times the one that it was made with."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
