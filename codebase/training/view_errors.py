"""How well novel views are painted: pairs of cameras of one instant, and the errors of what is painted of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor

from codebase.data.batches import in_turn, runs
from codebase.data.store import CropStore
from codebase.metrics import masked_mse, psnr_db
from codebase.models.encoder_decoder import EncoderDecoder, rotate
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast

Pairs = tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]
FOREGROUND = 128  # a mask's value from which a pixel shows the person


def ordered_pairs(store: CropStore, limit: int | None = None) -> Pairs:
    """Rows (source, target) of all ordered pairs of cameras of one instant; `limit` thins them evenly."""
    source, target = [], []
    for start, views in zip(*runs(store.instant), strict=True):
        here = np.arange(start, start + views)
        first, second = np.meshgrid(here, here, indexing="ij")
        apart = first != second
        source.append(first[apart])
        target.append(second[apart])
    rows = np.stack([np.concatenate(source), np.concatenate(target)])
    if limit is not None and rows.shape[1] > limit:
        rows = rows[:, np.linspace(0, rows.shape[1] - 1, limit).round().astype(int)]
    return rows[0], rows[1]


@dataclass(frozen=True)
class PairErrors:
    """Mean squared errors of each pair, images in [0, 1]; `foreground` and `background_only` over the target's mask.

    Attributes:
        foreground: of the painted view.
        background_only: of the empty background shown instead.
        everywhere: of the painted view, all pixels.
    """

    foreground: Float32[ndarray, " pairs"]
    background_only: Float32[ndarray, " pairs"]
    everywhere: Float32[ndarray, " pairs"]

    def summary(self) -> dict[str, float]:
        """The mean over pairs of each pair's PSNR, dB."""
        return {
            "psnr_foreground_db": float(np.nanmean(psnr_db(self.foreground))),
            "psnr_background_only_db": float(np.nanmean(psnr_db(self.background_only))),
            "psnr_all_db": float(np.nanmean(psnr_db(self.everywhere))),
        }


Painted = Float32[ndarray, "b size size 3"]


@torch.no_grad()
def paint(
    net: EncoderDecoder,
    store: CropStore,
    source: Int64[ndarray, " b"],
    target: Int64[ndarray, " b"],
    *,
    precision: str,
    looks: Int64[ndarray, " b"] | None = None,
) -> Painted:
    """Novel views of rows `source` from the cameras of rows `target`, RGB in [0, 1]. The net is in eval mode.

    With `looks` they have the appearance that these rows show.
    """
    device = next(net.parameters()).device

    def take(rows: ndarray, *names: str) -> list[Tensor]:
        return [pixels.to(device) for pixels in store.gather(rows, names).values()]

    (before,), (after, behind) = take(source, "R_world_im"), take(target, "R_world_im", "background")
    with autocast(precision, device):  # type: ignore[arg-type]
        latent, *others = (
            net.encoder(*map(as_image, take(rows, "image", "background")))
            for rows in (source, looks)
            if rows is not None
        )
        points = rotate(latent.points, after @ before.transpose(1, 2))
        image = net.decoder(points, [latent, *others][-1].appearance, as_image(behind)).image
    return image.permute(0, 2, 3, 1).clamp(0, 1).float().cpu().numpy()


def measure(
    net: EncoderDecoder,
    store: CropStore,
    source: Int64[ndarray, " n"],
    target: Int64[ndarray, " n"],
    *,
    looks: Int64[ndarray, " n"] | None = None,
    precision: str = "auto",
    batch_size: int = 128,
) -> PairErrors:
    """Errors of novel views of pairs of rows, whose appearance is that of rows `looks`; the net is in eval mode."""
    found = np.concatenate(list(_errors(net, store, source, target, looks, precision, batch_size)), axis=1)
    return PairErrors(*found.astype(np.float32))


def _errors(
    net: EncoderDecoder, store: CropStore, source: ndarray, target: ndarray, looks: ndarray | None, precision: str,
    batch_size: int,
) -> Iterator[ndarray]:  # fmt: skip
    for turn in in_turn(np.arange(len(source)), batch_size):
        dressed_as = None if looks is None else looks[turn]
        painted = paint(net, store, source[turn], target[turn], precision=precision, looks=dressed_as)
        truth = store.gather(target[turn], ("image", "background", "mask"))
        seen, empty = (truth[name].numpy().astype(np.float32) / 255 for name in ("image", "background"))
        mask = truth["mask"].numpy() >= FOREGROUND
        yield np.stack(
            [masked_mse(painted, seen, mask), masked_mse(empty, seen, mask), np.square(painted - seen).mean((1, 2, 3))]
        )
