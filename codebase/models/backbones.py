"""Encoders of the image-to-body network: ours, ResNets, EfficientNet-Lite0, and the encoder of the representation.

Each gives its stages, the finest first; the last one L_3d as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from codebase.config import EncDecConfig, HmrConfig, HmrNetwork
from codebase.errors import DataError
from codebase.models.efficientnet import HEAD, STAGES, EfficientNetLite0
from codebase.models.encoder_decoder import Encoder
from codebase.models.resnet import ResNet, Stem, load_published, named
from codebase.published import hmr_file

Size = tuple[int, int]  # height and width, px
FLOOR = 0.1  # smallest spread of a point, relative to the mean over points
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


class RepresentationStages(Encoder):
    """The encoder of the representation, without the palette's heads, whose stages are given beside L_3d.

    Args:
        section: with the encoder's shape.
        size: side of the crops, px.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, section: HmrNetwork, size: int) -> None:
        shape = EncDecConfig.model_validate(section.encoder)
        super().__init__(shape, size)
        self.channels, self.stride = self.body.channels, self.body.stride
        self.register_buffer("mean", torch.zeros(shape.points, 3))
        self.register_buffer("spread", torch.ones(shape.points, 1))

    def stages(
        self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"] | None
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The stages for RGB in [0, 1], and the camera's empty scene where the encoder sees it.

        Raises:
            ValueError: it does, and there is none.
        """
        seen = (image - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_deviation")
        if self.sees_background:
            if background is None:
                raise ValueError("the encoder sees the background of its camera, and none is given")
            seen = torch.cat([seen, (image - background) * 4], dim=1)
        # a rolled image comes channels_first
        return self.body(seen.contiguous(memory_format=torch.channels_last))

    def points_of(self, last: Float[Tensor, "b channels h w"]) -> Float[Tensor, "b points 3"]:
        """L_3d of the last stage, by the mean and the spread of `standardise`."""
        code = self.rectify(self.dropout(self.latent(last.flatten(1)))).float()
        return (code[:, : 3 * self.points].unflatten(1, (self.points, 3)) - self.mean) / self.spread

    def standardise(self, points: Float[Tensor, "rows points 3"]) -> None:
        """Take the mean and the spread of each point from L_3d of some rows (of `points_of`, or of the embedding)."""
        self.mean.copy_(points.mean(dim=0))
        spread = (points - self.mean).square().mean(dim=(0, 2)).sqrt()[:, None]
        self.spread.copy_(spread.clamp_min(FLOOR * float(spread.mean())))


AnyEncoder = ResNet | LiteStages | RepresentationStages


def make_encoder(section: HmrConfig, size: Size) -> AnyEncoder:
    """The encoder of a section for crops of `size`, weights random; it has `channels` of its stages and a `stride`.

    Raises:
        ValueError: it is that of enc_dec, and the section does not say its shape, or the crops are oblong.
    """
    if section.start == "enc_dec":
        if not isinstance(section, HmrNetwork):
            raise ValueError("hmr.start is enc_dec, and the encoder's shape is not said: see hmr_network")
        if size[0] != size[1]:
            raise ValueError(f"hmr.start is enc_dec, whose encoder sees square crops, not {size} px")
        return RepresentationStages(section, size[0])
    if section.backbone == "efficientnet_lite0":
        return LiteStages()
    if section.backbone == "ours":
        stem: Stem = "small" if max(size) * section.enlarge <= 96 else "imagenet"
        return ResNet(section.blocks, section.widths, stem=stem, norm="batch")
    return named(section.backbone)


def take_over(encoder: RepresentationStages, weights: Mapping[str, Tensor]) -> None:
    """Take over the weights of an encoder of train_enc_dec (`Checkpoint.part("encoder")`), without its palette.

    Raises:
        DataError: they are those of another encoder.
    """
    found = {name: value for name, value in weights.items() if not name.startswith("look.")}
    own = {name: value for name, value in encoder.state_dict().items() if name in ("mean", "spread")}
    try:
        encoder.load_state_dict(found | own)
    except RuntimeError as error:
        raise DataError(
            f"The checkpoint does not fit the encoder of the config: {error}", where="--enc-dec",
            expected="a checkpoint of the stage train_enc_dec with this config's enc_dec",
        ) from None  # fmt: skip


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
