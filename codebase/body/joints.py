"""Joints without vertices, exact and differentiable.

A joint regressed from skinned vertices, J_k = sum_v r_kv sum_j w_vj G_j [v_template + S betas + P feature; 1]_v, is
J_k = sum_j G_j M[k, j] with M[k, j] linear in (1, betas, feature). M's coefficients are precomputed for the pairs
(k, j) that occur, so a loss on joints costs a fortieth of one on all vertices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.body.arrays import POSE_FEATURES, SHAPES, BodyArrays
from codebase.skeleton import SMPL


class Kinematics(NamedTuple):
    """Where the joints are.

    Attributes:
        rotations: of each joint in the body's frame.
        shift_m: with them the T-pose-to-posed map of each joint: x -> R x + shift.
        joints: posed joints, metres.
    """

    rotations: Float[Tensor, "B 24 3 3"]
    shift_m: Float[Tensor, "B 24 3"]
    joints: Float[Tensor, "B 24 3"]


def levels() -> list[tuple[list[int], list[int]]]:
    """(children, parents) of each depth of SMPL's tree, so that the chain takes 8 batched products instead of 23."""
    depth = [0] * len(SMPL)
    for parent, child in SMPL.bones:
        depth[child] = depth[parent] + 1
    return [
        (children, [SMPL.parents[child] for child in children])
        for level in range(1, max(depth) + 1)
        for children in [[joint for joint in range(len(SMPL)) if depth[joint] == level]]
    ]


class KinematicJoints(torch.nn.Module):
    """SMPL's 24 joints: T-pose joints are linear in the betas, the rest is the chain."""

    offset: Tensor
    slope: Tensor
    back: Tensor

    def __init__(self, body: BodyArrays, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        regressor = body.J_regressor.astype(np.float64)
        slope = np.einsum("jv,vxl->jxl", regressor, body.shapedirs.astype(np.float64))
        self.register_buffer("offset", torch.as_tensor(regressor @ body.v_template, dtype=dtype))
        self.register_buffer("slope", torch.as_tensor(slope, dtype=dtype).reshape(-1, SHAPES))
        order = [0] + [child for children, _ in levels() for child in children]
        # as tensors on the device: of a list, each look-up would be a copy there that waits for all that it computes
        self.names: list[list[str]] = []
        for number, (children, parents) in enumerate(levels()):
            tables = {"children": children, "parents": parents, "above": [order.index(joint) for joint in parents]}
            self.names.append([f"{name}_{number}" for name in tables])
            for name, joints in zip(self.names[-1], tables.values(), strict=True):
                self.register_buffer(name, torch.tensor(joints), persistent=False)
        self.register_buffer("back", torch.tensor([order.index(joint) for joint in range(len(SMPL))]), persistent=False)

    def forward(self, betas: Float[Tensor, "B 10"], rotations: Float[Tensor, "B 24 3 3"]) -> Kinematics:
        """Posed joints and the maps that lead there; rotations relative to parents, the first global."""
        rest = self.offset + (betas @ self.slope.T).reshape(-1, len(SMPL), 3)
        turned, posed = [rotations[:, :1]], [rest[:, :1]]
        for names in self.names:
            children, parents, place = (getattr(self, name) for name in names)
            above, base = torch.cat(turned, 1)[:, place], torch.cat(posed, 1)[:, place]
            bone = rest[:, children] - rest[:, parents]
            turned.append(above @ rotations[:, children])
            posed.append(base + (above @ bone[..., None])[..., 0])
        turns, joints = torch.cat(turned, 1)[:, self.back], torch.cat(posed, 1)[:, self.back]
        return Kinematics(turns, joints - (turns @ rest[..., None])[..., 0], joints)


class RegressedJoints(torch.nn.Module):
    """Joints of a vertex regressor (by default the 17 of Human3.6M), without vertices."""

    coefficients: Tensor
    share: Tensor
    total: Tensor
    joint_of_pair: Tensor
    row_of_pair: Tensor

    def __init__(
        self, body: BodyArrays, dtype: torch.dtype = torch.float32, regressor: Float[np.ndarray, "K V"] | None = None
    ) -> None:
        super().__init__()
        rows = (body.J17_regressor if regressor is None else regressor).astype(np.float64)
        weights = body.weights.astype(np.float64)
        pairs = [(k, j) for k in range(len(rows)) for j in np.flatnonzero(np.abs(rows[k]) @ np.abs(weights))]
        per_pair = np.stack([rows[k] * weights[:, j] for k, j in pairs])
        used = np.flatnonzero(per_pair.any(0))
        everything = np.concatenate((body.v_template[..., None], body.shapedirs, body.posedirs), axis=2)[used]
        mixed = np.einsum("pv,vxf->pxf", per_pair[:, used], everything.astype(np.float64))
        self.count = len(rows)
        self.register_buffer(
            "coefficients", torch.as_tensor(mixed, dtype=dtype).reshape(-1, 1 + SHAPES + POSE_FEATURES)
        )
        self.register_buffer("share", torch.as_tensor(per_pair.sum(1), dtype=dtype))
        self.register_buffer("total", torch.as_tensor(rows.sum(1), dtype=dtype)[:, None])
        self.register_buffer("joint_of_pair", torch.tensor([j for _, j in pairs]))
        self.register_buffer("row_of_pair", torch.tensor([k for k, _ in pairs]))

    def forward(
        self, betas: Float[Tensor, "B 10"], rotations: Float[Tensor, "B 24 3 3"], pose: Kinematics
    ) -> Float[Tensor, "B K 3"]:
        """Regressed joints in metres; `pose` is what KinematicJoints makes of the same betas and rotations."""
        feature = (rotations[:, 1:] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)).flatten(1)
        terms = torch.cat((feature.new_ones(len(feature), 1), betas, feature), 1)
        points = (terms @ self.coefficients.T).reshape(len(terms), -1, 3)
        turned = (pose.rotations[:, self.joint_of_pair] @ points[..., None])[..., 0]
        moved = turned + self.share[:, None] * pose.shift_m[:, self.joint_of_pair]
        return moved.new_zeros(len(moved), self.count, 3).index_add(1, self.row_of_pair, moved)
