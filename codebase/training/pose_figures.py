"""How well poses are seen while a network trains, on the validation split."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.metrics import mpjpe, n_mpjpe, pa_mpjpe


def pose_figures(
    predicted: Float[ndarray, "rows 17 3"], target: Float[ndarray, "rows 17 3"], mean_mm: Float[ndarray, "17 3"]
) -> dict[str, float]:
    """Mean errors, mm, and that of showing `mean_mm`, the labelled subjects' mean pose, instead."""
    baseline = np.repeat(mean_mm[None], len(target), axis=0)
    return {
        "mpjpe_mm": float(mpjpe(predicted, target).mean()),
        "n_mpjpe_mm": float(n_mpjpe(predicted, target).mean()),
        "pa_mpjpe_mm": float(pa_mpjpe(predicted, target).mean()),
        "mean_pose_n_mpjpe_mm": float(n_mpjpe(baseline, target).mean()),
    }
