"""A body from an image: convolutional features and an iterative regressor (HMR, Kanazawa et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from codebase.config import HmrConfig
from codebase.errors import DataError
from codebase.models.resnet import ResNet
from codebase.models.rotations import to_6d
from codebase.models.smpl import PARAMETERS
from codebase.skeleton import H36M


class IterativeRegressor(nn.Module):
    """Correct an estimate `iterations` times from features and the estimate itself, beginning at the dataset's mean.

    Args:
        features: length of the feature vector.
        mean_rotmats: mean pose, the global orientation (im frame) first.
        mean_betas: mean shape.
        width: units of the two hidden layers.
        iterations: corrections made; each is returned, for a loss on the way is no worse and often better.
        dropout: share of units dropped in training.
    """

    mean: Tensor

    def __init__(
        self,
        features: int,
        *,
        mean_rotmats: Float[Tensor, "24 3 3"],
        mean_betas: Float[Tensor, "10"],
        width: int = 512,
        iterations: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.enter = nn.Linear(features, width)
        self.enter_estimate = nn.Linear(PARAMETERS, width, bias=False)
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.leave = nn.Linear(width, PARAMETERS)
        with torch.no_grad():  # the first estimates stay near the mean (gain .01 in the original)
            self.leave.weight.mul_(0.05)
            self.leave.bias.zero_()
        self.register_buffer("mean", torch.cat([to_6d(mean_rotmats).flatten(), mean_betas]))

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "iterations batch 154"]:
        """Raw parameters after each correction (24 x 6 rotation columns, 10 betas); the last row is the answer."""
        seen = self.enter(features)
        estimate = self.mean.expand(len(features), -1)
        estimates = []
        for _ in range(self.iterations):
            estimate = estimate + self.leave(self.body(seen + self.enter_estimate(estimate - self.mean)))
            estimates.append(estimate)
        return torch.stack(estimates)


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
        self.length = maps * (2 + seen)

    def forward(
        self, stages: Sequence[Float[Tensor, "batch _ _ _"]]
    ) -> tuple[Float[Tensor, "batch maps 2"], Float[Tensor, "batch length"]]:
        """Centres (x, y; the crop reaches from -1 to 1), and centres and what is seen there as one vector."""
        size = stages[1].shape[-2:]
        parts = [lateral(stage) for lateral, stage in zip(self.lateral, stages[1:], strict=True)]
        merged = torch.stack(
            [F.interpolate(part, size=size, mode="bilinear", align_corners=False) for part in parts]
        ).sum(dim=0)
        merged = F.relu(merged + self.merge(F.relu(merged)))
        logits, values = self.attend(merged), self.see(merged)
        with torch.autocast(merged.device.type, enabled=False):
            attention = logits.float().flatten(2).softmax(dim=2)
            y, x = ((torch.arange(n, device=merged.device) + 0.5) * (2 / n) - 1 for n in size)
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
            centres = attention @ grid
            seen = attention @ values.float().flatten(2).transpose(1, 2)
        return centres, torch.cat([centres.flatten(1), seen.flatten(1)], dim=1)


class Hmr(nn.Module):
    """Crops to bodies: ResNet features, places, then the iterative regressor.

    Args:
        size: side of the crops, pixels.
        widths: channels of the encoder's stages.
        blocks: residual blocks of the encoder's stages.
        regressor: arguments of IterativeRegressor but for `features`.
    """

    def __init__(self, size: int, *, widths: Sequence[int], blocks: Sequence[int], **regressor: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.encoder = ResNet(blocks, widths, stem="small" if size <= 96 else "imagenet", norm="batch")
        side = -(-size // self.encoder.stride)
        self.narrow = nn.Conv2d(self.encoder.channels[-1], 64, 1)
        self.places = Places(self.encoder.channels)
        self.regressor = IterativeRegressor(64 * side * side + self.places.length, **regressor)

    def forward(
        self, image: Float[Tensor, "batch 3 size size"]
    ) -> tuple[Float[Tensor, "iterations batch 154"], Float[Tensor, "batch 17 2"]]:
        """Raw parameters after each correction for images in [0, 1] (`codebase.models.smpl.split` reads a row), and
        the joints' places in the crop, which reaches from -1 to 1.
        """
        stages = self.encoder((image - 0.5) * 4)
        features = self.narrow(stages[-1])
        centres, seen = self.places(stages)
        with torch.autocast(image.device.type, enabled=False):
            raw = self.regressor(torch.cat([features.flatten(1).float(), seen], dim=1))
        return raw, centres[:, : len(H36M)]


def build(
    config: HmrConfig, size: int, *, mean_rotmats: Float[Tensor, "24 3 3"], mean_betas: Float[Tensor, "10"]
) -> Hmr:
    """The network of a section, for crops of `size` pixels; weights of a checkpoint hold the mean as well."""
    return Hmr(
        size,
        widths=config.widths,
        blocks=config.blocks,
        mean_rotmats=mean_rotmats,
        mean_betas=mean_betas,
        width=config.width,
        iterations=config.iterations,
        dropout=config.dropout,
    )


def restore(config: Mapping[str, Any], weights: Mapping[str, Tensor], size: int) -> Hmr:
    """The network of a checkpoint (its `config` and part "hmr"), frozen and in eval mode.

    Raises:
        DataError: the weights are those of another network, or of other crops.
    """
    nothing = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
    model = build(HmrConfig.model_validate(config), size, **nothing)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"The checkpoint does not fit HMR for crops of {size} px: {error}", expected="one of the stage train_hmr"
        ) from None
    return model.requires_grad_(False).eval()
