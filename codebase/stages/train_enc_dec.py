"""Stage train_enc_dec: learn novel views from pairs of cameras; no 3D label is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from codebase.config import Config, EncDecConfig
from codebase.data.batches import Stream, ViewPairs
from codebase.data.index import read_index
from codebase.data.pairs import warn_of_single_cameras
from codebase.data.paper_batches import CameraGroups, MainsAndPartners
from codebase.data.scratch import near
from codebase.data.store import CropStore
from codebase.errors import ConfigError
from codebase.models.beginning import begin_encoder
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.perceptual import PerceptualLoss, perceptual
from codebase.published import encoder_file, perceptual_file
from codebase.training import loop, optim
from codebase.training.average import Average
from codebase.training.budget import left
from codebase.training.global_norm import whole_batch_norms
from codebase.training.notes import note
from codebase.training.novel_views import learn_step, paint_pairs
from codebase.training.paper_lesson import learn_views, paint_views
from codebase.training.precision import place
from codebase.training.runtime import prepare
from codebase.training.state import Batch, run_digest
from codebase.training.team import team
from codebase.training.view_errors import Pairs, measure, ordered_pairs

VERSION = 2
log = logging.getLogger("posemill.train_enc_dec")


def run(
    config: Config,
    *,
    index_train: Path,
    index_val: Path,
    crops: Sequence[Path],
    output: Path,
    budget_s: float | None = None,
) -> None:
    """Train the encoder-decoder and write runs/{name}/model_{steps}.pt.

    The checkpoint holds the modules `encoder` and `decoder` and, in `extra`, the size of the crops and, in words
    (`read_note`), where published weights are from.

    Raises:
        UserError: inputs are missing or do not fit, or no instant has two cameras.
        OutOfTimeError: the budget is spent; the state is saved.
    """
    begun, section = time.monotonic(), config.enc_dec
    weights = [path for path in (perceptual_file(section), encoder_file(section)) if path is not None]
    device = prepare(config.runtime, section.seed)
    copies = near(crops, config.runtime.scratch)
    train, val = (CropStore(copies, read_index(path).key) for path in (index_train, index_val))
    net = _network(config, train.size)
    sources = {"encoder_begins_with": begin_encoder(net.encoder, section)}
    network = perceptual(section)
    if network is not None:
        sources["perceptual_network"] = network.source
        network = place(network, device)
    for name, source in sources.items():
        log.info("%s: %s", name, source)
    net = whole_batch_norms(place(net, device))
    average = Average(net, section.average_decay) if section.average_decay > 0 else None
    optimizer = optim.adam(section, net)
    best = net if average is None else average.net
    pairs = _pairs_to_validate(val, section.validation_pairs)
    batches, learn = _lesson(section, net, network, train, device)

    def update(batch: Batch, step: int) -> dict[str, torch.Tensor]:
        found = learn(batch)
        norm = optim.step(found["loss"], optimizer, section.gradient_clip)
        if average is not None:
            average.update(net, step)
        return {**{name: value.detach() for name, value in found.items()}, "gradient_norm": norm}

    def validate() -> dict[str, float]:
        return measure(best, val, *pairs, precision=section.precision).summary()

    loop.fit(
        section,
        modules={"net": net} | ({} if average is None else {"average": average}),
        optimizers={"main": optimizer},
        batches=batches,
        update=update,
        validate=validate if len(pairs[0]) else None,
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[index_train, index_val, *crops, *weights]),
        budget_s=left(budget_s, begun),
        extra={"crop_size": torch.tensor(train.size)} | {name: note(said) for name, said in sources.items()},
        export={"encoder": best.encoder, "decoder": best.decoder},
    )


def _pairs_to_validate(store: CropStore, limit: int) -> Pairs:
    """Rows (source, target) of novel views to measure; the log says whose are missing, and where all are, what then."""
    warn_of_single_cameras(store.key, "no novel view of it is validated")
    pairs = ordered_pairs(store, limit)
    if not len(pairs[0]):
        log.warning(
            "validation: no pair of views, so no error is measured while training; the last step's model is written "
            "all the same"
        )
    return pairs


def _lesson(
    section: EncDecConfig,
    net: EncoderDecoder,
    network: PerceptualLoss | None,
    store: CropStore,
    device: torch.device,
) -> tuple[Stream, Callable[[Batch], dict[str, torch.Tensor]]]:
    """The batches that the section asks for, and the losses of one."""
    how: dict[str, Any] = {
        "batch_size": section.batch_size, "seed": section.seed, "device": device, "share": team().share,
    }  # fmt: skip
    if section.batches == "ours":
        pairs = ViewPairs(store, views=section.views, **how)
        return pairs, partial(learn_step, team().wrap(net, paint_pairs), config=section, network=network)
    kind = MainsAndPartners if section.batches == "gaggi2019" else CameraGroups
    learn = partial(learn_views, team().wrap(net, paint_views), config=section, network=network)
    return kind(store, **how), learn


def _network(config: Config, size: int) -> EncoderDecoder:
    try:
        return EncoderDecoder(config.enc_dec, size)
    except ValueError as error:
        raise ConfigError(str(error), where="enc_dec", mend="change crops.size, or the key that it names") from None
