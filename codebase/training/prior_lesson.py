"""What the prior learns in one step, for each kind of prior."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from codebase.config import PriorConfig
from codebase.models.gan2018 import NOISE, Gan2018, Gan2018Generator
from codebase.models.implausible import break_bodies
from codebase.models.mixture import MixturePrior
from codebase.models.prior import Generator, Prior
from codebase.training import optim
from codebase.training.precision import autocast
from codebase.training.team import team

Optimizers = dict[str, torch.optim.Optimizer]


class Spar:
    """One update of the discriminator, one of the generator: as many of one as of the other."""

    def __init__(self, section: PriorConfig, prior: Prior, generator: Generator, optimizers: Optimizers) -> None:
        self.section, self.prior, self.generator, self.optimizers = section, prior, generator, optimizers
        self.judge, self.make = team().wrap(prior, _judge_both), team().wrap(generator, Generator.__call__)

    def __call__(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Losses of one step on real bodies (`rotmats`, `betas`): of the whole batch also in a team."""
        prior, clip, crew = self.prior, self.section.gradient_clip, team()
        prior.uncalibrated()  # what a validation calibrated holds for its weights only
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


class Refine:
    """One step of expectation and maximisation of the mixture, on all poses; the batch is not looked at."""

    def __init__(self, prior: MixturePrior, rotmats: Float[Tensor, "poses 24 3 3"]) -> None:
        self.prior, self.rotmats = prior, rotmats

    def __call__(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Mean log density of the poses before the step, nats."""
        self.prior.uncalibrated()
        return {"log_density": self.prior.refine(self.rotmats)}


class Duel2018:
    """The original's updates: nine of the generator, then one of the discriminator, real and made in one batch."""

    def __init__(
        self, section: PriorConfig, prior: Gan2018, generator: Gan2018Generator, optimizers: Optimizers
    ) -> None:
        self.section, self.prior, self.generator, self.optimizers = section, prior, generator, optimizers

    def __call__(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Losses of one step; the made bodies are as many as the real ones."""
        made = self.generator(torch.randn(len(batch["betas"]), NOISE).to(batch["betas"]))
        clip = self.section.gradient_clip
        if step % 10 != 9:
            fooled = functional.softplus(-self.prior.judge(made)).mean()
            return {
                "generator": fooled,
                "generator_gradient_norm": optim.step(fooled, self.optimizers["generator"], clip),
            }
        real = self.prior.parameters_of(batch["rotmats"], batch["betas"])
        logits = self.prior.judge(torch.cat([real, made.detach()]))
        label = (torch.arange(len(logits), device=logits.device) < len(real)).to(logits)
        loss = functional.binary_cross_entropy_with_logits(logits, label)
        accuracy = ((logits > 0) == (label > 0.5)).float().mean()
        return {"prior": loss, "accuracy": accuracy, "gradient_norm": optim.step(loss, self.optimizers["prior"], clip)}
