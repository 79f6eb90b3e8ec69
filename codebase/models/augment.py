"""Changes of an image under which the pose changes in a known way: mirror and roll."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from codebase.models.rotations import mirrored
from codebase.skeleton import H36M

Image = Float[Tensor, "batch 3 height width"]


def roll_image(
    image: Float[Tensor, "batch channels height width"], angle_rad: Float[Tensor, " batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Turn images about their centre, x towards y; the border repeats. Oblong crops show a square, too."""
    cos, sin = angle_rad.cos(), angle_rad.sin()
    zero = torch.zeros_like(cos)
    back = torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1)], 1)
    grid = F.affine_grid(back, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid.to(image), mode="bilinear", padding_mode="border", align_corners=False)


def roll_matrix(angle_rad: Float[Tensor, " batch"]) -> Float[Tensor, "batch 3 3"]:
    """The rotation of the im frame (about its z axis, x towards y) that belongs to `roll_image`."""
    cos, sin, zero, one = angle_rad.cos(), angle_rad.sin(), torch.zeros_like(angle_rad), torch.ones_like(angle_rad)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def mirror_joints(joints: Float[Tensor, "batch 17 3"]) -> Float[Tensor, "batch 17 3"]:
    """Human3.6M joints of a pose in the im frame as the flipped image shows them: sides exchanged, x negated."""
    order = torch.tensor(H36M.mirrored, device=joints.device)
    return joints[:, order] * torch.tensor([-1.0, 1.0, 1.0], device=joints.device)


def mirror_rotations(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations of a world seen in a mirror, conjugated by diag(-1, 1, 1).

    Of R_world_im the flipped image's: the mirrored world keeps its vertical (z).
    """
    sign = torch.tensor([-1.0, 1.0, 1.0], device=rotation.device, dtype=rotation.dtype)
    return rotation * sign[:, None] * sign


def mirror_places(places: Float[Tensor, "batch 17 2"]) -> Float[Tensor, "batch 17 2"]:
    """Places of the Human3.6M joints in a crop from -1 to 1, as the flipped image shows them."""
    order = torch.tensor(H36M.mirrored, device=places.device)
    return places[:, order] * torch.tensor([-1.0, 1.0], device=places.device)


def mirror_some(
    image: Image,
    joints: Float[Tensor, "batch 17 3"],
    rotmats: Float[Tensor, "batch 24 3 3"],
    chosen: Bool[Tensor, " batch"],
) -> tuple[Image, Float[Tensor, "batch 17 3"], Float[Tensor, "batch 24 3 3"]]:
    """Flip the chosen images, and their poses with them."""
    return (
        torch.where(chosen[:, None, None, None], image.flip(-1), image),
        torch.where(chosen[:, None, None], mirror_joints(joints), joints),
        torch.where(chosen[:, None, None, None], mirrored(rotmats), rotmats),
    )
