"""A body from an image: convolutional features and an iterative regressor (HMR, Kanazawa et al., CVPR 2018)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.models.rotations import to_6d
from codebase.models.smpl import PARAMETERS


class IterativeRegressor(nn.Module):
    """Correct an estimate `iterations` times from features and the estimate itself, beginning at the dataset's mean.

    Args:
        features: length of the feature vector.
        mean_rotmats: mean pose, the global orientation (im frame) first.
        mean_betas: mean shape.
        width: units of the two hidden layers.
        iterations: corrections made; each is returned, for a loss on the way is no worse and often better.
        dropout: share of units dropped in training.
    """

    mean: Tensor

    def __init__(
        self,
        features: int,
        *,
        mean_rotmats: Float[Tensor, "24 3 3"],
        mean_betas: Float[Tensor, "10"],
        width: int = 512,
        iterations: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.enter = nn.Linear(features, width)
        self.enter_estimate = nn.Linear(PARAMETERS, width, bias=False)
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.leave = nn.Linear(width, PARAMETERS)
        with torch.no_grad():  # the first estimates stay near the mean (gain .01 in the original)
            self.leave.weight.mul_(0.05)
            self.leave.bias.zero_()
        self.register_buffer("mean", torch.cat([to_6d(mean_rotmats).flatten(), mean_betas]))

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "iterations batch 154"]:
        """Raw parameters after each correction (24 x 6 rotation columns, 10 betas); the last row is the answer."""
        seen = self.enter(features)
        estimate = self.mean.expand(len(features), -1)
        estimates = []
        for _ in range(self.iterations):
            estimate = estimate + self.leave(self.body(seen + self.enter_estimate(estimate - self.mean)))
            estimates.append(estimate)
        return torch.stack(estimates)
