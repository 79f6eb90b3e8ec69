"""Claim: with silhouettes and a prior bodies from embeddings are better than with joints alone.

    python -m benchmarks.ablate_smpl CONFIG [smpl.steps=600 ...] [--seeds 0 1 2] [--variants joints both ...]

Trains the stage train_smpl again with other settings, on the index, crops, embeddings and prior of a finished run of
CONFIG, and measures each head on its validation and its test split. Every run lies in {root}/ablate_smpl/ and is
resumed, or skipped where it is done; then table.md is written there and printed: means over seeds, and the deviation
between seeds. Settings are chosen by the validation rows; the test rows are what the chosen ones are worth.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command import config_parser, configured
from benchmarks.tables import cell, markdown
from codebase import metrics
from codebase.body.model import BodyLayer, load_body
from codebase.config import Config, validate_config
from codebase.data.batches import in_turn
from codebase.data.bodies import Bodies, bodies_in_im
from codebase.data.embeddings import read_embeddings
from codebase.files import read_json, write_json, write_text
from codebase.models.smpl import AnyHead, body_of, restore, split
from codebase.paths import Paths
from codebase.stages import _body_figures as figures
from codebase.stages import evaluate, train_hmr, train_smpl
from codebase.training.smpl_lesson import joints_about_root_m
from codebase.training.state import load_checkpoint

NONE: dict[str, Any] = {"prior_weight": 0.0, "silhouette_weight": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "joints": NONE,
    "joints + prior": {"silhouette_weight": 0.0},
    "joints + silhouettes": {"prior_weight": 0.0},
    "both": {},
    "both, head of gaggi2019": {"head": "gaggi2019", "width": 1024, "blocks": 4, "iterations": 0, "mirror": 0.0},
}
COLUMNS = {
    "pve_mm": "PVE", "pa_pve_mm": "PA-PVE", "mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "PA-MPJPE", "silhouette_iou": "IoU",
    "pve_facing_camera_mm": "PVE, facing", "pve_facing_away_mm": "PVE, away", "heading_error_deg": "heading error",
}  # fmt: skip
CHUNK = 64
log = logging.getLogger("posemill.ablate_smpl")


def main() -> None:
    parser = config_parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--prior", type=Path, help="checkpoint of another prior than the run's own")
    parser.add_argument("--output", type=Path, help="folder, default {root}/ablate_smpl")
    config, options = configured(parser)
    bench = Bench(config, options.prior)
    folder = options.output or Paths(config).root / "ablate_smpl"
    found = {
        (name, seed): bench.run(changed(config, name, seed), folder / f"{name.replace(' ', '_')}_seed{seed}")
        for seed in options.seeds
        for name in options.variants
    }
    text = table(found, bench.baseline())
    write_text(folder / "table.md", text)
    print(text)


def changed(config: Config, name: str, seed: int) -> Config:
    """The config of a variant."""
    section = config.smpl.model_dump() | VARIANTS[name] | {"seed": seed}
    return validate_config(Config, config.model_dump() | {"smpl": section}, where=name)


@dataclass(frozen=True)
class Judged:
    """A split's rows with true bodies, and what every head is measured against.

    Attributes:
        truth_m: true vertices about the pelvis, im frame.
        facing_deg: where the true bodies face.
    """

    samples: train_smpl.Samples
    rows: np.ndarray
    truth_m: np.ndarray
    mask: np.ndarray
    facing_deg: np.ndarray


def judged_split(config: Config, layer: BodyLayer, name: str) -> Judged:
    """A split of a run that has crops, embeddings and true bodies."""
    paths, subjects = Paths(config), getattr(config.split, name).subjects
    crops, latents = ([path(s) for s in subjects] for path in (paths.crops, paths.embeddings))
    samples = train_smpl.Samples.load(crops, [read_embeddings(path) for path in latents], paths.index(name))
    store, files = samples.store, [paths.truth(s) for s in subjects]
    rows, truth = bodies_in_im(files, store.columns, store.R_world_im)
    vertices = [evaluate.vertices_m(layer, truth.take(part)) for part in in_turn(np.arange(len(rows)), CHUNK)]
    mask = store.gather(rows, ("mask",))["mask"].numpy() >= 128
    facing_deg = metrics.facing_deg(truth.rotmats[:, 0].astype(np.float64), store.R_world_im[rows])
    return Judged(samples, rows, np.concatenate(vertices), mask, facing_deg)


class Bench:
    """What all runs share: data, true bodies, the body."""

    def __init__(self, config: Config, prior: Path | None = None) -> None:
        self.config, self.paths = config, Paths(config)
        self.prior = prior or self.paths.checkpoint("prior")
        self.layer = BodyLayer(load_body(config.dataset.body))
        self.splits = {split: judged_split(config, self.layer, split) for split in ("val", "test")}

    def run(self, config: Config, folder: Path) -> dict[str, float]:
        """Train a variant, unless it is there, and measure it."""
        output, done = folder / f"model_{config.smpl.steps}.pt", folder / "figures.json"
        subjects = sorted({*config.split.train.subjects, *config.split.val.subjects})
        begun = time.monotonic()
        train_smpl.run(
            config, index_train=self.paths.index("train"), index_val=self.paths.index("val"),
            embeddings=[self.paths.embeddings(s) for s in subjects], crops=[self.paths.crops(s) for s in subjects],
            prior=self.prior, body=config.dataset.body, output=output,
        )  # fmt: skip
        checkpoint = load_checkpoint(output)
        if done.is_file() and (known := read_json(done)).get("digest") == checkpoint.digest:
            return {name: value for name, value in known.items() if name != "digest"}
        head = restore(checkpoint.config, checkpoint.part("smpl"))
        found = {f"{split}/{k}": v for split in self.splits for k, v in self.measure(split, head).items()}
        shares = {name: value for name, value in checkpoint.history[-1].items() if name.startswith("gradient_share/")}
        found |= shares | {"seconds": time.monotonic() - begun}
        write_json(done, found | {"digest": checkpoint.digest})
        log.info("%s: %s", folder.name, ", ".join(f"{k} {v:.3f}" for k, v in found.items() if k.startswith("val/")))
        return found

    @torch.no_grad()
    def measure(self, split_name: str, head: AnyHead | None) -> dict[str, float]:
        """Figures of a head, or of the mean body in the mean pose, on a split."""
        judged = self.splits[split_name]
        if head is None:
            rotmats, betas = (part[None].expand(len(judged.rows), *part.shape) for part in self.mean_body())
        else:
            samples, turns = judged.samples, in_turn(judged.rows, 256)
            codes = (samples.L_3d, samples.L_3d_mirrored, samples.L_app)
            rotmats, betas = split(torch.cat([body_of(head, *(each[rows] for each in codes)) for rows in turns]))
        return measured(Bodies(betas.numpy(), rotmats.numpy()), judged, self.layer)

    @cache  # noqa: B019 - one bench a process
    def mean_body(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotations and betas of the mean body in the mean pose, of the bodies that train_hmr learns from."""
        subjects = self.config.split.train.subjects
        crops, bodies = ([path(s) for s in subjects] for path in (self.paths.crops, self.paths.truth))
        train = train_hmr.Samples.load(crops, self.paths.index("train"), bodies)
        usable = np.isin(train.store.subject, self.config.hmr.label_subjects or subjects)
        train = replace(train, has_body=train.has_body & torch.from_numpy(usable))
        return train_hmr.mean_body(train, load_body(self.config.dataset.body))

    def baseline(self) -> dict[str, float]:
        """The mean body in the mean pose."""
        return {f"{name}/{key}": value for name in self.splits for key, value in self.measure(name, None).items()}


def measured(found: Bodies, judged: Judged, layer: BodyLayer) -> dict[str, float]:
    """Means over the rows: those of `evaluate`, by the same names."""
    store, rows = judged.samples.store, judged.rows
    pve, pa_pve, iou = [], [], []
    for part in in_turn(np.arange(len(rows)), CHUNK):
        ours = evaluate.vertices_m(layer, found.take(part))
        pve.append(1000 * metrics.pve(ours, judged.truth_m[part]))
        pa_pve.append(1000 * metrics.pa_mpjpe(ours, judged.truth_m[part]))
        iou.append(metrics.iou(figures.drawn(found.take(part), store, rows[part], layer), judged.mask[part]))
    joints = 1000 * joints_about_root_m(layer, torch.from_numpy(found.betas), torch.from_numpy(found.rotmats)).numpy()
    target, R_world_im = store.joints_im_mm[rows], store.R_world_im[rows]
    off = metrics.facing_deg(found.rotmats[:, 0].astype(np.float64), R_world_im) - judged.facing_deg
    each = {
        "pve_mm": np.concatenate(pve), "pa_pve_mm": np.concatenate(pa_pve), "silhouette_iou": np.concatenate(iou),
        "mpjpe_mm": metrics.mpjpe(joints, target), "pa_mpjpe_mm": metrics.pa_mpjpe(joints, target),
        "heading_error_deg": np.abs((off + 180) % 360 - 180),
    }  # fmt: skip
    halves = figures.by_facing({"/pve_mm": each["pve_mm"]}, judged.facing_deg)
    each |= {name.removeprefix("/"): values for name, values in halves.items()}
    return {name: float(np.nanmean(values)) for name, values in each.items() if np.isfinite(values).any()}


def table(found: dict[tuple[str, int], dict[str, float]], baseline: dict[str, float]) -> str:
    """A row a variant and split: means over seeds, with the deviation between seeds."""
    names = list(dict.fromkeys(name for name, _ in found))
    rows = []
    for split_name in ("val", "test"):
        cells = [_number(key, [baseline], split_name) for key in COLUMNS]
        rows.append([split_name, "mean body in the mean pose", *cells])
        for name in names:
            runs = [figures for (other, _), figures in found.items() if other == name]
            cells = [_number(key, runs, split_name) for key in COLUMNS]
            rows.append([split_name, name, *cells])
    return markdown(["split", "variant", *COLUMNS.values()], rows)


def _number(key: str, runs: list[dict[str, float]], split_name: str) -> str:
    """The mean of a figure over runs, and its deviation; nothing where no row has it."""
    values = [run[f"{split_name}/{key}"] for run in runs if f"{split_name}/{key}" in run]
    return cell(values, 3 if key.endswith("iou") else 1)


if __name__ == "__main__":
    main()
