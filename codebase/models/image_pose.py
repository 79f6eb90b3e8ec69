"""3D joints straight from an image: an encoder, and behind it the network that the embedding gets.

The comparison that the representation stands or falls by: the same encoder with the same inputs, from random weights
or from ImageNet's, taught by the labels alone; or from the representation's weights, taught on by the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.config import EncDecConfig, ImageNetwork
from codebase.errors import DataError
from codebase.models.efficientnet import HEAD, EfficientNetLite0
from codebase.models.encoder_decoder import Latent, build_encoder
from codebase.models.pose import PoseNet
from codebase.models.resnet import IMAGENET, load_published, named
from codebase.published import backbone_file

IMAGENET_POINTS = 100


class PublishedEncoder(nn.Module):
    """A network with the names of published weights, and points from what its classifier would see: means over places.

    It sees the image alone: such networks know three channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.body = EfficientNetLite0(classifies=False) if backbone == "efficientnet_lite0" else named(backbone)
        channels = HEAD if isinstance(self.body, EfficientNetLite0) else self.body.channels[-1]
        self.latent = nn.Linear(channels, 3 * IMAGENET_POINTS)
        self.register_buffer("mean", torch.tensor(IMAGENET[0])[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET[1])[:, None, None])

    def forward(self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"]) -> Latent:
        """Points, and no appearance; the background is not looked at."""
        if isinstance(self.body, EfficientNetLite0):
            seen = self.body.pooled(image)
        else:
            seen = self.body((image - self.mean) / self.std)[-1].mean(dim=(2, 3))
        return Latent(self.latent(seen).float().unflatten(1, (IMAGENET_POINTS, 3)), seen.new_zeros(len(seen), 0))


class ImagePose(nn.Module):
    """Image and empty scene -> root-centred joints in the im frame, mm.

    Args:
        config: the network's section with the encoder's shape.
        size: side of the crops, pixels.
    """

    def __init__(self, config: ImageNetwork, size: int) -> None:
        super().__init__()
        shape = None if config.encoder is None else EncDecConfig.model_validate(config.encoder)
        # without the heads of a palette, which copy colours, of which no pose is read
        self.encoder = PublishedEncoder(config.backbone) if shape is None else build_encoder(shape, size)
        if hasattr(self.encoder, "to_appearance"):
            # of the papers' networks; no pose is read of it, and processes that share a step would wait for it
            self.encoder.get_submodule("to_appearance").requires_grad_(False)
        self.points = IMAGENET_POINTS if shape is None else shape.points
        self.pose = PoseNet(config, self.points)
        self.mirrors = config.flip > 0
        self.frozen_statistics = config.start != "scratch" and config.statistics == "frozen"

    def each(
        self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"]
    ) -> Float[Tensor, "members b joints 3"]:
        """The pose that each member sees, mm, root at 0; images are RGB in [0, 1]."""
        points = self.encoder(image, background).points
        with torch.autocast(points.device.type, enabled=False):  # poses in mm want more digits
            return self.pose.each(points)

    def forward(
        self, image: Float[Tensor, "b 3 size size"], background: Float[Tensor, "b 3 size size"]
    ) -> Float[Tensor, "b joints 3"]:
        """The mean over members, mm, root at 0."""
        return self.each(image, background).mean(dim=0)

    def train(self, mode: bool = True) -> ImagePose:
        """As every module's, but frozen statistics stay as they were learned."""
        super().train(mode)
        if self.frozen_statistics:
            for part in self.encoder.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self


def start_from_enc_dec(net: ImagePose, weights: Mapping[str, Tensor]) -> None:
    """Take over the weights of a trained encoder; heads of a palette among them are left aside.

    Raises:
        DataError: the weights have other shapes. What shapes do not tell, `training.encoders.load_enc_dec` compares.
    """
    found = {name: value for name, value in weights.items() if not name.startswith("look.")}
    try:
        net.encoder.load_state_dict(found)
    except RuntimeError as error:
        raise DataError(
            f"The checkpoint does not fit the encoder of the config: {shorten(str(error), 400, placeholder=' ...')}",
            where="--enc-dec", expected="a checkpoint of the stage train_enc_dec with this config's enc_dec",
        ) from None  # fmt: skip


def start_from_imagenet(net: ImagePose, config: ImageNetwork) -> str:
    """Load the published weights that the section names; returns the file's name and digest.

    Raises:
        UserError: the file is missing, or holds another network's weights: random ones never stand in.
    """
    path = backbone_file(config)
    if path is None:
        raise ValueError(f"image_pose.start is {config.start}, not imagenet")
    return load_published(
        net.encoder.get_submodule("body"), path, keys=("image_pose.backbone", "image_pose.backbone_weights")
    )


def restore(config: Mapping[str, Any], weights: Mapping[str, Tensor], size: int) -> ImagePose:
    """The network of a checkpoint (its `config` and part "net") for crops of `size` pixels, frozen and in eval mode.

    Raises:
        DataError: the weights are those of another network.
    """
    try:
        net = ImagePose(ImageNetwork.model_validate(config), size)
        net.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"The checkpoint does not fit a pose network on images of {size} px: "
            f"{shorten(str(error), 400, placeholder=' ...')}",
            expected="a checkpoint of the stage train_image_pose",
        ) from None
    return net.requires_grad_(False).eval()
