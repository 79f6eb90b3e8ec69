"""Sections on training: one per training stage, all with the loop's own keys."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from codebase.config.base import Section


class TrainConfig(Section):
    """What every training stage shares."""

    seed: int = 0
    steps: PositiveInt = Field(1000, description="optimiser steps; the checkpoint is model_{steps}.pt")
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: int = Field(50, ge=0, description="linear warm-up, then cosine to zero")
    gradient_clip: PositiveFloat = Field(1.0, description="largest norm of the gradient")
    log_every: PositiveInt = 50
    validate_every: PositiveInt = 500
    save_every: PositiveInt = Field(500, description="steps between saves of the resumable state")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")


class EncDecConfig(TrainConfig):
    """The self-supervised encoder-decoder (Rhodin et al., ECCV 2018)."""

    name: str = Field("enc_dec", description="names runs/{name} and embeddings/{name}")


class EmbedConfig(Section):
    """Embedding with the frozen encoder."""

    batch_size: PositiveInt = 256


class PoseConfig(TrainConfig):
    """3D pose from the embedding, few labels."""

    name: str = "pose"
    label_subjects: tuple[PositiveInt, ...] = Field((1,), description="subjects whose labels may be used")


class PriorConfig(TrainConfig):
    """Adversarial prior on pose and shape."""

    name: str = "prior"
    poses: Path | None = Field(None, description="folder of AMASS-style npz; null: free synthetic poses")
    count: PositiveInt = Field(20000, description="number of free synthetic poses")


class SmplConfig(TrainConfig):
    """SMPL from the embedding: joints, silhouettes in all views, prior."""

    name: str = "smpl"
    label_subjects: tuple[PositiveInt, ...] = (1,)


class HmrConfig(TrainConfig):
    """Image to body: convolutional encoder, iterative regressor, SMPL."""

    name: str = "hmr"
