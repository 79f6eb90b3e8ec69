"""Changes of colour that every image of a sample shares: clothes, skin and rooms that no training subject has.

Views, backgrounds and partner of a sample get the same linear map of colours about mid-grey, so the task (paint the
person of one image from another angle) keeps its answer. Person and room may get maps of their own, told apart by
the masks, so that a colour says nothing of the other. A linear map keeps red hair close to skin, though; spots change
some of a person's colours and leave the others, so that hair, skin and shirt come in any combination.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from codebase.training import colour_jit

# Turns about the grey axis keep grey and turn hue.
_GREY = torch.full((3,), 1 / math.sqrt(3))


def random_maps(
    count: int, strength: float, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "count 3 3"], Float[Tensor, "count 3"]]:
    """Linear maps and offsets of RGB about mid-grey: hue turned, saturation, gains of channels, and brightness.

    Half of the samples (times `strength`, at most all) have their hue turned by any angle; half of those swap two
    channels as well.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    turned = (uniform(count) < 0.5 * strength).float()
    angle = turned * (2 * uniform(count) - 1) * math.pi
    parallel = _GREY[:, None] * _GREY[None, :]
    cross = torch.linalg.cross(torch.eye(3), _GREY.expand(3, 3), dim=1)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    saturation = ((2 * uniform(count) - 1) * 0.5 * strength).exp()[:, None, None]
    hue = parallel + saturation * (cos * (torch.eye(3) - parallel) + sin * cross)
    swapped = (uniform(count) < 0.5)[:, None, None] & (turned[:, None, None] > 0)
    hue = torch.where(swapped, hue[:, [1, 0, 2]], hue)
    gain = ((2 * uniform(count, 3) - 1) * 0.25 * strength).exp()
    offset = (2 * uniform(count, 1) - 1) * 0.15 * strength
    return gain[:, :, None] * hue, offset.expand(count, 3)


def recolour(
    images: Float[Tensor, "b images h w 3"],
    masks: Float[Tensor, "b images h w"],
    person: tuple[Float[Tensor, "b 3 3"], Float[Tensor, "b 3"]],
    room: tuple[Float[Tensor, "b 3 3"], Float[Tensor, "b 3"]],
) -> Float[Tensor, "b images h w 3"]:
    """The images of each sample with one map for the person (mask 1) and one for the room (mask 0), in [0, 1]."""
    if colour_jit.takes(images, masks, *person, *room):
        return colour_jit.recolour(images, masks, person, room)
    inside, outside = (_apply(images, *maps) for maps in (person, room))
    return torch.lerp(outside, inside, masks[..., None])


def _apply(
    images: Float[Tensor, "b images h w 3"], matrix: Float[Tensor, "b 3 3"], offset: Float[Tensor, "b 3"]
) -> Float[Tensor, "b images h w 3"]:
    flat = (images - 0.5).flatten(1, 3)
    mapped = torch.baddbmm(offset[:, None], flat, matrix.transpose(1, 2)) + 0.5
    return mapped.clamp_(0, 1).view_as(images)


def random_spots(
    images: Float[Tensor, "b h w 3"], masks: Float[Tensor, "b h w"], drawn: Float[Tensor, "b spots 7"]
) -> Float[Tensor, "b spots 7"]:
    """Colours of a person that are to change by themselves: each its centre, its shift and its width, RGB in [0, 1].

    Args:
        images: one view of each sample.
        masks: of the person there; a sample with an empty mask gets shifts of zero.
        drawn: uniform numbers in [0, 1): which of the person's pixels is the centre, whether it changes at all (half
            of them do), how wide, how far it goes, and towards which colour.
    """
    # every row of the person counts alike, or hardly a centre would be hair
    filled = (masks / masks.sum(dim=2, keepdim=True).clamp_min(1e-6)).flatten(1).cumsum(dim=1)
    total = filled[:, -1:]
    at = torch.searchsorted(filled, drawn[..., 0] * total, right=True).clamp_max(filled.shape[1] - 1)
    centre = images.flatten(1, 2).gather(1, at[..., None].expand(-1, -1, 3))
    changes = (drawn[..., 1:2] < 0.5) & (total[..., None] > 0)
    width = 0.06 + 0.12 * drawn[..., 2:3]
    shift = drawn[..., 3:4] * (drawn[..., 4:7] - centre)
    return torch.cat([centre, torch.where(changes, shift, 0.0), width], dim=2)


def recolour_spots(
    images: Float[Tensor, "b images h w 3"], masks: Float[Tensor, "b images h w"], spots: Float[Tensor, "b spots 7"]
) -> Float[Tensor, "b images h w 3"]:
    """The images of each sample, those colours of the person (mask 1) shifted that lie near the spots of the sample.

    Near is a Gaussian of the distance in RGB, brightness counting half: what is in the shade changes as well.
    """
    if colour_jit.takes(images, masks, spots):
        return colour_jit.recolour_spots(images, masks, spots)
    pixels = images.flatten(1, 3)
    centre, shift, width = spots.split([3, 3, 1], dim=2)
    here, there = (each - 0.5 * each.mean(dim=2, keepdim=True) for each in (pixels, centre))
    # squared distances by products: the differences themselves would be nine times the images
    square = here.square().sum(dim=2, keepdim=True) + there.square().sum(dim=2)[:, None]
    distance = square - 2 * here @ there.transpose(1, 2)
    near = torch.exp(-0.5 * distance / width.square().transpose(1, 2)) * masks.flatten(1)[..., None]
    return (pixels + near @ shift).clamp_(0, 1).view_as(images)
