"""The encoder-decoder of the first system (Gaggi, 2019), layer by layer, for comparison.

Its images are BGR divided by 256. What a ReLU does to points that shall turn, and an encoder without normalisation to
learning, stays as it was; docs/decisions.md lists what was mended.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from codebase.config import EncDecConfig
from codebase.models.unet2018 import channels_of_shape, side_of, two_convolutions
from codebase.models.views import Latent, Rendering, whole

WIDTHS = (64, 128, 256, 512)
SCALE = 255 / 256  # of [0, 1] to the original's bytes over 256


class Encoder(nn.Module):
    """Image -> L_3d and L_app, both after dropout and a ReLU.

    Args:
        config: points (200 in the original), appearance (128), latent_dropout (0.3).
        size: side of the crops, pixels (128); a multiple of 8.
    """

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        self.points = config.points
        layers = two_convolutions(3, WIDTHS[0], norm=False)
        for before, after in pairwise(WIDTHS):
            layers += [nn.MaxPool2d(2), *two_convolutions(before, after, norm=False)]
        self.body = nn.Sequential(*layers)
        features = WIDTHS[-1] * side_of(size) ** 2
        self.to_appearance = nn.Linear(features, config.appearance)
        self.to_points = nn.Linear(features, 3 * config.points)
        self.dropout = nn.Dropout(config.latent_dropout)

    def forward(self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"]) -> Latent:
        """Encode images, RGB in [0, 1]; `background` is not looked at."""
        features = self.body(image.flip(1) * SCALE).flatten(1)
        appearance, points = (F.relu(self.dropout(layer(features))) for layer in (self.to_appearance, self.to_points))
        return Latent(points.float().unflatten(1, (self.points, 3)), appearance.float())


class Decoder(nn.Module):
    """Rotated L_3d, L_app and the target's background -> the whole image; no mask."""

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        self.side = side_of(size)
        self.unfold = nn.Linear(3 * config.points, channels_of_shape(WIDTHS[-1], config.appearance) * self.side**2)
        self.dropout = nn.Dropout(config.latent_dropout)
        layers: list[nn.Module] = []
        for before, after in pairwise(reversed(WIDTHS)):
            layers += [nn.ConvTranspose2d(before, after, 2, 2), *two_convolutions(after, after, norm=True)]
        self.grow = nn.Sequential(*layers, *two_convolutions(WIDTHS[0], WIDTHS[0], norm=False))
        self.paint = nn.Conv2d(WIDTHS[0] + 3, 3, 1)

    def forward(
        self,
        points: Float[Tensor, "b points 3"],
        appearance: Float[Tensor, "b appearance"],
        background: Float[Tensor, "b 3 size size"],
    ) -> Rendering:
        """Paint; `points` already turned into the target's frame."""
        shape = F.relu(self.dropout(self.unfold(points.flatten(1)))).unflatten(1, (-1, self.side, self.side))
        look = appearance.to(shape.dtype)[:, :, None, None].expand(-1, -1, self.side, self.side)
        maps = self.grow(torch.cat([look, shape], dim=1).contiguous(memory_format=torch.channels_last))
        with torch.autocast(background.device.type, enabled=False):
            image = self.paint(torch.cat([maps.float(), background.float().flip(1) * SCALE], dim=1))
            return whole(image.flip(1) / SCALE)
