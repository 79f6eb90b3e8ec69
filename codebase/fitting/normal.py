"""Normal equations of a sequence: a block for each frame, neighbours that hold each other, a shape that all share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import LinAlgError, solveh_banded
from torch import Tensor

from codebase.fitting.points import TURNS, UNKNOWNS


@dataclass
class Normal:
    """A quadratic about the present bodies: cost, gradient and second derivatives.

    Attributes:
        cost: at the present bodies.
        own: second derivatives of each frame's unknowns.
        pull: the gradient with regard to them.
        cross: mixed second derivatives with the shared unknowns.
        shared, shared_pull: those of the shared unknowns alone.
        ties: what ties each frame's turns to the next one's: the negative of the mixed second derivatives, which
            are diagonal; none where frames are independent.
    """

    cost: float
    own: Float[Tensor, "frames 75 75"]
    pull: Float[Tensor, "frames 75"]
    cross: Float[Tensor, "frames 75 shape"]
    shared: Float[Tensor, "shape shape"]
    shared_pull: Float[Tensor, " shape"]
    ties: Float[Tensor, "_ 72"] | None = field(default=None)

    @classmethod
    def empty(cls, frames: int, shape: int) -> Normal:
        """All zero, for `frames` frames and `shape` shared unknowns."""
        zeros = {name: torch.zeros(size, dtype=torch.float64) for name, size in {
            "own": (frames, UNKNOWNS, UNKNOWNS), "pull": (frames, UNKNOWNS), "cross": (frames, UNKNOWNS, shape),
            "shared": (shape, shape), "shared_pull": (shape,)}.items()}  # fmt: skip
        return cls(0.0, **zeros)

    def add(
        self,
        residual: Float[Tensor, "frames rows"],
        by_pose: Float[Tensor, "frames rows 75"],
        by_shape: Float[Tensor, "frames rows shape"],
        weight: Float[Tensor, "frames rows"],
    ) -> None:
        """Half the weighted squares of residuals; the cost is left to the caller, whose loss may be another."""
        weighted = by_pose * weight[..., None]
        self.own += weighted.mT @ by_pose
        self.pull += (weighted.mT @ residual[..., None])[..., 0]
        if self.shared.shape[0]:
            self.cross += weighted.mT @ by_shape
            weighted_shape = (by_shape * weight[..., None]).flatten(0, 1)
            self.shared += weighted_shape.T @ by_shape.flatten(0, 1)
            self.shared_pull += weighted_shape.T @ residual.flatten()

    def step(self, damping: float) -> tuple[Float[Tensor, "frames 75"], Float[Tensor, " shape"]]:
        """The damped step to the quadratic's minimum, of the frames' unknowns and of the shared ones."""
        damped = self.own.clone()
        diagonal = damped.diagonal(dim1=1, dim2=2)
        diagonal += damping * diagonal.clamp_min(1.0)
        sides = torch.cat([self.pull[..., None], self.cross], 2)
        solved = _apart(damped, sides) if self.ties is None else _tied(damped, self.ties, sides)
        alone, answer = solved[..., 0], solved[..., 1:]
        if not self.shared.shape[0]:
            return -alone, self.shared_pull
        rest = self.shared - torch.einsum("fus,fut->st", self.cross, answer)
        pull = self.shared_pull - torch.einsum("fus,fu->s", self.cross, alone)
        shape = -torch.linalg.solve(rest + damping * torch.diag(self.shared.diagonal().clamp_min(1e-6)), pull)
        return -alone - answer @ shape, shape


def _apart(own: Tensor, sides: Tensor) -> Tensor:
    return torch.cholesky_solve(sides, torch.linalg.cholesky(own))


def _tied(own: Tensor, ties: Tensor, sides: Tensor) -> Tensor:
    """A block-tridiagonal system whose off-diagonal blocks are diagonal is a banded one."""
    frames = len(own)
    row, column = np.tril_indices(UNKNOWNS)
    band = np.zeros((UNKNOWNS + 1, frames * UNKNOWNS))
    blocks = own.numpy()
    starts = np.arange(frames)[:, None] * UNKNOWNS
    band[(row - column)[None, :], starts + column[None, :]] = blocks[:, row, column]
    turns = np.arange(TURNS)
    band[UNKNOWNS, starts[:-1] + turns] = -ties.numpy()
    flat = sides.numpy().reshape(frames * UNKNOWNS, -1)
    try:
        solved = solveh_banded(band, flat, lower=True, check_finite=False, overwrite_ab=True)
    except LinAlgError as error:
        raise torch.linalg.LinAlgError(str(error)) from None
    return torch.from_numpy(solved.reshape(sides.shape))
