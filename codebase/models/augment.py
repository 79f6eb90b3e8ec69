"""Changes of an image under which the pose changes in a known way (mirror, roll, scale), or not at all (occlusion)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from codebase.models.rotations import mirrored
from codebase.skeleton import H36M

Image = Float[Tensor, "batch 3 height width"]


def roll_image(
    image: Float[Tensor, "batch channels height width"],
    angle_rad: Float[Tensor, " batch"],
    magnified: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch channels height width"]:
    """Turn images about their centre, x towards y, and magnify them; the border repeats.

    Oblong crops show a square, too.
    """
    by = torch.ones_like(angle_rad) if magnified is None else magnified
    cos, sin = angle_rad.cos() / by, angle_rad.sin() / by
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


def mirror_some(
    image: Float[Tensor, "batch channels height width"],
    joints: Float[Tensor, "batch 17 3"],
    rotmats: Float[Tensor, "batch 24 3 3"],
    chosen: Bool[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch 17 3"], Float[Tensor, "batch 24 3 3"]]:
    """Flip the chosen images, and their poses with them."""
    return (
        torch.where(chosen[:, None, None, None], image.flip(-1), image),
        torch.where(chosen[:, None, None], mirror_joints(joints), joints),
        torch.where(chosen[:, None, None, None], mirrored(rotmats), rotmats),
    )


OCCLUSION_NUMBERS = 7
NOISE_CELLS = 16
_SMALLEST, _LARGEST = 0.15, 0.5  # half sides of what hides, where the crop reaches from -1 to 1


def occlude(
    image: Image,
    other: Image,
    places: Float[Tensor, "batch joints 2"],
    numbers: Float[Tensor, "batch 7"],
    noise: Float[Tensor, "batch 3 cells cells"],
    chosen: Bool[Tensor, " batch"],
) -> Image:
    """Hide a part of each of the chosen images: a rectangle or an ellipse near a joint, of noise or of another image.

    Args:
        image, other: the images, and what the hiding thing shows where it is no noise.
        places: of the joints in the crop, which reaches from -1 to 1.
        numbers: uniform in [0, 1): which joint, how far from it (2), half sides (2), of which form, what it shows.
        noise: uniform in [0, 1), enlarged to the image.
        chosen: which images.
    """
    height, width = image.shape[-2:]
    joint = (numbers[:, 0] * places.shape[1]).long()
    half = _SMALLEST + (_LARGEST - _SMALLEST) * numbers[:, 3:5]
    # the joint itself is always hidden: the centre is off by less than 0.7 of the half sides
    centre = places[torch.arange(len(places), device=places.device), joint] + half * (1.4 * numbers[:, 1:3] - 0.7)
    y, x = ((torch.arange(n, device=image.device) + 0.5) * (2 / n) - 1 for n in (height, width))
    off_x = ((x - centre[:, :1]) / half[:, :1]).abs()[:, None]
    off_y = ((y - centre[:, 1:]) / half[:, 1:]).abs()[:, :, None]
    inside = torch.where(
        numbers[:, 5, None, None] < 0.5, torch.maximum(off_x, off_y) < 1, off_x.square() + off_y.square() < 1
    )
    thing = torch.where(numbers[:, 6, None, None, None] < 0.5, F.interpolate(noise, (height, width)), other)
    return torch.where((inside & chosen[:, None, None])[:, None], thing, image)
