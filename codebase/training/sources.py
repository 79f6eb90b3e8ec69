"""What the encoder sees in place of a source image, so that L_3d holds poses and nothing else.

Where L_app comes from the partner, the source image owes nothing but L_3d. So its colours may be changed on their own,
which makes them useless to L_3d, and parts of it may be hidden, which L_3d must then guess from the rest (after
cross-view and cross-pose completion, Armando et al., CVPR 2024). What is to be painted stays whole and as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from codebase.config import EncDecConfig
from codebase.training.colour import random_maps, recolour
from codebase.training.team import team

GRID = 8  # blocks along a side
HIDDEN = 0.5  # what image and background show in a hidden block: there the two do not differ


@dataclass(frozen=True)
class Sources:
    """Source images as the encoder sees them.

    Attributes:
        image, background: RGB in [0, 1].
        swapped: whether L_app comes from the partner.
    """

    image: Float[Tensor, "n 3 size size"]
    background: Float[Tensor, "n 3 size size"]
    swapped: Bool[Tensor, " n"]


def draw_sources(
    image: Float[Tensor, "n 3 size size"],
    background: Float[Tensor, "n 3 size size"],
    mask: Float[Tensor, "n 1 size size"],
    known: Bool[Tensor, " n"],
    config: EncDecConfig,
) -> Sources:
    """Draw whose L_app comes from the partner, and change those rows as `pose_colours` and `erase` say.

    Args:
        image, background: of both views of each pair, first views before second ones.
        mask: of the person, soft; `known` where there is one: without it person and room change alike.
        config: swap_appearance, pose_colours, erase.
    """
    count = len(image) // 2
    swapped = (team().rand(count, groups=2) < config.swap_appearance).to(image.device)
    if config.pose_colours > 0:
        changed = _recoloured(image, background, mask, known, config.pose_colours)
        where = swapped[:, None, None, None]
        image, background = (torch.where(where, *two) for two in zip(changed, (image, background), strict=True))
    if config.erase > 0:
        hidden = blocks(count, config.erase, groups=2).to(image.device) & swapped[:, None, None]
        pixels = spread(hidden, image.shape[-1])[:, None]
        image, background = (each.masked_fill(pixels, HIDDEN) for each in (image, background))
    return Sources(image, background, swapped)


def blocks(count: int, share: float, *, groups: int = 1) -> Bool[Tensor, "n grid grid"]:
    """Which blocks of each image are hidden: the same number in each, `share` of all, rounded."""
    rank = team().rand(count, GRID * GRID, groups=groups).argsort(dim=1).argsort(dim=1)
    return (rank < round(share * GRID * GRID)).unflatten(1, (GRID, GRID))


def spread(hidden: Bool[Tensor, "n grid grid"], size: int) -> Bool[Tensor, "n size size"]:
    """Blocks as pixels."""
    return F.interpolate(hidden[:, None].float(), size=(size, size), mode="nearest")[:, 0] > 0.5


def _recoloured(
    image: Float[Tensor, "n 3 size size"],
    background: Float[Tensor, "n 3 size size"],
    mask: Float[Tensor, "n 1 size size"],
    known: Bool[Tensor, " n"],
    strength: float,
) -> list[Float[Tensor, "n 3 size size"]]:
    """Both with colours of their own in each row, the same map for the room in image and background."""
    person, room = (_maps(len(image) // 2, strength, image.device) for _ in range(2))
    matrix = torch.where(known[:, None, None], room[0], person[0])
    offset = torch.where(known[:, None], room[1], person[1])
    both = torch.stack([each.permute(0, 2, 3, 1) for each in (image, background)], dim=1)
    inside = torch.cat([mask, torch.zeros_like(mask)], dim=1)
    found = recolour(both, inside, person, (matrix, offset))
    return [found[:, index].permute(0, 3, 1, 2) for index in range(2)]


def _maps(count: int, strength: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Maps of colour for two groups of `count` rows: the same on any number of processes."""
    crew = team()
    drawn = random_maps(2 * crew.size * count, strength, crew.generator)
    matrix, offset = (crew.mine(part.unflatten(0, (2, -1)), 1).flatten(0, 1).to(device) for part in drawn)
    return matrix, offset
