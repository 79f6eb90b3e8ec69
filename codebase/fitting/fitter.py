"""A subject's bodies, sequence by sequence: first what joints alone say, then what masks add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from codebase.body.arrays import BodyArrays
from codebase.config import FitBodiesConfig
from codebase.errors import DataError
from codebase.fitting.points import Points, Pose
from codebase.fitting.prior import PosePrior
from codebase.fitting.solve import Fit, Guess, Losses
from codebase.fitting.start import start_betas, start_pose

MM_TO_M = 0.001
# a frame with fewer known joints says too little of a body
FEWEST_JOINTS = 8
# a step of a whole sequence is one system; longer ones are cut, and the pieces overlap
_PIECE, _OVERLAP = 160, 8


@dataclass(frozen=True)
class Shape:
    """What all frames of a subject share.

    Attributes:
        betas: shape coefficients.
        offsets_m: of the data's joints from the body's, in the frames of the parts that carry them.
        cloth_m: thickness of what covers each part of the body, as masks show it; empty without masks.
    """

    betas: Float[Tensor, "10"]
    offsets_m: Float[Tensor, "17 3"]
    cloth_m: Float[Tensor, " parts"]


@dataclass(frozen=True)
class Bodies:
    """Bodies of some frames of one subject, world frame.

    Attributes:
        pose: all of one shape.
        joint_error_mm: mean distance of the known joints in each frame, the subject's offsets taken into account.
    """

    pose: Pose
    joint_error_mm: Float[ndarray, " frames"]


class Fitter:
    """Fits bodies to joints.

    Args:
        body: the body.
        prior: of poses.
        section: the config's section fit_bodies.
        offset_m: how far joints of the data may lie from the body's, all the time.
    """

    def __init__(self, body: BodyArrays, prior: PosePrior, section: FitBodiesConfig, *, offset_m: float = 0.0) -> None:
        self.body, self.prior, self.section, self.points = body, prior, section, Points(body)
        self.losses = Losses(
            joint_m=MM_TO_M * section.joint_mm, outlier_m=MM_TO_M * section.outlier_mm, prior=section.prior_weight,
            smooth_rad=section.smooth_rad, offset_m=offset_m,
        )  # fmt: skip

    def shape(self, joints_mm: Float[ndarray, "frames 17 3"]) -> Shape:
        """The shape that explains joints of frames of any sequences, world frame, mm; NaN where unknown.

        Raises:
            DataError: no frame has enough joints.
        """
        joints_m = _metres(joints_mm[enough(joints_mm)])
        if not len(joints_m):
            raise DataError(
                "There is nothing to fit a body to: no frame has enough known joints.",
                expected=f"at least {FEWEST_JOINTS} of 17 joints in some frame",
                mend="see the index' exclusions, or leave the subject out",
            )
        betas = start_betas(self.points, joints_m)
        start = Guess.at(start_pose(self.points, self.prior.mean, betas, joints_m))
        fit = Fit(self.points, self.prior, replace(self.losses, smooth_rad=0.0), joints_m)
        found = fit.run(start, iterations=2 * self.section.iterations)
        return Shape(found.pose.betas[0], found.offsets_m, found.cloth_m)

    def sequence(
        self, shape: Shape, joints_mm: Float[ndarray, "frames 17 3"], frame: ndarray, *, masks: None = None
    ) -> Bodies:
        """Bodies of a sequence's frames, NaN where a frame has too few joints.

        Args:
            shape: of the subject.
            joints_mm: world frame; NaN where unknown.
            frame: numbers of the frames, rising.
        """
        usable = np.flatnonzero(enough(joints_mm))
        parts = [self._piece(shape, joints_mm[piece], frame[piece]) for piece, _ in _pieces(usable)]
        keeps = [keep for _, keep in _pieces(usable)]
        rotmats = np.full((len(joints_mm), 24, 3, 3), np.nan)
        transl, error = np.full((len(joints_mm), 3), np.nan), np.full(len(joints_mm), np.nan)
        for (piece, _), keep, (pose, off) in zip(_pieces(usable), keeps, parts, strict=True):
            rotmats[piece[keep]], transl[piece[keep]] = pose.rotmats[keep].numpy(), pose.transl_m[keep].numpy()
            error[piece[keep]] = off[keep]
        betas = shape.betas.expand(len(joints_mm), -1)
        return Bodies(Pose(betas, torch.from_numpy(rotmats), torch.from_numpy(transl)), error)

    def _piece(self, shape: Shape, joints_mm: ndarray, frame: ndarray) -> tuple[Pose, ndarray]:
        joints_m = _metres(joints_mm)
        pose = start_pose(self.points, self.prior.mean, shape.betas, joints_m)
        gaps = torch.from_numpy(np.diff(frame).astype(np.float64))
        # of indexed frames: a stride of the index is one step
        gaps = gaps / gaps.median() if len(gaps) else gaps
        losses = replace(self.losses, offset_m=0.0)
        fit = Fit(self.points, self.prior, losses, joints_m, gaps=gaps, shape=False)
        found = fit.run(Guess(pose, shape.offsets_m, shape.cloth_m), iterations=self.section.iterations)
        return found.pose, fit.errors_m(found).nanmean(1).numpy() / MM_TO_M


def enough(joints_mm: Float[ndarray, "frames 17 3"]) -> Bool[ndarray, " frames"]:
    """Frames with enough known joints."""
    return np.isfinite(joints_mm).all(axis=2).sum(axis=1) >= FEWEST_JOINTS


def spread(count: int, most: int) -> ndarray:
    """At most `most` of `count` rows, evenly."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def _metres(joints_mm: Float[ndarray, "frames 17 3"]) -> Float[Tensor, "frames 17 3"]:
    return torch.from_numpy(MM_TO_M * np.asarray(joints_mm, np.float64))


def _pieces(rows: ndarray) -> Sequence[tuple[ndarray, slice]]:
    """Rows in pieces that overlap, and which part of each is kept."""
    pieces = []
    for start in range(0, len(rows), _PIECE):
        first, last = max(start - _OVERLAP, 0), min(start + _PIECE + _OVERLAP, len(rows))
        pieces.append((rows[first:last], slice(start - first, start - first + min(_PIECE, len(rows) - start))))
    return pieces
