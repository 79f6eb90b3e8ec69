"""The self-supervised encoder-decoder: an image becomes points that rotate, and an appearance that does not.

After Rhodin et al. (ECCV 2018, geometry-aware latents) and Rhodin et al. (CVPR 2019, foreground over a given
background by a predicted mask). Ours: normalised encoder, linear latents, and a palette: part of the appearance is
colours that the encoder picks from its input by attention, and that the decoder lays out. Colours are so copied
rather than coded, and clothes that training never saw keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from textwrap import shorten
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from codebase.config import EncDecConfig
from codebase.errors import DataError
from codebase.models import gaggi2019, rhodin2018
from codebase.models.resnet import IMAGENET, BasicBlock, ResNet, norm_layer
from codebase.models.views import Latent, Rendering, rotate

__all__ = [
    "Decoder",
    "Encoder",
    "EncoderDecoder",
    "Latent",
    "Rendering",
    "build",
    "build_encoder",
    "fuse",
    "restore",
    "rotate",
]


def fuse(points: Float[Tensor, "views b points 3"], counts: Bool[Tensor, "views b"]) -> Float[Tensor, "b points 3"]:
    """L_3d of several views of one instant, already turned into one frame, as one: the mean of those that count."""
    weight = counts.float()[..., None, None]
    return (points * weight).sum(dim=0) / weight.sum(dim=0).clamp_min(1)


class Encoder(nn.Module):
    """Image -> L_3d and L_app.

    Args:
        config: widths, points, appearance, palette.
        size: side of the crops, pixels.
    """

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        self.points, self.palette = config.points, config.palette
        self.body = ResNet(
            config.encoder_blocks, config.encoder_widths, bottleneck=config.bottleneck, stem=config.stem,
            norm=config.norm, inputs=6 if config.encoder_background else 3,
        )  # fmt: skip
        self.sees_background = config.encoder_background
        mean, deviation = IMAGENET if config.normalisation == "imagenet" else ((0.5,) * 3, (0.25,) * 3)
        for name, values in (("pixel_mean", mean), ("pixel_deviation", deviation)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        side = -(-size // self.body.stride)
        self.latent = nn.Linear(self.body.channels[-1] * side * side, config.points * 3 + config.appearance)
        self.dropout = nn.Dropout(config.latent_dropout)
        self.rectify = nn.ReLU() if config.latent_relu else nn.Identity()
        if config.palette:
            self.look = nn.ModuleList(nn.Conv2d(channels, config.palette, 1) for channels in self.body.channels)

    def forward(self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"]) -> Latent:
        """Encode images, RGB in [0, 1]; `background` is the same camera's empty scene (see encoder_background)."""
        seen = (image - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_deviation")
        stages = self.body(torch.cat([seen, (image - background) * 4], dim=1) if self.sees_background else seen)
        code = self.rectify(self.dropout(self.latent(stages[-1].flatten(1)))).float()
        points, free = code.split([self.points * 3, code.shape[1] - self.points * 3], dim=1)
        appearance = torch.cat([self._colours(image, stages).flatten(1), free], dim=1) if self.palette else free
        return Latent(points.unflatten(1, (self.points, 3)), appearance)

    def _colours(self, image: Float[Tensor, "b 3 size size"], stages: list[Tensor]) -> Float[Tensor, "b palette 3"]:
        """Mean colours of the image under one softmax attention map for each entry of the palette."""
        size = stages[0].shape[-2:]
        logits = self.look[-1](stages[-1])
        for head, stage in zip(reversed(self.look[:-1]), reversed(stages[:-1]), strict=True):
            logits = F.interpolate(logits, size=stage.shape[-2:], mode="bilinear", align_corners=False) + head(stage)
        with torch.autocast(image.device.type, enabled=False):
            attention = logits.float().flatten(2).softmax(dim=2)
            pixels = F.interpolate(image.float(), size=size, mode="area").flatten(2)
            return attention @ pixels.transpose(1, 2)


class Decoder(nn.Module):
    """Rotated L_3d, L_app and the target's background -> the image that the target camera saw.

    The person is a mixture of the palette's colours plus a free residual, laid over the background by alpha.
    """

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        widths = config.decoder_widths
        self.palette, self.side = config.palette, size // 2 ** len(widths)
        if self.side * 2 ** len(widths) != size:
            raise ValueError(f"crops of {size} px cannot be halved {len(widths)} times, as enc_dec.decoder_widths asks")
        self.unfold = nn.Linear(config.points * 3, widths[0] * self.side**2)
        self.dress = nn.Linear(config.appearance + 3 * config.palette, widths[0])
        stages: list[nn.Module] = [BasicBlock(widths[0], widths[0], norm=config.norm)]
        for before, after in pairwise(widths):
            stages.append(Upscale(before, after, config))
        self.grow = nn.Sequential(*stages)
        self.paint = nn.Conv2d(widths[-1], 4 * (config.palette + 4), 1)

    def forward(
        self,
        points: Float[Tensor, "b points 3"],
        appearance: Float[Tensor, "b appearance"],
        background: Float[Tensor, "b 3 size size"],
    ) -> Rendering:
        """Paint; `points` already turned into the target's frame."""
        base = self.unfold(points.flatten(1)).unflatten(1, (-1, self.side, self.side))
        base = base.contiguous(memory_format=torch.channels_last) + self.dress(appearance)[:, :, None, None]
        maps = self.paint(self.grow(F.relu(base)))
        with torch.autocast(background.device.type, enabled=False):
            foreground, alpha_logit = self._mix(maps, appearance).split([3, 1], dim=1)
            alpha = alpha_logit.sigmoid()
            image = torch.lerp(background, foreground, alpha)
        return Rendering(image, foreground, alpha, alpha_logit)

    def _mix(
        self, maps: Float[Tensor, "b channels h w"], appearance: Float[Tensor, "b appearance"]
    ) -> Float[Tensor, "b 4 size size"]:
        """Colours and alpha logit at twice the resolution of `maps`: every cell holds 2 x 2 pixels.

        The mixture runs before cells are spread to pixels: there channels lie side by side in memory.
        """
        b, _, h, w = maps.shape
        pixels = maps.permute(0, 2, 3, 1).reshape(b, h * w * 4, 4 + self.palette)
        own = pixels[..., :4].float()
        if self.palette:
            colours = F.pad(appearance[:, : 3 * self.palette].float().unflatten(1, (self.palette, 3)), (0, 1))
            painted = own + pixels[..., 4:].float().softmax(dim=2) @ colours
        else:
            painted = own + own.new_tensor([0.5, 0.5, 0.5, 0.0])
        return painted.view(b, h, w, 2, 2, 4).permute(0, 5, 1, 3, 2, 4).reshape(b, 4, 2 * h, 2 * w)


class Upscale(nn.Module):
    """Twice the resolution: bilinear, then convolutions."""

    def __init__(self, before: int, after: int, config: EncDecConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, 1, 1, bias=False)
        self.norm = norm_layer(config.norm, after)
        self.block = nn.Sequential(*(BasicBlock(after, after, norm=config.norm) for _ in range(config.decoder_blocks)))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Features at twice the resolution."""
        x = F.relu(self.norm(self.conv(x)))
        return self.block(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


_HALVES: Mapping[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "ours": (Encoder, Decoder),
    "gaggi2019": (gaggi2019.Encoder, gaggi2019.Decoder),
    "rhodin2018_unet": (rhodin2018.UNetEncoder, rhodin2018.Decoder),
    "rhodin2018_resnet50": (rhodin2018.ResNetEncoder, rhodin2018.Decoder),
}


class EncoderDecoder(nn.Module):
    """Both halves of the network that `config.network` names.

    Raises:
        ValueError: the network cannot be made for crops of this size.
    """

    def __init__(self, config: EncDecConfig, size: int) -> None:
        super().__init__()
        encoder, decoder = _HALVES[config.network]
        self.encoder = encoder(config, size)
        self.decoder = decoder(config, size)

    def forward(
        self,
        image: Float[Tensor, "b 3 size size"],
        own_background: Float[Tensor, "b 3 size size"],
        rotation: Float[Tensor, "b 3 3"],
        background: Float[Tensor, "b 3 size size"],
    ) -> Rendering:
        """A novel view of each image: shape and appearance both from it.

        Args:
            image: source crops, RGB in [0, 1].
            own_background: the source camera's empty scene in the source's crop.
            rotation: R_world_im[target] @ R_world_im[source].T.
            background: the target camera's empty scene in the target's crop.
        """
        latent = self.encoder(image, own_background)
        return self.decoder(rotate(latent.points, rotation), latent.appearance, background)


def build(config: EncDecConfig, size: int) -> EncoderDecoder:
    """The network of a section for crops of `size` pixels, its weights random."""
    return EncoderDecoder(config, size)


def build_encoder(config: EncDecConfig, size: int) -> nn.Module:
    """The encoder alone: `encoder(image, background) -> Latent`, its weights random."""
    return _HALVES[config.network][0](config, size)


def restore(config: Mapping[str, Any], weights: Mapping[str, Tensor], size: int) -> EncoderDecoder:
    """The network of a checkpoint (its `config` and `model`) for crops of `size` pixels, frozen and in eval mode.

    Raises:
        DataError: the weights are those of another network.
    """
    try:
        net = EncoderDecoder(EncDecConfig.model_validate(config), size)
        net.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"The checkpoint does not fit an encoder-decoder for crops of {size} px (enc_dec.network "
            f"{config.get('network', 'ours')}): {shorten(str(error), 400, placeholder=' ...')}",
            expected="a checkpoint of the stage train_enc_dec",
        ) from None
    return net.requires_grad_(False).eval()
