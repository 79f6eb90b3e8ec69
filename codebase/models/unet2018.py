"""What the encoder-decoders of 2018 and 2019 share: pairs of convolutions, and three halvings of the resolution."""

from __future__ import annotations

from torch import nn

HALVINGS = 3


def two_convolutions(inputs: int, outputs: int, *, norm: bool) -> list[nn.Module]:
    """Twice 3x3, BatchNorm where asked for, and ReLU; resolution stays."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, 1, 1), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
    return layers


def side_of(size: int) -> int:
    """Side of the coarsest maps, for crops of `size` pixels.

    Raises:
        ValueError: the halvings do not divide the size.
    """
    if size % 2**HALVINGS:
        raise ValueError(f"crops of {size} px cannot be halved {HALVINGS} times, as the networks of 2018 and 2019 do")
    return size // 2**HALVINGS


def channels_of_shape(widest: int, appearance: int) -> int:
    """Channels that L_3d unfolds to: what L_app, a channel for each of its features, leaves of the widest maps.

    Raises:
        ValueError: it leaves none.
    """
    if appearance >= widest:
        raise ValueError(f"enc_dec.appearance is {appearance}; this network has room for {widest - 1}")
    return widest - appearance
