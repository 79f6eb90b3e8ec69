"""Train the image-to-body network: vertices, joints, rotations and shape of true bodies, or joints alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from codebase.body.arrays import BodyArrays, load_body
from codebase.config import Config, HmrConfig, hmr_network
from codebase.data.batches import CropStore, Frames, Rows, in_turn
from codebase.data.bodies import bodies_in_im
from codebase.data.index import read_index
from codebase.data.labels import warn_of_unlabelled
from codebase.data.scratch import near
from codebase.errors import ConfigError, DataError
from codebase.geometry import crop_intrinsics, world_to_camera
from codebase.models import projection
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.hmr import Hmr, bodies_of, build, start_from, start_from_enc_dec
from codebase.models.prior import AnyPrior
from codebase.models.rotations import FACING_CAMERA, chordal_mean
from codebase.provenance import file_digest
from codebase.published import hmr_file
from codebase.synthetic.motion import sample_poses
from codebase.training import loop, optim
from codebase.training.budget import left
from codebase.training.encoders import load_enc_dec
from codebase.training.frozen_prior import frozen_prior
from codebase.training.global_norm import whole_batch_norms
from codebase.training.hmr_lesson import MM_TO_M, Lesson, prepare_images
from codebase.training.notes import BEGINS_WITH, note
from codebase.training.novel_views import as_image
from codebase.training.precision import place
from codebase.training.runtime import prepare
from codebase.training.state import Batch, run_digest
from codebase.training.team import team

VERSION = 3
STANDARD = 512  # images by which the points of L_3d are standardised
log = logging.getLogger("posemill.train_hmr")
PIXELS = ("image", "background", "mask", "joints_im_mm", "has_mask")


def run(
    config: Config,
    *,
    index_train: Path,
    index_val: Path,
    crops: list[Path],
    bodies: list[Path],
    body: Path,
    output: Path,
    prior: Sequence[Path] = (),
    enc_dec: Path | None = None,
    budget_s: float | None = None,
) -> None:
    """Train the network; its checkpoint's `extra` holds the crops' size, the mean body in the mean pose, and in words
    what the encoder began with (`training.notes`).

    Args:
        config: the whole config; `hmr`, where hmr.start says so the encoder's part of `enc_dec`, and `runtime` are
            used.
        index_train, index_val: index files; rows of `hmr.label_subjects` with known joints are learned from.
        crops: crops/S{n}.h5 of the subjects of both.
        bodies: S{n}.h5 of those subjects, the dataset's own or fitted ones; without any, only joints are learned from.
        body: body file in SMPL layout.
        output: runs/{name}/model_{steps}.pt.
        prior: the checkpoint of train_prior that `hmr.prior_weight` asks for, or nothing.
        enc_dec: the checkpoint of train_enc_dec that `hmr.start` asks for, or nothing.
        budget_s: seconds after which to save and leave with OutOfTimeError.

    Raises:
        ConfigError: what the section asks for is not named, or is for course data.
        DataError: a file is missing or not in its format, or no row is labelled.
        OutOfTimeError: the budget is spent.
    """
    begun, section = time.monotonic(), hmr_network(config.hmr, config.enc_dec)
    if section.frame == "camera" or section.root == "estimated":
        raise ConfigError(
            "Crops are turned towards the root, whose place is given.", where="hmr.frame, hmr.root",
            expected="im and given; camera and estimated are for course data (docs/course.md)",
        )  # fmt: skip
    judge = prior_of(section, *prior)
    device = prepare(config.runtime, section.seed)
    copies = near(crops, config.runtime.scratch)
    train, val = (Samples.load(copies, index, bodies) for index in (index_train, index_val))
    warn_of_unlabelled(val.store.key, val.store.has_joints)
    arrays = load_body(body)
    rows = _labelled(train.store, section.label_subjects)
    usable = torch.zeros(len(train.store), dtype=torch.bool)
    usable[rows] = True
    train = replace(train, has_body=train.has_body & usable)
    mean_rotmats, mean_betas = mean_body(train, arrays)
    if not train.has_body.any():
        log.info("no true bodies: learning from joints alone")
    model = build(section, train.store.size, mean_rotmats=mean_rotmats, mean_betas=mean_betas)
    words = _start(model, config, train.store, enc_dec)
    log.info("encoder: %s", words)
    model = whole_batch_norms(place(model, device))
    lesson = Lesson(section, model, arrays, train.store.box_mm, judge).to(device)
    optimizer = optim.make(section, model)
    weights = [*filter(None, [hmr_file(section)]), *(prior if judge else ())]
    weights += [enc_dec] if enc_dec is not None and section.start == "enc_dec" else []

    def update(batch: Batch, step: int) -> dict[str, Tensor]:
        loss, parts = lesson(prepare_images(section, batch, half_box_m=lesson.half_box_m))
        return parts | {"gradient_norm": optim.step(loss, optimizer, section.gradient_clip)}

    loop.fit(
        section,
        modules={"hmr": model},
        optimizers={"hmr": optimizer},
        batches=Frames(
            rows,
            train.gather,
            batch_size=section.batch_size,
            seed=section.seed,
            device=device,
            share=team().share,
        ),
        update=update,
        validate=lambda: assess(lesson, val, device, section.batch_size),
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[index_train, index_val, *crops, *bodies, body, *weights]),
        budget_s=left(budget_s, begun),
        extra={
            "mean_rotmats": mean_rotmats,
            "mean_betas": mean_betas,
            "size": torch.tensor(train.store.size),
            BEGINS_WITH: note(words),
        },
    )


def _start(model: Hmr, config: Config, store: CropStore, enc_dec: Path | None) -> str:
    """Give the encoder its first weights; returns in words what it begins with."""
    if config.hmr.start == "scratch":
        return start_from(model, config.hmr)
    if enc_dec is None:
        raise ConfigError(
            "hmr.start is enc_dec, and no checkpoint of it is given.", where="--enc-dec",
            expected="a model_{step}.pt of the stage train_enc_dec", mend="name it, or set hmr.start to scratch",
        )  # fmt: skip
    trained, found = load_enc_dec(enc_dec, config.enc_dec, store.size)
    of = f"{enc_dec.name} (sha256 {file_digest(enc_dec)}), step {found.step}"
    words = start_from_enc_dec(model, trained.encoder.state_dict(), of=of)
    if model.reads_points:
        rows = np.unique(np.linspace(0, len(store) - 1, STANDARD).round().astype(np.int64))
        model.standardise_points(_points(trained, store, rows))
    return words


@torch.inference_mode()
def _points(trained: EncoderDecoder, store: CropStore, rows: Rows) -> Float[Tensor, "rows points 3"]:
    """L_3d of some rows, by the encoder at rest."""
    pixels = (store.gather(part, ("image", "background")) for part in in_turn(rows, 64))
    return torch.cat([trained.encoder(*map(as_image, part.values())).points for part in pixels])


def prior_of(section: HmrConfig, *checkpoints: Path) -> AnyPrior | None:
    """The trained prior, at rest, where the section's `prior_weight` asks for it.

    Raises:
        ConfigError: it does, and no checkpoint is named, or several are.
        DataError: the checkpoint is missing, or none of a prior.
    """
    if not section.prior_weight:
        return None
    if len(checkpoints) != 1:
        raise ConfigError(
            f"hmr.prior_weight is {section.prior_weight}, but {len(checkpoints)} priors are named.",
            where="hmr.prior_weight",
            expected="one checkpoint of train_prior: --prior of train-hmr, or the key `prior` of a course config",
            mend="name it, or set hmr.prior_weight to 0",
        )
    return frozen_prior(checkpoints[0])[0]


def _labelled(store: CropStore, subjects: tuple[int, ...] | None) -> Rows:
    """Rows that may be learned from: joints are known, and the subject's labels may be used."""
    mine = np.ones(len(store), bool) if subjects is None else np.isin(store.subject, subjects)
    rows = np.flatnonzero(mine & store.has_joints)
    if not len(rows):
        raise DataError(
            f"The training split has no row with known joints of {subjects or 'any subject'}.",
            where="hmr.label_subjects",
            mend="name subjects with poses and frames in split.train, or see the index' exclusions",
        )
    return rows


@dataclass(frozen=True)
class Samples:
    """Crops of a split, their true bodies (im frame) where there are any, and columns of their cameras."""

    store: CropStore
    has_body: Bool[Tensor, " rows"]
    betas: Float[Tensor, "rows 10"]
    rotmats: Float[Tensor, "rows 24 3 3"]
    cameras: dict[str, Tensor]

    @classmethod
    def load(cls, crops: list[Path], index: Path, bodies: list[Path]) -> Samples:
        """Open the crops of an index's rows and look up the bodies."""
        store = CropStore(crops, read_index(index).key)
        known, found = bodies_in_im(bodies, store.columns, store.R_world_im)
        has_body, betas = torch.zeros(len(store), dtype=torch.bool), torch.zeros(len(store), 10)
        rotmats = torch.eye(3).repeat(len(store), 24, 1, 1)
        has_body[known] = True
        betas[known], rotmats[known] = torch.from_numpy(found.betas), torch.from_numpy(found.rotmats)
        return cls(store, has_body, betas, rotmats, cameras_of(store))

    def gather(self, rows: np.ndarray) -> Batch:
        """Pixels (uint8), joints and bodies of rows."""
        own = {"has_body": self.has_body[rows], "betas": self.betas[rows], "rotmats": self.rotmats[rows]}
        return self.store.gather(rows, PIXELS) | own | {name: value[rows] for name, value in self.cameras.items()}


def cameras_of(store: CropStore) -> dict[str, Tensor]:
    """Columns of the crops' cameras, for joints about the root in the im frame (`projection.columns`)."""
    root_mm = world_to_camera(store.root_world_mm[:, None], store.R, store.T_mm)[:, 0]
    f_px, c_px = crop_intrinsics(store.crop_from_image, store.f_px, store.c_px)
    return projection.columns(
        turn=store.R @ np.swapaxes(store.R_world_im, 1, 2), root_m=MM_TO_M * root_mm, f_crop_px=f_px, c_crop_px=c_px,
        size=(store.size, store.size),
    )  # fmt: skip


def mean_body(train: Samples, body: BodyArrays) -> tuple[Float[Tensor, "24 3 3"], Float[Tensor, "10"]]:
    """Chordal mean of the training bodies' rotations (global one in the im frame) and their mean shape.

    Where there are none: the mean of free synthetic poses, upright before the camera, and the template's shape.
    """
    if train.has_body.any():
        return chordal_mean(train.rotmats[train.has_body]), train.betas[train.has_body].mean(dim=0)
    poses = torch.from_numpy(sample_poses(480, 0, body.joint_shape_map[0]))
    rotmats = chordal_mean(roma.rotvec_to_rotmat(poses))
    rotmats[0] = torch.tensor(FACING_CAMERA)
    return rotmats, torch.zeros(10)


def assess(lesson: Lesson, samples: Samples, device: torch.device, batch_size: int) -> dict[str, float]:
    """Errors on a split, mm: MPJPE of the 17 joints; PVE of the lesson's vertices, after each correction, and that of
    the mean body.
    """
    parts: dict[str, list[Tensor]] = {}
    for rows in in_turn(np.flatnonzero(samples.store.has_joints), batch_size):
        raw = {name: value.to(device) for name, value in samples.gather(rows).items()}
        batch = prepare_images(lesson.section, raw, training=False)
        estimates = lesson.predict(batch["image"], batch.get("background"))[0]
        known = batch["has_body"]
        found: dict[str, Tensor] = {}
        truth = lesson.points(batch["betas"][known], batch["rotmats"][known])[1] if known.any() else None
        for number, estimate in enumerate(estimates, start=1):
            rotmats, betas = bodies_of(estimate)
            joints, there = lesson.points(betas, rotmats)
            found["mpjpe_mm"] = (joints - batch["joints_m"]).norm(dim=2).mean(dim=1)
            if truth is not None:
                off = (there[known] - truth).norm(dim=2).mean(dim=1)
                found[f"pve_mm/iteration_{number}"] = found["pve_mm"] = off
        if truth is not None:
            mean_rotmats, mean_betas = bodies_of(lesson.model.regressor.mean[None])
            mean_vertices = lesson.points(mean_betas, mean_rotmats)[1]
            found["mean_body_pve_mm"] = (mean_vertices - truth).norm(dim=2).mean(dim=1)
        for name, value in found.items():
            parts.setdefault(name, []).append(value)
    return {name: float(torch.cat(part).mean() / MM_TO_M) for name, part in parts.items()}
