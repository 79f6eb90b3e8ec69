"""EfficientNet-Lite0 with the parameter names of the published PyTorch weights, which load by name.

The layers are those of EfficientNet-B0 (Tan and Le, ICML 2019, table 1); Lite has no squeeze and excitation, and ReLU6
in place of swish. The weights are TensorFlow's, so padding is TensorFlow's, too, and images are (255 x - 127) / 128.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Stage(NamedTuple):
    """A row of the paper's table 1: repeated blocks of one width, the first with the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
PIXEL_MEAN, PIXEL_DEVIATION = (
    127 / 255,
    128 / 255,
)  # of images in [0, 1], as TensorFlow's models of this family take them


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded so that size / stride is rounded up; an odd pixel lies right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        if height % 2 or width % 2:
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            height = width = 0
        # a copy with borders of its own costs a tenth of a step
        return F.conv2d(x, self.weight, None, stride, (height // 2, width // 2), 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _variance(norm: nn.BatchNorm2d) -> Float[Tensor, ""]:
    return norm.weight.square().mean()


class Block(nn.Module):
    """Inverted bottleneck: widen, convolve each channel, narrow linearly; a shortcut where sizes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion > 1:
            self._expand_conv = SameConv2d(inputs, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv2d(wide, outputs, 1)
        self._bn2 = _norm(outputs)
        self.widens, self.shortcut = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Features."""
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        narrow = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(wide)))))
        return narrow + x if self.shortcut else narrow


class EfficientNetLite0(nn.Module):
    """The network and, unless `classifies` is False, its classifier; images are RGB in [0, 1]."""

    def __init__(self, *, classifies: bool = True) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv2d(3, STEM, 3, 2), _norm(STEM)
        blocks, channels, self.ends = [], STEM, []
        for stage in STAGES:
            for index in range(stage.repeats):
                stride = stage.stride if index == 0 else 1
                blocks.append(Block(channels, stage.width, stage.kernel, stride, stage.expansion))
                channels = stage.width
            self.ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv2d(channels, HEAD, 1), _norm(HEAD)
        if classifies:
            self._fc = nn.Linear(HEAD, CLASSES)

    def forward(
        self, image: Float[Tensor, "b 3 h w"], stages: int = len(STAGES)
    ) -> tuple[Float[Tensor, "b c h2 w2"], list[Float[Tensor, "b _ _ _"]]]:
        """The stem's output (half the resolution), and that of each of the first `stages` rows of the table."""
        x = stem = F.relu6(self._bn0(self._conv_stem((image - PIXEL_MEAN) / PIXEL_DEVIATION)))
        found, start = [], 0
        for end in self.ends[:stages]:
            for block in self._blocks[start:end]:
                x = block(x)
            found.append(x)
            start = end
        return stem, found

    def deviations(self, stages: int) -> list[Float[Tensor, ""]]:
        """How much the stem and each of the first stages varied in training, the root mean square over channels.

        That is the scale of their last normalisation; within a stage blocks add up. The stem's is that before its ReLU.
        """
        found, start = [_variance(self._bn0)], 0
        for end in self.ends[:stages]:
            blocks: list[Any] = list(self._blocks[start:end])
            found.append(torch.stack([_variance(block._bn2) for block in blocks]).sum())
            start = end
        return [variance.sqrt() for variance in found]

    def pooled(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1280"]:
        """What the classifier sees: the mean over places of the last features."""
        last = self(image)[1][-1]
        return F.relu6(self._bn1(self._conv_head(last))).mean(dim=(2, 3))

    def classify(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1000"]:
        """Logits of ImageNet's classes."""
        return self._fc(self.pooled(image))
