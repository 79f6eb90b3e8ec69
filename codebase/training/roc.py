"""How well a prior tells real bodies from wrong ones: receiver operating characteristic, log loss, calibration."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

Scores = Float[ndarray, " _"]
GRID = np.concatenate([[0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05], np.linspace(0.075, 1, 38)])  # false positives


def auc(real: Scores, wrong: Scores) -> float:
    """Chance that a real body outscores a wrong one; ties count half."""
    ranks = rankdata(np.concatenate([real, wrong]))
    return float((ranks[: len(real)].sum() - len(real) * (len(real) + 1) / 2) / max(len(real) * len(wrong), 1))


def true_positive_rates(real: Scores, wrong: Scores, allowed: Float[ndarray, " points"]) -> Float[ndarray, " points"]:
    """Share of real bodies that pass, where a share `allowed` of the wrong ones passes too.

    The threshold is the lowest that lets no larger share pass; on a tie nobody passes.
    """
    falling = np.sort(wrong)[::-1]
    passing = np.floor(np.asarray(allowed) * len(wrong) + 1e-9).astype(int)
    thresholds = np.append(falling, -np.inf)[passing]
    return (real[None] > thresholds[:, None]).mean(axis=1)


def rates(real: Scores, wrong: Scores) -> dict[str, float]:
    """AUC, and true positive rates at 1 and 5 % of false positives."""
    at_1, at_5 = true_positive_rates(real, wrong, np.array([0.01, 0.05])).tolist()
    return {"auc": auc(real, wrong), "tpr_at_1_percent_fpr": at_1, "tpr_at_5_percent_fpr": at_5}


def figures(logits: Float[Tensor, " bodies"], real: Float[Tensor, " bodies"]) -> dict[str, float]:
    """`rates`, log loss (nats), expected calibration error."""
    is_real = real.cpu().numpy() > 0.5
    scores = logits.cpu().double().numpy()
    chance = torch.sigmoid(logits).cpu().numpy()
    bins = np.minimum((chance * 10).astype(int), 9)
    error = sum((bins == b).mean() * abs(chance[bins == b].mean() - is_real[bins == b].mean()) for b in np.unique(bins))
    log_loss = functional.binary_cross_entropy_with_logits(logits, real)
    return rates(scores[is_real], scores[~is_real]) | {"log_loss": float(log_loss), "calibration_error": float(error)}
