"""Skinning at build time: dual quaternions, and the T-pose that MakeHuman's rest pose is brought into."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from codebase.skeleton import SMPL

# Where each bone points in the T-pose (left side; the right one is its mirror image): child <- direction.
T_POSE: dict[str, tuple[float, float, float]] = {
    "knee": (0.03, -1.0, 0.0),
    "ankle": (-0.015, -1.0, -0.04),
    "elbow": (1.0, -0.02, -0.03),
    "wrist": (1.0, 0.0, 0.01),
    "hand": (1.0, -0.01, 0.01),
}
COLLAR_LIFT_RAD = 0.17
PELVIS_M = np.array([0.0, -0.23, 0.02])


def between(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that turns direction a into direction b."""
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, a @ b)
    return Rotation.from_rotvec(axis / max(sine, 1e-12) * angle).as_matrix()


def t_pose_rotations(joints: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3 3"]:
    """Global rotation of each joint from MakeHuman's rest pose to the T-pose. Feet stay flat (identity)."""
    turn = np.tile(np.eye(3), (24, 1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        mirror = np.array([sign, 1.0, 1.0])
        j = {part: SMPL.index(f"{side}_{part}") for part in
             ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand")}  # fmt: skip
        turn[j["collar"]] = Rotation.from_euler("z", sign * COLLAR_LIFT_RAD).as_matrix()
        for upper, child, parent in (("hip", "knee", None), ("knee", "ankle", "hip"), ("shoulder", "elbow", "collar"),
                                     ("elbow", "wrist", "shoulder"), ("wrist", "hand", "elbow")):  # fmt: skip
            before = np.eye(3) if parent is None else turn[j[parent]]
            bone = before @ (joints[j[child]] - joints[j[upper]])
            goal = np.array(T_POSE[child]) * mirror
            turn[j[upper]] = between(bone / np.linalg.norm(bone), goal / np.linalg.norm(goal)) @ before
        turn[j["hand"]] = turn[j["wrist"]]
    return turn


def rigid_from_global(
    rotations: Float[np.ndarray, "*b 24 3 3"], joints: Float[np.ndarray, "*b 24 3"]
) -> tuple[Float[np.ndarray, "*b 24 3 3"], Float[np.ndarray, "*b 24 3"], Float[np.ndarray, "*b 24 3"]]:
    """Rest-to-posed rigid maps (R, t) of each joint and the posed joints, from global rotations."""
    posed = np.zeros_like(joints)
    for child, parent in enumerate(SMPL.parents):
        if parent < 0:
            posed[..., child, :] = joints[..., child, :]
            continue
        offset = joints[..., child, :] - joints[..., parent, :]
        posed[..., child, :] = posed[..., parent, :] + np.einsum(
            "...xy,...y->...x", rotations[..., parent, :, :], offset
        )
    shift = posed - np.einsum("...jxy,...jy->...jx", rotations, joints)
    return rotations, shift, posed


def chain(local: Float[np.ndarray, "*b 24 3 3"]) -> Float[np.ndarray, "*b 24 3 3"]:
    """Global rotations from rotations relative to the parent."""
    result = local.copy()
    for child, parent in enumerate(SMPL.parents):
        if parent >= 0:
            result[..., child, :, :] = result[..., parent, :, :] @ local[..., child, :, :]
    return result


def dual_quaternion_skinning(
    vertices: Float[np.ndarray, "V 3"],
    weights: Float[np.ndarray, "V 24"],
    rotations: Float[np.ndarray, "24 3 3"],
    shift: Float[np.ndarray, "24 3"],
) -> Float[np.ndarray, "V 3"]:
    """Kavan et al. 2007: blend unit dual quaternions, which keeps volume where blended matrices lose it."""
    real = Rotation.from_matrix(rotations).as_quat()  # x y z w
    heaviest = real[weights.argmax(1)]
    sign = np.where(heaviest @ real.T < 0, -1.0, 1.0)
    dual = 0.5 * _multiply(np.concatenate((shift, np.zeros((24, 1))), 1), real)
    mixed_real, mixed_dual = (weights * sign) @ real, (weights * sign) @ dual
    norm = np.linalg.norm(mixed_real, axis=1, keepdims=True)
    mixed_real, mixed_dual = mixed_real / norm, mixed_dual / norm
    conjugate = mixed_real * np.array([-1.0, -1.0, -1.0, 1.0])
    translation = 2 * _multiply(mixed_dual, conjugate)[:, :3]
    return Rotation.from_quat(mixed_real).apply(vertices) + translation


def linear_maps(
    weights: Float[np.ndarray, "V 24"], rotations: Float[np.ndarray, "24 3 3"], shift: Float[np.ndarray, "24 3"]
) -> tuple[Float[np.ndarray, "V 3 3"], Float[np.ndarray, "V 3"]]:
    """The blended matrix of each vertex (linear blend skinning)."""
    return (weights @ rotations.reshape(24, 9)).reshape(-1, 3, 3), weights @ shift


def _multiply(p: Float[np.ndarray, "n 4"], q: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Hamilton product of (x, y, z, w) quaternions."""
    pv, pw, qv, qw = p[:, :3], p[:, 3:], q[:, :3], q[:, 3:]
    return np.concatenate((pw * qv + qw * pv + np.cross(pv, qv), pw * qw - (pv * qv).sum(1, keepdims=True)), 1)
