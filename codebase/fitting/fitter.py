"""A subject's bodies, sequence by sequence: first what joints alone say, then what masks add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from codebase.body.arrays import BodyArrays
from codebase.config import FitBodiesConfig
from codebase.errors import DataError
from codebase.fitting.contours import Contours, expected_cloth
from codebase.fitting.points import Points, Pose
from codebase.fitting.prior import PosePrior
from codebase.fitting.solve import Fit, Guess, Losses
from codebase.fitting.start import start_betas, start_pose
from codebase.fitting.windows import Windows

MM_TO_M = 0.001
# a frame with fewer known joints says too little of a body
FEWEST_JOINTS = 8
# a step of a whole sequence is one system; longer ones are cut, and the pieces overlap
_PIECE, _OVERLAP = 160, 8
STEPS_A_LOOK = 3


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

    @classmethod
    def of(cls, guess: Guess) -> Shape:
        """That of a fit."""
        return cls(guess.pose.betas[0], guess.offsets_m, guess.cloth_m)


@dataclass(frozen=True)
class Posed:
    """Bodies of some frames of one subject, world frame.

    Attributes:
        pose: all of one shape; NaN where a frame has too few joints.
        joint_error_mm: mean distance of the known joints in each frame, the subject's offsets taken into account.
        mask_iou: mean over the cameras of intersection over union of silhouette and mask; NaN without masks.
    """

    pose: Pose
    joint_error_mm: Float[ndarray, " frames"]
    mask_iou: Float[ndarray, " frames"]


class Fitter:
    """Fits bodies to joints, and to masks.

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
        """The shape that explains joints of frames of any sequences.

        Args:
            joints_mm: world frame; NaN where unknown.

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
        return Shape.of(fit.run(start, iterations=2 * self.section.iterations))

    def dressed(self, shape: Shape, joints_mm: Float[ndarray, "frames 17 3"], windows: Windows) -> Shape:
        """The shape that explains masks as well, and how thick what covers it is.

        Args:
            shape: what joints alone gave.
            joints_mm: of the frames of the windows, each with enough known joints.
            windows: masks of frames of any sequences.
        """
        joints_m = _metres(joints_mm)
        pose = start_pose(self.points, self.prior.mean, shape.betas, joints_m)
        losses = replace(self.losses, smooth_rad=0.0)
        guess = Guess(pose, shape.offsets_m, shape.cloth_m)
        guess = Fit(self.points, self.prior, replace(losses, offset_m=0.0), joints_m, shape=False).run(
            guess, iterations=self.section.iterations
        )
        guess = replace(guess, cloth_m=expected_cloth())
        contours = Contours(self.body, self.points, windows, weight=self.section.mask_weight)
        fit = Fit(self.points, self.prior, losses, joints_m, more=[contours])
        return Shape.of(self._rounds(fit, contours, guess))

    def sequence(
        self, shape: Shape, joints_mm: Float[ndarray, "frames 17 3"], frame: Int[ndarray, " frames"],
        look: Callable[[Int[ndarray, " rows"]], Windows] | None = None,
    ) -> Posed:  # fmt: skip
        """Bodies of a sequence's frames, NaN where a frame has too few joints.

        Args:
            shape: of the subject.
            joints_mm: world frame; NaN where unknown.
            frame: numbers of the frames, rising.
            look: gives the masks of rows of frames; None: joints alone.
        """
        count = len(joints_mm)
        rotmats = torch.full((count, 24, 3, 3), torch.nan, dtype=torch.float64)
        transl = torch.full((count, 3), torch.nan, dtype=torch.float64)
        error, iou = np.full(count, np.nan), np.full(count, np.nan)
        for rows, keep in _pieces(np.flatnonzero(enough(joints_mm))):
            own = None if look is None else look(rows)
            part, mine = self._piece(shape, joints_mm[rows], frame[rows], own), rows[keep]
            rotmats[mine], transl[mine] = part.pose.rotmats[keep], part.pose.transl_m[keep]
            error[mine], iou[mine] = part.joint_error_mm[keep], part.mask_iou[keep]
        return Posed(Pose(shape.betas.expand(count, -1), rotmats, transl), error, iou)

    def _piece(self, shape: Shape, joints_mm: ndarray, frame: ndarray, windows: Windows | None) -> Posed:
        joints_m = _metres(joints_mm)
        gaps = torch.from_numpy(np.diff(frame).astype(np.float64))
        # of indexed frames: a stride of the index is one step
        gaps = gaps / gaps.median() if len(gaps) else gaps
        fit = Fit(self.points, self.prior, replace(self.losses, offset_m=0.0), joints_m, gaps=gaps, shape=False)
        pose = start_pose(self.points, self.prior.mean, shape.betas, joints_m)
        guess = fit.run(Guess(pose, shape.offsets_m, shape.cloth_m), iterations=self.section.iterations)
        iou = np.full(len(frame), np.nan)
        if windows is not None and windows.seen.any():
            contours = Contours(self.body, self.points, windows, weight=self.section.mask_weight)
            fit.more = [contours]
            guess = self._rounds(fit, contours, guess)
            overlap, seen = contours.overlap(guess), windows.seen.any(1)
            iou[seen] = np.nanmean(overlap[seen], axis=1)
        return Posed(guess.pose, fit.errors_m(guess).nanmean(1).numpy() / MM_TO_M, iou)

    def _rounds(self, fit: Fit, contours: Contours, guess: Guess) -> Guess:
        """A few steps, then another look at where the outlines are."""
        for _ in range(self.section.mask_rounds):
            contours.look(guess)
            guess = fit.run(guess, iterations=STEPS_A_LOOK)
        return guess


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
