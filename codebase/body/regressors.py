"""The 17 Human3.6M joints of a body: what they are, a regressor for a file that brings none, and how far it is off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from codebase.body.builder.h36m import posed_bodies, rest_positions
from codebase.body.builder.regressors import fit_regressor, mean_error_mm
from codebase.skeleton import SMPL

_BODIES, _CANDIDATES, _SEED, _HELD_OUT_SEED = 60, 600, 0, 1


class Mark(NamedTuple):
    """A point of the T-posed surface: weights of its vertices, and how far it lies from their mean (metres)."""

    row: Float[np.ndarray, " V"]
    offset_m: Float[np.ndarray, "3"] = np.zeros(3)


def fit_h36m_regressor(arrays: Mapping[str, np.ndarray]) -> Float32[np.ndarray, "17 V"]:
    """Weights of posed vertices that give the joints as `builder.h36m.DEFINITION` places them.

    Non-negative least squares over random shapes and poses of this very body; the same each time, about half a second.

    Args:
        arrays: v_template, shapedirs, posedirs, J_regressor and weights, as `codebase.body.raw` checks them.
    """
    vertices, joints = sampled(arrays, _BODIES, _SEED)
    template = arrays["v_template"].astype(np.float64)
    _, mean = _rest(arrays, np.zeros((1, arrays["shapedirs"].shape[2])))
    return fit_regressor(vertices, joints, template, mean[0], candidates=_CANDIDATES).astype(np.float32)


def h36m_error_mm(
    arrays: Mapping[str, np.ndarray],
    regressor: Float[np.ndarray, "17 V"],
    count: int = 60,
    marks: Mapping[str, Mark] | None = None,
) -> Float[np.ndarray, "17"]:
    """Mean distance of each regressed joint from its definition, over shapes and poses that no fit has seen.

    Args:
        arrays: as above.
        regressor: weights of posed vertices.
        count: how many bodies.
        marks: where `nose_tip` and `crown` are; by default found by geometry.
    """
    return mean_error_mm(regressor.astype(np.float64), *sampled(arrays, count, _HELD_OUT_SEED, marks))


def sampled(
    arrays: Mapping[str, np.ndarray], count: int, seed: int, marks: Mapping[str, Mark] | None = None
) -> tuple[Float[np.ndarray, "S V 3"], Float[np.ndarray, "S 17 3"]]:
    """Random bodies in random poses within the joints' ranges, and where their 17 joints are by definition."""
    betas = np.random.default_rng([seed, count]).standard_normal((count, arrays["shapedirs"].shape[2]))
    vertices, rest17 = _rest(arrays, betas, marks)
    joints = np.einsum("jv,svx->sjx", arrays["J_regressor"].astype(np.float64), vertices)
    weights, posedirs = (arrays[key].astype(np.float64) for key in ("weights", "posedirs"))
    return posed_bodies(vertices, joints, rest17, weights, posedirs, seed)


def _rest(
    arrays: Mapping[str, np.ndarray], betas: np.ndarray, marks: Mapping[str, Mark] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    template, regressor = arrays["v_template"].astype(np.float64), arrays["J_regressor"].astype(np.float64)
    vertices = template + np.einsum("vxl,sl->svx", arrays["shapedirs"].astype(np.float64), betas)
    marks = marks or _found_marks(template, regressor[SMPL.index("head")] @ template)
    points = {name: np.einsum("v,svx->sx", mark.row, vertices) + mark.offset_m for name, mark in marks.items()}
    return vertices, rest_positions(np.einsum("jv,svx->sjx", regressor, vertices), points)


def _found_marks(template: np.ndarray, head: np.ndarray) -> dict[str, Mark]:
    return {"nose_tip": Mark(nose_tip(template, head)), "crown": Mark(crown(template))}


def nose_tip(v_template: Float[np.ndarray, "V 3"], head: Float[np.ndarray, "3"]) -> Float[np.ndarray, " V"]:
    """Mean of the four vertices furthest forward near the head's height."""
    band = np.abs(v_template[:, 1] - head[1]) < 0.12
    return _mean_of(np.where(band, v_template[:, 2], -np.inf), 4)


def crown(v_template: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " V"]:
    """Mean of the eight highest vertices."""
    return _mean_of(v_template[:, 1], 8)


def _mean_of(score: np.ndarray, count: int) -> np.ndarray:
    row = np.zeros(len(score))
    row[np.argsort(score, kind="stable")[-count:]] = 1.0 / count
    return row
