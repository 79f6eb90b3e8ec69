"""What an image network is taught in one step: images in other colours, before other walls, mirrored and rolled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from codebase.config import ImagePoseConfig
from codebase.models import augment
from codebase.training import losses
from codebase.training.colour import random_maps, random_spots, recolour, recolour_spots
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast
from codebase.training.state import Batch
from codebase.training.team import team

PIXELS = ("image", "background", "mask", "has_mask", "joints_im_mm")
Each = Callable[[Tensor, Tensor], Tensor]
Sample = tuple[Float[Tensor, "b 3 size size"], Float[Tensor, "b 3 size size"], Float[Tensor, "b 17 3"]]


def learn_step(each: Each, batch: Batch, section: ImagePoseConfig, spread_mm: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of one batch and the mean distance of the joints, mm.

    Args:
        each: `ImagePose.each` with its network (`Team.wrap`).
        batch: `PIXELS` of labelled rows.
        spread_mm: in which unit errors count: the spread of the labelled poses.
    """
    image, background, target = augmented(batch, section)
    with autocast(section.precision, image.device):
        seen = each(image, background)
    error = losses.mean_distance(seen.flatten(0, 1), target.repeat(section.members, 1, 1))
    return error / spread_mm, error.detach()


def augmented(batch: Batch, section: ImagePoseConfig) -> Sample:
    """Image, its camera's empty scene, changed alike where both show the room, and the pose that belongs to them."""
    crew, count = team(), len(batch["image"])
    image, background = _in_a_room(batch, section)
    joints, device = batch["joints_im_mm"], image.device
    if section.flip:
        flipped = (crew.rand(count) < section.flip).to(device)
        image, background = (torch.where(flipped[:, None, None, None], x.flip(-1), x) for x in (image, background))
        joints = torch.where(flipped[:, None, None], augment.mirror_joints(joints), joints)
    if section.roll_rad:
        angle = (crew.randn(count) * section.roll_rad).to(device)
        both = augment.roll_image(torch.cat([image, background], dim=1), angle)
        image, background = both.split(3, dim=1)
        joints = joints @ augment.roll_matrix(angle).transpose(1, 2)
    return image, background, joints


def _in_a_room(
    batch: Batch, section: ImagePoseConfig
) -> tuple[Float[Tensor, "b 3 size size"], Float[Tensor, "b 3 size size"]]:
    """Person and room in colours of their own; some people before another sample's wall."""
    if not (section.colour or section.colour_spots or section.background):
        return as_image(batch["image"]), as_image(batch["background"])
    crew, count = team(), len(batch["image"])
    moved = (crew.rand(count) < section.background).to(batch["mask"].device) & batch["has_mask"]
    elsewhere = crew.roll(batch["background"])
    wall = torch.where(moved[:, None, None, None], elsewhere, batch["background"])
    pixels = torch.stack([batch["image"], wall], dim=1).float() / 255
    mask = batch["mask"].float() / 255
    inside = torch.stack([mask, torch.zeros_like(mask)], dim=1)
    if section.colour_spots:
        drawn = crew.rand(count, section.colour_spots, 7).to(mask)
        pixels = recolour_spots(pixels, inside, random_spots(pixels[:, 0], mask, drawn))
    person, room = (
        tuple(map(crew.mine, random_maps(crew.size * count, section.colour, crew.generator))) for _ in range(2)
    )
    known = batch["has_mask"].cpu()
    # without a mask, person and room cannot be told apart: one map for both
    matrix = torch.where(known[:, None, None], room[0], person[0]).to(mask)
    offset = torch.where(known[:, None], room[1], person[1]).to(mask)
    image, wall = recolour(pixels, inside, (person[0].to(mask), person[1].to(mask)), (matrix, offset)).unbind(1)
    image = torch.where(moved[:, None, None, None], torch.lerp(wall, image, mask[..., None]), image)
    return image.permute(0, 3, 1, 2), wall.permute(0, 3, 1, 2)
