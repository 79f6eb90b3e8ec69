"""Perceptual loss: how differently a network that was trained on ImageNet sees two images.

Features as in Rhodin et al. (ECCV 2018): after the first convolution and after the first two stages, at a half, a
quarter and an eighth of the resolution. Unlike there, the network is in eval mode, so its statistics are those of its
training, and it sees RGB images normalised as in its training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.config import EncDecConfig
from codebase.models.efficientnet import EfficientNetLite0
from codebase.models.resnet import IMAGENET, SHAPES, load_published, named
from codebase.published import perceptual_file

Norm = Literal["l1", "l2"]
_KEYS = ("enc_dec.perceptual", "enc_dec.perceptual_weights")


class ResNetFeatures(nn.Module):
    """Of a ResNet: after the first ReLU, and after layer1 and layer2."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = named(name)
        for buffer, values in zip(("pixel_mean", "pixel_deviation"), IMAGENET, strict=True):
            self.register_buffer(buffer, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Features, finest first; images are RGB in [0, 1]."""
        net = self.net
        first = net.relu(
            net.bn1(net.conv1((image - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_deviation")))
        )
        second = net.get_submodule("layer1")(net.maxpool(first))
        return [first, second, net.get_submodule("layer2")(second)]


class Lite0Features(nn.Module):
    """Of EfficientNet-Lite0, at the same resolutions: the stem, and the second and third row of its table.

    Rows of the table end without a nonlinearity and in numbers of tens; each feature is in units of how much it varied
    in training, so that a weight of the loss means about as much as with a ResNet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = EfficientNetLite0()

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Features, finest first; images are RGB in [0, 1]."""
        stem, stages = self.net(image, 3)
        unit = self.net.deviations(3)
        return [feature / by for feature, by in zip((stem, *stages[1:]), (unit[0], *unit[2:]), strict=True)]


class PerceptualLoss(nn.Module):
    """Mean difference of features of two images, itself the mean over three resolutions.

    The network stays as it is, in eval mode whatever the loss' own mode, and only the painted image gets a gradient.
    It computes in the number format of the caller's autocast; differences are taken in fp32.

    Args:
        features: image -> features, its weights loaded.
        norm: absolute or squared differences.
        source: where the weights come from, for logs and metrics.
    """

    def __init__(self, features: nn.Module, norm: Norm, source: str) -> None:
        super().__init__()
        self.features, self.source = features.requires_grad_(False), source
        self.distance: Callable[[Tensor], Tensor] = torch.abs if norm == "l1" else torch.square
        self.train()

    def forward(self, painted: Float[Tensor, "b 3 h w"], seen: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """How different the painted image looks; both are RGB in [0, 1]."""
        with torch.no_grad():
            wanted = self.features(seen)
        found = self.features(painted)
        parts = [self.distance(a.float() - b.float()).mean() for a, b in zip(found, wanted, strict=True)]
        return torch.stack(parts).mean()

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Nothing: a loss learns nothing, its network's statistics too."""
        del mode
        return super().train(False)


def perceptual(section: EncDecConfig) -> PerceptualLoss | None:
    """The loss that a section asks for, called with (painted, seen), RGB in [0, 1]; None where it asks for none.

    Raises:
        ConfigError: the weights of the section's network are not at hand: nothing else stands in for them.
        DataError: the file with the weights is missing, unreadable or of another network.
    """
    path = perceptual_file(section)
    if path is None:
        return None
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn and overwritten: no other draw may change
        features = ResNetFeatures(section.perceptual) if section.perceptual in SHAPES else Lite0Features()
    source = load_published(features.net, path, keys=_KEYS)
    return PerceptualLoss(features, section.perceptual_norm, f"{section.perceptual}, {source}")
