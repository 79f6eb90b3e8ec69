"""What an encoder begins with: random weights, or a ResNet's published ones where names and shapes are its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from codebase.config import EncDecConfig
from codebase.config.enc_dec import Network
from codebase.errors import DataError
from codebase.models.resnet import SHAPES, read_published
from codebase.provenance import file_digest
from codebase.published import TORCHVISION, encoder_file

_KEY = "enc_dec.encoder_weights"


def begin_encoder(encoder: nn.Module, section: EncDecConfig) -> str:
    """Load what the section names into the encoder's `body`; says what it begins with, for logs and metrics.

    Raises:
        DataError: the file is missing, or of another network than the encoder's body. Nothing of it is loaded then.
    """
    path = encoder_file(section)
    if path is None:
        return f"random weights ({_KEY} is null)"
    said = load_body(encoder.get_submodule("body"), path, network=section.network)
    rest = sorted({name.partition(".")[0] for name, _ in encoder.named_parameters()} - {"body"})
    return f"{said}; random: {', '.join(rest) or 'nothing'}"


def load_body(body: nn.Module, path: Path, *, random: tuple[str, ...] = (), network: Network = "ours") -> str:
    """Load published weights into a network that has no more than the file's names, with the file's shapes.

    The first convolution may see further channels after RGB: their weights are zero, so that it begins as the file's.

    Args:
        body: a ResNet, or a part of one with its names.
        path: torchvision's state dict.
        random: parts of the body that the file lacks and that stay as they are.
        network: enc_dec.network, which decides what an error asks for.

    Raises:
        DataError: the file is missing or unreadable, or of another network. Nothing of it is loaded then.
    """
    found = read_published(path, _KEY)
    own = {name: value for name, value in body.state_dict().items() if name.split(".")[0] not in random}
    further = own["conv1.weight"].shape[1] - 3
    if further > 0 and "conv1.weight" in found:
        found["conv1.weight"] = _wider(found["conv1.weight"], further)
    # older files do not count batches, which nothing reads
    own = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    wrong = [name for name, value in own.items() if name not in found or found[name].shape != value.shape]
    wrong += _deeper(found, own)
    if wrong:
        expected, mend = _fitting(network)
        raise DataError(
            f"The weights are of another network than the encoder: {len(wrong)} names or shapes differ from its "
            f"{len(own)}, the first: {wrong[0]}.",
            where=path,
            expected=expected,
            mend=mend,
        )
    body.load_state_dict({name: found[name] for name in own}, strict=False)
    parts = [f"{path.name} (sha256 {file_digest(path)}): {len(own)} tensors of {len(found)}"]
    parts += [f"zero: {further} channels of conv1 that the file lacks"] * (further > 0)
    parts += [f"random: {', '.join(random)}"] * bool(random)
    return "; ".join(parts)


def _fitting(network: Network) -> tuple[str, str]:
    """What fits an encoder, and how to mend what does not."""
    if network == "rhodin2018_resnet50":  # its shape is fixed
        wanted = f"torchvision's {TORCHVISION['resnet50']}"
        return f"{wanted}, the encoder of enc_dec.network {network}", f"name that file in {_KEY}, or set it to null"
    shapes = ", ".join(f"{name} {list(blocks)}" for name, (blocks, _) in SHAPES.items())
    return (
        "enc_dec.encoder_widths [64, 128, 256, 512], with encoder_blocks and bottleneck of the file's network: "
        + shapes,
        f"name the right file in {_KEY}, or the file's network in those keys",
    )


def _deeper(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What a file has in stages of a body and the body has not: a deeper network's first blocks fit by name, too."""
    stages = {name.split(".")[0] for name in own if name.startswith("layer")}
    counts = "num_batches_tracked"
    return [name for name in found if name.split(".")[0] in stages and name not in own and not name.endswith(counts)]


def _wider(weight: Tensor, further: int) -> Tensor:
    return torch.cat([weight, weight.new_zeros(len(weight), further, *weight.shape[2:])], dim=1)
