"""What the sections of all training stages share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from codebase.config.base import Section

Precision = Literal["auto", "fp32", "bf16"]
Decay = Literal["cosine", "none"]
# What changes no result but for the order of additions, so it stands in no digest.
NO_RESULT = frozenset({"gpus", "nodes", "save_every"})
SMALL: Precision = Field("fp32", description="bf16 gains nothing here: the network is small")


class TrainConfig(Section):
    """What every training stage shares."""

    seed: int = Field(0, ge=0, lt=2**32)
    steps: PositiveInt = Field(1000, description="optimiser steps; the checkpoint is model_{steps}.pt")
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: int = Field(50, ge=0, description="linear warm-up, then cosine to zero")
    gradient_clip: PositiveFloat = Field(1.0, description="largest norm of the gradient")
    log_every: PositiveInt = 50
    validate_every: PositiveInt = 500
    save_every: PositiveInt = Field(500, description="steps between saves of the resumable state")
    precision: Precision = Field("auto", description="auto: bf16 where the hardware has it")
    gpus: PositiveInt = Field(
        1, description="processes on each node, each on a GPU of its own; batch_size is of all together"
    )
    nodes: PositiveInt = Field(1, description="hosts; more than one needs Slurm's srun")

    @model_validator(mode="after")
    def _a_share_for_each_process(self) -> TrainConfig:
        if self.batch_size % (self.gpus * self.nodes):
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared equally by {self.gpus * self.nodes} processes "
                "(gpus x nodes)"
            )
        return self
