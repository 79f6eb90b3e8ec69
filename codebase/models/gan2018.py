"""The adversarial prior of the first system, as it was: for comparison, not for use.

Axis-angle vectors of all 24 joints and the betas go through two layers with batch normalisation to two numbers, whose
softmax's first is the chance of a real body. What differs from the original is listed in docs/decisions.md.
"""

from __future__ import annotations

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from codebase.models.rotations import FACING_CAMERA

PARAMETERS = 72 + 10
NOISE = 20


class Gan2018(nn.Module):
    """The discriminator: logits of a real body, the global orientation included.

    Args:
        width: units of the two hidden layers.
    """

    upright: Tensor

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(PARAMETERS, width), nn.ReLU(), nn.BatchNorm1d(width),
            nn.Linear(width, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, 2),
        )  # fmt: skip
        self.register_buffer("upright", torch.tensor(FACING_CAMERA))

    def judge(self, parameters: Float[Tensor, "batch 82"]) -> Float[Tensor, " batch"]:
        """Logits of axis-angle vectors (the global one from upright before the camera) and betas.

        The softmax of two numbers is the sigmoid of their difference.
        """
        scores = self.net(parameters)
        return scores[:, 0] - scores[:, 1]

    def forward(
        self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]
    ) -> Float[Tensor, " batch"]:
        """Logits of bodies whose global orientation leads to the im frame."""
        return self.judge(self.parameters_of(rotmats, betas))

    def parameters_of(
        self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]
    ) -> Float[Tensor, "batch 82"]:
        """What the network sees: axis-angle vectors, the global one from upright before the camera, and betas."""
        turned = torch.cat([(self.upright.T @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)
        return torch.cat([roma.rotmat_to_rotvec(turned).flatten(1), betas], dim=1)

    def loss(self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]) -> Float[Tensor, ""]:
        """Cross-entropy with the label "real"."""
        return functional.softplus(-self(rotmats, betas)).mean()

    def calibrate(self, logits: Float[Tensor, " batch"], real: Float[Tensor, " batch"]) -> None:
        """Nothing: the original was not calibrated."""

    def uncalibrated(self) -> None:
        """Nothing, likewise."""


class Gan2018Generator(nn.Module):
    """Twenty numbers to axis-angle vectors and betas."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(NOISE, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, PARAMETERS)
        )

    def forward(self, noise: Float[Tensor, "batch 20"]) -> Float[Tensor, "batch 82"]:
        """Parameters of bodies, of any size: nothing bounds them."""
        made: Tensor = self.net(noise)
        return made
