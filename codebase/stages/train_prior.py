"""Train the prior on bodies, and measure it on held-out ones: real against broken, in every way of breaking."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.body.arrays import load_body
from codebase.config import Config, PriorConfig
from codebase.data.batches import Frames
from codebase.data.poses import pose_files, read_poses
from codebase.models.gan2018 import Gan2018Generator
from codebase.models.implausible import SHAPE, WAYS, break_bodies, break_by
from codebase.models.mixture import MixturePrior
from codebase.models.prior import AnyPrior, Generator, Prior, build
from codebase.models.rotations import FACING_CAMERA, chordal_mean
from codebase.synthetic.motion import sample_poses
from codebase.training import loop, optim, roc
from codebase.training.budget import left
from codebase.training.prior_lesson import Duel2018, Refine, Spar
from codebase.training.runtime import prepare
from codebase.training.state import run_digest

VERSION = 3
log = logging.getLogger("posemill.train_prior")


@dataclass(frozen=True)
class Collection:
    """Bodies that real people took: rotations (global one the identity) and betas."""

    rotmats: Float[Tensor, "poses 24 3 3"]
    betas: Float[Tensor, "poses 10"]


def run(config: Config, *, body: Path, output: Path, budget_s: float | None = None) -> None:
    """Train the prior and write its checkpoint, calibrated; `extra` holds the mean pose and the held-out figures.

    Args:
        config: the whole config; `prior` and `runtime` are used.
        body: body file in SMPL layout: its rest joints shape the free synthetic poses.
        output: runs/{name}/model_{steps}.pt.
        budget_s: seconds after which to save and leave with OutOfTimeError.

    Raises:
        DataError: the body or the folder of poses cannot be read.
        OutOfTimeError: the budget is spent.
    """
    begun, section = time.monotonic(), config.prior
    device = prepare(config.runtime, section.seed)
    train, held_out = collect(section, body)
    log.info("%d poses to train on, %d held out", len(train.betas), len(held_out.betas))
    trial = Trial.of(held_out, section.seed, device)
    modules, optimizers, update = _taught(section, train, device)
    prior = cast(AnyPrior, modules["prior"])
    mean = chordal_mean(train.rotmats)
    mean[0] = torch.eye(3)
    extra = {"mean_rotmats": mean, "val_auc": torch.zeros(()), "val_log_loss": torch.zeros(())}
    extra |= {"roc_fpr": torch.from_numpy(roc.GRID).float()}
    extra |= {"roc_tpr": torch.zeros(1 + len(trial.broken), len(roc.GRID))}

    def validate() -> dict[str, float]:
        # the last validation comes right before the checkpoint is written, so these are the final model's
        found, curves = assess(prior, trial)
        extra["val_auc"].fill_(found["auc"])
        extra["val_log_loss"].fill_(found["log_loss"])
        extra["roc_tpr"].copy_(curves)
        return found

    loop.fit(
        section,
        modules=modules,
        optimizers=optimizers,
        batches=Frames(
            # no share: every process sees the whole batch, see Spar
            np.arange(len(train.betas)),
            lambda rows: {"rotmats": train.rotmats[rows], "betas": train.betas[rows]},
            batch_size=section.batch_size,
            seed=section.seed,
            device=device,
        ),
        update=update,
        validate=validate,
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[body, *_files(section)]),
        budget_s=left(budget_s, begun),
        extra=extra,
    )


def _taught(
    section: PriorConfig, train: Collection, device: torch.device
) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer], loop.Update]:
    """The prior, its sparring partner if it has one, their optimisers, and what they learn in a step."""
    prior = build(section).to(device)
    if isinstance(prior, MixturePrior):
        rotmats = train.rotmats.to(device)
        prior.begin(rotmats, train.betas.to(device), torch.Generator().manual_seed(section.seed))
        return {"prior": prior}, {}, Refine(prior, rotmats)
    if isinstance(prior, Prior):
        mean = chordal_mean(train.rotmats)
        mean[0] = torch.eye(3)
        partner: nn.Module = Generator(mean, section.width).to(device)
    else:
        partner = Gan2018Generator().to(device)
    modules: dict[str, nn.Module] = {"prior": prior, "generator": partner}
    optimizers = {name: optim.adam(section, module) for name, module in modules.items()}
    if isinstance(prior, Prior):
        return modules, optimizers, Spar(section, prior, cast(Generator, partner), optimizers)
    return modules, optimizers, Duel2018(section, prior, cast(Gan2018Generator, partner), optimizers)


def collect(section: PriorConfig, body: Path) -> tuple[Collection, Collection]:
    """Poses to train on and held-out ones, which are of other clips, not only of other instants."""
    held = max(32, round(section.count * section.held_out))
    if section.poses is not None:
        train, kept = read_poses(section.poses, section.count, section.seed, section.held_out)
        return _faced(section, _collection(*train), _collection(*kept))
    rest, _ = load_body(body).joint_shape_map
    parts = []
    for number, count in enumerate((max(section.count - held, 32), held)):
        rng = np.random.default_rng([section.seed, number])
        # betas count standard deviations of a population, so real ones are standard normal
        parts.append(
            _collection(sample_poses(count, 2 * section.seed + number, rest), rng.standard_normal((count, 10)))
        )
    return _faced(section, *parts)


def _faced(section: PriorConfig, *parts: Collection) -> tuple[Collection, Collection]:
    """Turned at random about the vertical, before the camera, for the one kind of prior that looks at it."""
    if section.kind == "gan2018":
        rng = torch.Generator().manual_seed(section.seed)
        for part in parts:
            angle = 2 * torch.pi * torch.rand(len(part.betas), 1, generator=rng)
            turn = roma.rotvec_to_rotmat(angle * torch.tensor([0.0, 1.0, 0.0]))
            part.rotmats[:, 0] = torch.tensor(FACING_CAMERA) @ turn
    return parts[0], parts[1]


def _collection(poses_rad: np.ndarray, betas: np.ndarray) -> Collection:
    vectors = torch.from_numpy(np.ascontiguousarray(poses_rad, np.float32))
    return Collection(roma.rotvec_to_rotmat(vectors), torch.from_numpy(np.ascontiguousarray(betas, np.float32)))


@dataclass(frozen=True)
class Trial:
    """Held-out bodies and what they are told from, always the same.

    Attributes:
        rotmats, betas, real: held-out bodies and as many broken ones in a mixture of ways; 1 for a held-out one.
        broken: the same bodies, all broken in one way, by its name.
    """

    rotmats: Float[Tensor, "bodies 24 3 3"]
    betas: Float[Tensor, "bodies 10"]
    real: Float[Tensor, " bodies"]
    broken: dict[str, Collection]

    @classmethod
    def of(cls, held_out: Collection, seed: int, device: torch.device) -> Trial:
        """Break the held-out bodies."""
        rng = torch.Generator().manual_seed(seed)
        mixed, shapes = break_bodies(held_out.rotmats, held_out.betas, rng)
        real = torch.arange(2 * len(shapes)) < len(shapes)
        ways = {
            way: Collection(*(part.to(device) for part in break_by(way, held_out.rotmats, held_out.betas, rng)))
            for way in (*WAYS, SHAPE)
        }
        rotmats, betas = torch.cat([held_out.rotmats, mixed]), torch.cat([held_out.betas, shapes])
        return cls(rotmats.to(device), betas.to(device), real.float().to(device), ways)


def assess(prior: AnyPrior, trial: Trial) -> tuple[dict[str, float], Float[Tensor, "curves points"]]:
    """Calibrate on one half of held-out bodies, measure on the other; against each way of breaking on all of them.

    Returns:
        Figures (`roc.figures`; of a way with its name behind a slash), and true positive rates at `roc.GRID`, first
        against the mixture of ways, then against each. A calibration changes no order, so it changes none of these.
    """
    prior.uncalibrated()
    raw = prior(trial.rotmats[::2], trial.betas[::2])
    prior.calibrate(raw, trial.real[::2])
    logits = prior(trial.rotmats, trial.betas)
    found = roc.figures(logits[1::2], trial.real[1::2])
    real, mixed = (_scores(logits[trial.real == label]) for label in (1, 0))
    wrong = {way: _scores(prior(bodies.rotmats, bodies.betas)) for way, bodies in trial.broken.items()}
    for way, scores in wrong.items():
        found |= {f"{name}/{way}": value for name, value in roc.rates(real, scores).items()}
    curves = np.stack([roc.true_positive_rates(real, scores, roc.GRID) for scores in (mixed, *wrong.values())])
    return found, torch.from_numpy(curves).float()


def _scores(logits: Float[Tensor, " bodies"]) -> Float[np.ndarray, " bodies"]:
    return logits.cpu().double().numpy()


def _files(section: PriorConfig) -> list[Path]:
    return [] if section.poses is None else pose_files(section.poses)
