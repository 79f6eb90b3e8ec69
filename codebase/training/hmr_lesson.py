"""What the image-to-body network is taught in one step: augmented images; vertices, joints, rotations and shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.body.arrays import BodyArrays
from codebase.body.joints import KinematicJoints, RegressedJoints
from codebase.config import HmrConfig
from codebase.models import augment
from codebase.models.hmr import Hmr
from codebase.models.smpl import split
from codebase.skeleton import H36M
from codebase.training.colour import random_maps, recolour
from codebase.training.precision import autocast
from codebase.training.state import Batch
from codebase.training.team import team

MM_TO_M = 0.001
UNIT_M = 0.1  # losses on points count 100 mm as one


def prepare_images(section: HmrConfig, batch: Batch, *, training: bool = True) -> Batch:
    """Float images in [0, 1]; in training in other colours, before other backgrounds, mirrored and rolled."""
    prepared = {name: batch[name] for name in ("has_body", "betas")}
    joints, rotmats = batch["joints_im_mm"] * MM_TO_M, batch["rotmats"]
    if not training:
        image = _channels_first(batch["image"].float() / 255)
        return prepared | {"image": image, "joints_m": joints, "rotmats": rotmats}
    device, count, crew = joints.device, len(joints), team()
    image = _channels_first(_before_another_wall(section, batch))
    flipped = (crew.rand(count) < section.flip).to(device)
    image, joints, rotmats = augment.mirror_some(image, joints, rotmats, flipped)
    angle = (crew.randn(count) * section.turn_rad).to(device)
    turn = augment.roll_matrix(angle)
    rotmats = torch.cat([(turn @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)
    image = augment.roll_image(image, angle)
    return prepared | {"image": image, "joints_m": joints @ turn.transpose(1, 2), "rotmats": rotmats}


def _before_another_wall(section: HmrConfig, batch: Batch) -> Float[Tensor, "batch size size 3"]:
    """Person and room in colours of their own; some people before the background of another sample."""
    mask, count, crew = batch["mask"].float() / 255, len(batch["mask"]), team()
    pair = torch.stack([batch["image"], crew.roll(batch["background"])], dim=1).float() / 255
    masks = torch.stack([mask, torch.zeros_like(mask)], dim=1)
    (inside, shift), (outside, shift_outside) = (
        map(crew.mine, random_maps(crew.size * count, section.colour, crew.generator)) for _ in range(2)
    )
    person, room = (inside.to(mask), shift.to(mask)), (outside.to(mask), shift_outside.to(mask))
    image, wall = recolour(pair, masks, person, room).unbind(1)
    moved = (crew.rand(count) < section.background).to(mask.device) & batch["has_mask"]
    return torch.where(moved[:, None, None, None], torch.lerp(wall, image, mask[..., None]), image)


def _channels_first(image: Float[Tensor, "batch size size 3"]) -> Float[Tensor, "batch 3 size size"]:
    return image.permute(0, 3, 1, 2)  # channels_last in memory, as convolutions like it


class Lesson(torch.nn.Module):
    """The losses of HMR on a batch. Points come without building meshes: a subset of vertices, drawn once, is exact."""

    def __init__(self, section: HmrConfig, model: Hmr, body: BodyArrays, box_mm: float) -> None:
        super().__init__()
        self.section, self.model, self.half_box_m = section, model, MM_TO_M * box_mm / 2
        # what training calls; a plain attribute, for the wrapped network holds the same weights again
        self.__dict__["watched"] = team().wrap(model, Hmr.__call__)
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
            call: Callable[[Tensor], tuple[Tensor, Tensor]] = self.__dict__["watched"]
            return call(image) if self.model.training else self.model(image)

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
