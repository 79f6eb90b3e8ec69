"""Batch normalisation over the whole batch of a team, so that its size does not depend on the number of processes."""

from __future__ import annotations

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.training.team import team

M = TypeVar("M", bound=nn.Module)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """torch's SyncBatchNorm for processes without a GPU, which that one refuses; same parameters, same statistics."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise; in training by the statistics of the shares of all processes together."""
        if not self.training:
            return super().forward(x)
        exact = x.float()
        mean = team().mean(exact.mean(dim=(0, 2, 3)))
        away = exact - mean[:, None, None]
        var = team().mean(away.square().mean(dim=(0, 2, 3)))
        count = team().size * x.numel() / x.shape[1]
        self._follow(mean.detach(), var.detach() * count / max(count - 1, 1))
        scale = torch.rsqrt(var + self.eps) * self.weight
        return (away * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.1)
        self.running_var.lerp_(var, self.momentum or 0.1)


def whole_batch_norms(net: M) -> M:
    """The network with every BatchNorm2d looking at the whole batch; as it is where this process is alone."""
    if team().size == 1:
        return net
    if next(net.parameters()).device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for part in list(net.modules()):
        for name, child in part.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(part, name, _global(child))
    return net


def _global(norm: nn.BatchNorm2d) -> GlobalBatchNorm2d:
    made = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var, made.num_batches_tracked = (
        norm.running_mean, norm.running_var, norm.num_batches_tracked,
    )  # fmt: skip
    return made.train(norm.training)  # statistics that stay, stay
