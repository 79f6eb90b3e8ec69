"""Stage embed: the frozen encoder's latents of every crop of a subject, pickled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codebase.config import Config, EmbedConfig
from codebase.data.batches import in_turn
from codebase.data.embeddings import Embeddings, write_embeddings
from codebase.data.store import CropStore
from codebase.provenance import file_digest
from codebase.training.encoders import load_enc_dec
from codebase.training.novel_views import as_image
from codebase.training.precision import Precision, autocast, place
from codebase.training.runtime import prepare

VERSION = 4


def run(config: Config, *, checkpoint: Path, crops: Path, output: Path) -> None:
    """Embed one subject, in eval mode, rows as in its crops.

    Raises:
        DataError: an input is missing or of another format, or the checkpoint is of another network or size of crops
            than the config's.
    """
    device = prepare(config.runtime, 0)
    store = CropStore([crops])
    net, found = load_enc_dec(checkpoint, config.enc_dec, store.size, crops=crops)
    encoder = place(net.encoder, device)
    section, precision = config.embed, found.config["precision"]
    points, mirrored, appearance = _encode(encoder, store, section, precision, device)
    write_embeddings(
        output,
        Embeddings(
            subject=int(next(iter(store.digests))),
            L_3d=points,
            L_3d_mirrored=mirrored,
            L_app=appearance,
            action=store.action,
            subaction=store.subaction,
            camera=store.camera,
            frame=store.frame,
            has_joints=store.has_joints,
            joints_im_mm=store.joints_im_mm,
            R_world_im=store.R_world_im,
            checkpoint_digest=file_digest(checkpoint),
            crops_digest=store.digests[int(next(iter(store.digests)))],
        ),
    )


@torch.inference_mode()
def _encode(
    encoder: nn.Module, store: CropStore, section: EmbedConfig, precision: Precision, device: torch.device
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L_3d and L_3d of the mirrored images (rows, points or 0, 3), L_app (rows, features), float32."""

    def encode(image: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with autocast(precision, device):
            latent = encoder(image, background)
            if not section.mirrored:
                return latent.points, latent.points[:, :0], latent.appearance
            return latent.points, encoder(image.flip(-1), background.flip(-1)).points, latent.appearance

    parts = []
    for seen in _batches(store, section.batch_size, ahead=device.type == "cuda"):
        image, background = (as_image(seen[name].to(device)) for name in ("image", "background"))
        parts.append([each.float().cpu().numpy() for each in encode(image, background)])
    if not parts:
        nothing = torch.zeros(1, 3, store.size, store.size, device=device)
        parts = [[each.float().cpu().numpy()[:0] for each in encode(nothing, nothing)]]
    points, mirrored, appearance = (np.concatenate(part) for part in zip(*parts, strict=True))
    return points, mirrored, appearance


def _batches(store: CropStore, batch_size: int, *, ahead: bool) -> Iterator[dict[str, Tensor]]:
    """The store's images and backgrounds in turn; `ahead`: the next ones are read while a GPU works on these."""

    def read(rows: np.ndarray) -> dict[str, Tensor]:
        return store.gather(rows, ("image", "background"))

    turns = in_turn(np.arange(len(store)), batch_size)
    if not ahead:
        yield from map(read, turns)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="embed") as side:
        waiting = deque(side.submit(read, rows) for rows in islice(turns, 2))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(side.submit(read, rows) for rows in islice(turns, 1))
            yield batch
