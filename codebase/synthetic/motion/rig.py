"""The 24-joint SMPL skeleton as motion needs it: lengths, rotations, forward kinematics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

JOINTS: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hand", "right_hand",
)  # fmt: skip
PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
J: dict[str, int] = {name: index for index, name in enumerate(JOINTS)}
SIDES: tuple[str, str] = ("left", "right")
MIRROR = np.diag([-1.0, 1.0, 1.0])
HEEL_BEHIND_ANKLE_M = 0.055


@dataclass(frozen=True)
class Rig:
    """A person's bones: joints of the rest pose (body frame, metres) and the ankle's height over the sole."""

    rest_m: Float[ndarray, "24 3"]
    sole_offset_m: float

    def offset(self, child: str, parent: str) -> Float[ndarray, "3"]:
        """Vector from one rest joint to another, body frame, metres."""
        return self.rest_m[J[child]] - self.rest_m[J[parent]]

    def length(self, child: str, parent: str) -> float:
        """Distance between two rest joints, metres."""
        return float(np.linalg.norm(self.offset(child, parent)))

    @property
    def leg_m(self) -> float:
        """Hip to ankle along the bones, metres (mean of the sides)."""
        return float(np.mean([self.length(f"{s}_knee", f"{s}_hip") + self.length(f"{s}_ankle", f"{s}_knee")
                              for s in SIDES]))  # fmt: skip

    @property
    def arm_m(self) -> float:
        """Shoulder to wrist along the bones, metres (mean of the sides)."""
        return float(np.mean([self.length(f"{s}_elbow", f"{s}_shoulder") + self.length(f"{s}_wrist", f"{s}_elbow")
                              for s in SIDES]))  # fmt: skip

    @property
    def scale(self) -> float:
        """Size beside a person of 1.7 m (whose legs measure 0.80 m from hip to ankle)."""
        return self.leg_m / 0.80

    @property
    def standing_m(self) -> float:
        """Height of the pelvis joint with both legs straight on the floor, metres."""
        hips = 0.5 * (self.offset("left_hip", "pelvis") + self.offset("right_hip", "pelvis"))
        return self.sole_offset_m + self.leg_m - float(hips[1])


def rot(axis: int, angle_rad: Float[ndarray, "*batch"]) -> Float[ndarray, "*batch 3 3"]:
    """Rotation matrices about one coordinate axis (0 x, 1 y, 2 z)."""
    angle = np.asarray(angle_rad, dtype=float)
    cos, sin = np.cos(angle), np.sin(angle)
    out = np.zeros((*angle.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1.0
    out[..., i, i], out[..., j, j] = cos, cos
    out[..., j, i], out[..., i, j] = sin, -sin
    return out


def rotations(vectors_rad: Float[ndarray, "frames 3"]) -> Float[ndarray, "frames 3 3"]:
    """Matrices of axis-angle vectors."""
    return Rotation.from_rotvec(vectors_rad).as_matrix()


def rotvecs(matrices: Float[ndarray, "frames 3 3"]) -> Float[ndarray, "frames 3"]:
    """Axis-angle vectors (radians, angle at most pi) of matrices."""
    return Rotation.from_matrix(matrices).as_rotvec()


def apply(matrices: Float[ndarray, "frames 3 3"], vectors: Float[ndarray, "*any 3"]) -> Float[ndarray, "frames 3"]:
    """Rotate one vector, or one vector a frame."""
    return np.einsum("fij,fj->fi", matrices, np.broadcast_to(vectors, (len(matrices), 3)))


def unit(vectors: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3"]:
    """Vectors scaled to length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def heading_frame(heading_rad: Float[ndarray, "frames"]) -> Float[ndarray, "frames 3 3"]:
    """Body axes (left, up, forward) in the z-up world of somebody upright who faces (cos, sin, 0)."""
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    out = np.zeros((len(heading_rad), 3, 3))
    out[:, 0, 0], out[:, 1, 0] = -sin, cos
    out[:, 2, 1] = 1.0
    out[:, 0, 2], out[:, 1, 2] = cos, sin
    return out


def forward_kinematics(
    rest_m: Float[ndarray, "24 3"], pose_rad: Float[ndarray, "frames 24 3"], transl_m: Float[ndarray, "frames 3"]
) -> tuple[Float[ndarray, "frames 24 3"], Float[ndarray, "frames 24 3 3"]]:
    """World positions (metres) and orientations of all joints, with the semantics of smplx."""
    frames = len(pose_rad)
    local = rotations(np.asarray(pose_rad, dtype=float).reshape(-1, 3)).reshape(frames, 24, 3, 3)
    world, where = np.empty_like(local), np.empty((frames, 24, 3))
    world[:, 0], where[:, 0] = local[:, 0], rest_m[0] + transl_m
    for child, parent in enumerate(PARENTS[1:], start=1):
        world[:, child] = world[:, parent] @ local[:, child]
        where[:, child] = where[:, parent] + apply(world[:, parent], rest_m[child] - rest_m[parent])
    return where, world
