"""Losses of the representation and of poses, one function each, averaged over the batch.

The batch may be shared by processes: the mean of what they return is the loss of the whole batch (see team.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from codebase.training.team import team


def pixels(
    painted: Float[Tensor, "b 3 h w"],
    seen: Float[Tensor, "b 3 h w"],
    weight: Float[Tensor, "b 1 h w"],
    *,
    l1_share: float = 0.5,
) -> Float[Tensor, ""]:
    """Weighted error of pixels, the mean of each sample over its own weights (a small person counts as a large one).

    Args:
        weight: importance of each pixel, >= 0; a sample without any weight counts nothing.
        l1_share: share of the absolute error beside the squared error.
    """
    error = painted - seen
    mixed = l1_share * error.abs() + (1 - l1_share) * error.square()
    return weighted(mixed.mean(dim=1, keepdim=True), weight)


def weighted(error: Float[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """The mean over samples of the mean of each over its own weights; a sample without any weight counts nothing."""
    total = weight.sum(dim=(1, 2, 3))
    return ((error * weight).sum(dim=(1, 2, 3)) / total.clamp_min(1e-6)).mean()


def mask(
    logit: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"], known: Bool[Tensor, " b"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the predicted mask against the dataset's (soft, 0 to 1), over samples that have one."""
    per_sample = F.binary_cross_entropy_with_logits(logit, target, reduction="none").mean(dim=(1, 2, 3))
    return (per_sample * known).sum() / team().average(known.sum()).clamp_min(1 / team().size)


def disagreement(turned: Float[Tensor, "b points 3"], target: Float[Tensor, "b points 3"]) -> Float[Tensor, ""]:
    """Squared distance of two sets of points, relative to how much points differ between samples.

    Shrinking all points or making all samples alike gains nothing.
    """
    spread = team().variance(target).mean()
    return (turned - target).square().mean() / spread.clamp_min(1e-8)


def contrast(
    turned: Float[Tensor, "b points 3"], target: Float[Tensor, "b points 3"], *, temperature: float = 0.1
) -> Float[Tensor, ""]:
    """Cross-entropy of finding each set's counterpart among those of the whole batch, by the cosine of their codes.

    Codes are centred over the batch, so that what all samples share tells nothing; scale counts for nothing.
    """
    mean = torch.cat([turned, target]).mean(dim=0)
    ours, theirs = (F.normalize((points - mean).flatten(1), dim=1) for points in (turned, target))
    likeness = ours @ theirs.T / temperature
    right = torch.arange(len(likeness), device=likeness.device)
    return (F.cross_entropy(likeness, right) + F.cross_entropy(likeness.T, right)) / 2


def mean_distance(predicted: Float[Tensor, "b points 3"], target: Float[Tensor, "b points 3"]) -> Float[Tensor, ""]:
    """Mean distance of points, in the unit of the input (MPJPE as a loss)."""
    return torch.linalg.vector_norm(predicted - target, dim=-1).mean()
