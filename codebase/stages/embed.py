"""Stage embed: the frozen encoder's latents of every crop of a subject, pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from codebase.config import Config
from codebase.data.batches import in_turn
from codebase.data.embeddings import Embeddings, write_embeddings
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.models.encoder_decoder import Encoder, restore
from codebase.provenance import file_digest
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast, place
from codebase.training.runtime import prepare
from codebase.training.state import load_checkpoint

VERSION = 3


def run(config: Config, *, checkpoint: Path, crops: Path, output: Path) -> None:
    """Embed one subject, in eval mode, rows as in its crops.

    Raises:
        DataError: an input is missing or of another format, or the crops have another size than the encoder's.
    """
    device = prepare(config.runtime, 0)
    store = CropStore([crops])
    found = load_checkpoint(checkpoint)
    size = int(found.extra["crop_size"]) if "crop_size" in found.extra else store.size
    if size != store.size:
        raise DataError(
            f"The encoder was trained on crops of {size} px, these have {store.size} px.",
            where=crops, expected=f"crops of {size} px", mend="train the encoder on these crops, or cut them again",
        )  # fmt: skip
    encoder = place(restore(found.config, found.model, size).encoder, device)
    points, appearance = _encode(encoder, store, config.embed.batch_size, found.config["precision"], device)
    write_embeddings(
        output,
        Embeddings(
            subject=int(next(iter(store.digests))),
            L_3d=points,
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
    encoder: Encoder,
    store: CropStore,
    batch_size: int,
    precision: Literal["auto", "fp32", "bf16"],
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """L_3d (rows, points, 3) and L_app (rows, features), float32."""
    points, appearance = [], []
    for rows in in_turn(np.arange(len(store)), batch_size):
        seen = store.gather(rows, ("image", "background"))
        image, background = (as_image(seen[name].to(device)) for name in ("image", "background"))
        with autocast(precision, device):
            latent = encoder(image, background)
        points.append(latent.points.float().cpu().numpy())
        appearance.append(latent.appearance.float().cpu().numpy())
    if not points:
        nothing = torch.zeros(1, 3, store.size, store.size, device=device)
        latent = encoder(nothing, nothing)
        return np.zeros((0, *latent.points.shape[1:]), np.float32), np.zeros(
            (0, latent.appearance.shape[1]), np.float32
        )
    return np.concatenate(points), np.concatenate(appearance)
