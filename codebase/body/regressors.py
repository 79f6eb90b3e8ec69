"""The 17 Human3.6M joints of a body whose file brings no regressor for them (licensed SMPL files)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from codebase.skeleton import H36M, SMPL

# Joints that coincide with a kinematic joint of SMPL.
_SAME = {
    "right_hip": "right_hip", "right_knee": "right_knee", "right_foot": "right_ankle", "left_hip": "left_hip",
    "left_knee": "left_knee", "left_foot": "left_ankle", "spine": "spine2", "left_shoulder": "left_shoulder",
    "left_elbow": "left_elbow", "left_wrist": "left_wrist", "right_shoulder": "right_shoulder",
    "right_elbow": "right_elbow", "right_wrist": "right_wrist",
}  # fmt: skip


def approximate_h36m_regressor(
    v_template: Float[np.ndarray, "V 3"], J_regressor: Float[np.ndarray, "24 V"]
) -> Float[np.ndarray, "17 V"]:
    """Human3.6M joints by geometry, with the same meaning as in the free body. Approximate: made for the T-pose.

    Hips, knees, ankles, spine, shoulders, elbows and wrists are SMPL's; the root lies midway between the hips; the neck
    0.4 neck and 0.3 of each collar; the head midway between SMPL's head joint and the tip of the nose; the top of the
    head 0.9 crown and 0.1 head joint. Rows of the 24-joint regressor average rings of vertices, so strong bends pull
    them up to some 2 cm from the kinematic joint.
    """
    joints = {name: J_regressor[index].astype(np.float64) for index, name in enumerate(SMPL.names)}
    rest = {name: row @ v_template for name, row in joints.items()}
    rows = {name: joints[source] for name, source in _SAME.items()}
    rows["root"] = 0.5 * (joints["left_hip"] + joints["right_hip"])
    rows["neck"] = 0.4 * joints["neck"] + 0.3 * (joints["left_collar"] + joints["right_collar"])
    rows["head"] = 0.5 * (joints["head"] + nose_tip(v_template, rest["head"]))
    rows["head_top"] = 0.9 * crown(v_template) + 0.1 * joints["head"]
    return np.stack([rows[name] for name in H36M.names])


def nose_tip(v_template: Float[np.ndarray, "V 3"], head: Float[np.ndarray, "3"]) -> Float[np.ndarray, " V"]:
    """Mean of the four vertices furthest forward near the head's height."""
    band = np.abs(v_template[:, 1] - head[1]) < 0.12
    return _mean_of(np.where(band, v_template[:, 2], -np.inf), 4)


def crown(v_template: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " V"]:
    """Mean of the eight highest vertices."""
    return _mean_of(v_template[:, 1], 8)


def _mean_of(score: np.ndarray, count: int) -> np.ndarray:
    row = np.zeros(len(score))
    row[np.argsort(score)[-count:]] = 1.0 / count
    return row
