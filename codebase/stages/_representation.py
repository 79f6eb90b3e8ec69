"""What evaluate says of the representation: whether pose and looks are kept apart, on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from codebase.config import Config
from codebase.data.embeddings import read_embeddings
from codebase.data.latents import latents_of
from codebase.data.store import CropStore
from codebase.models.encoder_decoder import restore as restore_enc_dec
from codebase.models.pose import restore as restore_pose
from codebase.training.disentangle import Codes, PoseOf, disentanglement
from codebase.training.precision import place
from codebase.training.state import load_checkpoint


def representation_figures(
    config: Config, store: CropStore, *, enc_dec: Path, embeddings: Sequence[Path], pose: Path | None
) -> dict[str, float]:
    """`representation/...`: see docs/conventions.md.

    Args:
        store: crops of the test split.
        enc_dec: the encoder-decoder's checkpoint.
        embeddings: of the test subjects, by that checkpoint.
        pose: the pose network's checkpoint; None: what a change of colour does to poses is left out.
    """
    wants_gpu = torch.cuda.is_available() and config.runtime.device != "cpu"
    device = torch.device("cuda" if wants_gpu else "cpu")
    found = load_checkpoint(enc_dec)
    net = place(restore_enc_dec(found.config, found.model, store.size), device)
    codes = Codes(*latents_of([read_embeddings(path) for path in embeddings], store.key))
    return disentanglement(
        net,
        store,
        codes=codes,
        pose=pose_of(pose) if pose is not None else None,
        precision=found.config["precision"],
        batch_size=config.predict.batch_size,
        colour_rows=config.evaluate.colour_rows,
    )


def pose_of(checkpoint: Path) -> PoseOf:
    """The pose network of a checkpoint as a function of arrays: L_3d -> joints, mm, root-centred, im frame.

    Of the image alone, without its mirror image: what a change of looks does is asked of one encoding.
    """
    found = load_checkpoint(checkpoint)
    net = restore_pose(found.config, found.part("pose"))

    @torch.inference_mode()
    def answer(points: np.ndarray) -> np.ndarray:
        return torch.cat([net(part) for part in torch.from_numpy(points).split(1024)]).numpy().astype(np.float64)

    return answer
