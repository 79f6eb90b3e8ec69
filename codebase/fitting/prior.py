"""What bodies usually do: a mixture of Gaussians on the rotations of 23 joints, for twists that joints do not show.

A pose is a point of 69 numbers: for each joint the rotation vector that leads from its mean rotation to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.body.arrays import BodyArrays
from codebase.data.poses import read_poses
from codebase.models.rotations import chordal_mean
from codebase.synthetic.motion import sample_poses

SIZE = 69
# no joint is known better than this before anything is seen, rad
FLOOR_RAD = 0.05
_ROUNDS = 15


class Pull(NamedTuple):
    """A quadratic about the present pose: cost, and its derivatives with regard to right perturbations of 23 joints.

    Attributes:
        cost: half the squared distance from the nearest Gaussian, in standard deviations, and its constant.
        gradient: of the cost.
        curvature: Gauss-Newton's approximation of the second derivative.
    """

    cost: Float[Tensor, " frames"]
    gradient: Float[Tensor, "frames 69"]
    curvature: Float[Tensor, "frames 69 69"]


@dataclass(frozen=True)
class PosePrior:
    """A mixture of Gaussians over poses.

    Attributes:
        mean: mean rotation of each joint (SMPL's 24, the first the identity).
        centres: of the Gaussians.
        precisions: inverse covariances.
        constants: -log of weight and of the precision's root determinant: what a Gaussian costs at its centre.
    """

    mean: Float[Tensor, "24 3 3"]
    centres: Float[Tensor, "parts 69"]
    precisions: Float[Tensor, "parts 69 69"]
    constants: Float[Tensor, " parts"]

    @classmethod
    def of(cls, poses_rad: Float[np.ndarray, "poses 24 3"], parts: int, seed: int = 0) -> PosePrior:
        """Fit to poses (axis-angle; the global orientation is not looked at) by expectation maximisation."""
        rotmats = roma.rotvec_to_rotmat(torch.from_numpy(np.array(poses_rad, np.float64)))
        rotmats[:, 0] = torch.eye(3, dtype=torch.float64)
        mean = chordal_mean(rotmats)
        points = coordinates(mean, rotmats)
        return cls(mean, *_mixture(points, parts, seed))

    def cost(self, rotmats: Float[Tensor, "frames 24 3 3"]) -> Float[Tensor, " frames"]:
        """Half the squared distance from the nearest Gaussian, in standard deviations, and its constant."""
        return self._costs(coordinates(self.mean, rotmats)).min(1).values

    def pull(self, rotmats: Float[Tensor, "frames 24 3 3"]) -> Pull:
        """The nearest Gaussian's pull on each pose."""
        point = coordinates(self.mean, rotmats)
        nearest = self._costs(point).argmin(1)
        off, precision = point - self.centres[nearest], self.precisions[nearest]
        pulled = (precision @ off[..., None])[..., 0]
        cost = 0.5 * (off * pulled).sum(1) + self.constants[nearest]
        # how the coordinates move with a right perturbation, joint by joint
        moves = right_inverse(point.unflatten(1, (23, 3)))
        gradient = (pulled.unflatten(1, (23, 1, 3)) @ moves).flatten(1)
        blocks = precision.unflatten(2, (23, 3)).unflatten(1, (23, 3)).permute(0, 1, 3, 2, 4)
        curvature = moves[:, :, None].transpose(3, 4) @ blocks @ moves[:, None]
        return Pull(cost, gradient, curvature.permute(0, 1, 3, 2, 4).reshape(len(point), SIZE, SIZE))

    def _costs(self, point: Float[Tensor, "frames 69"]) -> Float[Tensor, "frames parts"]:
        return _costs(point, self.centres, self.precisions, self.constants)


def _costs(
    points: Float[Tensor, "poses 69"], centres: Tensor, precisions: Tensor, constants: Tensor
) -> Float[Tensor, "poses parts"]:
    costs = []
    for centre, precision, constant in zip(centres, precisions, constants, strict=True):
        off = points - centre
        costs.append(0.5 * ((off @ precision) * off).sum(1) + constant)
    return torch.stack(costs, 1)


def coordinates(mean: Float[Tensor, "24 3 3"], rotmats: Float[Tensor, "poses 24 3 3"]) -> Float[Tensor, "poses 69"]:
    """Rotation vectors from the mean rotations of 23 joints to those of poses."""
    return roma.rotmat_to_rotvec(mean[1:].mT @ rotmats[:, 1:]).flatten(1)


def hat(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix of the cross product with a vector."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def right_inverse(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """How a rotation vector moves when its rotation is perturbed on the right: the inverse of the right Jacobian."""
    angle = rotvec.norm(dim=-1).clamp(1e-4, 2 * np.pi - 1e-2)[..., None, None]
    cross = hat(rotvec)
    factor = 1 / angle**2 - (1 + torch.cos(angle)) / (2 * angle * torch.sin(angle)).where(
        torch.sin(angle).abs() > 1e-9, torch.full_like(angle, 1e-9)
    )
    return torch.eye(3, dtype=rotvec.dtype) + 0.5 * cross + factor * cross @ cross


def _mixture(points: Float[Tensor, "poses 69"], parts: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, precisions and constants of Gaussians; each keeps at least FLOOR_RAD in every direction."""
    rng = torch.Generator().manual_seed(seed)
    count = len(points)
    parts = max(1, min(parts, count // (2 * SIZE)))
    whole = points.T.cov(correction=min(1, count - 1)) + FLOOR_RAD**2 * torch.eye(SIZE, dtype=points.dtype)
    belongs = _scattered(points, parts, rng)
    for _ in range(_ROUNDS):
        size = belongs.sum(0).clamp_min(1e-6)
        centres = belongs.T @ points / size[:, None]
        covariances = []
        for part in range(parts):
            off = points - centres[part]
            own = (off * belongs[:, part, None]).T @ off
            # a few poses say little of 69 directions: lean on the covariance of all as if it were SIZE / 4 more
            covariances.append((own + 0.25 * SIZE * whole) / (size[part] + 0.25 * SIZE))
        covariance = torch.stack(covariances) + FLOOR_RAD**2 * torch.eye(SIZE, dtype=points.dtype)
        precisions = torch.linalg.inv(covariance)
        constants = 0.5 * torch.logdet(covariance) - torch.log(size / count)
        if parts == 1:
            break
        belongs = torch.softmax(-_costs(points, centres, precisions, constants), 1)
    return centres, precisions, constants - constants.min()


def _scattered(points: Tensor, parts: int, rng: torch.Generator) -> Tensor:
    """First memberships: nearest of centres that are drawn far from each other (k-means++), a few rounds of k-means."""
    centres = points[torch.randint(len(points), (1,), generator=rng)]
    while len(centres) < parts:
        far = torch.cdist(points, centres).min(1).values.square()
        if not far.any():  # fewer different poses than centres
            break
        centres = torch.cat([centres, points[torch.multinomial(far, 1, generator=rng)]])
    for _ in range(10):
        belongs = torch.nn.functional.one_hot(torch.cdist(points, centres).argmin(1), parts).to(points)
        centres = belongs.T @ points / belongs.sum(0).clamp_min(1)[:, None]
    return belongs


def pose_prior(body: BodyArrays, poses: Path | None, *, count: int, parts: int, seed: int) -> PosePrior:
    """The prior of the npz files of a folder, or of free synthetic poses.

    Raises:
        DataError: the folder holds no poses, or a file of it cannot be read.
    """
    if poses is not None:
        (train, _), _ = read_poses(poses, count, seed, 0.05)
        return PosePrior.of(train, parts, seed)
    rest, _ = body.joint_shape_map
    return PosePrior.of(sample_poses(count, seed, rest), parts, seed)
