"""Regressed points of a body and their derivatives, in closed form and without building a mesh.

Rotations are perturbed on their right, R <- R exp(d), d in radians: then every point that hangs from joint a turns
about the joint's place with the angular velocity G_a d, G_a being the joint's rotation in the world. Points of
linear blend skinning are sums of such points, so their derivatives are sums as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from codebase.body.arrays import SHAPES, BodyArrays
from codebase.body.joints import KinematicJoints, Kinematics, RegressedJoints
from codebase.skeleton import SMPL

# a frame's unknowns: three a joint, then the translation
TURNS = 3 * len(SMPL)
UNKNOWNS = TURNS + 3


@dataclass(frozen=True)
class Pose:
    """Bodies of some frames, world frame, metres.

    Attributes:
        betas: shape.
        rotmats: rotations of SMPL's joints relative to their parents, the first to the world.
        transl_m: added to everything.
    """

    betas: Float[Tensor, "frames 10"]
    rotmats: Float[Tensor, "frames 24 3 3"]
    transl_m: Float[Tensor, "frames 3"]

    def __len__(self) -> int:
        return len(self.rotmats)

    def take(self, which: Tensor | slice) -> Pose:
        """Some of the frames."""
        return Pose(self.betas[which], self.rotmats[which], self.transl_m[which])


class Derived(NamedTuple):
    """Points and their derivatives.

    Attributes:
        points_m: in the world.
        by_pose: with regard to a frame's 75 unknowns (`UNKNOWNS`).
        by_shape: with regard to the betas.
        turns: rotations of the joints in the world.
    """

    points_m: Float[Tensor, "frames points 3"]
    by_pose: Float[Tensor, "frames points 3 75"]
    by_shape: Float[Tensor, "frames points 3 10"]
    turns: Float[Tensor, "frames 24 3 3"]


def below() -> Float[Tensor, "24 24"]:
    """Row a, column j: 1 where joint j is joint a or hangs from it."""
    table = torch.eye(len(SMPL), dtype=torch.float64)
    for parent, child in reversed(SMPL.bones):
        table[parent] += table[child]
    return table


class Points(torch.nn.Module):
    """The 17 joints of Human3.6M, regressed from a body's vertices, float64."""

    generators: Tensor
    lower: Tensor

    def __init__(self, body: BodyArrays) -> None:
        super().__init__()
        self.kinematic = KinematicJoints(body, torch.float64)
        self.regressed = RegressedJoints(body, torch.float64)
        self.register_buffer("lower", below())
        generators = torch.zeros(3, 3, 3, dtype=torch.float64)
        for axis, (row, column) in enumerate(((2, 1), (0, 2), (1, 0))):
            generators[axis, row, column], generators[axis, column, row] = 1.0, -1.0
        self.register_buffer("generators", generators)

    def forward(self, pose: Pose) -> Float[Tensor, "frames points 3"]:
        """The points in the world, metres."""
        state = self.kinematic(pose.betas, pose.rotmats)
        return self.regressed(pose.betas, pose.rotmats, state) + pose.transl_m[:, None]

    def derive(self, pose: Pose) -> Derived:
        """The points and their derivatives."""
        regressed, state = self.regressed, self.kinematic(pose.betas, pose.rotmats)
        frames, points = len(pose), regressed.count
        eye = torch.eye(3, dtype=torch.float64)
        feature = (pose.rotmats[:, 1:] - eye).flatten(1)
        terms = torch.cat((feature.new_ones(frames, 1), pose.betas, feature), 1)
        rest = (terms @ regressed.coefficients.T).reshape(frames, -1, 3)
        turns = state.rotations[:, regressed.joint_of_pair]
        moved = (turns @ rest[..., None])[..., 0] + regressed.share[:, None] * state.shift_m[:, regressed.joint_of_pair]
        # of each point the part that each joint carries, then the part that hangs from each joint
        place = regressed.row_of_pair * len(SMPL) + regressed.joint_of_pair
        carried = moved.new_zeros(frames, points * len(SMPL), 3).index_add(1, place, moved)
        share = moved.new_zeros(points * len(SMPL)).index_add(0, place, regressed.share)
        carried, share = carried.reshape(frames, points, -1, 3), share.reshape(points, -1)
        hanging = self.lower @ carried - (share @ self.lower.T)[..., None] * state.joints[:, None]
        # G_a e_c x v for each axis c
        axes = state.rotations[:, None].expand(-1, points, -1, -1, -1)
        by_turn = torch.linalg.cross(axes, hanging[..., None].expand_as(axes), dim=3).permute(0, 1, 3, 2, 4)
        by_turn = by_turn + self._by_bend(pose, turns)
        by_transl = eye.expand(frames, points, 3, 3)
        by_pose = torch.cat([by_turn.reshape(frames, points, 3, TURNS), by_transl], dim=3)
        summed = carried.sum(2) + pose.transl_m[:, None]
        return Derived(summed, by_pose, self._by_shape(state, turns), state.rotations)

    def _by_bend(self, pose: Pose, turns: Tensor) -> Float[Tensor, "frames points 3 24 3"]:
        """What the pose-dependent correction of the shape adds: G_j P dfeature."""
        regressed, frames = self.regressed, len(pose)
        mixed = regressed.coefficients[:, 1 + SHAPES :].reshape(-1, 3, 207)
        turned = turns @ mixed
        summed = turned.new_zeros(frames, regressed.count, 3, 207).index_add(1, regressed.row_of_pair, turned)
        steps = torch.einsum("baij,cjk->bacik", pose.rotmats[:, 1:], self.generators).flatten(3)
        own = torch.einsum("bpxam,bacm->bpxac", summed.unflatten(3, (23, 9)), steps)
        return torch.nn.functional.pad(own, (0, 0, 1, 0))

    def shifts_by_shape(self, state: Kinematics) -> Float[Tensor, "frames 24 3 10"]:
        """Derivatives of `Kinematics.shift_m` with regard to the betas."""
        slope = self.kinematic.slope.reshape(len(SMPL), 3, SHAPES)
        moves = [slope[0].expand(len(state.rotations), 3, SHAPES)]
        for child, parent in enumerate(SMPL.parents):
            if parent >= 0:
                moves.append(moves[parent] + state.rotations[:, parent] @ (slope[child] - slope[parent]))
        return torch.stack(moves, 1) - state.rotations @ slope

    def _by_shape(self, state: Kinematics, turns: Tensor) -> Float[Tensor, "frames points 3 10"]:
        regressed, shift = self.regressed, self.shifts_by_shape(state)
        mixed = regressed.coefficients[:, 1 : 1 + SHAPES].reshape(-1, 3, SHAPES)
        change = turns @ mixed + regressed.share[:, None, None] * shift[:, regressed.joint_of_pair]
        return change.new_zeros(len(turns), regressed.count, 3, SHAPES).index_add(1, regressed.row_of_pair, change)
