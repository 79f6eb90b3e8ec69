"""Bodies that explain joints (and whatever else is given): damped Gauss-Newton steps on robust losses, batched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.errors import DataError
from codebase.fitting.normal import Normal
from codebase.fitting.points import TURNS, Points, Pose, below
from codebase.fitting.prior import PosePrior
from codebase.skeleton import H36M, SMPL

# joint of SMPL that carries each Human3.6M joint, in whose frame a constant offset is held
CARRIERS = {
    "root": "pelvis", "right_hip": "pelvis", "right_knee": "right_hip", "right_foot": "right_knee",
    "left_hip": "pelvis", "left_knee": "left_hip", "left_foot": "left_knee", "spine": "spine2", "neck": "spine3",
    "head": "head", "head_top": "head", "left_shoulder": "spine3", "left_elbow": "left_shoulder",
    "left_wrist": "left_elbow", "right_shoulder": "spine3", "right_elbow": "right_shoulder",
    "right_wrist": "right_elbow",
}  # fmt: skip
BETAS, OFFSETS = 10, 3 * len(H36M)
_CARRIERS = torch.tensor(SMPL.indices(*(CARRIERS[name] for name in H36M.names)))
# row k, column a: 1 where joint k of Human3.6M hangs from SMPL's joint a
_HANGS = below()[:, _CARRIERS].T


@dataclass(frozen=True)
class Losses:
    """What a fit weighs against what.

    Attributes:
        joint_m: how far off a joint is expected to be.
        outlier_m: a joint that is off by more than this loses its say (Cauchy's loss).
        prior: weight of the pose prior; 1: poses are exactly as common as the prior thinks.
        smooth_rad: how far a joint turns from one frame to the next; 0: frames do not know each other.
        offset_m: how far a joint of the data may lie from that of the body, all the time; 0: nowhere.
    """

    joint_m: float = 0.005
    outlier_m: float = 0.04
    prior: float = 1.0
    smooth_rad: float = 0.0
    offset_m: float = 0.0


@dataclass(frozen=True)
class Guess:
    """Where a fit stands.

    Attributes:
        pose: bodies of the frames; all of one shape.
        offsets_m: of the data's joints from the body's, in the frames of the joints that carry them.
        cloth_m: thickness of what covers each part of the body; empty without masks.
    """

    pose: Pose
    offsets_m: Float[Tensor, "17 3"]
    cloth_m: Float[Tensor, " parts"]

    @classmethod
    def at(cls, pose: Pose) -> Guess:
        """Without offsets and clothes."""
        return cls(pose, torch.zeros(len(H36M), 3, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))


@runtime_checkable
class Term(Protocol):
    """Another term of a fit."""

    def cost(self, guess: Guess) -> float:
        """What it adds to the cost."""

    def add(self, guess: Guess, normal: Normal, *, shape: bool) -> None:
        """Add its derivatives; those of the shared unknowns (betas, offsets, clothes) where the shape is free."""


class Fit:
    """A fit of frames that share a shape.

    Args:
        points: the body's joints.
        prior: of poses.
        losses: the weights.
        joints_m: in the world, NaN where unknown.
        gaps: how many frames lie from each to the next, for the smoothness: one fewer than frames.
        shape: whether betas, offsets and clothes may move.
        more: other terms.
    """

    def __init__(
        self, points: Points, prior: PosePrior, losses: Losses, joints_m: Float[Tensor, "frames 17 3"], *,
        gaps: Float[Tensor, " gaps"] | None = None, shape: bool = True, more: Sequence[Term] = (),
    ) -> None:  # fmt: skip
        self.points, self.prior, self.losses, self.more, self.shape = points, prior, losses, more, shape
        self.known = joints_m.isfinite().all(2)
        self.target = torch.where(self.known[..., None], joints_m, torch.zeros_like(joints_m))
        self.gaps = gaps if losses.smooth_rad > 0 and len(joints_m) > 1 else None

    def run(self, guess: Guess, *, iterations: int, damping: float = 1e-3, enough: float = 1e-4) -> Guess:
        """Steps until the cost falls by less than a share of `enough`; a step that makes it worse is taken back.

        Raises:
            DataError: the cost is not finite to begin with.
        """
        before, normal = self.cost(guess), None
        if not math.isfinite(before):
            raise DataError(
                "How well a body explains its joints is not finite.", where="fit_bodies",
                mend="give prior_weight, joint_mm and outlier_mm another size, and see the joints in the index",
            )  # fmt: skip
        for _ in range(iterations):
            normal = normal or self.normal(guess)
            moved = self._moved(guess, *normal.step(damping))
            cost = self.cost(moved)
            if not cost < before:  # also where it is not finite
                damping *= 10
                if damping > 1e3:
                    break
                continue
            gained, before = before - cost, cost
            guess, damping = moved, max(damping / 5, 1e-6)
            if gained < enough * abs(cost):
                break
            normal = None
        return guess

    def cost(self, guess: Guess) -> float:
        """What is minimised."""
        total = float(self._joint_cost(self.joints(guess)).sum())
        total += self.losses.prior * float(self.prior.cost(guess.pose.rotmats).sum())
        total += 0.5 * float((self._sizes(guess) * self._shared(guess).square()).sum())
        if self.gaps is not None:
            total += 0.5 * float((self._ties(self.gaps)[..., None] * _turns_between(guess).square()).sum())
        return total + sum(term.cost(guess) for term in self.more)

    def normal(self, guess: Guess) -> Normal:
        """The quadratic about a guess."""
        shared = self._shared(guess) if self.shape else torch.zeros(0)
        normal = Normal.empty(len(guess.pose), len(shared))
        self._add_joints(guess, normal)
        pull = self.prior.pull(guess.pose.rotmats)
        normal.own[:, 3:TURNS, 3:TURNS] += self.losses.prior * pull.curvature
        normal.pull[:, 3:TURNS] += self.losses.prior * pull.gradient
        if self.gaps is not None:
            self._add_smoothness(guess, self.gaps, normal)
        if self.shape:
            sizes = self._sizes(guess)
            normal.shared += torch.diag(sizes)
            normal.shared_pull += sizes * shared
        for term in self.more:
            term.add(guess, normal, shape=self.shape)
        return normal

    def joints(self, guess: Guess) -> Float[Tensor, "frames 17 3"]:
        """Where the data's joints should lie, metres."""
        found = self.points(guess.pose)
        if guess.offsets_m.any():
            turns = self.points.kinematic(guess.pose.betas, guess.pose.rotmats).rotations
            found = found + (turns[:, _CARRIERS] @ guess.offsets_m[..., None])[..., 0]
        return found

    def errors_m(self, guess: Guess) -> Float[Tensor, "frames 17"]:
        """Distances of the joints, offsets taken into account; NaN where unknown."""
        return (self.joints(guess) - self.target).norm(dim=2).where(self.known, torch.nan)

    def _joint_cost(self, found: Float[Tensor, "frames 17 3"]) -> Float[Tensor, "frames 17"]:
        """Cauchy's loss, in units of squared expected error."""
        square = (found - self.target).square().sum(2) / self.losses.outlier_m**2
        unit = (self.losses.outlier_m / self.losses.joint_m) ** 2
        return self.known * (0.5 * unit * torch.log1p(square))

    def _add_joints(self, guess: Guess, normal: Normal) -> None:
        derived = self.points.derive(guess.pose)
        by_pose, by_shape = derived.by_pose, derived.by_shape
        residual = derived.points_m - self.target
        if guess.offsets_m.any():
            held = (derived.turns[:, _CARRIERS] @ guess.offsets_m[..., None])[..., 0]
            residual = residual + held
            by_pose = by_pose.clone()
            by_pose[..., :TURNS] += _turned_offsets(derived.turns, held)
        if self.shape:
            extra = torch.zeros(*residual.shape, normal.shared.shape[0] - BETAS, dtype=torch.float64)
            if self.losses.offset_m > 0:
                for joint, carrier in enumerate(_CARRIERS.tolist()):
                    extra[:, joint, :, 3 * joint : 3 * joint + 3] = derived.turns[:, carrier]
            by_shape = torch.cat([by_shape, extra], 3)
        square = residual.square().sum(2)
        weight = self.known / (self.losses.joint_m**2 * (1 + square / self.losses.outlier_m**2))
        weight = weight[..., None].expand_as(residual)
        normal.add(*(part.flatten(1, 2) for part in (residual, by_pose, by_shape, weight)))

    def _shared(self, guess: Guess) -> Float[Tensor, " shared"]:
        """What all frames share: betas, then offsets where there may be any, then clothes."""
        offsets = guess.offsets_m.flatten()[: OFFSETS if self.losses.offset_m > 0 else 0]
        return torch.cat([guess.pose.betas[0], offsets, guess.cloth_m])

    def _sizes(self, guess: Guess) -> Float[Tensor, " shared"]:
        """Precisions of the shared unknowns about zero; betas count deviations of a population, terms know clothes."""
        offsets = [self.losses.offset_m**-2] * OFFSETS if self.losses.offset_m > 0 else []
        return torch.tensor([1.0] * BETAS + offsets + [0.0] * len(guess.cloth_m), dtype=torch.float64)

    def _ties(self, gaps: Float[Tensor, " gaps"]) -> Float[Tensor, "gaps 24"]:
        """Precision of the turn from each frame to the next: a walk at random, wider the further they are apart."""
        weight = torch.full((len(SMPL),), self.losses.smooth_rad**-2, dtype=torch.float64)
        weight[0] = 0.0  # joints say where the pelvis faces
        return weight / gaps[:, None]

    def _add_smoothness(self, guess: Guess, gaps: Tensor, normal: Normal) -> None:
        ties = self._ties(gaps).repeat_interleave(3, dim=1)
        pull = ties * _turns_between(guess).flatten(1)
        normal.pull[1:, :TURNS] += pull
        normal.pull[:-1, :TURNS] -= pull
        diagonal = normal.own.diagonal(dim1=1, dim2=2)
        diagonal[1:, :TURNS] += ties
        diagonal[:-1, :TURNS] += ties
        normal.ties = ties

    def _moved(self, guess: Guess, step: Tensor, shared: Tensor) -> Guess:
        turn = roma.rotvec_to_rotmat(step[:, :TURNS].unflatten(1, (len(SMPL), 3)))
        pose = Pose(guess.pose.betas, guess.pose.rotmats @ turn, guess.pose.transl_m + step[:, TURNS:])
        if not self.shape:
            return replace(guess, pose=pose)
        count = OFFSETS if self.losses.offset_m > 0 else 0
        betas, offsets, cloth = shared.split([BETAS, count, len(guess.cloth_m)])
        moved = guess.offsets_m + offsets.unflatten(0, (len(H36M), 3)) if count else guess.offsets_m
        return Guess(replace(pose, betas=pose.betas + betas), moved, guess.cloth_m + cloth)


def _turns_between(guess: Guess) -> Float[Tensor, "gaps 24 3"]:
    rotmats = guess.pose.rotmats
    return roma.rotmat_to_rotvec(rotmats[:-1].mT @ rotmats[1:])


def _turned_offsets(turns: Float[Tensor, "frames 24 3 3"], held: Float[Tensor, "frames 17 3"]) -> Tensor:
    """How offsets move as joints turn: [frames, 17, 3, 72]."""
    axes = turns[:, None].expand(-1, len(H36M), -1, -1, -1)
    arms = held[:, :, None, :, None].expand_as(axes)
    moved = torch.linalg.cross(axes, arms, dim=3) * _HANGS[:, :, None, None]
    return moved.permute(0, 1, 3, 2, 4).flatten(3)
