"""What a network answers to course frames, and how far that is from the truth, in the course's metric and in others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from codebase import metrics
from codebase.body.model import BodyLayer
from codebase.config import HmrConfig
from codebase.course.samples import M_TO_MM, CourseSamples, Rows
from codebase.data.batches import in_turn
from codebase.models.hmr import Hmr, bodies_of
from codebase.models.root import root_from_places
from codebase.skeleton import H36M
from codebase.training.precision import autocast

# what `training.model_selection_metric` is called among the figures
SELECTION = {
    "v2v_l2": "v2v_l2_m2",
    "v2v_l1": "v2v_l1_m",
    "pve": "pve_mm",
    "mpjpe": "mpjpe_mm",
    "pa_mpjpe": "pa_mpjpe_mm",
}


@dataclass(frozen=True)
class Answers:
    """Bodies that a network sees, camera frame, on the CPU.

    Attributes:
        betas, rotmats: after each correction; the last row is the answer.
        root_loc_m: SMPL's translation, found from the joints' places in the picture; None where it is given.
    """

    betas: Float[Tensor, "iterations rows 10"]
    rotmats: Float[Tensor, "iterations rows 24 3 3"]
    root_loc_m: Float[ndarray, "rows 3"] | None


@torch.inference_mode()
def answer(
    model: Hmr,
    section: HmrConfig,
    samples: CourseSamples,
    rows: Rows,
    images: Float[Tensor, "rows height width 3"],
) -> Answers:
    """What the network says of images in [0, 1] that belong to rows."""
    device = next(model.parameters()).device
    with autocast(section.precision, device):
        raw, places = model(images.to(device).permute(0, 3, 1, 2))
    found = [bodies_of(one.float().cpu()) for one in raw]
    betas = torch.stack([one[1] for one in found])
    rotmats = torch.stack([samples.in_camera(one[0], rows) for one in found])
    root = None
    if section.root == "estimated":
        joints = samples.joints(betas[-1], rotmats[-1]).double().numpy()
        rays = samples.frames.take(rows).rays(places.double().cpu().numpy(), samples.size)
        root = root_from_places(joints, rays)
    return Answers(betas, rotmats, root)


def answers(
    model: Hmr, section: HmrConfig, samples: CourseSamples, rows: Rows, batch_size: int
) -> Iterator[tuple[Rows, Answers]]:
    """The network's answers, batch by batch.

    Raises:
        DataError: a picture is missing or unreadable.
    """
    for part in in_turn(rows, batch_size):
        images = samples.gather(part)["image"].float() / 255
        yield part, answer(model, section, samples, part, images)


def measure(
    model: Hmr, section: HmrConfig, samples: CourseSamples, rows: Rows, layer: BodyLayer, batch_size: int
) -> dict[str, float]:
    """Figures on rows that have bodies: means over samples.

    `v2v_l2_m2` is the course's: the mean over vertices and coordinates of the squared difference of vertices, both with
    the file's root_loc. `pve_mm` brings the pelvis joints together; joints are those of the regressor, root-centred.
    `{}_root_estimated` takes the prediction where the picture says it stands.
    """
    figures = Figures(samples, layer)
    for part, found in answers(model, section, samples, rows, batch_size):
        figures.add(part, found)
    mean_rotmats, mean_betas = bodies_of(model.regressor.mean[None].cpu())
    return figures.means(mean_rotmats, mean_betas)


class Figures:
    """Errors of answers, gathered batch by batch."""

    def __init__(self, samples: CourseSamples, layer: BodyLayer) -> None:
        self.samples, self.layer = samples, layer
        self.rows: list[Rows] = []
        self.values: dict[str, list[ndarray]] = {}

    def add(self, rows: Rows, found: Answers) -> None:
        """Compare the answers to rows with their bodies."""
        self.rows.append(rows)
        true, truth = self._vertices(*self.samples.bodies(rows)), self._joints(*self.samples.bodies(rows))
        for number, (betas, rotmats) in enumerate(zip(found.betas, found.rotmats, strict=True), start=1):
            vertices = self._vertices(betas, rotmats)
            self._note(f"v2v_l2_m2/iteration_{number}", metrics.v2v_l2(vertices, true))
        joints = self._joints(betas, rotmats)
        pelvis = self._pelvis(betas, rotmats), self._pelvis(*self.samples.bodies(rows))
        scaled = [M_TO_MM * (v - p) for v, p in zip((vertices, true), pelvis, strict=True)]
        posed = [M_TO_MM * (j - j[:, [H36M.index("root")]]) for j in (joints, truth)]
        self._note("v2v_l2_m2", metrics.v2v_l2(vertices, true))
        self._note("v2v_l1_m", np.abs(vertices - true).mean(axis=(1, 2)))
        self._note("pve_mm", metrics.pve(*scaled))
        self._note("pa_pve_mm", metrics.pa_mpjpe(*scaled))
        self._note("mpjpe_mm", metrics.mpjpe(*posed))
        self._note("n_mpjpe_mm", metrics.n_mpjpe(*posed))
        self._note("pa_mpjpe_mm", metrics.pa_mpjpe(*posed))
        if found.root_loc_m is not None:
            off = found.root_loc_m - self.samples.frames.root_loc_m[rows]
            self._note("v2v_l2_m2_root_estimated", metrics.v2v_l2(vertices + off[:, None], true))
            self._note("root_loc_mm_root_estimated", M_TO_MM * np.linalg.norm(off, axis=1))

    def means(self, mean_rotmats: Float[Tensor, "1 24 3 3"], mean_betas: Float[Tensor, "1 10"]) -> dict[str, float]:
        """Means over all samples, and the same metric of the mean body for everybody."""
        for rows in self.rows:
            here = self.samples.in_camera(mean_rotmats.expand(len(rows), -1, -1, -1), rows)
            mean = self._vertices(mean_betas.expand(len(rows), -1), here)
            self._note("mean_body_v2v_l2_m2", metrics.v2v_l2(mean, self._vertices(*self.samples.bodies(rows))))
        return {name: float(np.concatenate(parts).mean()) for name, parts in self.values.items()}

    def _note(self, name: str, values: ndarray) -> None:
        self.values.setdefault(name, []).append(values)

    @torch.inference_mode()
    def _vertices(self, betas: Tensor, rotmats: Tensor) -> Float[ndarray, "rows v 3"]:
        device = self.layer.faces.device
        return self.layer.vertices(betas.to(device), rotmats.to(device)).double().cpu().numpy()

    @torch.inference_mode()
    def _joints(self, betas: Tensor, rotmats: Tensor) -> Float[ndarray, "rows 17 3"]:
        return self.samples.joints(betas, rotmats).double().numpy()

    @torch.inference_mode()
    def _pelvis(self, betas: Tensor, rotmats: Tensor) -> Float[ndarray, "rows 1 3"]:
        return self.samples.kinematic(betas, rotmats).joints[:, :1].double().numpy()
