"""From features to SMPL parameters, beginning at the dataset's mean: a few corrections, or a single one."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.models.rotations import to_6d
from codebase.models.smpl import BETAS, JOINTS, PARAMETERS, split

AXIS_ANGLE = JOINTS * 3 + BETAS


def as_parameters(
    rotmats: Float[Tensor, "24 3 3"], betas: Float[Tensor, "10"], rotation: str
) -> Float[Tensor, " parameters"]:
    """A body as a regressor writes it: 154 numbers with `rotation` "6d", 82 with "axis_angle"."""
    pose = roma.rotmat_to_rotvec(rotmats) if rotation == "axis_angle" else to_6d(rotmats)
    return torch.cat([pose.flatten(), betas])


def bodies_of(
    raw: Float[Tensor, "batch parameters"],
) -> tuple[Float[Tensor, "batch 24 3 3"], Float[Tensor, "batch 10"]]:
    """Rotations (global one first) and betas of raw parameters; their number says how rotations are written."""
    if raw.shape[1] == PARAMETERS:
        return split(raw)
    return roma.rotvec_to_rotmat(raw[:, :-BETAS].reshape(len(raw), JOINTS, 3)), raw[:, -BETAS:]


class IterativeRegressor(nn.Module):
    """Correct an estimate `iterations` times from features and the estimate itself, beginning at the dataset's mean.

    Args:
        features: length of the feature vector.
        mean_rotmats: mean pose, the global orientation first.
        mean_betas: mean shape.
        width: units of the two hidden layers.
        iterations: corrections made; each is returned, for a loss on the way is no worse and often better.
        dropout: share of units dropped in training.
        rotation: "6d" or "axis_angle".
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
        rotation: str = "6d",
    ) -> None:
        super().__init__()
        mean = as_parameters(mean_rotmats, mean_betas, rotation)
        self.iterations = iterations
        self.enter = nn.Linear(features, width)
        self.enter_estimate = nn.Linear(len(mean), width, bias=False)
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.leave = nn.Linear(width, len(mean))
        with torch.no_grad():  # the first estimates stay near the mean (gain .01 in the original)
            self.leave.weight.mul_(0.05)
            self.leave.bias.zero_()
        self.register_buffer("mean", mean)

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "iterations batch parameters"]:
        """Raw parameters after each correction (`bodies_of` reads a row); the last row is the answer."""
        seen = self.enter(features)
        estimate = self.mean.expand(len(features), -1)
        estimates = []
        for _ in range(self.iterations):
            estimate = estimate + self.leave(self.body(seen + self.enter_estimate(estimate - self.mean)))
            estimates.append(estimate)
        return torch.stack(estimates)


class JoinedRegressor(nn.Module):
    """The regressor of HMR (Kanazawa et al., CVPR 2018): features and estimate joined, two hidden layers of ReLU.

    Args:
        features, mean_rotmats, mean_betas, width, iterations, dropout, rotation: as for IterativeRegressor.
        sees_estimate: False: features alone enter, for a single correction.
        heads: four linear layers (orientation, body, hands, shape) read the estimate. They begin as the identity, so
            the first answer stays the mean; random ones would throw it away.
    """

    mean: Tensor

    def __init__(
        self,
        features: int,
        *,
        mean_rotmats: Float[Tensor, "24 3 3"],
        mean_betas: Float[Tensor, "10"],
        width: int = 1024,
        iterations: int = 3,
        dropout: float = 0.5,
        rotation: str = "6d",
        sees_estimate: bool = True,
        heads: bool = False,
    ) -> None:
        super().__init__()
        mean = as_parameters(mean_rotmats, mean_betas, rotation)
        self.iterations, self.sees_estimate, count = iterations, sees_estimate, len(mean)
        self.net = nn.Sequential(
            nn.Linear(features + (count if sees_estimate else 0), width), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.leave = nn.Linear(width, count)
        nn.init.xavier_uniform_(self.leave.weight, gain=0.01)
        nn.init.zeros_(self.leave.bias)
        self.heads = nn.ModuleList(_identity_heads(count)) if heads else nn.ModuleList()
        self.register_buffer("mean", mean)

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "iterations batch parameters"]:
        """Raw parameters after each correction (`bodies_of` reads a row); the last row is the answer."""
        estimate = self.mean.expand(len(features), -1)
        estimates = []
        for _ in range(self.iterations):
            seen = torch.cat([features, estimate], dim=1) if self.sees_estimate else features
            estimate = estimate + self.leave(self.net(seen))
            estimates.append(torch.cat([head(estimate) for head in self.heads], dim=1) if self.heads else estimate)
        return torch.stack(estimates)


def _identity_heads(count: int) -> list[nn.Linear]:
    """Layers that each pass their own slice of the parameters on: orientation, 21 body joints, 2 hands, shape."""
    each = (count - BETAS) // JOINTS
    heads, start = [], 0
    for size in (each, 21 * each, 2 * each, BETAS):
        head = nn.Linear(count, size)
        with torch.no_grad():
            head.weight.zero_()
            head.weight[:, start : start + size] = torch.eye(size)
            head.bias.zero_()
        heads.append(head)
        start += size
    return heads
