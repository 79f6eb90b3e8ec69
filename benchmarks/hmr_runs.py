"""Trainings of the stage train_hmr for benchmarks on a finished run's data: resumed, measured on both splits, timed."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.runs import store_of
from codebase import metrics
from codebase.body.model import BodyLayer, load_body
from codebase.config import Config
from codebase.data.batches import CropStore, in_turn
from codebase.data.bodies import Bodies, bodies_in_im
from codebase.files import read_json, write_json
from codebase.models.hmr import Hmr, bodies_of, restore
from codebase.paths import Paths
from codebase.provenance import file_digest
from codebase.stages import train_hmr
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast, pick_device, place
from codebase.training.smpl_lesson import joints_about_root_m
from codebase.training.state import Checkpoint, load_checkpoint

M_TO_MM = 1000.0
CHUNK = 64
log = logging.getLogger("posemill.hmr_runs")


@dataclass(frozen=True)
class Judged:
    """A split's rows with true bodies."""

    store: CropStore
    rows: np.ndarray
    truth: Bodies

    @classmethod
    def load(cls, paths: Paths, name: str) -> Judged:
        """Of a run that has crops and true bodies."""
        store, subjects = store_of(paths.config, name), getattr(paths.config.split, name).subjects
        return cls(store, *bodies_in_im([paths.truth(s) for s in subjects], store.columns, store.R_world_im))


class Bench:
    """What all runs share: data, true bodies, the body."""

    def __init__(self, config: Config, prior: Path | None = None, enc_dec: Path | None = None) -> None:
        self.config, self.paths = config, Paths(config)
        self.prior = prior or self.paths.checkpoint("prior")
        self.enc_dec = enc_dec or encoder_of(self.paths)

    @cached_property
    def layer(self) -> BodyLayer:
        """The body."""
        return BodyLayer(load_body(self.config.dataset.body))

    @cached_property
    def splits(self) -> dict[str, Judged]:
        """What is measured on."""
        return {name: Judged.load(self.paths, name) for name in ("val", "test")}

    def run(self, config: Config, folder: Path) -> dict[str, Any]:
        """Train a variant, unless it is there, and measure it."""
        output, done = folder / f"model_{config.hmr.steps}.pt", folder / "figures.json"
        spent = self.train(config, folder, output)
        checkpoint = load_checkpoint(output)
        if done.is_file() and (known := read_json(done)).get("digest") == checkpoint.digest:
            return known
        model = restore(checkpoint.config, checkpoint.part("hmr"), self.splits["test"].store.size)
        model = place(model, pick_device(config.runtime.device))
        found: dict[str, Any] = {"digest": checkpoint.digest, "steps": config.hmr.steps}
        found |= spent | {"rate": config.hmr.learning_rate, "batch": config.hmr.batch_size}
        for name, judged in self.splits.items():
            answers = answers_of(model, checkpoint.config["precision"], judged)
            found |= {f"{name}/{key}": value for key, value in measured(answers, judged.truth, self.layer).items()}
            mean = measured([mean_of(checkpoint)], judged.truth, self.layer)
            found |= {f"{name}/mean_body/{key}": value for key, value in mean.items()}
        write_json(done, found)
        log.info("%s: %s", folder.name, {k: round(v, 4) for k, v in found.items() if k.startswith("val/v2v")})
        return found

    def train(self, config: Config, folder: Path, output: Path) -> dict[str, Any]:
        """Train, or go on, or do nothing where it is done; returns the minutes that all attempts took together."""
        path, begin = folder / "spent.json", self.enc_dec if config.hmr.start == "enc_dec" else None
        what = config.hmr.model_dump_json() + ("" if begin is None else file_digest(begin))
        spent = read_json(path) if path.is_file() else {}
        mine = spent.setdefault(
            hashlib.sha256(what.encode()).hexdigest()[:12], {"cpu_minutes": 0.0, "minutes": 0.0, "done": False}
        )
        cpu, clock = time.process_time(), time.monotonic()
        subjects = sorted({*config.split.train.subjects, *config.split.val.subjects})
        finished = mine["done"] and output.is_file()
        try:
            train_hmr.run(
                config, index_train=self.paths.index("train"), index_val=self.paths.index("val"),
                crops=[self.paths.crops(s) for s in subjects], bodies=[self.paths.truth(s) for s in subjects],
                body=config.dataset.body, output=output, prior=[self.prior] if config.hmr.prior_weight else [],
                enc_dec=begin,
            )  # fmt: skip
            mine["done"] = True
        finally:
            if not finished:
                mine["cpu_minutes"] += (time.process_time() - cpu) / 60
                mine["minutes"] += (time.monotonic() - clock) / 60
                write_json(path, spent)
        return mine


def encoder_of(paths: Paths) -> Path:
    """The encoder-decoder of a run, or of the one that its data is from, where it has none of its own."""
    own, source = paths.checkpoint("enc_dec"), paths.config.data_from
    other = source / "runs" / own.parent.name / own.name if source is not None else own
    return other if other.is_file() and not own.is_file() else own


@torch.inference_mode()
def answers_of(model: Hmr, precision: str, judged: Judged) -> list[Bodies]:
    """Bodies after each correction, im frame, as the stage predict finds them."""
    device, parts = next(model.parameters()).device, []
    shown = ("image", "background") if model.sees_background else ("image",)
    for rows in in_turn(judged.rows, 2 * CHUNK):
        seen = judged.store.gather(rows, shown)
        with autocast(precision, device):  # type: ignore[arg-type]
            raw = model(*(as_image(seen[name].to(device)) for name in shown))[0].cpu()
        parts.append(raw)
    each = [bodies_of(one) for one in torch.cat(parts, dim=1)]
    return [Bodies(betas.numpy(), rotmats.numpy()) for rotmats, betas in each]


def mean_of(checkpoint: Checkpoint) -> Bodies:
    """What knows no image: the mean shape and pose of the bodies that were learned from."""
    return Bodies(*(checkpoint.extra[f"mean_{name}"].float()[None].numpy() for name in ("betas", "rotmats")))


def measured(answers: Sequence[Bodies], truth: Bodies, layer: BodyLayer) -> dict[str, float]:
    """Means over rows: v2v_l2 and PVE after each correction; after the last one PA-PVE and errors of joints, too.

    An answer of a single body is one for every row.
    """
    found: dict[str, list[np.ndarray]] = {}
    for rows in in_turn(np.arange(len(truth)), CHUNK):
        true = truth.take(rows)
        target = Meshes.of(layer, true)
        for number, answer in enumerate(answers, start=1):
            mine = answer if len(answer) == 1 else answer.take(rows)
            meshes = Meshes.of(layer, mine, len(true))
            squared = metrics.v2v_l2(meshes.placed_m, target.placed_m)
            here = {"v2v_l2_m2": squared, "pve_mm": M_TO_MM * metrics.pve(meshes.about_m, target.about_m)}
            for key, values in here.items():
                found.setdefault(f"{key}/iteration_{number}", []).append(values)
        here["v2v_l2_m2_pelvis_given"] = metrics.v2v_l2(meshes.about_m, target.about_m)
        here["pa_pve_mm"] = M_TO_MM * metrics.pa_mpjpe(meshes.about_m, target.about_m)
        joints, true_joints = (joints_mm(layer, one) for one in (mine, true))
        for name in ("mpjpe", "n_mpjpe", "pa_mpjpe"):
            here[f"{name}_mm"] = getattr(metrics, name)(np.broadcast_to(joints, true_joints.shape), true_joints)
        for key, values in here.items():
            found.setdefault(key, []).append(values)
    return {key: float(np.concatenate(parts).mean()) for key, parts in found.items()}


class Meshes(NamedTuple):
    """Vertices, metres: where SMPL puts them with the same translation for all, which is what the course's v2v_l2
    compares, and about the pelvis joint, as the stage evaluate takes them.
    """

    placed_m: np.ndarray
    about_m: np.ndarray

    @classmethod
    def of(cls, layer: BodyLayer, bodies: Bodies, count: int | None = None) -> Meshes:
        """Of bodies, in the frame of their global orientations; `count` times a single one."""
        betas, rotmats = torch.from_numpy(bodies.betas), torch.from_numpy(bodies.rotmats)
        with torch.no_grad():
            placed, pelvis = layer.vertices(betas, rotmats), layer.joints24(betas, rotmats)[:, :1]
        shape = (count or len(placed), *placed.shape[1:])
        return cls(*(np.broadcast_to(mesh.numpy(), shape) for mesh in (placed, placed - pelvis)))


def joints_mm(layer: BodyLayer, bodies: Bodies) -> np.ndarray:
    """The regressed Human3.6M joints about their root."""
    found = joints_about_root_m(layer, torch.from_numpy(bodies.betas), torch.from_numpy(bodies.rotmats))
    return M_TO_MM * found.numpy().astype(np.float64)
