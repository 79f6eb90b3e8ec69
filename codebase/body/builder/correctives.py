"""Pose correctives: what linear blend skinning of the T-pose misses against dual quaternions from MakeHuman's own pose.

MakeHuman's rest pose has half-lowered arms, so both the T-pose and hanging arms are moderate bends from it: the
reference is skinned from there. Per joint, offsets are fitted linearly in SMPL's pose feature (R - I), least squares
of the posed error over random rotations within the joint's range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from codebase.body.builder.tpose import chain, dual_quaternion_skinning, linear_maps, rigid_from_global
from codebase.skeleton import SMPL

# Rotation vector ranges in radians, (low, high) for x, y, z; left side, the right one is the mirror image.
RANGES_RAD: dict[str, tuple[tuple[float, float], ...]] = {
    "spine1": ((-0.3, 0.6), (-0.4, 0.4), (-0.4, 0.4)),
    "spine2": ((-0.3, 0.6), (-0.4, 0.4), (-0.4, 0.4)),
    "spine3": ((-0.3, 0.5), (-0.4, 0.4), (-0.3, 0.3)),
    "neck": ((-0.5, 0.6), (-0.7, 0.7), (-0.4, 0.4)),
    "head": ((-0.5, 0.5), (-0.6, 0.6), (-0.4, 0.4)),
    "hip": ((-2.1, 0.5), (-0.6, 0.6), (-0.3, 0.9)),
    "knee": ((-0.05, 2.5), (-0.3, 0.3), (-0.15, 0.15)),
    "ankle": ((-0.6, 0.8), (-0.4, 0.4), (-0.4, 0.4)),
    "foot": ((-0.7, 0.4), (-0.1, 0.1), (-0.1, 0.1)),
    "collar": ((-0.2, 0.2), (-0.35, 0.3), (-0.25, 0.5)),
    "shoulder": ((-1.2, 1.2), (-1.7, 0.7), (-1.6, 1.3)),
    "elbow": ((-1.2, 1.2), (-2.5, 0.1), (-0.2, 0.2)),
    "wrist": ((-0.5, 0.5), (-0.5, 0.5), (-1.1, 1.1)),
    "hand": ((-0.2, 0.2), (-0.2, 0.2), (-1.3, 0.3)),
}
RIDGE = 0.02
NEGLIGIBLE_M = 2e-4


@dataclass(frozen=True)
class Rest:
    """One body in MakeHuman's rest pose, and how it gets to its T-pose.

    Attributes:
        vertices: rest pose.
        weights: skinning weights.
        turn: rest-to-T rotation of each joint.
        shift: rest-to-T translation of each joint.
        t_joints: joints of the T-pose.
    """

    vertices: Float[np.ndarray, "V 3"]
    weights: Float[np.ndarray, "V 24"]
    turn: Float[np.ndarray, "24 3 3"]
    shift: Float[np.ndarray, "24 3"]
    t_joints: Float[np.ndarray, "24 3"]

    def t_pose(self) -> Float[np.ndarray, "V 3"]:
        """The T-posed vertices."""
        return dual_quaternion_skinning(self.vertices, self.weights, self.turn, self.shift)

    def posed(self, local: Float[np.ndarray, "24 3 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reference vertices (V, 3), and the linear blend maps (V, 3, 3), (V, 3) of the same pose."""
        rotations, shift, _ = rigid_from_global(chain(local), self.t_joints)
        whole_shift = np.einsum("jxy,jy->jx", rotations, self.shift) + shift
        reference = dual_quaternion_skinning(self.vertices, self.weights, rotations @ self.turn, whole_shift)
        return reference, *linear_maps(self.weights, rotations, shift)


def random_rotations(joint: int, count: int, random: np.random.Generator) -> Float[np.ndarray, "n 3 3"]:
    """Rotations within the joint's range; now and then about fewer than three axes."""
    side, _, part = SMPL.names[joint].partition("_")
    low, high = np.array(RANGES_RAD[part or side]).T
    vectors = random.uniform(low, high, (count, 3)) * (random.random((count, 3)) < 0.7)
    if side == "right":
        vectors *= (1.0, -1.0, -1.0)
    return Rotation.from_rotvec(vectors).as_matrix()


def random_pose(random: np.random.Generator, scale: float = 1.0) -> Float[np.ndarray, "24 3 3"]:
    """All joints turned at once, each within `scale` of its range; the root stays."""
    local = np.tile(np.eye(3), (24, 1, 1))
    for joint in range(1, 24):
        vector = Rotation.from_matrix(random_rotations(joint, 1, random)).as_rotvec()
        local[joint] = Rotation.from_rotvec(vector * scale).as_matrix()[0]
    return local


def fit(rest: Rest, seed: int, samples: int = 120) -> Float[np.ndarray, "V 3 207"]:
    """Offsets per pose feature."""
    random = np.random.default_rng(seed)
    template = rest.t_pose()
    result = np.zeros((len(template), 3, 207))
    for joint in range(1, 24):
        for vertices, block in _fit_joint(rest, template, joint, random_rotations(joint, samples, random)):
            result[vertices, :, 9 * (joint - 1) : 9 * joint] = block
    return result


def _fit_joint(
    rest: Rest, template: np.ndarray, joint: int, rotations: Float[np.ndarray, "n 3 3"]
) -> Iterator[tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m 3 9"]]]:
    # only vertices that this joint and another one share can differ from a rigid motion
    share = rest.weights[:, joint]
    vertices = np.flatnonzero((share > 1e-3) & (share < 1 - 1e-3))
    local = np.tile(np.eye(3), (24, 1, 1))
    normal, right = np.zeros((len(vertices), 27, 27)), np.zeros((len(vertices), 27))
    for rotation in rotations:
        local[joint] = rotation
        reference, maps, shift = (array[vertices] for array in rest.posed(local))
        error = reference - shift - np.einsum("vxy,vy->vx", maps, template[vertices])
        feature = (rotation - np.eye(3)).ravel()
        design = np.einsum("vxy,f->vxyf", maps, feature).reshape(len(vertices), 3, 27)
        normal += np.einsum("vxa,vxb->vab", design, design)
        right += np.einsum("vxa,vx->va", design, error)
    normal += RIDGE * len(rotations) * np.eye(27)
    yield vertices, np.linalg.solve(normal, right[..., None]).reshape(len(vertices), 3, 9)


def drop_negligible(offsets: Float[np.ndarray, "V 3 207"]) -> Float[np.ndarray, "V 3 207"]:
    """Zero what a joint does to a vertex where it never matters, so that the file stays small."""
    blocks = offsets.reshape(len(offsets), 3, 23, 9)
    small = np.abs(blocks).max(axis=(1, 3), keepdims=True) < NEGLIGIBLE_M
    return np.where(small, 0.0, blocks).reshape(offsets.shape)


def errors(rest: Rest, offsets: np.ndarray, seed: int, count: int = 60) -> dict[str, float]:
    """Distance to the reference on random whole-body poses, with and without correctives, in millimetres."""
    random = np.random.default_rng(seed)
    template = rest.t_pose()
    plain: list[np.ndarray] = []
    corrected: list[np.ndarray] = []
    for _ in range(count):
        local = random_pose(random, 0.8)
        reference, maps, shift = rest.posed(local)
        feature = (local[1:] - np.eye(3)).ravel()
        for errors_mm, vertices in ((plain, template), (corrected, template + offsets @ feature)):
            errors_mm.append(1e3 * np.linalg.norm(np.einsum("vxy,vy->vx", maps, vertices) + shift - reference, axis=1))
    return {
        f"{name}_{what}_mm": float(function(np.array(values)))
        for name, values in (("linear", plain), ("corrected", corrected))
        for what, function in (("mean", np.mean), ("p99", lambda array: np.percentile(array, 99)))
    }
