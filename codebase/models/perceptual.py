"""Perceptual loss: how differently a network trained on ImageNet sees two images."""

from __future__ import annotations

from torch import nn

from codebase.config import EncDecConfig
from codebase.errors import ConfigError


def perceptual(section: EncDecConfig) -> nn.Module | None:
    """The loss that a section asks for, called with (painted, seen), RGB in [0, 1]; None where it asks for none.

    Raises:
        ConfigError: the section's network cannot be had.
    """
    if section.perceptual == "none":
        return None
    raise ConfigError(f"The network {section.perceptual} is not built in yet.", where="enc_dec.perceptual")
