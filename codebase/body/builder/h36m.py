"""Where the 17 Human3.6M joints lie in the free body, and the posed bodies that their regressor is fitted to."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from codebase.body.builder.correctives import random_pose
from codebase.body.builder.tpose import chain, linear_maps, rigid_from_global
from codebase.skeleton import H36M, SMPL

# Human3.6M joint <- (SMPL joint it moves with, its place in the T-pose as shares of SMPL joints and landmarks)
DEFINITION: dict[str, tuple[str, dict[str, float]]] = {
    "root": ("pelvis", {"left_hip": 0.5, "right_hip": 0.5}),
    "right_hip": ("right_hip", {"right_hip": 1.0}),
    "right_knee": ("right_knee", {"right_knee": 1.0}),
    "right_foot": ("right_ankle", {"right_ankle": 1.0}),
    "left_hip": ("left_hip", {"left_hip": 1.0}),
    "left_knee": ("left_knee", {"left_knee": 1.0}),
    "left_foot": ("left_ankle", {"left_ankle": 1.0}),
    "spine": ("spine2", {"spine2": 1.0}),
    "neck": ("spine3", {"neck": 0.4, "left_collar": 0.3, "right_collar": 0.3}),
    "head": ("head", {"head": 0.5, "nose_tip": 0.5}),
    "head_top": ("head", {"crown": 0.9, "head": 0.1}),
    "left_shoulder": ("left_shoulder", {"left_shoulder": 1.0}),
    "left_elbow": ("left_elbow", {"left_elbow": 1.0}),
    "left_wrist": ("left_wrist", {"left_wrist": 1.0}),
    "right_shoulder": ("right_shoulder", {"right_shoulder": 1.0}),
    "right_elbow": ("right_elbow", {"right_elbow": 1.0}),
    "right_wrist": ("right_wrist", {"right_wrist": 1.0}),
}


def rest_positions(
    joints: Float[np.ndarray, "*b 24 3"], marks: dict[str, Float[np.ndarray, "*b 3"]]
) -> Float[np.ndarray, "*b 17 3"]:
    """The 17 joints of a T-posed body."""
    points = {name: joints[..., index, :] for index, name in enumerate(SMPL.names)} | marks
    return np.stack(
        [sum(share * points[name] for name, share in DEFINITION[joint][1].items()) for joint in H36M.names], -2
    )


def posed_bodies(
    vertices: Float[np.ndarray, "S V 3"],
    joints: Float[np.ndarray, "S 24 3"],
    rest17: Float[np.ndarray, "S 17 3"],
    weights: Float[np.ndarray, "V 24"],
    posedirs: Float[np.ndarray, "V 3 207"],
    seed: int,
) -> tuple[Float[np.ndarray, "S V 3"], Float[np.ndarray, "S 17 3"]]:
    """Pose each body at random; the 17 joints move rigidly with the SMPL joint named in DEFINITION."""
    random = np.random.default_rng(seed)
    carrier = [SMPL.index(DEFINITION[name][0]) for name in H36M.names]
    out_vertices, out_joints = np.empty_like(vertices), np.empty_like(rest17)
    for index in range(len(vertices)):
        local = random_pose(random, random.uniform(0.0, 0.9))
        rotations, shift, _ = rigid_from_global(chain(local), joints[index])
        maps, moves = linear_maps(weights, rotations, shift)
        corrected = vertices[index] + posedirs @ (local[1:] - np.eye(3)).ravel()
        out_vertices[index] = np.einsum("vxy,vy->vx", maps, corrected) + moves
        out_joints[index] = np.einsum("kxy,ky->kx", rotations[carrier], rest17[index]) + shift[carrier]
    return out_vertices, out_joints
