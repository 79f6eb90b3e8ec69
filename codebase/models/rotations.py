"""Rotations as networks see them: six numbers a joint, their mean, their mirror image."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from codebase.skeleton import SMPL

# A person upright before the camera and facing it: the body's y axis (up) points along -y of the im frame, its z axis
# (ahead) along -z. Any regressor starts here when it knows nothing better.
FACING_CAMERA = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))


def from_6d(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of two columns each, orthonormalised (Zhou et al., CVPR 2019)."""
    return roma.special_gramschmidt(six.reshape(*six.shape[:-1], 3, 2), epsilon=1e-6)


def to_6d(rotmats: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two columns of rotation matrices; `from_6d` undoes it."""
    return rotmats[..., :2].reshape(*rotmats.shape[:-2], 6)


def chordal_mean(rotmats: Float[Tensor, "samples *joints 3 3"]) -> Float[Tensor, "*joints 3 3"]:
    """The rotation nearest to the mean of the matrices (least sum of squared Frobenius distances), joint by joint."""
    return nearest(rotmats.double().mean(dim=0)).to(rotmats.dtype)


def nearest(matrices: Float64[Tensor, "*batch 3 3"]) -> Float64[Tensor, "*batch 3 3"]:
    """The rotation nearest to each matrix (in the Frobenius norm), by the closed form of Horn (1987)."""
    # roma keeps a constant from the first call of a process: made in inference mode, it would fail every later call
    # that needs gradients.
    gradients = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        return roma.special_procrustes(matrices)


def mirrored(rotmats: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """The pose seen in a mirror: left and right exchanged, each rotation conjugated by diag(-1, 1, 1).

    Holds for body rotations and for a global orientation in the im frame alike, whose image is flipped in x.
    """
    order: Int[Tensor, " joints"] = torch.tensor(SMPL.mirrored, device=rotmats.device)
    sign = torch.tensor([-1.0, 1.0, 1.0], device=rotmats.device, dtype=rotmats.dtype)
    return rotmats.index_select(-3, order) * sign[:, None] * sign
