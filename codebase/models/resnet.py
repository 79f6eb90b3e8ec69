"""Residual networks (He et al., CVPR 2016) with torchvision's parameter names: published weights load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.errors import DataError
from codebase.files import missing
from codebase.provenance import file_digest

# Blocks of each stage, and whether they are bottlenecks (He et al., CVPR 2016, table 1).
SHAPES: Mapping[str, tuple[tuple[int, ...], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
# Mean and deviation of ImageNet's images in [0, 1], with which published weights were trained.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Norm = Literal["batch", "group"]
Stem = Literal["imagenet", "small"]


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """BatchNorm, or GroupNorm with 8 channels or more a group (at most 32 groups)."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, min(32, channels // 8)), channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1, norm: Norm = "batch") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = norm_layer(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = norm_layer(norm, width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride, norm)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Features, smaller by the stride."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + identity)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as torchvision does), 1x1 to four times the width, beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1, norm: Norm = "batch") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = norm_layer(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = norm_layer(norm, width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = norm_layer(norm, width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width * self.expansion, stride, norm)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Features, smaller by the stride."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + identity)


def _shortcut(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm_layer(norm, outputs))


class ResNet(nn.Module):
    """Residual stages without the classifier.

    Args:
        blocks: blocks of each stage; stages after the first halve the resolution.
        widths: width of each stage.
        bottleneck: Bottleneck instead of BasicBlock.
        stem: "imagenet" (7x7 stride 2, then max pooling: a quarter of the resolution) or "small" (3x3 stride 2: half),
            which leaves enough resolution at 64x64.
        norm: kind of normalisation.
        inputs: channels of the image.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        *,
        bottleneck: bool = False,
        stem: Stem = "imagenet",
        norm: Norm = "batch",
        inputs: int = 3,
    ) -> None:
        super().__init__()
        kind = Bottleneck if bottleneck else BasicBlock
        channels = widths[0]
        big = stem == "imagenet"
        self.conv1 = nn.Conv2d(inputs, channels, 7 if big else 3, 2, 3 if big else 1, bias=False)
        self.bn1 = norm_layer(norm, channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.MaxPool2d(3, 2, 1) if big else nn.Identity()
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        for number, (name, count, width) in enumerate(zip(self.stages, blocks, widths, strict=True)):
            parts = []
            for index in range(count):
                stride = 2 if number > 0 and index == 0 else 1
                parts.append(kind(channels, width, stride, norm))
                channels = width * kind.expansion
            self.add_module(name, nn.Sequential(*parts))
        self.channels = [width * kind.expansion for width in widths]
        self.stride = (4 if big else 2) * 2 ** (len(blocks) - 1)
        _initialise(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The output of every stage, from the finest to the coarsest."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        found = []
        for name in self.stages:
            x = self.get_submodule(name)(x)
            found.append(x)
        return found


def _initialise(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, BasicBlock):
            nn.init.zeros_(part.bn2.weight)  # type: ignore[arg-type]
        elif isinstance(part, Bottleneck):
            nn.init.zeros_(part.bn3.weight)  # type: ignore[arg-type]


def named(name: str) -> ResNet:
    """A ResNet of `SHAPES` without its classifier, weights random."""
    blocks, bottleneck = SHAPES[name]
    return ResNet(blocks, bottleneck=bottleneck)


def load_published(
    net: nn.Module, path: Path, *, keys: tuple[str, str] = ("hmr.backbone", "hmr.backbone_weights")
) -> str:
    """Load published weights of exactly this network; returns the file's name and digest, for logs and metrics.

    Args:
        net: a network with the file's names; a classifier (`fc`, `_fc`) that only the file has is left out.
        path: a state dict.
        keys: of the config, that name the network and the file, for errors.

    Raises:
        DataError: the file is missing or unreadable, or its names and shapes are not those of the network. Nothing of a
            file that does not fit is loaded.
    """
    network, file = keys
    found = read_published(path, file)
    own = net.state_dict()
    found = {key: value for key, value in found.items() if key in own or not key.startswith("_fc.")}
    # older files do not count batches, which nothing reads
    wrong = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
    wrong += [key for key in found if key not in own or found[key].shape != own[key].shape]
    if wrong:
        raise DataError(
            f"The weights are of another network: {len(wrong)} names or shapes differ, the first: {wrong[0]}.",
            where=path, expected=f"the published state dict of the network that {network} names",
            mend=f"name the right file in {file}, or the right network in {network}",
        )  # fmt: skip
    net.load_state_dict(found, strict=False)
    return f"{path.name} (sha256 {file_digest(path)})"


def read_published(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a state dict without the classifier `fc`; `key` of the config names the file.

    Raises:
        DataError: the file is missing or unreadable.
    """
    if not path.is_file():
        raise missing(path, mend=f"correct {key}, or set it to null and do without published weights")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise anything
        raise DataError(f"The file holds no weights: {str(error).partition(chr(10))[0]}", where=path) from None
    found = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    found = {key.removeprefix("module."): value for key, value in found.items() if isinstance(value, Tensor)}
    return {key: value for key, value in found.items() if not key.startswith("fc.")}
