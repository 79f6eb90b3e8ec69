"""A body from an image: convolutional features and an iterative regressor (HMR, Kanazawa et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from codebase.config import HmrConfig, HmrNetwork
from codebase.errors import DataError
from codebase.models.attention import AttentionRegressor
from codebase.models.backbones import LiteStages, RepresentationStages, Size, begin, make_encoder, take_over
from codebase.models.regressors import IterativeRegressor, JoinedRegressor, bodies_of
from codebase.models.resnet import IMAGENET
from codebase.skeleton import H36M

Regressor = IterativeRegressor | JoinedRegressor | AttentionRegressor
__all__ = ["Hmr", "IterativeRegressor", "Places", "bodies_of", "build", "restore", "start_from", "start_from_enc_dec"]


class Places(nn.Module):
    """Where things are: maps of attention over the image, their centres, and what is seen there.

    The first 17 maps are taught to lie on the Human3.6M joints, the others are free. A centre of attention says where
    an elbow is, whatever the sleeve's colour.

    Args:
        channels: of the encoder's stages, the finest first; the first is not used.
        maps: number of maps.
        width: channels of the merged features.
        seen: length of what is seen at a map.
    """

    def __init__(self, channels: Sequence[int], *, maps: int = 32, width: int = 64, seen: int = 32) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels[1:])
        self.merge = nn.Conv2d(width, width, 3, padding=1)
        self.attend = nn.Conv2d(width, maps, 1)
        self.see = nn.Conv2d(width, seen, 1)
        self.maps, self.length = maps, maps * (2 + seen)

    def forward(
        self, stages: Sequence[Float[Tensor, "batch _ _ _"]]
    ) -> tuple[Float[Tensor, "batch maps 2"], Float[Tensor, "batch length"]]:
        """Centres (x, y; the crop reaches from -1 to 1), and centres and what is seen there as one vector."""
        size = stages[1].shape[-2:]
        parts = [lateral(stage) for lateral, stage in zip(self.lateral, stages[1:], strict=True)]
        # added one by one: a stack of channels_last images is channels_first
        merged = sum(
            (F.interpolate(part, size=size, mode="bilinear", align_corners=False) for part in parts[1:]), start=parts[0]
        )
        merged = F.relu(merged + self.merge(F.relu(merged)))
        logits, values = self.attend(merged), self.see(merged)
        with torch.autocast(merged.device.type, enabled=False):
            attention = logits.float().flatten(2).softmax(dim=2)
            y, x = ((torch.arange(n, device=merged.device) + 0.5) * (2 / n) - 1 for n in size)
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
            centres = attention @ grid
            seen = attention @ values.float().flatten(2).transpose(1, 2)
        return centres, torch.cat([centres.flatten(1), seen.flatten(1)], dim=1)

    def apart(
        self, centres: Float[Tensor, "batch maps 2"], vector: Float[Tensor, "batch length"]
    ) -> Float[Tensor, "batch maps numbers"]:
        """What `forward` gives, a row a map: its centre and what is seen there."""
        seen = vector[:, 2 * self.maps :].unflatten(1, (self.maps, -1))
        return torch.cat([centres, seen], dim=2)


class Hmr(nn.Module):
    """Crops to bodies: ResNet features, places, L_3d of an encoder that has it, the regressor; the section says which.

    Args:
        section: the config.
        size: height and width of the crops, px.
        mean_rotmats: mean pose, the global orientation first.
        mean_betas: mean shape.
    """

    def __init__(
        self,
        section: HmrConfig,
        size: Size,
        *,
        mean_rotmats: Float[Tensor, "24 3 3"],
        mean_betas: Float[Tensor, "10"],
    ) -> None:
        super().__init__()
        self.frozen, self.normalisation, self.enlarge = section.frozen, section.normalisation, section.enlarge
        self.encoder = make_encoder(section, size)
        self.encoder.requires_grad_(not section.frozen)
        learned = self.encoder if isinstance(self.encoder, RepresentationStages) else None
        coordinates = 3 * learned.points if learned is not None and section.points else 0
        self.sees_background, self.reads_points = section.sees_background, coordinates > 0
        self.frozen_statistics = learned is not None and section.statistics == "frozen"
        if learned is not None and not section.points:
            learned.latent.requires_grad_(False)
        last = self.encoder.channels[-1]
        attends = section.regressor == "attention"
        self.narrow = nn.Conv2d(last, 64, 1) if section.features == "grid" and not attends else None
        self.places = Places(self.encoder.channels) if section.places else None
        cells = [-(-side * section.enlarge // self.encoder.stride) for side in size]
        count, mean = cells[0] * cells[1], {"mean_rotmats": mean_rotmats, "mean_betas": mean_betas}
        if attends:
            self.regressor: Regressor = _attention(section, (last, count), self.places, **mean)
        else:
            length = coordinates + (64 * count if self.narrow is not None else last)
            length += self.places.length if self.places is not None else 0
            self.regressor = _regressor(section, length, **mean)
        for name, values in zip(("pixel_mean", "pixel_deviation"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.train()  # modules begin in training mode, a frozen encoder, too

    def train(self, mode: bool = True) -> Hmr:
        """Training mode for all but a frozen encoder, whose BatchNorm statistics would move in it, and frozen ones."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        elif self.frozen_statistics:
            for part in self.encoder.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self

    def forward(
        self,
        image: Float[Tensor, "batch 3 height width"],
        background: Float[Tensor, "batch 3 height width"] | None = None,
    ) -> tuple[Float[Tensor, "iterations batch parameters"], Float[Tensor, "batch joints 2"]]:
        """Raw parameters after each correction for images in [0, 1] (`bodies_of` reads a row), and the 17 joints'
        places in the crop, which reaches from -1 to 1; no places where the section asks for none.

        `background` is the same camera's empty scene; a network that `sees_background` must have it, others look away.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            stages, points = self._seen(image, background)
        centres, seen = image.new_zeros(len(image), 0, 2), image.new_zeros(len(image), 0)
        if self.places is not None:
            centres, seen = self.places(stages)
        if isinstance(self.regressor, AttentionRegressor):
            with torch.autocast(image.device.type, enabled=False):
                places = None if self.places is None else self.places.apart(centres, seen)
                raw = self.regressor(stages[-1].float().flatten(2).transpose(1, 2), places)
        else:
            narrow = stages[-1].mean(dim=(2, 3)) if self.narrow is None else self.narrow(stages[-1]).flatten(1)
            with torch.autocast(image.device.type, enabled=False):
                raw = self.regressor(torch.cat([narrow.float(), seen, points], dim=1))
        return raw, centres[:, : len(H36M)]

    def standardise_points(self, points: Float[Tensor, "rows points 3"]) -> None:
        """Have the regressor see L_3d relative to its mean and spread over some rows."""
        if isinstance(self.encoder, RepresentationStages):
            self.encoder.standardise(points.to(self.encoder.mean))

    def _seen(
        self, image: Float[Tensor, "batch 3 height width"], background: Float[Tensor, "batch 3 height width"] | None
    ) -> tuple[list[Float[Tensor, "batch _ _ _"]], Float[Tensor, "batch coordinates"]]:
        """The encoder's stages, and L_3d as one vector; an empty one of an encoder that has none."""
        if not isinstance(self.encoder, RepresentationStages):
            # a rolled image comes channels_first
            stages = self.encoder(self._normalised(image).contiguous(memory_format=torch.channels_last))
            return stages, image.new_zeros(len(image), 0)
        stages = self.encoder.stages(image, background)
        points = self.encoder.points_of(stages[-1]) if self.reads_points else image.new_zeros(len(image), 0, 3)
        return stages, points.flatten(1)

    def _normalised(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 _ _"]:
        """What the encoder takes: enlarged where the section asks for it, and normalised."""
        if self.enlarge > 1:
            image = F.interpolate(image, scale_factor=self.enlarge, mode="bilinear", align_corners=False)
        if isinstance(self.encoder, LiteStages):
            return image  # it normalises itself
        if self.normalisation == "plain":
            return (image - 0.5) * 4
        return (image - self.get_buffer("pixel_mean")) / self.get_buffer("pixel_deviation")


def _attention(section: HmrConfig, cells: Size, places: Places | None, **mean: Tensor) -> AttentionRegressor:
    each = (0, 0) if places is None else (places.length // places.maps, places.maps)
    return AttentionRegressor(
        cells, each, width=section.width, iterations=section.iterations, dropout=section.dropout,
        rotation=section.rotation, each_joint=section.queries == "joints", **mean,
    )  # fmt: skip


def _regressor(section: HmrConfig, length: int, **mean: Tensor) -> IterativeRegressor | JoinedRegressor:
    simple = section.regressor == "simple"
    common: dict[str, Any] = {
        "width": section.width,
        "iterations": 1 if simple else section.iterations,
        "dropout": section.dropout,
        "rotation": section.rotation,
        **mean,
    }
    if section.style == "ours":
        return IterativeRegressor(length, **common)
    return JoinedRegressor(length, sees_estimate=not simple, heads=section.heads, **common)


def build(
    config: HmrConfig,
    size: int | Size,
    *,
    mean_rotmats: Float[Tensor, "24 3 3"],
    mean_betas: Float[Tensor, "10"],
) -> Hmr:
    """The network of a section, for crops of `size` pixels; weights of a checkpoint hold the mean as well."""
    size = (size, size) if isinstance(size, int) else size
    return Hmr(config, size, mean_rotmats=mean_rotmats, mean_betas=mean_betas)


def start_from(model: Hmr, config: HmrConfig) -> str:
    """Load the encoder's published weights where the section names a file; returns what it starts from, in words.

    Raises:
        DataError: the file is missing, or of another network.
    """
    return begin(model.encoder, config)


def start_from_enc_dec(model: Hmr, weights: Mapping[str, Tensor], *, of: str) -> str:
    """Take over the encoder of a checkpoint of train_enc_dec (`Checkpoint.part("encoder")`).

    Args:
        model: of a section with start: enc_dec.
        weights: of the encoder.
        of: the checkpoint's name and digest.

    Returns:
        What the network starts from, in words.

    Raises:
        DataError: the weights are those of another encoder.
    """
    if not isinstance(model.encoder, RepresentationStages):
        raise TypeError("hmr.start is not enc_dec")
    take_over(model.encoder, weights)
    return f"the encoder of enc_dec, {of}{', frozen' if model.frozen else ''}"


def restore(config: Mapping[str, Any], weights: Mapping[str, Tensor], size: int | Size) -> Hmr:
    """The network of a checkpoint (its `config` and part "hmr"), frozen and in eval mode.

    Raises:
        DataError: the weights are those of another network, or of other crops.
    """
    nothing = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
    try:
        kind = HmrNetwork if config.get("start") == "enc_dec" else HmrConfig
        model = build(kind.model_validate(config), size, **nothing)
        model.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"The checkpoint does not fit HMR for crops of {size} px: {error}", expected="one of the stage train_hmr"
        ) from None
    return model.requires_grad_(False).eval()
