"""Train the body head on frozen embeddings: joints of few subjects, silhouettes in all views, the prior."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.body.model import BodyLayer, load_body
from codebase.config import Config, SmplConfig
from codebase.data.batches import CropStore, Frames, Rows, Together, in_turn, next_view, runs
from codebase.data.embeddings import Embeddings, read_embeddings
from codebase.data.index import read_index
from codebase.data.instants import Runs
from codebase.data.labels import warn_of_unlabelled
from codebase.data.latents import latents_of, mirrored_of
from codebase.data.scratch import near
from codebase.errors import DataError
from codebase.geometry import crop_intrinsics
from codebase.metrics import mpjpe, n_mpjpe, pa_mpjpe
from codebase.models.smpl import AnyHead, body_of, build, split
from codebase.training import loop, optim
from codebase.training.budget import left
from codebase.training.encoders import encoder_of, require_mirrored
from codebase.training.frozen_prior import frozen_prior
from codebase.training.runtime import prepare
from codebase.training.smpl_lesson import MM_TO_M, VIEW_COLUMNS, Lesson, joints_about_root_m
from codebase.training.state import Batch, run_digest
from codebase.training.team import team

VERSION = 3
log = logging.getLogger("posemill.train_smpl")


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

    Joints are read of `smpl.label_subjects` alone, masks of `smpl.mask_subjects`. Of the other training subjects the
    embeddings alone are seen: the prior judges their bodies, and two views of an instant must give one body. As in
    the original system the root's true place is given to the silhouettes.

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
    begun, section = time.monotonic(), config.smpl
    device = prepare(config.runtime, section.seed)
    latents = [read_embeddings(path) for path in embeddings]
    require_mirrored(latents, "smpl", section.mirror)
    copies = near(crops, config.runtime.scratch)
    train, val = (Samples.load(copies, latents, index) for index in (index_train, index_val))
    warn_of_unlabelled(val.store.key, val.store.has_joints)
    judge, mean_rotmats = frozen_prior(prior)
    head = build(section, train.L_3d.shape[1], train.L_app.shape[1], mean_rotmats)
    head.fit_input(train.L_3d, train.L_app)
    layer = BodyLayer(load_body(body)).to(device)
    lesson = Lesson(section, head.to(device), judge.to(device), layer, train.store.size)
    optimizer = optim.adam(section, head)

    def update(batch: Batch, step: int) -> dict[str, Tensor]:
        return lesson(batch, optimizer, step=step)

    loop.fit(
        section,
        modules={"smpl": head},
        optimizers={"smpl": optimizer},
        batches=_streams(section, train, device),
        update=update,
        validate=lambda: assess(head, layer, val, device),
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[index_train, index_val, *embeddings, *crops, prior, body]),
        budget_s=left(budget_s, begun),
        extra=encoder_of(latents) | {"mean_rotmats": mean_rotmats, "mean_betas": torch.zeros(10)},
    )


@dataclass(frozen=True)
class Samples:
    """Crops of a split with their embeddings, row by row, and the cameras that project straight into the crops."""

    store: CropStore
    L_3d: Float[Tensor, "rows points 3"]
    L_3d_mirrored: Float[Tensor, "rows mirrored 3"]
    L_app: Float[Tensor, "rows app"]

    @classmethod
    def load(cls, crops: list[Path], latents: list[Embeddings], index: Path) -> Samples:
        """Open the crops of an index's rows and find each row's embedding."""
        store = CropStore(crops, read_index(index).key)
        columns = store.columns
        columns["f_crop_px"], columns["c_crop_px"] = crop_intrinsics(store.crop_from_image, store.f_px, store.c_px)
        points, appearance = latents_of(latents, store.key)
        return cls(store, *map(torch.from_numpy, (points, mirrored_of(latents, store.key), appearance)))

    def of(self, subjects: tuple[int, ...], what: str) -> Rows:
        """Rows of subjects whose joints are known; DataError if there are none."""
        rows = np.flatnonzero(np.isin(self.store.subject, subjects) & self.store.has_joints)
        if not len(rows):
            raise DataError(
                f"The training split has no row with known joints of subjects {list(subjects)}.", where=what,
                mend="name subjects with poses and frames in split.train, or see the index' exclusions",
            )  # fmt: skip
        return rows

    @cached_property
    def _instants(self) -> Runs:
        """Where the rows of each instant start and how many they are; of all rows, so no batch may ask for it anew."""
        return runs(self.store.instant)

    def gather(self, rows: Rows) -> Batch:
        """Embeddings and labels of rows."""
        return self._codes(rows) | self.store.gather(rows, ("joints_im_mm", "R_world_im"))

    def _codes(self, rows: Rows) -> Batch:
        return {"L_3d": self.L_3d[rows], "L_3d_mirrored": self.L_3d_mirrored[rows], "L_app": self.L_app[rows]}

    def gather_twice(self, rows: Rows) -> Batch:
        """Embeddings of rows and of each one's next view of the same instant (itself where there is one camera)."""
        both = np.concatenate([rows, next_view(self._instants, rows)])
        own = self._codes(both) | self.store.gather(both, ("R_world_im",))
        return {f"twice/{name}": value for name, value in own.items()}

    def gather_views(self, rows: Rows) -> Batch:
        """Embeddings of rows, and masks and cameras of all views of their instants (`seen` where there is a mask)."""
        start, length = self._instants
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


def _streams(section: SmplConfig, train: Samples, device: torch.device) -> Together:
    labelled = train.of(section.label_subjects, "smpl.label_subjects")
    masked = labelled if section.mask_subjects == "labelled" else np.arange(len(train.store))
    common: dict[str, Any] = {"seed": section.seed, "device": device, "share": team().share}
    return Together(
        labelled=Frames(labelled, train.gather, batch_size=section.batch_size, **common),
        masked=Frames(masked, train.gather_views, batch_size=section.silhouette_samples, **common),
        twice=Frames(np.arange(len(train.store)), train.gather_twice, batch_size=section.pairs, **common),
    )


def assess(head: AnyHead, layer: BodyLayer, samples: Samples, device: torch.device) -> dict[str, float]:
    """Joint errors on a split, mm, of the rows whose joints are known."""
    known = np.flatnonzero(samples.store.has_joints)
    if not len(known):
        return {}
    found = []
    for rows in in_turn(known, 256):
        codes = (each[rows].to(device) for each in (samples.L_3d, samples.L_3d_mirrored, samples.L_app))
        rotmats, betas = split(body_of(head, *codes))
        found.append(joints_about_root_m(layer, betas, rotmats).cpu())
    predicted, target = torch.cat(found).numpy() / MM_TO_M, samples.store.joints_im_mm[known]
    metrics = {"mpjpe_mm": mpjpe, "n_mpjpe_mm": n_mpjpe, "pa_mpjpe_mm": pa_mpjpe}
    return {name: float(metric(predicted, target).mean()) for name, metric in metrics.items()}
