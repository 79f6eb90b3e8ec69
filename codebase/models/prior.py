"""A prior on bodies: a discriminator of pose and shape, blind to where the body faces, and a generator to spar with.

The discriminator of the first system saw axis-angle vectors with the global orientation among them, normalised real
and generated samples in one batch and was never at rest inside the regressor. This one sees rotations (each joint
alone, and all together), has no BatchNorm, and gives one logit whose sigmoid is calibrated on held-out poses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from codebase.config import PriorConfig
from codebase.models.gan2018 import Gan2018
from codebase.models.mixture import MixturePrior
from codebase.models.rotations import from_6d, to_6d

BODY_JOINTS = 23
BETAS = 10


class Prior(nn.Module):
    """Logit of "a person may look like this" for joint rotations and shape.

    As in HMR (Kanazawa et al., CVPR 2018) small networks with shared weights look at single joints, others at the whole
    pose and at the shape; unlike there, their evidence is summed to one logit, so that it can be calibrated.

    Args:
        width: units of the hidden layers that see the whole pose.
    """

    temperature: Tensor

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.joint = nn.Parameter(torch.randn(BODY_JOINTS, 32) * 0.1)
        self.each = nn.Sequential(nn.Linear(6 + 32, 64), nn.SiLU(), nn.Linear(64, 32), nn.SiLU())
        self.each_out = nn.Linear(32, 1)
        self.whole = _tower(BODY_JOINTS * (6 + 32), width)
        self.shape = _tower(BETAS, 32)
        self.register_buffer("temperature", torch.ones(()))

    def forward(
        self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]
    ) -> Float[Tensor, " batch"]:
        """Calibrated logits: log odds of real against not.

        Args:
            rotmats: rotations of SMPL's 24 joints; the first, the global orientation, is not looked at.
            betas: shape coefficients, in standard deviations.
        """
        six = to_6d(rotmats[:, 1:])
        each = self.each(torch.cat([six, self.joint.expand(len(six), -1, -1)], dim=2))
        evidence = self.each_out(each).mean(dim=(1, 2))
        whole = self.whole(torch.cat([six, each], dim=2).flatten(1))[:, 0]
        return (evidence + whole + self.shape(betas)[:, 0]) / self.temperature

    def loss(self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]) -> Float[Tensor, ""]:
        """Mean of -log P(real): its gradient is largest for the least likely bodies and fades for likely ones."""
        return functional.softplus(-self(rotmats, betas)).mean()

    @torch.no_grad()
    def calibrate(self, logits: Float[Tensor, " batch"], real: Float[Tensor, " batch"]) -> None:
        """Set the temperature that makes held-out `logits` (of this prior, uncalibrated) most likely.

        A golden-section search on a convex function of one number; Guo et al. (ICML 2017) for the idea.
        """
        low, high = -3.0, 3.0  # of the temperature's logarithm
        golden = (5**0.5 - 1) / 2
        for _ in range(40):
            left, right = high - golden * (high - low), low + golden * (high - low)
            losses = [
                functional.binary_cross_entropy_with_logits(logits / torch.tensor(t).exp(), real) for t in (left, right)
            ]
            low, high = (low, right) if losses[0] < losses[1] else (left, high)
        self.temperature.fill_((low + high) / 2).exp_()

    def uncalibrated(self) -> None:
        """Forget the calibration."""
        self.temperature.fill_(1.0)


AnyPrior = Prior | MixturePrior | Gan2018


def build(section: PriorConfig) -> AnyPrior:
    """The prior of a section, untrained."""
    if section.kind == "mixture":
        return MixturePrior(section.components)
    return Prior(section.width) if section.kind == "discriminator" else Gan2018(section.width)


def restore(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> AnyPrior:
    """The prior of a checkpoint (its `config` and part "prior"), frozen and in eval mode.

    Raises:
        ValueError, RuntimeError: section or weights are those of another network.
    """
    prior = build(PriorConfig.model_validate(config))
    prior.load_state_dict(weights)
    return prior.requires_grad_(False).eval()


class Generator(nn.Module):
    """Noise to bodies: the moving half of the discriminator's sparring partners.

    Args:
        mean: rotations of the 24 joints about which poses are generated.
        width: units of the hidden layers.
    """

    mean_6d: Tensor

    def __init__(self, mean: Float[Tensor, "24 3 3"], width: int = 256, noise: int = 32) -> None:
        super().__init__()
        self.noise = noise
        self.net = nn.Sequential(
            nn.Linear(noise, width), nn.LayerNorm(width), nn.SiLU(),
            nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU(),
            nn.Linear(width, (BODY_JOINTS + 1) * 6 + BETAS),
        )  # fmt: skip
        self.register_buffer("mean_6d", to_6d(mean))

    def forward(
        self, noise: Float[Tensor, "batch noise"]
    ) -> tuple[Float[Tensor, "batch 24 3 3"], Float[Tensor, "batch 10"]]:
        """Bodies of standard normal noise (`self.noise` numbers each): rotations and betas."""
        out = self.net(noise).float()
        six = self.mean_6d + out[:, :-BETAS].reshape(len(out), BODY_JOINTS + 1, 6)
        return from_6d(six), out[:, -BETAS:]


def _tower(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU(),
        nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, 1),
    )  # fmt: skip
