"""What is learned from the papers' batches (codebase/data/paper_batches.py): as the papers' code did, in our terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from codebase.config import EncDecConfig
from codebase.models.encoder_decoder import EncoderDecoder, Rendering, rotate
from codebase.models.perceptual import PerceptualLoss
from codebase.training.in_plane import turned_in_plane
from codebase.training.novel_views import painting_losses
from codebase.training.precision import autocast


@dataclass(frozen=True)
class Views:
    """A batch as tensors: row i of the first n views is painted as view `target[i]`, dressed as row `dressed_by[i]`.

    Attributes:
        image, background: RGB in [0, 1]; `mask` of the person, soft, where there is one (`has_mask`).
        R_world_im: of each view.
    """

    image: Float[Tensor, "views 3 size size"]
    background: Float[Tensor, "views 3 size size"]
    mask: Float[Tensor, "views 1 size size"]
    has_mask: Bool[Tensor, " views"]
    R_world_im: Float[Tensor, "views 3 3"]
    target: Int64[Tensor, " n"]
    dressed_by: Int64[Tensor, " n"]


def make_views(batch: Mapping[str, Tensor], rotation_deg: float) -> Views:
    """Tensors of a batch, each view turned in its plane by an angle of its own (deviation `rotation_deg`)."""
    if rotation_deg > 0:
        batch = turned_in_plane(batch, rotation_deg, groups=len(batch["image"]) // len(batch["target"]))
    image, background = ((batch[name] / 255.0).permute(0, 3, 1, 2) for name in ("image", "background"))
    return Views(
        image=image,
        background=background,
        mask=batch["mask"][:, None] / 255.0,
        has_mask=batch["has_mask"],
        R_world_im=batch["R_world_im"],
        target=batch["target"],
        dressed_by=batch["dressed_by"],
    )


def paint_views(net: EncoderDecoder, views: Views) -> Rendering:
    """The views `target`, each from its row."""
    count = len(views.target)
    latent = net.encoder(views.image[:count], views.background[:count])
    rotation = views.R_world_im[views.target] @ views.R_world_im[:count].transpose(1, 2)
    painted: Rendering = net.decoder(
        rotate(latent.points, rotation), latent.appearance[views.dressed_by], views.background[views.target]
    )
    return painted


def learn_views(
    painter: Callable[[Views], Rendering],
    batch: Mapping[str, Tensor],
    config: EncDecConfig,
    network: PerceptualLoss | None = None,
) -> dict[str, Tensor]:
    """The losses of one batch; `painter` is `paint_views` with its network (`Team.wrap`), `network` for images."""
    views = make_views(batch, config.rotation_deg)
    with autocast(config.precision, views.image.device):
        painted = painter(views)
    seen, mask, known = (each[views.target] for each in (views.image, views.mask, views.has_mask))
    parts = painting_losses(painted, seen, mask, known, config, network)
    return {"loss": torch.stack(list(parts.values())).sum(), **parts}
