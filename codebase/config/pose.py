"""The section on 3D pose from the embedding."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from codebase.config.training import SMALL, Decay, Precision, TrainConfig


class PoseConfig(TrainConfig):
    """3D pose from the embedding, few labels."""

    name: str = "pose"
    precision: Precision = SMALL
    label_subjects: tuple[PositiveInt, ...] = Field((1,), description="subjects whose labels may be used")
    label_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of their labelled frames: whole sequences, drawn by seed; smaller shares lie in larger ones",
    )
    network: Literal["ours", "rhodin2018"] = Field(
        "ours", description="ours, or the papers' (2018, 2019): plain layers with BatchNorm after ReLU, in one process"
    )
    hidden: PositiveInt = Field(1024, description="width of the network")
    layers: PositiveInt = Field(2, description="hidden layers")
    dropout: float = Field(0.2, ge=0, lt=1)
    members: PositiveInt = Field(1, description="networks whose poses are averaged")
    turn: float = Field(
        0.5,
        ge=0,
        le=1,
        description="augmentation: share of samples turned, embedding and pose together, about the world's vertical",
    )
    mirror: float = Field(
        0.5,
        ge=0,
        le=1,
        description="augmentation: share of samples mirrored, by L_3d of the mirrored image; unless 0 the pose is that "
        "of an image and of its mirror image, averaged",
    )
    noise: NonNegativeFloat = Field(1.2, description="augmentation: noise on the embedding, relative to its size")
    targets: Literal["pose", "coordinates", "mm"] = Field(
        "pose",
        description="what the network learns: poses less their mean, over one deviation; each coordinate over its own; "
        "or mm as they are (the last two: network rhodin2018)",
    )
    loss: Literal["distance", "squares"] = Field(
        "distance", description="mean distance of joints, or mean square of the targets' errors"
    )
    decay: Decay = Field("cosine", description="of the learning rate after the warm-up; none: it stays")

    @model_validator(mode="after")
    def _what_a_network_can_do(self) -> PoseConfig:
        if self.network == "ours" and self.targets != "pose":
            raise ValueError(f"pose.targets: {self.targets} is of pose.network: rhodin2018")
        if self.network == "rhodin2018" and self.gpus * self.nodes > 1:
            raise ValueError("pose.network rhodin2018 normalises over a batch, in one process: gpus and nodes are 1")
        return self
