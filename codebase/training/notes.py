"""Words in a checkpoint's `extra`, which holds tensors alone."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor


def note(text: str) -> UInt8[Tensor, " bytes"]:
    """A text as a tensor: its UTF-8 bytes."""
    return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy())


def read_note(tensor: UInt8[Tensor, " bytes"]) -> str:
    """The text of `note`."""
    return tensor.numpy().tobytes().decode()
