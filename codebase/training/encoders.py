"""The encoder-decoder of a checkpoint where it is used, and embeddings' word for which encoder made them.

A latent means something to the networks that learned from this very encoder alone. Another one's is of the same kind
and often of the same shape, so that nothing would break but the result: what belongs together is compared first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from codebase.config import EncDecConfig
from codebase.data.embeddings import Embeddings
from codebase.errors import DataError
from codebase.models.encoder_decoder import EncoderDecoder, restore
from codebase.training.notes import note, read_note
from codebase.training.state import Checkpoint, load_checkpoint

# What shapes a network; other keys of the section say how it is trained. The others mean nothing to the papers'.
SHAPE = ("network", "points", "appearance", "normalisation")
OUR_ENCODER = (
    "encoder_background", "encoder_blocks", "encoder_widths", "bottleneck", "stem", "norm", "latent_relu",
)  # fmt: skip
OUR_COLOURS = ("palette", "decoder_widths", "decoder_blocks")  # of the decoder and the heads that copy colours for it
ENCODER = "encoder_digest"  # in `extra` of what learned from embeddings: the digest of their encoder's checkpoint


def load_enc_dec(
    path: Path, section: EncDecConfig, size: int, *, crops: object = "", points_alone: bool = False
) -> tuple[EncoderDecoder, Checkpoint]:
    """The encoder-decoder of a checkpoint, frozen and in eval mode, if it is the one that a config means.

    Args:
        path: the checkpoint.
        section: the config's `enc_dec`.
        size: side of the crops at hand, pixels.
        crops: where they lie, for the error.
        points_alone: only L_3d is asked for, so that the palette and the decoder may be others than the config's.

    Raises:
        DataError: it is no checkpoint of train_enc_dec, or of another preset, network or size of crops.
    """
    found = load_checkpoint(path)
    parts = sorted({name.partition(".")[0] for name in found.model})
    if not {"encoder", "decoder"} <= set(parts):
        raise DataError(
            f"The checkpoint holds no encoder-decoder, but: {', '.join(parts) or 'nothing'}.", where=path,
            expected="a checkpoint of the stage train_enc_dec", mend="name that of runs/{enc_dec.name}",
        )  # fmt: skip
    _same_network(found.config, section, path, OUR_ENCODER if points_alone else OUR_ENCODER + OUR_COLOURS)
    trained = int(found.extra["crop_size"]) if "crop_size" in found.extra else size
    if trained != size:
        raise DataError(
            f"The encoder was trained on crops of {trained} px, these have {size} px.",
            where=crops or path, expected=f"crops of {trained} px",
            mend="train the encoder on these crops, or cut them again",
        )  # fmt: skip
    try:
        return restore(found.config, found.model, size), found
    except DataError as error:
        raise DataError(error.what, where=path, expected=error.expected, mend="train it again") from None


def _same_network(trained: Mapping[str, Any], section: EncDecConfig, path: Path, ours: Sequence[str]) -> None:
    """Raise a DataError that lists what differs, unless the checkpoint's section shapes the config's network.

    Args:
        ours: keys that are compared besides SHAPE where both networks are ours.
    """
    # a checkpoint of older code lacks newer keys, whose defaults are what it was
    was = {key: field.get_default() for key, field in EncDecConfig.model_fields.items()} | dict(trained)
    now = section.model_dump(mode="json")
    keys = (*SHAPE, *(ours if was["network"] == now["network"] == "ours" else ()))
    pairs = {key: (_plain(was[key]), _plain(now[key])) for key in keys}
    differ = [f"{key} {one}, not {other}" for key, (one, other) in pairs.items() if one != other]
    if differ:
        raise DataError(
            f"The checkpoint is of another encoder-decoder than the config's: {'; '.join(differ)}.", where=path,
            expected=f"one that was trained with this config's section enc_dec (runs/{section.name})",
            mend="give the config, with its presets, that it was trained with, or the checkpoint of this one",
        )  # fmt: skip


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def encoder_of(subjects: Sequence[Embeddings]) -> dict[str, Tensor]:
    """What a network that learns from embeddings keeps of them in its checkpoint's `extra`.

    Raises:
        DataError: they come from several encoders.
    """
    digests = sorted({item.checkpoint_digest for item in subjects})
    if len(digests) > 1:
        of_each = (
            f"{', '.join(f'S{item.subject}' for item in subjects if item.checkpoint_digest == digest)}: {digest}"
            for digest in digests
        )
        raise DataError(
            f"The embeddings come from {len(digests)} encoders.", where="; ".join(of_each),
            expected="one, for all subjects (digest of its checkpoint)", mend="run the stage embed again",
        )  # fmt: skip
    return {ENCODER: note(digests[0])} if digests else {}


def require_mirrored(subjects: Sequence[Embeddings], name: str, share: float) -> None:
    """Refuse embeddings without L_3d of mirrored images where a section learns from them, and a mixture always.

    Args:
        subjects: the embeddings at hand.
        name: of the section.
        share: its `mirror`.

    Raises:
        DataError: it says whose embeddings lack them.
    """
    lacking = [f"S{item.subject}" for item in subjects if not item.L_3d_mirrored.shape[1]]
    if lacking and (share > 0 or len(lacking) < len(subjects)):
        why = f"from which {name}.mirror learns" if share > 0 else "others do"
        raise DataError(
            f"The embeddings of {', '.join(lacking)} hold no L_3d of mirrored images, {why}.", where="embeddings",
            expected="L_3d_mirrored in the embeddings of all subjects",
            mend=f"set embed.mirrored to true and run the stage embed again, or set {name}.mirror to 0",
        )  # fmt: skip


def require_same_encoder(learned: Checkpoint, path: Path, subjects: Sequence[Embeddings]) -> None:
    """Refuse embeddings of another encoder than the one that a network learned from.

    Args:
        learned: the network's checkpoint; one of older code does not say, and passes.
        path: where it lies.
        subjects: the embeddings at hand.

    Raises:
        DataError: they differ.
    """
    if ENCODER not in learned.extra:
        return
    there, here = read_note(learned.extra[ENCODER]), {item.checkpoint_digest for item in subjects}
    if here and here != {there}:
        raise DataError(
            f"The network learned from embeddings of the encoder {there}, these are of {', '.join(sorted(here))}.",
            where=path, expected="embeddings of one and the same encoder (digests of its checkpoint)",
            mend="train the network on these embeddings, or embed with the encoder that it learned from",
        )  # fmt: skip
