"""A prior by density: a mixture of Gaussians over the pose, a Gaussian over the shape.

SMPLify (Bogo et al., ECCV 2016) fits one to axis-angle vectors. Here each joint's rotation is seen from the joint's
mean rotation, as six numbers, so nothing wraps, and the density is turned into log odds of real against broken bodies.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from codebase.models.rotations import chordal_mean, to_6d

BODY_JOINTS, BETAS = 23, 10
FEATURES = BODY_JOINTS * 6
FLOOR = 0.05  # least deviation: rotations of joints that never move (radians), and numerical safety
_ROWS = 4096


class MixturePrior(nn.Module):
    """Log odds of real against broken bodies, from a density of real ones.

    Args:
        components: Gaussians of the mixture; one is a plain Gaussian.
    """

    mean_rotmats: Tensor
    weights: Tensor
    means: Tensor
    factors: Tensor
    shape_mean: Tensor
    shape_deviation: Tensor
    temperature: Tensor
    offset: Tensor

    def __init__(self, components: int) -> None:
        super().__init__()
        self.register_buffer("mean_rotmats", torch.eye(3).repeat(BODY_JOINTS, 1, 1))
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, FEATURES))
        self.register_buffer("factors", torch.eye(FEATURES).repeat(components, 1, 1))  # of the precisions, upper
        self.register_buffer("shape_mean", torch.zeros(BETAS))
        self.register_buffer("shape_deviation", torch.ones(BETAS))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def features(self, rotmats: Float[Tensor, "batch 24 3 3"]) -> Float[Tensor, "batch 138"]:
        """The body joints' rotations from their means, six numbers each, without those of no rotation."""
        turned = self.mean_rotmats.transpose(1, 2) @ rotmats[:, 1:]
        return (to_6d(turned) - to_6d(torch.eye(3, device=rotmats.device))).flatten(1)

    def log_density(
        self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]
    ) -> Float[Tensor, " batch"]:
        """Of pose and shape, in nats."""
        shape = (betas - self.shape_mean) / self.shape_deviation
        log_shape = -0.5 * shape.square().sum(dim=1) - self.shape_deviation.log().sum()
        return torch.logsumexp(self._joint_log(self.features(rotmats)), dim=1) + log_shape

    def _joint_log(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch components"]:
        """Log of each component's weight times its density."""
        away = torch.einsum("kij,kbj->kbi", self.factors, features[None] - self.means[:, None])
        log_det = self.factors.diagonal(dim1=1, dim2=2).abs().log().sum(dim=1)
        constant = log_det + self.weights.clamp_min(1e-30).log() - 0.5 * FEATURES * math.log(2 * math.pi)
        return constant - 0.5 * away.square().sum(dim=2).T

    def forward(
        self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]
    ) -> Float[Tensor, " batch"]:
        """Calibrated logits: log odds of real against not; the global orientation is not looked at."""
        return (self.log_density(rotmats, betas) - self.offset) / self.temperature

    def loss(self, rotmats: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch 10"]) -> Float[Tensor, ""]:
        """Mean of -log P(real)."""
        return functional.softplus(-self(rotmats, betas)).mean()

    @torch.no_grad()
    def begin(
        self, rotmats: Float[Tensor, "poses 24 3 3"], betas: Float[Tensor, "poses 10"], generator: torch.Generator
    ) -> None:
        """Take the mean pose and the shape's Gaussian; put the components on random poses, all as wide as the data."""
        self.mean_rotmats.copy_(chordal_mean(rotmats[:, 1:]))
        self.shape_mean.copy_(betas.mean(dim=0))
        self.shape_deviation.copy_(betas.std(dim=0).clamp_min(FLOOR))
        features = self.features(rotmats)
        self._set(features, torch.full((len(features), len(self.weights)), 1 / len(self.weights)).to(features))
        if len(self.weights) > 1:
            chosen = torch.randperm(len(features), generator=generator)[: len(self.weights)].to(features.device)
            self.means.copy_(features[chosen])

    @torch.no_grad()
    def refine(self, rotmats: Float[Tensor, "poses 24 3 3"]) -> Float[Tensor, ""]:
        """One step of expectation and maximisation on all poses; returns their mean log density before it."""
        features = self.features(rotmats)
        logs = torch.cat([self._joint_log(part) for part in features.split(_ROWS)])
        self._set(features, torch.softmax(logs, dim=1))
        return torch.logsumexp(logs, dim=1).mean()

    def _set(self, features: Float[Tensor, "poses f"], share: Float[Tensor, "poses components"]) -> None:
        """Weights, means and covariances of poses that belong to components by `share`."""
        total = share.sum(dim=0).clamp_min(1e-6)
        self.weights.copy_(total / total.sum())
        means = (share.T @ features) / total[:, None]
        floor = FLOOR**2 * torch.eye(FEATURES, dtype=torch.float64, device=features.device)
        for number in range(len(total)):
            away = features - means[number]
            covariance = (away * share[:, number, None]).T @ away / total[number]
            factor = torch.linalg.cholesky(covariance.double() + floor)
            self.factors[number] = torch.linalg.solve_triangular(
                factor, torch.eye(FEATURES, dtype=torch.float64, device=factor.device), upper=False
            ).float()
        self.means.copy_(means)

    @torch.no_grad()
    def calibrate(self, logits: Float[Tensor, " batch"], real: Float[Tensor, " batch"]) -> None:
        """Set temperature and offset that make held-out log densities (`logits` uncalibrated) most likely.

        Logistic regression on one number (Platt scaling), by damped Newton steps on standardised scores.
        """
        scores = logits.double()
        middle, spread = scores.median(), (scores - scores.median()).abs().median().clamp_min(1e-6)
        # a density's tail is long: what is far out must not decide the slope
        x = torch.stack([((scores - middle) / spread).clamp(-50, 50), torch.ones_like(scores)], dim=1)
        fit, wanted = torch.tensor([1.0, 0.0], dtype=torch.float64, device=scores.device), real.double()
        for _ in range(50):
            chance = torch.sigmoid(x @ fit)
            gradient = x.T @ (chance - wanted)
            hessian = (x * (chance * (1 - chance))[:, None]).T @ x + 1e-3 * torch.eye(2, device=x.device)
            fit = fit - torch.linalg.solve(hessian, gradient).clamp(-1, 1)
        slope = fit[0].clamp_min(1e-3)
        self.temperature.copy_(spread / slope)
        self.offset.copy_(middle - spread * fit[1] / slope)

    def uncalibrated(self) -> None:
        """Forget the calibration: logits are then log densities."""
        self.temperature.fill_(1.0)
        self.offset.zero_()
