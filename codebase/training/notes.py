"""Words in a checkpoint's `extra`, which holds tensors alone: where published weights are from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

BEGINS_WITH = "encoder_begins_with"
# What an encoder-decoder says of itself: names in metrics.json, and what stands there where its checkpoint is silent.
SOURCES: Mapping[str, str] = {BEGINS_WITH: "random weights", "perceptual_network": "none"}


def note(text: str) -> UInt8[Tensor, " bytes"]:
    """A text as a tensor: its UTF-8 bytes."""
    return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy())


def read_note(tensor: UInt8[Tensor, " bytes"]) -> str:
    """The text of `note`."""
    return tensor.numpy().tobytes().decode()


def sources(extra: Mapping[str, Tensor]) -> dict[str, str]:
    """`SOURCES` of a checkpoint of train_enc_dec, by its `extra`."""
    return {name: read_note(extra[name]) if name in extra else default for name, default in SOURCES.items()}
