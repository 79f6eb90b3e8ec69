"""Views turned about the centres of their crops, and R_world_im with them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from codebase.models.augment import roll_image, roll_matrix
from codebase.training.team import team

FARTHEST = 4.0  # deviations: 20 degrees of 5


def turned_in_plane(
    batch: Mapping[str, Tensor], deviation_deg: float, views: tuple[str, ...] = ("",), groups: int = 1
) -> dict[str, Tensor]:
    """Every view of a batch turned by an angle of its own, normal with this deviation, both ways.

    A crop is as many pixels to the mm in both directions and its centre is the root, so its turn about the centre is
    the camera's about the axis through the root. What comes in at the corners repeats the border.

    Args:
        batch: for each prefix of `views`, `image` and `background` (n h w 3), `mask` (n h w), `R_world_im` (n 3 3).
        deviation_deg: of the angle; angles end at four deviations.
        groups: in each view, parts of the batch that follow each other; several processes share each of them.

    Returns:
        The batch with images as float of the same range.
    """
    changed = dict(batch)
    for view in views:
        image, background, mask = (batch[view + name].float() for name in ("image", "background", "mask"))
        drawn = team().randn(len(image) // groups, groups=groups).clamp(-FARTHEST, FARTHEST)
        angle = math.radians(deviation_deg) * drawn.to(image.device)
        changed[view + "R_world_im"] = roll_matrix(angle) @ batch[view + "R_world_im"]
        all_three = torch.cat([image, background, mask[..., None]], dim=3).permute(0, 3, 1, 2)
        turned = roll_image(all_three, angle).permute(0, 2, 3, 1)
        changed |= {view + "image": turned[..., :3], view + "background": turned[..., 3:6]}
        changed[view + "mask"] = turned[..., 6]
    return changed
