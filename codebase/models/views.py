"""What every encoder-decoder takes and gives, whoever designed it: latents, renderings, and how latents turn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Latent:
    """What the encoder says of an image.

    Attributes:
        points: L_3d, points that turn with the camera, no unit.
        appearance: L_app: first the palette's colours (palette x 3, in [0, 1]), then free features.
    """

    points: Float[Tensor, "b points 3"]
    appearance: Float[Tensor, "b appearance"]


@dataclass(frozen=True)
class Rendering:
    """What the decoder paints.

    Attributes:
        image: RGB over the given background, [0, 1].
        foreground: RGB of the person alone, [0, 1] (not clipped); the whole image of a decoder without a mask.
        alpha: probability that a pixel shows the person; 1 everywhere of a decoder without a mask.
        alpha_logit: the same before the sigmoid; None of a decoder without a mask.
    """

    image: Float[Tensor, "b 3 size size"]
    foreground: Float[Tensor, "b 3 size size"]
    alpha: Float[Tensor, "b 1 size size"]
    alpha_logit: Float[Tensor, "b 1 size size"] | None


def whole(image: Float[Tensor, "b 3 size size"]) -> Rendering:
    """The rendering of a decoder that paints person and room at once."""
    return Rendering(image, image, torch.ones_like(image[:, :1]), None)


def rotate(points: Float[Tensor, "b points 3"], rotation: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b points 3"]:
    """L_3d as another camera sees it; `rotation` = R_world_im[target] @ R_world_im[source].T."""
    with torch.autocast(points.device.type, enabled=False):  # geometry stays exact
        return points.float() @ rotation.float().transpose(1, 2)
