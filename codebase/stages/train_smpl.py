"""Train the body head on frozen embeddings: joints of few subjects, silhouettes in all views, the prior."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from codebase.body.model import BodyLayer, load_body
from codebase.config import Config, SmplConfig
from codebase.data.batches import CropStore, Frames, Rows, in_turn, runs
from codebase.data.embeddings import Embeddings, read_embeddings
from codebase.data.index import read_index
from codebase.data.latents import latents_of
from codebase.errors import DataError
from codebase.geometry import crop_intrinsics
from codebase.metrics import mpjpe, n_mpjpe, pa_mpjpe
from codebase.models.encoder_decoder import rotate
from codebase.models.pose import vertical_turns
from codebase.models.prior import Prior
from codebase.models.rotations import FACING_CAMERA
from codebase.models.smpl import SmplHead, build, split
from codebase.render.silhouette import silhouette
from codebase.skeleton import H36M
from codebase.training import loop, optim
from codebase.training.runtime import prepare
from codebase.training.state import Batch, load_checkpoint, run_digest

VERSION = 1
log = logging.getLogger("posemill.train_smpl")
MM_TO_M = 0.001
UNIT_M = 0.1  # the loss on joints counts 100 mm as one
LEVELS = 3  # of the silhouettes' pyramid
VIEW_COLUMNS = ("R", "T_mm", "f_crop_px", "c_crop_px")


def run(
    config: Config,
    *,
    index_train: Path,
    index_val: Path,
    embeddings: list[Path],
    crops: list[Path],
    prior: Path,
    body: Path,
    output: Path,
    budget_s: float | None = None,
) -> None:
    """Train the head; its checkpoint holds the module `smpl` and, in `extra`, the mean body that it started from.

    Joints are read of `smpl.label_subjects` alone, masks of `smpl.mask_subjects`; the other training subjects only
    give the embedding's units. As in the original system the root's true place is given to the silhouettes.

    Args:
        config: the whole config; `smpl` and `runtime` are used.
        index_train, index_val: index files.
        embeddings, crops: files of the subjects of both splits.
        prior: the prior's checkpoint.
        body: body file in SMPL layout.
        output: runs/{name}/model_{steps}.pt.
        budget_s: seconds after which to save and leave with OutOfTimeError.

    Raises:
        DataError: a file is missing or not in its format, or no row is labelled.
        OutOfTimeError: the budget is spent.
    """
    section = config.smpl
    device = prepare(config.runtime, section.seed)
    latents = [read_embeddings(path) for path in embeddings]
    train, val = (Samples.load(crops, latents, index) for index in (index_train, index_val))
    judge, mean_rotmats = frozen_prior(prior)
    head = build(section, train.L_3d.shape[1], train.L_app.shape[1], mean_rotmats)
    head.fit_input(train.L_3d, train.L_app)
    layer = BodyLayer(load_body(body)).to(device)
    lesson = Lesson(section, head.to(device), judge.to(device), layer, train.store.size)
    optimizer = optim.adam(section, head)

    def update(batch: Batch, step: int) -> dict[str, Tensor]:
        return lesson(batch, optimizer, with_silhouettes=step >= section.silhouette_from)

    loop.fit(
        section,
        modules={"smpl": head},
        optimizers={"smpl": optimizer},
        batches=_streams(section, train, device),
        update=update,
        validate=lambda: assess(head, layer, val, device),
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[index_train, index_val, *embeddings, *crops, prior, body]),
        budget_s=budget_s,
        extra={"mean_rotmats": mean_rotmats, "mean_betas": torch.zeros(10)},
    )


def frozen_prior(checkpoint: Path) -> tuple[Prior, Float[Tensor, "24 3 3"]]:
    """The prior at rest, and the mean pose of its poses, upright before the camera."""
    found = load_checkpoint(checkpoint)
    try:
        judge = Prior(int(found.config["width"]))
        judge.load_state_dict(found.part("prior"))
        mean = found.extra["mean_rotmats"].clone()
    except (KeyError, RuntimeError) as error:
        raise DataError(f"The checkpoint holds no prior: {error}", where=checkpoint) from None
    mean[0] = torch.tensor(FACING_CAMERA)
    return judge.requires_grad_(False).eval(), mean


@dataclass(frozen=True)
class Samples:
    """Crops of a split with their embeddings, row by row, and the cameras that project straight into the crops."""

    store: CropStore
    L_3d: Float[Tensor, "rows points 3"]
    L_app: Float[Tensor, "rows app"]

    @classmethod
    def load(cls, crops: list[Path], latents: list[Embeddings], index: Path) -> Samples:
        """Open the crops of an index's rows and find each row's embedding."""
        store = CropStore(crops, read_index(index).key)
        columns = store.columns
        columns["f_crop_px"], columns["c_crop_px"] = crop_intrinsics(store.crop_from_image, store.f_px, store.c_px)
        return cls(store, *map(torch.from_numpy, latents_of(latents, store.key)))

    def of(self, subjects: tuple[int, ...], what: str) -> Rows:
        """Rows of subjects; DataError if there are none."""
        rows = np.flatnonzero(np.isin(self.store.subject, subjects))
        if not len(rows):
            raise DataError(
                f"The training split has no row of subjects {list(subjects)}.", where=what,
                mend="name subjects with frames in split.train, or see the index' exclusions",
            )  # fmt: skip
        return rows

    def gather(self, rows: Rows) -> Batch:
        """Embeddings and labels of rows."""
        own = {"L_3d": self.L_3d[rows], "L_app": self.L_app[rows]}
        return own | self.store.gather(rows, ("joints_im_mm", "R_world_im"))

    def gather_views(self, rows: Rows) -> Batch:
        """Embeddings of rows, and masks and cameras of all views of their instants (`seen` where there is a mask)."""
        start, length = runs(self.store.instant)
        block = np.searchsorted(start, rows, side="right") - 1
        place = np.arange(int(length.max()))
        present = place < length[block][:, None]
        views = start[block][:, None] + np.where(present, place, 0)
        own = self.store.gather(rows, ("R_world_im", "root_world_mm")) | self.store.gather(
            views, ("mask", *VIEW_COLUMNS)
        )
        own |= {"L_3d": self.L_3d[rows], "L_app": self.L_app[rows]}
        seen = torch.from_numpy(present & self.store.has_mask[views])
        return {f"views/{name}": value for name, value in (own | {"seen": seen}).items()}


class _Together:
    """Several streams drawn side by side."""

    def __init__(self, **streams: Frames) -> None:
        self.streams = streams

    def __next__(self) -> Batch:
        return {name: value for stream in self.streams.values() for name, value in next(stream).items()}

    def state_dict(self) -> dict[str, Any]:
        return {name: stream.state_dict() for name, stream in self.streams.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, stream in self.streams.items():
            stream.load_state_dict(state[name])


def _streams(section: SmplConfig, train: Samples, device: torch.device) -> _Together:
    labelled = train.of(section.label_subjects, "smpl.label_subjects")
    masked = train.of(section.mask_subjects or section.label_subjects, "smpl.mask_subjects")
    seed, samples = section.seed, section.silhouette_samples
    return _Together(
        labelled=Frames(labelled, train.gather, batch_size=section.batch_size, seed=seed, device=device),
        masked=Frames(masked, train.gather_views, batch_size=samples, seed=seed, device=device),
    )


class Lesson:
    """One update of the head. Each loss's gradient is taken at the head's output, so its share is known every step."""

    def __init__(self, section: SmplConfig, head: SmplHead, prior: Prior, layer: BodyLayer, size: int) -> None:
        self.section, self.head, self.prior, self.layer, self.size = section, head, prior, layer, size

    def __call__(self, batch: Batch, optimizer: torch.optim.Optimizer, *, with_silhouettes: bool) -> dict[str, Tensor]:
        """Losses (unweighted), and each one's share of the gradient at the output."""
        section = self.section
        prefixes = ("", "views/") if with_silhouettes and section.silhouette_weight > 0 else ("",)
        points, app, turn = (
            torch.cat(part) for part in zip(*(self._augmented(batch, p) for p in prefixes), strict=True)
        )
        raw = self.head(points, app)
        out = raw.detach().requires_grad_()
        rotmats, betas = split(out)
        count = len(batch["L_3d"])
        losses = {
            "joints": self._joints(rotmats[:count], betas[:count], rotate(batch["joints_im_mm"], turn[:count])),
            "prior": self.prior.loss(rotmats, betas),
            "betas": betas.square().mean(),
        }
        if len(prefixes) == 2:
            losses["silhouettes"] = self._silhouettes(rotmats[count:], betas[count:], turn[count:], batch)
        weights = {
            "joints": section.joints_weight,
            "prior": section.prior_weight,
            "betas": section.betas_weight,
            "silhouettes": section.silhouette_weight,
        }
        gradients = {
            name: torch.autograd.grad(weights[name] * loss, out, retain_graph=True)[0] for name, loss in losses.items()
        }
        whole = torch.stack(list(gradients.values())).sum(dim=0)
        norm = optim.step((raw * whole).sum(), optimizer, section.gradient_clip)
        sizes = {name: gradient.norm() for name, gradient in gradients.items()}
        total = torch.stack(list(sizes.values())).sum().clamp_min(1e-12)
        shares = {f"gradient_share/{name}": size / total for name, size in sizes.items()}
        return {name: loss.detach() for name, loss in losses.items()} | shares | {"gradient_norm": norm}

    def _augmented(self, batch: Batch, prefix: str) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings turned about the vertical, with noise, and the rotation of the im frame that was applied."""
        points, app, world = (batch[prefix + name] for name in ("L_3d", "L_app", "R_world_im"))
        angle = (torch.rand(len(points)) * 2 * torch.pi * self.section.turn).to(points.device)
        turn = vertical_turns(world, angle)
        noise = self.section.noise * self.head.scale[0] * torch.randn(points.shape).to(points.device)
        noise_app = self.section.noise * self.head.scale[1:] * torch.randn(app.shape).to(app.device)
        return rotate(points, turn) + noise, app + noise_app, turn

    def _joints(
        self,
        rotmats: Float[Tensor, "batch 24 3 3"],
        betas: Float[Tensor, "batch 10"],
        target_mm: Float[Tensor, "batch 17 3"],
    ) -> Float[Tensor, ""]:
        found = joints_about_root_m(self.layer, betas, rotmats)
        return (found - MM_TO_M * target_mm).norm(dim=2).mean() / UNIT_M

    def _silhouettes(
        self,
        rotmats: Float[Tensor, "samples 24 3 3"],
        betas: Float[Tensor, "samples 10"],
        turn: Float[Tensor, "samples 3 3"],
        batch: Batch,
    ) -> Float[Tensor, ""]:
        """Difference of silhouettes and masks in all views, the body standing at the root's true place."""
        view = {name: batch[f"views/{name}"] for name in ("R_world_im", "root_world_mm", "mask", "seen", *VIEW_COLUMNS)}
        # undo the augmentation, then from the source view's im frame to the world
        world = view["R_world_im"].transpose(1, 2) @ turn.transpose(1, 2)
        rotmats = torch.cat([(world @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)
        vertices = self.layer.vertices(betas, rotmats)
        root = self.layer.joints17(betas, rotmats)[:, H36M.index("root")]
        placed = vertices - root[:, None] + MM_TO_M * view["root_world_mm"][:, None]
        sample, camera = view["seen"].nonzero(as_tuple=True)
        if not len(sample):
            return vertices.sum() * 0.0
        R, T_m = view["R"][sample, camera], MM_TO_M * view["T_mm"][sample, camera]
        seen = rotate(placed[sample] - T_m[:, None], R)
        f_px, c_px = (view[name][sample, camera] for name in ("f_crop_px", "c_crop_px"))
        drawn = silhouette(seen, self.layer.faces, f_px, c_px, (self.size, self.size))
        return pyramid_difference(drawn, view["mask"][sample, camera].float() / 255)


def joints_about_root_m(
    layer: BodyLayer, betas: Float[Tensor, "batch 10"], rotmats: Float[Tensor, "batch 24 3 3"]
) -> Float[Tensor, "batch 17 3"]:
    """The Human3.6M joints about their root, metres, in the frame of the global orientations."""
    joints = layer.joints17(betas, rotmats)
    root = H36M.index("root")
    return joints - joints[:, root : root + 1]


def pyramid_difference(
    drawn: Float[Tensor, "images size size"], mask: Float[Tensor, "images size size"]
) -> Float[Tensor, ""]:
    """Squared difference relative to the mask's area, mean over a pyramid that halves the resolution each level.

    Coarse levels pull from afar, where a silhouette does not touch its mask.
    """
    levels = []
    for _ in range(LEVELS):
        levels.append((drawn - mask).square().sum() / mask.square().sum().clamp_min(1.0))
        drawn, mask = (F.avg_pool2d(part[:, None], 2)[:, 0] for part in (drawn, mask))
    return torch.stack(levels).mean()


def assess(head: SmplHead, layer: BodyLayer, samples: Samples, device: torch.device) -> dict[str, float]:
    """Joint errors on a split, mm."""
    found = []
    for rows in in_turn(np.arange(len(samples.store)), 256):
        rotmats, betas = split(head(samples.L_3d[rows].to(device), samples.L_app[rows].to(device)))
        found.append(joints_about_root_m(layer, betas, rotmats).cpu())
    predicted, target = torch.cat(found).numpy() / MM_TO_M, samples.store.joints_im_mm
    metrics = {"mpjpe_mm": mpjpe, "n_mpjpe_mm": n_mpjpe, "pa_mpjpe_mm": pa_mpjpe}
    return {name: float(metric(predicted, target).mean()) for name, metric in metrics.items()}
