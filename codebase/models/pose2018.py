"""The pose network of Rhodin et al. (ECCV 2018), which Gaggi (2019) took over: plain layers, BatchNorm after ReLU.

With the labels of one subject it can fail badly on others (codebase/models/pose.py says why); it is here to compare.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.config import PoseConfig
from codebase.skeleton import H36M


class PoseMlp2018(nn.Module):
    """L_3d, as it is -> joints in the im frame, mm.

    Args:
        config: hidden (2048 in the original), layers (2), dropout (0.5), members (1), targets.
        points: points of L_3d (200).
    """

    scale: Tensor
    mean_mm: Tensor
    spread_mm: Tensor

    def __init__(self, config: PoseConfig, points: int) -> None:
        super().__init__()
        self.targets = config.targets
        self.register_buffer("scale", torch.ones(points, 1))  # as in PoseNet: tells the number of points
        self.register_buffer("mean_mm", torch.zeros(len(H36M), 3))
        self.register_buffer("spread_mm", torch.ones(len(H36M), 3))
        self.mirrors = config.mirror > 0
        self.members = nn.ModuleList(_layers(config, points) for _ in range(config.members))

    def standardise(
        self, points: Float[Tensor, "rows points 3"], joints_im_mm: Float[Tensor, "labelled joints 3"]
    ) -> None:
        """Take mean and spread of the targets from the labelled rows, as `targets` says; inputs stay as they are."""
        del points
        if self.targets == "mm":
            return
        self.mean_mm.copy_(joints_im_mm.mean(dim=0))
        away = (joints_im_mm - self.mean_mm).square()
        spread = away.mean(dim=0).sqrt() if self.targets == "coordinates" else away.mean().sqrt()
        self.spread_mm.copy_(torch.where(spread > 0, spread, 1.0))  # the root's is 0

    def each(self, points: Float[Tensor, "b points 3"]) -> Float[Tensor, "members b joints 3"]:
        """The pose that each member sees, mm; the root is one of the answers, and about 0."""
        flat = points.flatten(1)
        found = torch.stack([member(flat) for member in self.members]).unflatten(2, (-1, 3))
        return self.mean_mm + self.spread_mm * found

    def forward(self, points: Float[Tensor, "b points 3"]) -> Float[Tensor, "b joints 3"]:
        """The mean over members, mm, with the root at 0 whatever they answered there."""
        joints = self.each(points).mean(dim=0)
        return torch.cat([torch.zeros_like(joints[:, :1]), joints[:, 1:]], dim=1)


def _layers(config: PoseConfig, points: int) -> nn.Sequential:
    width = config.hidden
    layers: list[nn.Module] = [nn.Linear(3 * points, width), nn.ReLU(), nn.BatchNorm1d(width)]
    for _ in range(config.layers - 1):
        layers += [nn.Dropout(config.dropout), nn.Linear(width, width), nn.ReLU(), nn.BatchNorm1d(width)]
        layers += [nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.Linear(width, 3 * len(H36M)))
