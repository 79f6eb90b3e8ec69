"""Train the image-to-body network: vertices, joints, rotations and shape of true bodies, or joints alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from codebase.body.arrays import load_body
from codebase.body.joints import KinematicJoints, RegressedJoints
from codebase.body.model import BodyArrays
from codebase.config import Config, HmrConfig
from codebase.data.batches import CropStore, Frames, in_turn
from codebase.data.bodies import bodies_in_im
from codebase.data.index import read_index
from codebase.models import augment
from codebase.models.hmr import Hmr, build
from codebase.models.rotations import FACING_CAMERA, chordal_mean
from codebase.models.smpl import split
from codebase.skeleton import H36M
from codebase.synthetic.motion import sample_poses
from codebase.training import loop, optim
from codebase.training.colour import random_maps, recolour
from codebase.training.precision import autocast, place
from codebase.training.runtime import prepare
from codebase.training.state import run_digest

VERSION = 1
log = logging.getLogger("posemill.train_hmr")
Batch = dict[str, Tensor]
MM_TO_M = 0.001
UNIT_M = 0.1  # losses on points count 100 mm as one
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
    budget_s: float | None = None,
) -> None:
    """Train the network; its checkpoint's `extra` holds the crops' size and the mean body in the mean pose.

    Args:
        config: the whole config; `hmr` and `runtime` are used.
        index_train, index_val: index files; all subjects of the training split are learned from.
        crops: crops/S{n}.h5 of the subjects of both.
        bodies: {dataset}/truth/S{n}.h5 of those subjects; without any, only joints are learned from.
        body: body file in SMPL layout.
        output: runs/{name}/model_{steps}.pt.
        budget_s: seconds after which to save and leave with OutOfTimeError.

    Raises:
        DataError: a file is missing or not in its format.
        OutOfTimeError: the budget is spent.
    """
    section = config.hmr
    device = prepare(config.runtime, section.seed)
    train, val = (Samples.load(crops, index, bodies) for index in (index_train, index_val))
    arrays = load_body(body)
    mean_rotmats, mean_betas = mean_body(train, arrays)
    if not train.has_body.any():
        log.info("no true bodies: learning from joints alone")
    model = place(build(section, train.store.size, mean_rotmats=mean_rotmats, mean_betas=mean_betas), device)
    lesson = Lesson(section, model, arrays, train.store.box_mm).to(device)
    optimizer = optim.adam(section, model)

    def update(batch: Batch, step: int) -> dict[str, Tensor]:
        loss, parts = lesson(prepare_images(section, batch))
        return parts | {"gradient_norm": optim.step(loss, optimizer, section.gradient_clip)}

    loop.fit(
        section,
        modules={"hmr": model},
        optimizers={"hmr": optimizer},
        batches=Frames(
            np.arange(len(train.store)), train.gather, batch_size=section.batch_size, seed=section.seed, device=device
        ),
        update=update,
        validate=lambda: assess(lesson, val, device, section.batch_size),
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[index_train, index_val, *crops, *bodies, body]),
        budget_s=budget_s,
        extra={"mean_rotmats": mean_rotmats, "mean_betas": mean_betas, "size": torch.tensor(train.store.size)},
    )


@dataclass(frozen=True)
class Samples:
    """Crops of a split, and their true bodies (im frame) where there are any."""

    store: CropStore
    has_body: Bool[Tensor, " rows"]
    betas: Float[Tensor, "rows 10"]
    rotmats: Float[Tensor, "rows 24 3 3"]

    @classmethod
    def load(cls, crops: list[Path], index: Path, bodies: list[Path]) -> Samples:
        """Open the crops of an index's rows and look up the bodies."""
        store = CropStore(crops, read_index(index).key)
        known, found = bodies_in_im(bodies, store.columns, store.R_world_im)
        has_body, betas = torch.zeros(len(store), dtype=torch.bool), torch.zeros(len(store), 10)
        rotmats = torch.eye(3).repeat(len(store), 24, 1, 1)
        has_body[known] = True
        betas[known], rotmats[known] = torch.from_numpy(found.betas), torch.from_numpy(found.rotmats)
        return cls(store, has_body, betas, rotmats)

    def gather(self, rows: np.ndarray) -> Batch:
        """Pixels (uint8), joints and bodies of rows."""
        own = {"has_body": self.has_body[rows], "betas": self.betas[rows], "rotmats": self.rotmats[rows]}
        return self.store.gather(rows, PIXELS) | own


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


def prepare_images(section: HmrConfig, batch: Batch, *, training: bool = True) -> Batch:
    """Float images in [0, 1]; in training in other colours, before other backgrounds, mirrored and rolled."""
    prepared = {name: batch[name] for name in ("has_body", "betas")}
    joints, rotmats = batch["joints_im_mm"] * MM_TO_M, batch["rotmats"]
    if not training:
        image = _channels_first(batch["image"].float() / 255)
        return prepared | {"image": image, "joints_m": joints, "rotmats": rotmats}
    device, count = joints.device, len(joints)
    image = _channels_first(_before_another_wall(section, batch))
    flipped = (torch.rand(count) < section.flip).to(device)
    image, joints, rotmats = augment.mirror_some(image, joints, rotmats, flipped)
    angle = (torch.randn(count) * section.turn_rad).to(device)
    turn = augment.roll_matrix(angle)
    rotmats = torch.cat([(turn @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)
    image = augment.roll_image(image, angle)
    return prepared | {"image": image, "joints_m": joints @ turn.transpose(1, 2), "rotmats": rotmats}


def _before_another_wall(section: HmrConfig, batch: Batch) -> Float[Tensor, "batch size size 3"]:
    """Person and room in colours of their own; some people before the background of another sample."""
    mask, count = batch["mask"].float() / 255, len(batch["mask"])
    pair = torch.stack([batch["image"], batch["background"].roll(1, 0)], dim=1).float() / 255
    masks = torch.stack([mask, torch.zeros_like(mask)], dim=1)
    (inside, shift), (outside, shift_outside) = (random_maps(count, section.colour) for _ in range(2))
    person, room = (inside.to(mask), shift.to(mask)), (outside.to(mask), shift_outside.to(mask))
    image, wall = recolour(pair, masks, person, room).unbind(1)
    moved = (torch.rand(count) < section.background).to(mask.device) & batch["has_mask"]
    return torch.where(moved[:, None, None, None], torch.lerp(wall, image, mask[..., None]), image)


def _channels_first(image: Float[Tensor, "batch size size 3"]) -> Float[Tensor, "batch 3 size size"]:
    return image.permute(0, 3, 1, 2)  # channels_last in memory, as convolutions like it


class Lesson(torch.nn.Module):
    """The losses of HMR on a batch. Points come without building meshes: a subset of vertices, drawn once, is exact."""

    def __init__(self, section: HmrConfig, model: Hmr, body: BodyArrays, box_mm: float) -> None:
        super().__init__()
        self.section, self.model, self.half_box_m = section, model, MM_TO_M * box_mm / 2
        self.kinematic, self.regressed = KinematicJoints(body), RegressedJoints(body)
        total = len(body.v_template)
        rng = np.random.default_rng(section.seed)
        chosen = np.sort(rng.permutation(total)[: min(section.vertices, total)])
        self.subset = RegressedJoints(body, regressor=np.eye(total, dtype=np.float32)[chosen])

    def points(
        self, betas: Float[Tensor, "batch 10"], rotmats: Float[Tensor, "batch 24 3 3"]
    ) -> tuple[Float[Tensor, "batch 17 3"], Float[Tensor, "batch v 3"]]:
        """Human3.6M joints about their root, and vertices about the pelvis joint, metres."""
        pose = self.kinematic(betas, rotmats)
        joints = self.regressed(betas, rotmats, pose)
        root = H36M.index("root")
        return joints - joints[:, root : root + 1], self.subset(betas, rotmats, pose) - pose.joints[:, :1]

    def predict(
        self, image: Float[Tensor, "batch 3 size size"]
    ) -> tuple[Float[Tensor, "iterations batch 154"], Float[Tensor, "batch 17 2"]]:
        """Raw parameters after each correction, and the joints' places in the crop (-1 to 1)."""
        with autocast(self.section.precision, image.device):
            return self.model(image)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss, over all corrections, later ones counting more, and the last correction's parts."""
        estimates, places = self.predict(batch["image"])
        times = len(estimates)
        share = 0.5 ** torch.arange(times - 1, -1, -1.0, device=estimates.device)
        weight = (share / share.sum() / estimates.shape[1]).repeat_interleave(estimates.shape[1])
        parts = self._parts(
            estimates.flatten(0, 1), {k: v.repeat(times, *[1] * (v.ndim - 1)) for k, v in batch.items() if k != "image"}
        )
        section = self.section
        factors = {
            "vertices": section.vertices_weight,
            "joints": section.joints_weight,
            "rotations": section.rotations_weight,
            "betas": section.betas_weight,
        }
        off_m = self.half_box_m * (places - batch["joints_m"][..., :2] / self.half_box_m).norm(dim=2).mean()
        total = (
            section.places_weight * off_m / UNIT_M
            + torch.stack([factors[name] * (weight * part).sum() for name, part in parts.items()]).sum()
        )
        last = slice(-estimates.shape[1], None)
        logged = {name: part[last].mean().detach() for name, part in parts.items()}
        return total, {"loss": total.detach(), "places": off_m.detach() / UNIT_M} | logged

    def _parts(self, raw: Float[Tensor, "n 154"], batch: Batch) -> dict[str, Float[Tensor, " n"]]:
        rotmats, betas = split(raw)
        joints, vertices = self.points(betas, rotmats)
        distance = (joints - batch["joints_m"]).norm(dim=2).mean(dim=1)
        known = batch["has_body"].float()
        with torch.no_grad():
            _, true_vertices = self.points(batch["betas"], batch["rotmats"])
        off = (vertices - true_vertices).norm(dim=2).mean(dim=1)
        mean_rotmats, mean_betas = split(self.model.regressor.mean[None])
        # where nothing is known of twist and shape, stay near the mean: a tenth of the weight, global orientation free
        stray = (rotmats - mean_rotmats)[:, 1:].square().mean(dim=(1, 2, 3))
        turned = (rotmats - batch["rotmats"]).square().mean(dim=(1, 2, 3))
        shape, lean = (betas - batch["betas"]).square().mean(dim=1), (betas - mean_betas).square().mean(dim=1)
        return {
            "joints": distance / UNIT_M,
            "vertices": known * off / UNIT_M,
            "rotations": torch.where(known > 0, turned, 0.1 * stray),
            "betas": torch.where(known > 0, shape, lean),
        }


def assess(lesson: Lesson, samples: Samples, device: torch.device, batch_size: int) -> dict[str, float]:
    """Errors on a split, mm: MPJPE of the 17 joints, PVE of the subset of vertices and that of the mean body."""
    joints, vertices, mean = [], [], []
    for rows in in_turn(np.arange(len(samples.store)), batch_size):
        raw = {name: value.to(device) for name, value in samples.gather(rows).items()}
        batch = prepare_images(lesson.section, raw, training=False)
        rotmats, betas = split(lesson.predict(batch["image"])[0][-1])
        found, there = lesson.points(betas, rotmats)
        joints.append((found - batch["joints_m"]).norm(dim=2).mean(dim=1))
        known = batch["has_body"]
        if known.any():
            _, truth = lesson.points(batch["betas"][known], batch["rotmats"][known])
            mean_rotmats, mean_betas = split(lesson.model.regressor.mean[None])
            vertices.append((there[known] - truth).norm(dim=2).mean(dim=1))
            mean.append((lesson.points(mean_betas, mean_rotmats)[1] - truth).norm(dim=2).mean(dim=1))
    parts = {"mpjpe_mm": joints, "pve_mm": vertices, "mean_body_pve_mm": mean}
    return {name: float(torch.cat(part).mean() / MM_TO_M) for name, part in parts.items() if part}
