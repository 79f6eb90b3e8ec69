"""Train the prior on bodies: real poses against broken and generated ones, in equal numbers, one update each."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

from codebase.body.arrays import load_body
from codebase.config import Config, PriorConfig
from codebase.data.batches import Frames
from codebase.data.poses import read_poses
from codebase.models.implausible import break_bodies
from codebase.models.prior import Generator, Prior
from codebase.models.rotations import chordal_mean
from codebase.synthetic.motion import sample_poses
from codebase.training import loop, optim
from codebase.training.budget import left
from codebase.training.precision import autocast
from codebase.training.runtime import prepare
from codebase.training.state import run_digest
from codebase.training.team import team

VERSION = 2
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
    mean = chordal_mean(train.rotmats)
    prior, generator = Prior(section.width).to(device), Generator(mean, section.width).to(device)
    optimizers = {"prior": optim.adam(section, prior), "generator": optim.adam(section, generator)}
    extra = {"mean_rotmats": mean, "val_auc": torch.zeros(()), "val_log_loss": torch.zeros(())}
    trial = _fixed_trial(held_out, section.seed)

    def validate() -> dict[str, float]:
        figures = assess(prior, *(part.to(device) for part in trial))
        # the last validation comes right before the checkpoint is written, so these are the final model's
        extra["val_auc"].fill_(figures["auc"])
        extra["val_log_loss"].fill_(figures["log_loss"])
        return figures

    loop.fit(
        section,
        modules={"prior": prior, "generator": generator},
        optimizers=optimizers,
        batches=Frames(
            # no share: every process sees the whole batch, see Spar
            np.arange(len(train.betas)),
            lambda rows: {"rotmats": train.rotmats[rows], "betas": train.betas[rows]},
            batch_size=section.batch_size,
            seed=section.seed,
            device=device,
        ),
        update=Spar(section, prior, generator, optimizers),
        validate=validate,
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[body, *_files(section)]),
        budget_s=left(budget_s, begun),
        extra=extra,
    )


class Spar:
    """One update of the discriminator, one of the generator."""

    def __init__(
        self,
        section: PriorConfig,
        prior: Prior,
        generator: Generator,
        optimizers: dict[str, torch.optim.Optimizer],
    ) -> None:
        self.section, self.prior, self.generator, self.optimizers = section, prior, generator, optimizers
        self.judge, self.make = team().wrap(prior, _judge_both), team().wrap(generator, Generator.__call__)

    def __call__(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Losses of one step on real bodies (`rotmats`, `betas`): of the whole batch also in a team."""
        prior, clip, crew = self.prior, self.section.gradient_clip, team()
        prior.temperature.fill_(1.0)  # what a validation calibrated holds for its weights only
        rotmats, betas = batch["rotmats"], batch["betas"]
        made = round(self.section.generated * len(betas))
        # bodies are broken with parts of others, so all processes break all of them alike, and then take their shares
        wrong_rotmats, wrong_betas = break_bodies(rotmats[made:], betas[made:], crew.generator)
        noise = torch.randn(max(made, 2), self.generator.noise, generator=crew.generator).to(betas)
        low = self.section.smoothing
        with autocast(self.section.precision, betas.device):
            own = self.make(noise[crew.rank :: crew.size])
            fake_rotmats, fake_betas = (part.detach() for part in (own if crew.size == 1 else self.generator(noise)))
            on_real, on_wrong = self.judge(
                *map(crew.mine, (rotmats, betas)),
                crew.mine(torch.cat([wrong_rotmats, fake_rotmats[:made]])),
                crew.mine(torch.cat([wrong_betas, fake_betas[:made]])),
            )
        loss = _cross_entropy(on_real.float(), 1 - low) + _cross_entropy(on_wrong.float(), low)
        losses = {
            "prior": loss,
            "accuracy": ((on_real > 0).float().mean() + (on_wrong < 0).float().mean()) / 2,
            "gradient_norm": optim.step(loss, self.optimizers["prior"], clip),
        }
        if made >= 2:
            with autocast(self.section.precision, betas.device):
                fooled = prior.loss(*own) if crew.size == 1 else _shared_loss(prior, own, len(noise))
            losses["generator_gradient_norm"] = optim.step(fooled, self.optimizers["generator"], clip)
            losses["generator"] = fooled
        return losses


def _judge_both(prior: Prior, *bodies: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of real and of wrong bodies (rotations and betas of each)."""
    return prior(*bodies[:2]), prior(*bodies[2:])


def _shared_loss(prior: Prior, own: tuple[Tensor, Tensor], count: int) -> Float[Tensor, ""]:
    """`prior.loss` of bodies of which processes have unequal shares, `count` in all."""
    return functional.softplus(-prior(*own)).sum() * (team().size / count)


def _cross_entropy(logits: Float[Tensor, " batch"], label: float) -> Float[Tensor, ""]:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def collect(section: PriorConfig, body: Path) -> tuple[Collection, Collection]:
    """Poses to train on and held-out ones, which are of other clips, not only of other instants."""
    held = max(32, round(section.count * section.held_out))
    if section.poses is not None:
        train, kept = read_poses(section.poses, section.count, section.seed, section.held_out)
        return _collection(*train), _collection(*kept)
    rest, _ = load_body(body).joint_shape_map
    parts = []
    for number, count in enumerate((max(section.count - held, 32), held)):
        rng = np.random.default_rng([section.seed, number])
        # betas count standard deviations of a population, so real ones are standard normal
        parts.append(
            _collection(sample_poses(count, 2 * section.seed + number, rest), rng.standard_normal((count, 10)))
        )
    return parts[0], parts[1]


def _collection(poses_rad: np.ndarray, betas: np.ndarray) -> Collection:
    vectors = torch.from_numpy(np.ascontiguousarray(poses_rad, np.float32))
    return Collection(roma.rotvec_to_rotmat(vectors), torch.from_numpy(np.ascontiguousarray(betas, np.float32)))


def _fixed_trial(held_out: Collection, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Held-out bodies and as many broken ones, always the same: rotations, betas, and 1 for real."""
    rng = torch.Generator().manual_seed(seed)
    broken, betas = break_bodies(held_out.rotmats, held_out.betas, rng)
    real = torch.arange(2 * len(betas)) < len(betas)
    return torch.cat([held_out.rotmats, broken]), torch.cat([held_out.betas, betas]), real.float()


def assess(
    prior: Prior,
    rotmats: Float[Tensor, "bodies 24 3 3"],
    betas: Float[Tensor, "bodies 10"],
    real: Float[Tensor, " bodies"],
) -> dict[str, float]:
    """Calibrate on one half of held-out bodies, measure on the other: AUC, log loss, calibration error."""
    prior.temperature.fill_(1.0)
    logits = prior(rotmats, betas)
    prior.calibrate(logits[::2], real[::2])
    return figures((logits / prior.temperature)[1::2], real[1::2])


def figures(logits: Float[Tensor, " bodies"], real: Float[Tensor, " bodies"]) -> dict[str, float]:
    """AUC (chance that a real body outscores a wrong one), log loss (nats), expected calibration error."""
    is_real = real.cpu().numpy() > 0.5
    ranks = rankdata(logits.cpu().numpy())
    positives, negatives = int(is_real.sum()), int((~is_real).sum())
    auc = (ranks[is_real].sum() - positives * (positives + 1) / 2) / max(positives * negatives, 1)
    chance = torch.sigmoid(logits).cpu().numpy()
    bins = np.minimum((chance * 10).astype(int), 9)
    error = sum((bins == b).mean() * abs(chance[bins == b].mean() - is_real[bins == b].mean()) for b in np.unique(bins))
    log_loss = functional.binary_cross_entropy_with_logits(logits, real)
    return {"auc": float(auc), "log_loss": float(log_loss), "calibration_error": float(error)}


def _files(section: PriorConfig) -> list[Path]:
    return [] if section.poses is None else sorted(section.poses.rglob("*.npz"))
