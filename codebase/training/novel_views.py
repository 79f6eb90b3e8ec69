"""Novel views: how a batch of pairs becomes tensors, and what is learned from it; view_errors.py measures them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from codebase.config import EncDecConfig
from codebase.models.encoder_decoder import EncoderDecoder, Rendering, fuse, rotate
from codebase.models.perceptual import PerceptualLoss
from codebase.training import losses
from codebase.training.colour import random_maps, random_spots, recolour, recolour_spots
from codebase.training.image_losses import image_losses
from codebase.training.in_plane import turned_in_plane
from codebase.training.precision import autocast
from codebase.training.sources import Sources, draw_sources
from codebase.training.team import team

VIEWS = ("", "target_", "partner_")


def as_image(pixels: UInt8[Tensor, "b h w c"]) -> Float[Tensor, "b c h w"]:
    """Images as networks take them: [0, 1], channels first by name and last in memory, without a copy of their own."""
    return (pixels.float() / 255).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Pairs:
    """A batch of pairs as tensors: first half source -> target, second half the other way round.

    Attributes:
        image, background, mask: of both directions' source views, and of the third views where there are some, (2b or
            3b, ...); of the partner (b, ...).
        rotation: of the source's latent into the target's frame.
        third_rotation: of the latents of both views into the third's frame.
        third_counts: whether a view's latent counts there: it is not the third view itself.
        other: row of the view that is to be painted, thirds last.
    """

    image: Float[Tensor, "n 3 size size"]
    background: Float[Tensor, "n 3 size size"]
    mask: Float[Tensor, "n 1 size size"]
    has_mask: Tensor
    partner: Float[Tensor, "b 3 size size"]
    partner_background: Float[Tensor, "b 3 size size"]
    rotation: Float[Tensor, "m 3 3"]
    other: Int64[Tensor, " n"]
    third_rotation: Float[Tensor, "2 b 3 3"] | None = None
    third_counts: Bool[Tensor, "2 b"] | None = None


def make_pairs(batch: Mapping[str, Tensor], colour_strength: float, colour_spots: int = 0) -> Pairs:
    """Tensors of a ViewPairs batch, colours changed alike in all images of a sample."""
    count, names = len(batch["image"]), _views(batch)
    images = torch.stack([batch[view + kind] for kind in ("image", "background") for view in names], dim=1) / 255.0
    masks = torch.stack([batch[view + "mask"] for view in names], dim=1) / 255.0
    if colour_spots > 0:
        images = _spotted(images, masks, batch, colour_spots)
    if colour_strength > 0:
        images = _recoloured(images, masks, batch, colour_strength)
    views = [images[:, index].permute(0, 3, 1, 2) for index in range(2 * len(names))]
    shown, empty = views[: len(names)], views[len(names) :]
    partner = names.index("partner_")
    seen = [index for index in range(len(names)) if index != partner]
    world = batch["R_world_im"]
    there = batch["target_R_world_im"] @ world.transpose(1, 2)
    rows = torch.arange(count, device=world.device)
    return Pairs(
        image=torch.cat([shown[index] for index in seen]),
        background=torch.cat([empty[index] for index in seen]),
        mask=torch.cat([masks[:, index] for index in seen])[:, None],
        has_mask=torch.cat([batch[names[index] + "has_mask"] for index in seen]),
        partner=shown[partner],
        partner_background=empty[partner],
        rotation=torch.cat([there, there.transpose(1, 2)]),
        other=torch.cat([rows + count, rows, *([rows + 2 * count] if len(seen) > 2 else [])]),
        **(_third(batch) if len(seen) > 2 else {}),
    )


def _views(batch: Mapping[str, Tensor]) -> tuple[str, ...]:
    return (*VIEWS, "third_") if "third_image" in batch else VIEWS


def _third(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How the latents of both views turn into the third's frame; the target's counts unless it is the third itself."""
    here = torch.stack([batch["R_world_im"], batch["target_R_world_im"]])
    apart = batch["third_apart"]
    return {
        "third_rotation": batch["third_R_world_im"] @ here.transpose(2, 3),
        "third_counts": torch.stack([torch.ones_like(apart), apart]),
    }


def mirrored(batch: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """A share of the samples as a mirror shows them: images flipped, and cameras that see a mirrored world.

    The mirrored R_world_im are no rotations, but from one view to another they are, and no other use is made of them.
    """
    chosen = team().rand(len(batch["image"])) < share
    chosen = chosen.to(batch["image"].device)
    sign = torch.where(chosen, -1.0, 1.0)
    mirror = torch.stack([sign, torch.ones_like(sign), torch.ones_like(sign)], dim=1)
    changed = dict(batch)
    for view in _views(batch):
        for kind in ("image", "background", "mask"):
            pixels = batch[view + kind]
            changed[view + kind] = torch.where(chosen.view(-1, *[1] * (pixels.ndim - 1)), pixels.flip(2), pixels)
        changed[view + "R_world_im"] = mirror[:, :, None] * batch[view + "R_world_im"]
    return changed


def _spotted(
    images: Float[Tensor, "b images h w 3"],
    masks: Float[Tensor, "b views h w"],
    batch: Mapping[str, Tensor],
    spots: int,
) -> Float[Tensor, "b images h w 3"]:
    """Some colours of each person changed alike in all views; backgrounds stay, and who lacks a view's mask."""
    drawn, views = team().rand(len(images), spots, 7).to(images.device), masks.shape[1]
    chosen = random_spots(images[:, 0], masks[:, 0] * _whole(batch)[:, None, None], drawn)
    return torch.cat([recolour_spots(images[:, :views], masks, chosen), images[:, views:]], dim=1)


def _whole(batch: Mapping[str, Tensor]) -> Bool[Tensor, " b"]:
    """Which samples have the masks of all their views."""
    return torch.stack([batch[view + "has_mask"] for view in _views(batch)], dim=1).all(dim=1)


def _recoloured(
    images: Float[Tensor, "b images h w 3"],
    masks: Float[Tensor, "b views h w"],
    batch: Mapping[str, Tensor],
    strength: float,
) -> Float[Tensor, "b images h w 3"]:
    count = len(images)
    person, room = (
        tuple(map(team().mine, random_maps(team().size * count, strength, team().generator))) for _ in range(2)
    )
    whole = _whole(batch).cpu()
    # without all masks, person and room cannot be told apart: one map for both
    matrix = torch.where(whole[:, None, None], room[0], person[0])
    offset = torch.where(whole[:, None], room[1], person[1])
    inside = torch.cat([masks, torch.zeros_like(masks)], dim=1)
    device = images.device
    return recolour(
        images, inside, (person[0].to(device), person[1].to(device)), (matrix.to(device), offset.to(device))
    )


def paint_pairs(
    net: EncoderDecoder, pairs: Pairs, sources: Sources
) -> tuple[Rendering, Float[Tensor, "m points 3"], Float[Tensor, "m points 3"]]:
    """Every view of a pair painted from the other, a share of them in clothes as the partner shows them.

    Third views are painted from the latents of both others, brought into one.

    Returns:
        What was painted, a row for each of `pairs.other`; L_3d turned into the other view, and as it was.
    """
    count = len(pairs.partner)
    backgrounds = torch.cat([sources.background, pairs.partner_background])
    latent = net.encoder(torch.cat([sources.image, pairs.partner]), backgrounds)
    points, own = latent.points[: 2 * count], latent.appearance[: 2 * count]
    partner = latent.appearance[2 * count :].repeat(2, 1)
    turned = rotate(points, pairs.rotation)
    shape, look = turned, torch.where(sources.swapped[:, None], partner, own)
    if pairs.third_rotation is not None and pairs.third_counts is not None:
        both = rotate(points, pairs.third_rotation.flatten(0, 1)).unflatten(0, (2, count))
        shape, look = torch.cat([shape, fuse(both, pairs.third_counts)]), torch.cat([look, look[:count]])
    painted = net.decoder(shape, look, pairs.background[pairs.other])
    return painted, turned, points


Painter = Callable[[Pairs, Sources], tuple[Rendering, Tensor, Tensor]]


def learn_step(
    painter: Painter, batch: Mapping[str, Tensor], config: EncDecConfig, network: PerceptualLoss | None = None
) -> dict[str, Tensor]:
    """The losses of one batch: every view of a pair is painted from the other, clothes taken from the partner.

    `painter` is `paint_pairs` with its network (`Team.wrap`), `network` that of enc_dec.perceptual.

    L_app comes from the partner (another instant) for a share of the samples, else from the source view itself, as it
    does in use.
    """
    if config.mirror > 0:
        batch = mirrored(batch, config.mirror)
    if config.rotation_deg > 0:
        batch = turned_in_plane(batch, config.rotation_deg, _views(batch))
    pairs = make_pairs(batch, config.colour_augmentation, config.colour_spots)
    views = 2 * len(pairs.partner)
    image, background, mask, known = (
        each[:views] for each in (pairs.image, pairs.background, pairs.mask, pairs.has_mask)
    )
    sources = draw_sources(image, background, mask, known, config)
    with autocast(config.precision, pairs.image.device):
        painted, turned, points = painter(pairs, sources)
    return _losses(painted, turned, points[pairs.other[:views]], pairs, config, network)


def _losses(
    painted: Rendering,
    turned: Tensor,
    there: Tensor,
    pairs: Pairs,
    config: EncDecConfig,
    network: PerceptualLoss | None,
) -> dict[str, Tensor]:
    seen, mask, known = (each[pairs.other] for each in (pairs.image, pairs.mask, pairs.has_mask))
    parts = painting_losses(painted, seen, mask, known, config, network)
    parts["consistency"] = config.consistency_weight * losses.disagreement(turned, there)
    if config.contrastive_weight > 0:
        parts["contrast"] = config.contrastive_weight * losses.contrast(turned, there)
    return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def painting_losses(
    painted: Rendering,
    seen: Tensor,
    mask: Tensor,
    known: Tensor,
    config: EncDecConfig,
    network: PerceptualLoss | None = None,
) -> dict[str, Tensor]:
    """What is wrong with painted images, by name, already weighted.

    Args:
        painted: what the decoder gave.
        seen: what the cameras saw (n 3 h w); `mask` of the person (n 1 h w), where it is `known` (n).
        config: the weights.
        network: of enc_dec.perceptual.
    """
    # without a mask every pixel counts as the person: nothing else is known
    weight = torch.where(known[:, None, None, None], mask, torch.ones_like(mask))
    share = config.l1_share
    parts = {
        "foreground": config.foreground_weight * losses.pixels(painted.image, seen, weight, l1_share=share),
        "background": config.background_weight * losses.pixels(painted.image, seen, 1 - weight, l1_share=share),
        "mask": config.mask_weight * _mask_loss(painted, mask, known),
    }
    if config.image_weight > 0:
        parts["image"] = config.image_weight * losses.pixels(painted.image, seen, torch.ones_like(mask), l1_share=share)
    return parts | image_losses(painted.image, seen, weight, config, network)


def _mask_loss(painted: Rendering, mask: Tensor, known: Tensor) -> Tensor:
    """Of networks that predict a mask; 0 of others."""
    if painted.alpha_logit is None:
        return mask.new_zeros(())
    return losses.mask(painted.alpha_logit, mask, known)
