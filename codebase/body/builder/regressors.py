"""Joint regressors: sparse, non-negative, rows summing to one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

GRAIN = 4096  # regressor entries are multiples of 1 / GRAIN: they sum to one exactly and compress well


def fit_regressor(
    vertices: Float[np.ndarray, "S V 3"],
    joints: Float[np.ndarray, "S K 3"],
    template: Float[np.ndarray, "V 3"],
    rest_joints: Float[np.ndarray, "K 3"],
    radius_m: float = 0.4,
    candidates: int = 1500,
) -> Float[np.ndarray, "K V"]:
    """Non-negative least squares over the vertices around each joint.

    Args:
        vertices: training bodies, in any poses.
        joints: their joints.
        template: a body in its rest pose, to choose candidates by distance.
        rest_joints: its joints.
        radius_m: how far from the joint a vertex may be.
        candidates: how many of those are tried, chosen evenly from near to far.
    """
    result = np.zeros((joints.shape[1], len(template)))
    for k, point in enumerate(rest_joints):
        distance = np.linalg.norm(template - point, axis=1)
        near = np.argsort(distance)[: max(300, int((distance < radius_m).sum()))]
        near = near[np.unique(np.linspace(0, len(near) - 1, candidates).round().astype(int))]
        # differences to the joint make the system well scaled; the last row asks for a sum of one
        design = (vertices[:, near] - joints[:, k, None]).transpose(0, 2, 1).reshape(-1, len(near))
        heavy = 10.0 * np.sqrt(len(design))
        target = np.append(np.zeros(len(design)), heavy)
        solution, _ = nnls(np.vstack((design, np.full(len(near), heavy))), target, maxiter=20 * candidates)
        result[k, near] = on_grid(solution / solution.sum(), GRAIN)
    return result


def on_grid(row: Float[np.ndarray, " n"], grain: int) -> Float[np.ndarray, " n"]:
    """Round to multiples of 1 / grain that sum to one exactly (largest remainders win)."""
    scaled = row * grain
    whole = np.floor(scaled)
    missing = round(grain - whole.sum())
    whole[np.argsort(scaled - whole)[::-1][:missing]] += 1
    return whole / grain


def mean_error_mm(
    regressor: Float[np.ndarray, "K V"], vertices: Float[np.ndarray, "S V 3"], joints: Float[np.ndarray, "S K 3"]
) -> Float[np.ndarray, " K"]:
    """Mean distance per joint."""
    found = np.einsum("kv,svx->skx", regressor, vertices)
    return 1e3 * np.linalg.norm(found - joints, axis=-1).mean(0)
