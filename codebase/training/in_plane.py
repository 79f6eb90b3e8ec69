"""Crops turned about their centres, and R_world_im with them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codebase.training.team import team

FARTHEST = 4.0  # deviations: 20 degrees of 5


def turned_in_plane(
    batch: Mapping[str, Tensor], deviation_deg: float, views: tuple[str, ...] = ("",), groups: int = 1
) -> dict[str, Tensor]:
    """Every view of a batch turned by an angle of its own, normal with this deviation, both ways.

    Args:
        batch: for each prefix of `views`, `image` and `background` (n h w 3), `mask` (n h w), `R_world_im` (n 3 3).
        deviation_deg: of the angle; angles end at four deviations.
        groups: in each view, parts of the batch that follow each other; several processes share each of them.

    Returns:
        The batch with images as float of the same range.
    """
    changed = dict(batch)
    for view in views:
        drawn = team().randn(len(batch[view + "image"]) // groups, groups=groups).clamp(-FARTHEST, FARTHEST)
        angle = math.radians(deviation_deg) * drawn.to(batch[view + "image"].device)
        changed[view + "R_world_im"] = about_axis(angle) @ batch[view + "R_world_im"]
        for name in ("image", "background"):
            turned = turn_pixels(batch[view + name].float().permute(0, 3, 1, 2), angle)
            changed[view + name] = turned.permute(0, 2, 3, 1)
        changed[view + "mask"] = turn_pixels(batch[view + "mask"].float()[:, None], angle)[:, 0]
    return changed


def about_axis(angle_rad: Float[Tensor, " n"]) -> Float[Tensor, "n 3 3"]:
    """Rotations of the im frame about its axis (z): x, to the right, goes towards y, which points down."""
    cos, sin, zero, one = angle_rad.cos(), angle_rad.sin(), torch.zeros_like(angle_rad), torch.ones_like(angle_rad)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))


def turn_pixels(
    image: Float[Tensor, "n c size size"], angle_rad: Float[Tensor, " n"]
) -> Float[Tensor, "n c size size"]:
    """Crops as the im frame turned by `about_axis` shows them: a pixel p from the centre moves to R p.

    A crop is as many pixels to the mm in both directions, and its centre is the root, so its turn about the centre is
    the camera's about the axis through the root. What comes in at the corners repeats the border.
    """
    grid = F.affine_grid(about_axis(-angle_rad)[:, :2], list(image.shape), align_corners=True)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
