"""What the body head is taught in one step: joints, silhouettes in all views, the prior; each one's share is known."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from codebase.body.model import BodyLayer
from codebase.config import SmplConfig
from codebase.models.augment import mirror_joints, mirror_rotations
from codebase.models.encoder_decoder import rotate
from codebase.models.gan2018 import Gan2018
from codebase.models.pose import vertical_turns
from codebase.models.prior import AnyPrior
from codebase.models.smpl import AnyHead, shear, split
from codebase.render.backends import backend
from codebase.skeleton import H36M, SMPL
from codebase.training import optim
from codebase.training.precision import autocast
from codebase.training.state import Batch
from codebase.training.team import team

MM_TO_M = 0.001
UNIT_M = 0.1  # the loss on joints counts 100 mm as one
LEVELS = 3  # of the silhouettes' pyramid
_UNSURE = 0.05
# the original's pairs of joints; it left out hips and head-top, which its body model had no joints for
_PAIRS = {
    "right_knee": "right_knee", "right_foot": "right_ankle", "left_knee": "left_knee", "left_foot": "left_ankle",
    "spine": "spine2", "neck": "neck", "head": "head", "left_shoulder": "left_shoulder", "left_elbow": "left_elbow",
    "left_wrist": "left_wrist", "right_shoulder": "right_shoulder", "right_elbow": "right_elbow",
    "right_wrist": "right_wrist",
}  # fmt: skip
_OF_H36M, _OF_SMPL = H36M.indices(*_PAIRS), SMPL.indices(*_PAIRS.values())
VIEW_COLUMNS = ("R", "T_mm", "f_crop_px", "c_crop_px")


class Lesson:
    """One update of the head. Each loss's gradient is taken at the head's output, so its share is known every step."""

    def __init__(self, section: SmplConfig, head: AnyHead, prior: AnyPrior, layer: BodyLayer, size: int) -> None:
        self.section, self.head, self.prior, self.layer, self.size = section, head, prior, layer, size
        self.draw = backend(section.silhouettes)
        self.watched = team().wrap(head, type(head).__call__)
        if isinstance(prior, Gan2018):
            prior.train()  # as in the original, whose normalisation went on looking at the batch

    def __call__(self, batch: Batch, optimizer: torch.optim.Optimizer, *, step: int) -> dict[str, Tensor]:
        """Losses (unweighted), and each one's share of the gradient at the output.

        Args:
            batch: of the streams `labelled`, `twice` and `views` of train_smpl.
            optimizer: of the head.
            step: from 0; silhouettes and prior come in at `smpl.silhouette_from` and `smpl.prior_from`.
        """
        section, batch = self.section, self._mirrored(batch)
        draws = step >= section.silhouette_from and section.silhouette_weight > 0
        agrees = section.views_weight > 0
        prefixes = ("", *(["twice/"] if agrees else []), *(["views/"] if draws else []))
        points, app, turn = (
            torch.cat(part) for part in zip(*(self._augmented(batch, p) for p in prefixes), strict=True)
        )
        with autocast(section.precision, points.device):
            raw = self.watched(points, app)
        out = raw.detach().requires_grad_()
        rotmats, betas = split(out)
        count = len(batch["L_3d"])
        until = count + (len(batch["twice/L_3d"]) if agrees else 0)
        losses = {
            "joints": self._joints(rotmats[:count], betas[:count], rotate(batch["joints_im_mm"], turn[:count])),
            "prior": self.prior.loss(rotmats, betas),
            "betas": betas.square().mean(),
            "shear": shear(out),
            "stray": (rotmats - split(self.head.mean[None])[0])[:, 1:].square().mean(),
        }
        if agrees:
            losses["views"] = self._views(rotmats[count:until], betas[count:until], turn[count:until], batch)
        if draws:
            losses["silhouettes"] = self._silhouettes(rotmats[until:], betas[until:], turn[until:], batch)
        weights = {
            "joints": section.joints_weight,
            "prior": section.prior_weight if step >= section.prior_from else 0.0,
            "betas": section.betas_weight,
            "shear": section.shear_weight,
            "stray": section.stray_weight,
            "views": section.views_weight,
            "silhouettes": section.silhouette_weight,
        }
        gradients = {
            name: torch.autograd.grad(weights[name] * loss, out, retain_graph=True)[0] for name, loss in losses.items()
        }
        whole = torch.stack(list(gradients.values())).sum(dim=0)
        norm = optim.step((raw * whole).sum(), optimizer, section.gradient_clip)
        sizes = {name: team().norm(gradient) for name, gradient in gradients.items()}
        total = torch.stack(list(sizes.values())).sum().clamp_min(1e-12)
        shares = {f"gradient_share/{name}": size / total for name, size in sizes.items()}
        return {name: loss.detach() for name, loss in losses.items()} | shares | {"gradient_norm": norm}

    def _mirrored(self, batch: Batch) -> Batch:
        """The batch with a share of the labelled rows and of the pairs of views as their mirror images."""
        if not self.section.mirror:
            return batch
        changed = dict(batch)
        for prefix, groups in (("", 1), *((("twice/", 2),) if "twice/L_3d" in batch else ())):
            points = batch[prefix + "L_3d"]
            drawn = team().rand(len(points) // groups).repeat(groups) < self.section.mirror
            chosen = drawn.to(points.device)[:, None, None]
            for name, other in (
                ("L_3d", batch[prefix + "L_3d_mirrored"]),
                ("R_world_im", mirror_rotations(batch[prefix + "R_world_im"])),
                *([("joints_im_mm", mirror_joints(batch["joints_im_mm"]))] if not prefix else []),
            ):
                changed[prefix + name] = torch.where(chosen, other, batch[prefix + name])
        return changed

    def _augmented(self, batch: Batch, prefix: str) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings turned about the vertical, with noise, and the rotation of the im frame that was applied."""
        points, app, world = (batch[prefix + name] for name in ("L_3d", "L_app", "R_world_im"))
        groups = 2 if prefix == "twice/" else 1  # there: rows, then each one's next view
        count, crew = len(points) // groups, team()
        angle = (crew.rand(count, groups=groups) * 2 * torch.pi * self.section.turn).to(points.device)
        turn = vertical_turns(world, angle)
        noise = self.section.noise * self.head.scale_3d * crew.randn(count, *points.shape[1:], groups=groups).to(points)
        noise_app = self.section.noise * self.head.scale * crew.randn(count, *app.shape[1:], groups=groups).to(app)
        return rotate(points, turn) + noise, app + noise_app, turn

    def _joints(
        self,
        rotmats: Float[Tensor, "batch 24 3 3"],
        betas: Float[Tensor, "batch 10"],
        target_mm: Float[Tensor, "batch 17 3"],
    ) -> Float[Tensor, ""]:
        if self.section.joints == "gaggi13":
            found, target_mm = self.layer.joints24(betas, rotmats), target_mm[:, _OF_H36M]
            found = found[:, _OF_SMPL] - found[:, :1]
        else:
            found = joints_about_root_m(self.layer, betas, rotmats)
        return (found - MM_TO_M * target_mm).norm(dim=2).mean() / UNIT_M

    def _views(
        self,
        rotmats: Float[Tensor, "twice 24 3 3"],
        betas: Float[Tensor, "twice 10"],
        turn: Float[Tensor, "twice 3 3"],
        batch: Batch,
    ) -> Float[Tensor, ""]:
        """Difference of the bodies seen by two cameras in one instant, both turned to the world; needs no label."""
        world = batch["twice/R_world_im"].transpose(1, 2) @ turn.transpose(1, 2)
        turned = torch.cat([(world @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)
        first, second = turned.chunk(2)
        shape, other = betas.chunk(2)
        return (first - second).square().mean() + 0.1 * (shape - other).square().mean()

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
        mask = view["mask"][sample, camera].float() / 255
        areas, count = mask_areas(mask), team().average(mask.new_tensor(len(sample))).clamp_min(1e-6)
        if not len(sample):
            return vertices.sum() * 0.0
        R, T_m = view["R"][sample, camera], MM_TO_M * view["T_mm"][sample, camera]
        seen = rotate(placed[sample] - T_m[:, None], R)
        f_px, c_px = (view[name][sample, camera] for name in ("f_crop_px", "c_crop_px"))
        drawn = self.draw(seen, self.layer.faces, f_px, c_px, (self.size, self.size))
        if self.section.silhouette_loss == "cross_entropy":
            return cross_entropy(drawn, mask) * (len(sample) / count)
        return pyramid_difference(drawn, mask, areas)


def cross_entropy(
    drawn: Float[Tensor, "images size size"], mask: Float[Tensor, "images size size"]
) -> Float[Tensor, ""]:
    """Mean over pixels; a drawn pixel counts as 95 % sure, since the logarithm of a hard 0 has no use."""
    return F.binary_cross_entropy(_UNSURE + (1 - 2 * _UNSURE) * drawn, mask)


def joints_about_root_m(
    layer: BodyLayer, betas: Float[Tensor, "batch 10"], rotmats: Float[Tensor, "batch 24 3 3"]
) -> Float[Tensor, "batch 17 3"]:
    """The Human3.6M joints about their root, metres, in the frame of the global orientations."""
    joints = layer.joints17(betas, rotmats)
    root = H36M.index("root")
    return joints - joints[:, root : root + 1]


def mask_areas(mask: Float[Tensor, "images size size"]) -> Float[Tensor, " levels"]:
    """Sums of squares of each level of the masks' pyramid: this process's equal share of those of the whole batch."""
    sums = []
    for _ in range(LEVELS):
        sums.append(mask.square().sum())
        mask = F.avg_pool2d(mask[:, None], 2)[:, 0] if len(mask) else mask
    return team().average(torch.stack(sums)).clamp_min(1.0 / team().size)


def pyramid_difference(
    drawn: Float[Tensor, "images size size"],
    mask: Float[Tensor, "images size size"],
    areas: Float[Tensor, " levels"] | None = None,
) -> Float[Tensor, ""]:
    """Squared difference relative to the mask's area, mean over a pyramid that halves the resolution each level.

    Coarse levels pull from afar, where a silhouette does not touch its mask.
    """
    levels = []
    for area in mask_areas(mask) if areas is None else areas:
        levels.append((drawn - mask).square().sum() / area)
        drawn, mask = (F.avg_pool2d(part[:, None], 2)[:, 0] for part in (drawn, mask))
    return torch.stack(levels).mean()
