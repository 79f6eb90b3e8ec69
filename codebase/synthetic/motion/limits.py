"""Joint limits: how far each joint may swing and twist, and the clamp that enforces it.

A rotation is split into a twist about the bone's own axis and a swing that tilts the bone. The ranges are
round figures a little inside of what anatomy texts give for healthy adults (knee flexion 150 degrees, elbow
145, hip flexion 135, cervical rotation 80 shared by neck and head), since nobody acts at the end of a range.
At a strong swing the twist about the bone also takes up what one would call abduction, so hips and shoulders
have wider twists than a goniometer would give for the bare rotation.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from codebase.synthetic.motion.rig import J

# joint: (bone axis, largest swing, largest twist to either side), degrees
_TABLE: dict[str, tuple[str, float, float]] = {
    "hip": ("y", 135.0, 105.0),
    "knee": ("y", 150.0, 30.0),
    "ankle": ("y", 50.0, 35.0),
    "foot": ("z", 50.0, 10.0),
    "spine1": ("y", 35.0, 25.0),
    "spine2": ("y", 30.0, 25.0),
    "spine3": ("y", 25.0, 25.0),
    "neck": ("y", 35.0, 40.0),
    "head": ("y", 35.0, 40.0),
    "collar": ("x", 30.0, 10.0),
    "shoulder": ("x", 125.0, 110.0),
    "elbow": ("x", 145.0, 60.0),
    "wrist": ("x", 60.0, 60.0),
    "hand": ("x", 45.0, 10.0),
}
_AXES = {"x": np.array([1.0, 0.0, 0.0]), "y": np.array([0.0, 1.0, 0.0]), "z": np.array([0.0, 0.0, 1.0])}


def limit_of(joint: str) -> tuple[Float[ndarray, "3"], float, float]:
    """Bone axis, largest swing and largest twist (radians) of a joint by its SMPL name."""
    axis, swing, twist = _TABLE[joint.removeprefix("left_").removeprefix("right_")]
    return _AXES[axis], float(np.radians(swing)), float(np.radians(twist))


def swing_twist(
    vectors_rad: Float[ndarray, "frames 3"], axis: Float[ndarray, "3"]
) -> tuple[Float[ndarray, "frames 3"], Float[ndarray, "frames"]]:
    """Split R = swing * twist; the swing as axis-angle vectors, the twist as angles about `axis`, radians."""
    quaternion = Rotation.from_rotvec(vectors_rad).as_quat()
    along = quaternion[:, :3] @ axis
    angle = 2.0 * np.arctan2(along, quaternion[:, 3])
    angle = (angle + np.pi) % (2.0 * np.pi) - np.pi
    twist = Rotation.from_rotvec(angle[:, None] * axis)
    swing = (Rotation.from_rotvec(vectors_rad) * twist.inv()).as_rotvec()
    return swing, angle


def enforce(pose_rad: Float[ndarray, "frames 24 3"]) -> Float[ndarray, "frames 24 3"]:
    """Clamp every joint but the pelvis into its limits; poses inside them are returned as they are."""
    out = pose_rad.copy()
    for joint, index in J.items():
        if joint == "pelvis":
            continue
        axis, most_swing, most_twist = limit_of(joint)
        swing, twist = swing_twist(pose_rad[:, index], axis)
        size = np.linalg.norm(swing, axis=1)
        beyond = (size > most_swing) | (np.abs(twist) > most_twist)
        if beyond.any():
            swing = swing * (np.minimum(size, most_swing) / np.maximum(size, 1e-9))[:, None]
            twist = np.clip(twist, -most_twist, most_twist)
            clamped = (Rotation.from_rotvec(swing) * Rotation.from_rotvec(twist[:, None] * axis)).as_rotvec()
            out[beyond, index] = clamped[beyond]
    return out
