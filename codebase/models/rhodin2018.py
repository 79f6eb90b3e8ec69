"""The encoder-decoders of Rhodin et al. (ECCV 2018), layer by layer, for comparison: one decoder, two encoders.

Images are normalised by ImageNet's mean and deviation, before the encoder and on the way out. L_3d has no ReLU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from codebase.config import EncDecConfig
from codebase.models.resnet import IMAGENET, Bottleneck, ResNet
from codebase.models.unet2018 import channels_of_shape, side_of, two_convolutions
from codebase.models.views import Latent, Rendering, whole

WIDTHS = (32, 64, 128, 256)
RESNET_SIZE = 128  # side of the image that the ResNet was laid out for: from less its last convolution has no output


class _Normalised(nn.Module):
    """Keeps ImageNet's mean and deviation beside a network."""

    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in zip(("pixel_mean", "pixel_deviation"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def normalised(self, image: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b 3 size size"]:
        """RGB in [0, 1] less the mean, over the deviation."""
        return (image - self.pixel_mean) / self.pixel_deviation


class UNetEncoder(_Normalised):
    """Image -> L_3d (after dropout) and L_app (after dropout and ReLU); BatchNorm after every convolution.

    Args:
        config: points (200 in the original), appearance (128), latent_dropout (0.3).
        size: side of the crops, pixels (128); a multiple of 8.
    """

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        self.points = config.points
        layers = two_convolutions(3, WIDTHS[0], norm=True)
        for before, after in pairwise(WIDTHS):
            layers += [nn.MaxPool2d(2), *two_convolutions(before, after, norm=True)]
        self.body = nn.Sequential(*layers)
        features = WIDTHS[-1] * side_of(size) ** 2
        self.to_points = nn.Linear(features, 3 * config.points)
        self.to_appearance = nn.Linear(features, config.appearance)
        self.dropout = nn.Dropout(config.latent_dropout)

    def forward(self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"]) -> Latent:
        """Encode images, RGB in [0, 1]; `background` is not looked at."""
        features = self.body(self.normalised(image)).flatten(1)
        points = self.dropout(self.to_points(features)).float()
        appearance = F.relu(self.dropout(self.to_appearance(features))).float()
        return Latent(points.unflatten(1, (self.points, 3)), appearance)


class ResNetEncoder(_Normalised):
    """Image -> L_app and L_3d, both linear, by a ResNet-50 whose last stage is half as wide and keeps the resolution.

    With `config.encoder_weights` everything up to and with layer2 stays as published, but for the statistics of its
    BatchNorm, which follow the batches, as in the original. Without them all of it is trained.

    Args:
        config: points (200 in the original), appearance (128).
        size: side of the crops, pixels (128); smaller crops are enlarged to 128, since the layers need it.
    """

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        self.points = config.points
        self.body = ResNet((3, 4, 6), (64, 128, 256), bottleneck=True)
        wide = self.body.channels[-1]
        self.layer4 = nn.Sequential(*(Bottleneck(wide, wide // Bottleneck.expansion) for _ in range(3)))
        self.to_vector = nn.Sequential(
            nn.Conv2d(wide, 512, 3), nn.BatchNorm2d(512), nn.ReLU(),
            nn.Conv2d(512, 128, 5, 2, bias=False), nn.BatchNorm2d(128), nn.Sigmoid(),
        )  # fmt: skip
        self.size = max(size, RESNET_SIZE)
        side = (-(-self.size // self.body.stride) - 2 - 5) // 2 + 1
        self.latent = nn.Linear(128 * side**2, config.appearance + 3 * config.points)
        for part in (*self.layer4.modules(), *self.to_vector.modules()):
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        if config.encoder_weights is not None:
            for name in ("conv1", "bn1", "layer1", "layer2"):
                self.body.get_submodule(name).requires_grad_(False)

    def forward(self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"]) -> Latent:
        """Encode images, RGB in [0, 1]; `background` is not looked at."""
        seen = self.normalised(image)
        if seen.shape[-1] < self.size:
            seen = F.interpolate(seen, size=(self.size, self.size), mode="bilinear", align_corners=False)
        code = self.latent(self.to_vector(self.layer4(self.body(seen)[-1])).flatten(1)).float()
        appearance, points = code.split([code.shape[1] - 3 * self.points, 3 * self.points], dim=1)
        return Latent(points.unflatten(1, (self.points, 3)), appearance)


class Decoder(_Normalised):
    """Rotated L_3d, L_app and the target's background -> the whole image; features of the background join last."""

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        self.side = side_of(size)
        self.unfold = nn.Linear(3 * config.points, channels_of_shape(WIDTHS[-1], config.appearance) * self.side**2)
        self.dropout = nn.Dropout(config.latent_dropout)
        layers: list[nn.Module] = []
        for before, after in list(pairwise(reversed(WIDTHS)))[:-1]:
            layers += [*_upscale(before, after), *two_convolutions(after, after, norm=False)]
        finest = WIDTHS[0]
        self.grow = nn.Sequential(*layers, *_upscale(WIDTHS[1], finest))
        self.behind = nn.Sequential(*two_convolutions(3, finest, norm=True))
        self.join = nn.Sequential(*two_convolutions(2 * finest, finest, norm=False))
        self.paint = nn.Conv2d(finest, 3, 1)

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
        maps = self.join(torch.cat([self.behind(self.normalised(background)), maps], dim=1))
        with torch.autocast(background.device.type, enabled=False):
            return whole(self.paint(maps.float()) * self.pixel_deviation + self.pixel_mean)


def _upscale(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(before, after, 3, 1, 1), nn.BatchNorm2d(after), nn.ReLU(),
    ]  # fmt: skip
