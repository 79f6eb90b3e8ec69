"""Encoders of the image-to-body network: ours, ResNets, EfficientNet-Lite0. Each gives its stages, the finest first."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from codebase.config import HmrConfig
from codebase.models.efficientnet import HEAD, STAGES, EfficientNetLite0
from codebase.models.resnet import ResNet, Stem, load_published, named
from codebase.published import hmr_file

Size = tuple[int, int]  # height and width, px
# rows of the network's table after which the resolution is 1/4, 1/8 and 1/16; the last stage is the classifier's input
_LITE_STAGES = (1, 2, 4)


class LiteStages(nn.Module):
    """EfficientNet-Lite0 as an encoder: features at 1/4, 1/8, 1/16, and the 1280 that its classifier sees at 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.body = EfficientNetLite0(classifies=False)
        self.channels = [*(STAGES[row].width for row in _LITE_STAGES), HEAD]
        self.stride = 32

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The stages for RGB in [0, 1]."""
        _, found = self.body(image)
        last = F.relu6(self.body._bn1(self.body._conv_head(found[-1])))
        return [*(found[row] for row in _LITE_STAGES), last]


def make_encoder(section: HmrConfig, size: Size) -> ResNet | LiteStages:
    """The encoder of a section for crops of `size`, weights random; it has `channels` of its stages and a `stride`."""
    if section.backbone == "efficientnet_lite0":
        return LiteStages()
    if section.backbone == "ours":
        stem: Stem = "small" if max(size) * section.enlarge <= 96 else "imagenet"
        return ResNet(section.blocks, section.widths, stem=stem, norm="batch")
    return named(section.backbone)


def begin(encoder: nn.Module, section: HmrConfig) -> str:
    """Load the published weights that the section names; says what the encoder begins with, for logs and metrics.

    Raises:
        UserError: the file is missing, or of another network: random weights never stand in.
    """
    path, frozen = hmr_file(section), ", frozen" if section.frozen else ""
    if path is None:
        return f"{section.backbone}, random weights (hmr.backbone_weights is null){frozen}"
    net = encoder.body if isinstance(encoder, LiteStages) else encoder
    return f"{section.backbone}, weights of {load_published(net, path)}{frozen}"
