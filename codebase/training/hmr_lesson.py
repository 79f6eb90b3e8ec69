"""What the image-to-body network is taught in one step: augmented images; vertices, joints, rotations and shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from codebase.body.arrays import BodyArrays
from codebase.body.joints import KinematicJoints, RegressedJoints
from codebase.body.model import BodyLayer
from codebase.config import HmrConfig
from codebase.models import augment
from codebase.models.hmr import Hmr, bodies_of
from codebase.models.prior import AnyPrior
from codebase.models.projection import PREFIX, Cameras
from codebase.skeleton import H36M
from codebase.training.colour import random_maps, random_spots, recolour, recolour_spots
from codebase.training.precision import autocast
from codebase.training.state import Batch
from codebase.training.team import team

MM_TO_M = 0.001
UNIT_M = 0.1  # losses on points count 100 mm as one


def prepare_images(section: HmrConfig, batch: Batch, *, training: bool = True, half_box_m: float = 1.0) -> Batch:
    """Float images in [0, 1]; in training recoloured, before other backgrounds, mirrored, rolled, scaled, part hidden.

    The batch's cameras (`projection.columns`) say where the crop, which reaches from -1 to 1, shows joints: `places`.
    A batch without any gets those of a crop that shows `half_box_m` on each side of the root from far away.

    Where the encoder sees it, `background` is the empty scene of each image's camera, changed as the image is; what
    hides a part of the person stands in the image alone.
    """
    joints, rotmats = batch["joints_im_mm"] * MM_TO_M, batch["rotmats"]
    cameras = Cameras.of(batch, count=len(joints), half_box_m=half_box_m)
    shown = ("image", "background") if section.sees_background else ("image",)
    if training:
        pictures = [_channels_first(picture) for picture in _recoloured(section, batch)[: len(shown)]]
        pixels, joints, rotmats, cameras = _moved(section, torch.cat(pictures, dim=1), joints, rotmats, cameras)
        pictures = list(pixels.split(3, dim=1))
    else:
        pictures = [_channels_first(batch[name].float() / 255) for name in shown]
    places = cameras.project(joints)
    if training and section.occlusion:
        pictures[0] = _occluded(section, pictures[0], batch, places)
    known = {name: batch[name] for name in ("has_body", "betas")} | cameras.columns()
    known |= dict(zip(shown, pictures, strict=True))
    return known | {"joints_m": joints, "rotmats": rotmats, "places": places}


def _moved(
    section: HmrConfig, image: Tensor, joints: Tensor, rotmats: Tensor, cameras: Cameras
) -> tuple[Tensor, Tensor, Tensor, Cameras]:
    """Images (one or several a sample, as channels) mirrored, rolled and magnified, and poses and cameras with them."""
    device, count, crew = joints.device, len(joints), team()
    if section.flip:
        flipped = (crew.rand(count) < section.flip).to(device)
        image, joints, rotmats = augment.mirror_some(image, joints, rotmats, flipped)
        cameras = cameras.mirrored(flipped.float())
    angle, factor = torch.zeros(count, device=device), None
    if section.turn_rad:
        angle = (crew.randn(count) * section.turn_rad).to(device)
        turn = augment.roll_matrix(angle)
        rotmats = torch.cat([(turn @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)
        joints, cameras = joints @ turn.transpose(1, 2), cameras.rolled(turn)
    if section.scale:
        factor = (crew.randn(count).clamp(-2, 2) * section.scale).exp().to(device)
        cameras = cameras.scaled(factor)
    if section.turn_rad or factor is not None:
        image = augment.roll_image(image, angle, factor)
    return image, joints, rotmats, cameras


def _occluded(section: HmrConfig, image: Tensor, batch: Batch, places: Tensor) -> Tensor:
    """Some images with a part of the person hidden by noise, or by a piece of another sample's room (or image)."""
    crew, count, device = team(), len(image), image.device
    chosen = (crew.rand(count) < section.occlusion).to(device)
    numbers = crew.rand(count, augment.OCCLUSION_NUMBERS).to(device)
    noise = crew.rand(count, 3, augment.NOISE_CELLS, augment.NOISE_CELLS).to(device)
    other = _channels_first(crew.roll(batch.get("background", batch["image"])).float() / 255)
    return augment.occlude(image, other, places, numbers, noise, chosen)


def _recoloured(section: HmrConfig, batch: Batch) -> list[Float[Tensor, "batch height width 3"]]:
    """Images in other colours and, where there are masks, the empty scene behind each: person and room apart, some
    before other walls.
    """
    if "mask" in batch:
        return _before_another_wall(section, batch)
    image, crew = batch["image"].float() / 255, team()
    if not section.colour:
        return [image]
    matrix, shift = map(crew.mine, random_maps(crew.size * len(image), section.colour, crew.generator))
    whole = matrix.to(image), shift.to(image)
    return [recolour(image[:, None], torch.zeros_like(image[:, None, ..., 0]), whole, whole)[:, 0]]


def _before_another_wall(section: HmrConfig, batch: Batch) -> list[Float[Tensor, "batch size size 3"]]:
    """Person and room in colours of their own, some people before the background of another sample; and the room."""
    mask, count, crew = batch["mask"].float() / 255, len(batch["mask"]), team()
    (inside, shift), (outside, shift_outside) = (
        map(crew.mine, random_maps(crew.size * count, section.colour, crew.generator)) for _ in range(2)
    )
    person, room = (inside.to(mask), shift.to(mask)), (outside.to(mask), shift_outside.to(mask))
    moved = ((crew.rand(count) < section.background).to(mask.device) & batch["has_mask"])[:, None, None, None]
    wall = crew.roll(batch["background"])
    if section.sees_background:
        wall = torch.where(moved, wall, batch["background"])
    pair = torch.stack([batch["image"], wall], dim=1).float() / 255
    masks = torch.stack([mask, torch.zeros_like(mask)], dim=1)
    if section.colour_spots:
        drawn = crew.rand(count, section.colour_spots, 7).to(mask)
        pair = recolour_spots(pair, masks, random_spots(pair[:, 0], mask, drawn))
    image, wall = recolour(pair, masks, person, room).unbind(1)
    return [torch.where(moved, torch.lerp(wall, image, mask[..., None]), image), wall]


def _channels_first(image: Float[Tensor, "batch height width 3"]) -> Float[Tensor, "batch 3 height width"]:
    return image.permute(0, 3, 1, 2)  # channels_last in memory, as convolutions like it


class Lesson(torch.nn.Module):
    """The losses of HMR on a batch. Points come without building meshes: a subset of vertices, drawn once, is exact.

    Args:
        section: the config.
        model: the network.
        body: its vertices and joints are compared.
        box_mm: what a crop shows, at the root's distance.
        prior: trained, at rest; judges bodies where `prior_weight` asks for it.
    """

    def __init__(
        self, section: HmrConfig, model: Hmr, body: BodyArrays, box_mm: float, prior: AnyPrior | None = None
    ) -> None:
        super().__init__()
        self.section, self.model, self.half_box_m = section, model, MM_TO_M * box_mm / 2
        self.prior = prior if section.prior_weight else None
        if section.prior_weight and prior is None:
            raise ValueError("hmr.prior_weight asks for a prior")
        # what training calls; a plain attribute, for the wrapped network holds the same weights again
        self.__dict__["watched"] = team().wrap(model, Hmr.__call__)
        self.kinematic, self.regressed = KinematicJoints(body), RegressedJoints(body)
        total = len(body.v_template)
        self.whole = BodyLayer(body) if section.vertices is None else None
        self.subset = None
        if section.vertices is not None:
            rng = np.random.default_rng(section.seed)
            chosen = np.sort(rng.permutation(total)[: min(section.vertices, total)])
            self.subset = RegressedJoints(body, regressor=np.eye(total, dtype=np.float32)[chosen])

    def points(
        self, betas: Float[Tensor, "batch 10"], rotmats: Float[Tensor, "batch 24 3 3"]
    ) -> tuple[Float[Tensor, "batch 17 3"], Float[Tensor, "batch v 3"]]:
        """Human3.6M joints about their root, and vertices about the pelvis joint, metres."""
        joints, vertices, pelvis = self.placed(betas, rotmats)
        root = H36M.index("root")
        return joints - joints[:, root : root + 1], vertices - pelvis

    def placed(
        self, betas: Float[Tensor, "batch 10"], rotmats: Float[Tensor, "batch 24 3 3"]
    ) -> tuple[Float[Tensor, "batch 17 3"], Float[Tensor, "batch v 3"], Float[Tensor, "batch 1 3"]]:
        """Human3.6M joints, vertices and pelvis joint where SMPL puts them with translation zero, metres."""
        pose = self.kinematic(betas, rotmats)
        if self.subset is not None:
            vertices = self.subset(betas, rotmats, pose)
        else:
            assert self.whole is not None  # noqa: S101 - one of the two is there
            vertices = self.whole.vertices(betas, rotmats)
        return self.regressed(betas, rotmats, pose), vertices, pose.joints[:, :1]

    def predict(
        self,
        image: Float[Tensor, "batch 3 height width"],
        background: Float[Tensor, "batch 3 height width"] | None = None,
    ) -> tuple[Float[Tensor, "iterations batch parameters"], Float[Tensor, "batch joints 2"]]:
        """Raw parameters after each correction, and the joints' places in the crop (-1 to 1; none without maps)."""
        with autocast(self.section.precision, image.device):
            call: Callable[..., tuple[Tensor, Tensor]] = self.__dict__["watched"]
            return call(image, background) if self.model.training else self.model(image, background)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss, over all corrections, later ones counting more, and the last correction's parts."""
        estimates, places = self.predict(batch["image"], batch.get("background"))
        section, count = self.section, estimates.shape[1]
        if section.supervise == "last":
            estimates = estimates[-1:]
        times = len(estimates)
        share = 0.5 ** torch.arange(times - 1, -1, -1.0, device=estimates.device)
        weight = (share / share.sum() / count).repeat_interleave(count)
        given = {name: batch[name] for name in ("betas", "rotmats", "joints_m", "has_body")}
        if section.joints_2d_weight:
            given |= {name: value for name, value in batch.items() if name == "places" or name.startswith(PREFIX)}
        parts = self._parts(
            estimates.flatten(0, 1), {k: v.repeat(times, *[1] * (v.ndim - 1)) for k, v in given.items()}
        )
        total = torch.stack([self._weight(name) * (weight * part).sum() for name, part in parts.items()]).sum()
        logged = {name: part[-count:].mean().detach() for name, part in parts.items()}
        if places.shape[1]:
            off = self.half_box_m * (places - batch["places"]).norm(dim=2).mean() / UNIT_M
            total, logged["places"] = total + section.places_weight * off, off.detach()
        return total, {"loss": total.detach()} | logged

    def _weight(self, name: str) -> float:
        return float(getattr(self.section, f"{name}_weight"))

    def _parts(self, raw: Float[Tensor, "n parameters"], batch: Batch) -> dict[str, Float[Tensor, " n"]]:
        """Each loss of each sample, those of weight 0 among the course's left out."""
        rotmats, betas = bodies_of(raw)
        joints, vertices, pelvis = self.placed(betas, rotmats)
        joints = joints - joints[:, H36M.index("root")][:, None]
        known = batch["has_body"].float()
        with torch.no_grad():
            _, true_vertices, true_pelvis = self.placed(batch["betas"], batch["rotmats"])
        off = (vertices - pelvis - true_vertices + true_pelvis).norm(dim=2).mean(dim=1)
        mean_rotmats, mean_betas = bodies_of(self.model.regressor.mean[None])
        # where nothing is known of twist and shape, stay near the mean: a tenth of the weight, global orientation free
        stray = (rotmats - mean_rotmats)[:, 1:].square().mean(dim=(1, 2, 3))
        turned = (rotmats - batch["rotmats"]).square().mean(dim=(1, 2, 3))
        shape, lean = (betas - batch["betas"]).square().mean(dim=1), (betas - mean_betas).square().mean(dim=1)
        parts = {
            "joints": (joints - batch["joints_m"]).norm(dim=2).mean(dim=1) / UNIT_M,
            "vertices": known * off / UNIT_M,
            "rotations": torch.where(known > 0, turned, 0.1 * stray),
            "betas": torch.where(known > 0, shape, lean),
        }
        if self.section.joints_2d_weight:
            cameras = Cameras.of(batch, count=len(joints), half_box_m=self.half_box_m)
            shown = cameras.project(joints, weak=self.section.projection == "weak")
            parts["joints_2d"] = self.half_box_m * (shown - batch["places"]).norm(dim=2).mean(dim=1) / UNIT_M
        if self.prior is not None:
            parts["prior"] = F.softplus(-self.prior(rotmats, betas))
        return parts | self._of_the_course(vertices - true_vertices, rotmats, batch["rotmats"], known)

    def _of_the_course(
        self,
        away: Float[Tensor, "n v 3"],
        rotmats: Float[Tensor, "n 24 3 3"],
        truth: Float[Tensor, "n 24 3 3"],
        known: Float[Tensor, " n"],
    ) -> dict[str, Float[Tensor, " n"]]:
        """The course project's losses: vertices with SMPL's translation given, and axis-angle vectors."""
        found = {}
        if self.section.v2v_l1_weight:
            found["v2v_l1"] = known * away.abs().mean(dim=(1, 2))
        if self.section.v2v_l2_weight:
            found["v2v_l2"] = known * away.square().mean(dim=(1, 2))
        if self.section.pose_body_weight or self.section.pose_hand_weight:
            vectors = roma.rotmat_to_rotvec(rotmats[:, 1:]) - roma.rotmat_to_rotvec(truth[:, 1:])
            found["pose_body"] = known * vectors[:, :21].square().mean(dim=(1, 2))
            found["pose_hand"] = known * vectors[:, 21:].square().mean(dim=(1, 2))
        return found
