"""The three kinds of prior, and the figures by which they are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import scipy.io
import torch
from hypothesis import given
from hypothesis import strategies as st

from codebase.config import Config, PriorConfig
from codebase.data.poses import read_poses
from codebase.models.gan2018 import Gan2018, Gan2018Generator
from codebase.models.implausible import SHAPE, WAYS, break_by
from codebase.models.mixture import MixturePrior
from codebase.models.prior import Generator, Prior, build, restore
from codebase.models.rotations import FACING_CAMERA
from codebase.stages import evaluate, train_prior
from codebase.training import roc
from codebase.training.frozen_prior import frozen_prior
from codebase.training.prior_lesson import Duel2018, Spar
from codebase.training.state import load_checkpoint

BODY = Path("assets/free_body.npz")


def bodies(count: int = 400, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """People who bend their left knee and their right elbow, by up to a radian."""
    rng = torch.Generator().manual_seed(seed)
    vectors = torch.zeros(count, 24, 3)
    vectors[:, 4, 0] = torch.rand(count, generator=rng)
    vectors[:, 19, 1] = torch.rand(count, generator=rng)
    return roma.rotvec_to_rotmat(vectors), torch.randn(count, 10, generator=rng)


def fitted(components: int = 2) -> MixturePrior:
    prior, (rotmats, betas) = MixturePrior(components), bodies(800)
    prior.begin(rotmats, betas, torch.Generator().manual_seed(0))
    densities = [float(prior.refine(rotmats)) for _ in range(6)]
    assert densities == sorted(densities), "each step of EM raises the density of its own poses"
    return prior


def test_mixture_is_a_density_of_what_it_saw() -> None:
    prior, (rotmats, betas) = fitted(), bodies(seed=1)
    bent = rotmats.clone()
    bent[:, 4] = roma.rotvec_to_rotmat(torch.tensor([[-0.8, 0.0, 0.0]])).expand(len(bent), 3, 3)
    assert (prior(rotmats, betas) > prior(bent, betas)).all()
    assert (prior(rotmats, betas) > prior(rotmats, 4 * betas.sign())).all()
    turned = rotmats.clone()
    turned[:, 0] = roma.random_rotmat(len(turned))
    assert torch.equal(prior(rotmats, betas), prior(turned, betas))


def test_density_of_one_gaussian_is_that_of_its_formula() -> None:
    prior, (rotmats, betas) = fitted(1), bodies(20, seed=3)
    covariance = torch.linalg.inv((prior.factors[0].T @ prior.factors[0]).double())
    normal = torch.distributions.MultivariateNormal(prior.means[0].double(), covariance)
    shape = torch.distributions.Normal(prior.shape_mean, prior.shape_deviation)
    wanted = normal.log_prob(prior.features(rotmats).double()) + shape.log_prob(betas).sum(dim=1)
    found = prior.log_density(rotmats, betas) - 5 * np.log(2 * np.pi)  # a constant that logits do not need
    assert torch.allclose(found.double(), wanted, atol=0.05)


def test_calibrated_mixture_gives_probabilities() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = 2 * torch.randn(20_000, generator=rng) + 1
    real = (torch.rand(20_000, generator=rng) < torch.sigmoid(truth)).float()
    prior = MixturePrior(1)
    prior.calibrate(50 * truth - 300, real)
    assert prior.temperature.item() == pytest.approx(50, rel=0.08)
    assert prior.offset.item() == pytest.approx(-300, abs=10)
    prior.uncalibrated()
    assert (prior.temperature.item(), prior.offset.item()) == (1, 0)


def test_gradients_of_every_kind_are_finite_far_from_people() -> None:
    """The regressor begins anywhere: also half a turn away from every joint's mean."""
    wild = roma.rotvec_to_rotmat(3.1 * torch.nn.functional.normalize(torch.randn(16, 24, 3), dim=-1))
    for prior in (build(PriorConfig()), fitted(), Gan2018(32).eval()):
        rotmats, betas = wild.clone().requires_grad_(), (8 * torch.randn(16, 10)).requires_grad_()
        prior.loss(rotmats, betas).backward()
        assert rotmats.grad is not None
        assert betas.grad is not None
        assert torch.isfinite(rotmats.grad).all()
        assert torch.isfinite(betas.grad).all()


def test_original_sees_the_global_orientation_and_its_batch() -> None:
    rotmats, betas = bodies(16)
    rotmats[:, 0] = torch.tensor(FACING_CAMERA)
    gan = Gan2018(32)
    assert gan.parameters_of(rotmats, betas)[:, :3].abs().max() < 1e-3, "upright before the camera is no rotation"
    turned = rotmats.clone()
    turned[:, 0] = roma.random_rotmat(16)
    gan.eval()
    assert not torch.allclose(gan(rotmats, betas), gan(turned, betas), atol=1e-3)
    gan.train()
    assert not torch.allclose(gan(rotmats, betas)[:4], gan(rotmats[:4], betas[:4]), atol=1e-3)


def test_original_trains_its_generator_nine_times_in_ten() -> None:
    section = PriorConfig(kind="gan2018", width=16)
    gan, generator = Gan2018(16), Gan2018Generator(16)
    optimizers = {
        "prior": torch.optim.SGD(gan.parameters(), 0.1),
        "generator": torch.optim.SGD(generator.parameters(), 0.1),
    }
    duel, (rotmats, betas) = Duel2018(section, gan, generator, optimizers), bodies(8)
    trained = []
    for step in range(20):
        losses = duel({"rotmats": rotmats, "betas": betas}, step)
        trained.append("prior" if "prior" in losses else "generator")
    assert [step for step, who in enumerate(trained) if who == "prior"] == [9, 19]


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 60))
def test_auc_is_the_share_of_pairs_in_order(seed: int, real: int, wrong: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 8, real).astype(float), rng.integers(0, 8, wrong).astype(float)
    pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert roc.auc(a, b) == pytest.approx(pairs)


@given(st.integers(0, 1000))
def test_rates_let_no_more_pass_than_allowed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    real, wrong = rng.normal(1, 1, 50).round(1), rng.normal(0, 1, 70).round(1)
    found = roc.true_positive_rates(real, wrong, roc.GRID)
    assert (np.diff(found) >= 0).all()
    assert found[-1] == 1
    for allowed, rate in zip(roc.GRID, found, strict=True):
        # the best threshold that keeps its promise, by looking at all of them
        thresholds = np.unique(np.concatenate([wrong, [-np.inf]]))
        kept = [(real > t).mean() for t in thresholds if (wrong > t).mean() <= allowed + 1e-9]
        assert rate == pytest.approx(max(kept))


def test_a_perfect_judge_loses_nobody() -> None:
    found = roc.rates(np.linspace(1, 2, 100), np.linspace(-1, 0, 100))
    assert found == {"auc": 1.0, "tpr_at_1_percent_fpr": 1.0, "tpr_at_5_percent_fpr": 1.0}


@pytest.mark.parametrize("way", [*WAYS, SHAPE])
def test_each_way_breaks_what_it_says(way: str) -> None:
    rotmats, betas = bodies(64)
    wrong, shapes = break_by(way, rotmats, betas, torch.Generator().manual_seed(0))
    assert torch.equal(wrong[:, 0], rotmats[:, 0])
    assert torch.equal(wrong, rotmats) == (way == SHAPE)
    assert torch.equal(shapes, betas) == (way != SHAPE)


def test_kinds_are_refused_what_they_cannot_do() -> None:
    for section in ({"kind": "mixture", "precision": "bf16"}, {"kind": "gan2018", "gpus": 2}, {"kind": "flow"}):
        with pytest.raises(Exception, match=r"mixture|gan2018|discriminator"):
            PriorConfig.model_validate(section)


KINDS = {
    "discriminator": {"width": 16, "steps": 20},
    "mixture": {"components": 3, "steps": 3},
    "gan2018": {"width": 32, "steps": 20, "decay": "none", "warmup_steps": 0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_through_the_stage_and_to_the_metrics(kind: str, tmp_path: Path) -> None:
    section = {"kind": kind, "count": 240, "held_out": 0.3, "batch_size": 16, "warmup_steps": 2, "validate_every": 3}
    config = Config.model_validate({"name": "t", "prior": section | KINDS[kind], "runtime": {"threads": 1}})
    output = tmp_path / f"model_{config.prior.steps}.pt"
    train_prior.run(config, body=BODY, output=output)
    found, figures = load_checkpoint(output), evaluate.prior_figures(output)
    assert figures["prior/auc"] == pytest.approx(found.extra["val_auc"].item(), abs=1e-5)
    for name in ("auc", "tpr_at_1_percent_fpr", "tpr_at_5_percent_fpr"):
        for way in ("", *(f"/{way}" for way in (*WAYS, SHAPE))):
            assert 0 <= figures[f"prior/{name}{way}"] <= 1
    if kind != "gan2018":
        assert figures["prior/auc/random"] > 0.6
    assert found.extra["roc_tpr"].shape == (1 + len(WAYS) + 1, len(found.extra["roc_fpr"]))
    judge, mean = frozen_prior(output)
    assert not judge.training
    assert not any(p.requires_grad for p in judge.parameters())
    assert torch.equal(mean[0], torch.tensor(FACING_CAMERA))
    rotmats, betas = bodies(8)
    assert torch.equal(judge(rotmats, betas), restore(found.config, found.part("prior"))(rotmats, betas))


def test_held_out_poses_are_of_other_clips() -> None:
    train, held = train_prior.collect(PriorConfig(count=320, held_out=0.2), BODY)
    distance = torch.cdist(held.rotmats[:, 1:].flatten(1), train.rotmats[:, 1:].flatten(1)).min(dim=1).values
    within = torch.cdist(train.rotmats[:, 1:].flatten(1), train.rotmats[:, 1:].flatten(1))
    within.fill_diagonal_(torch.inf)
    assert distance.median() > 1.2 * within.min(dim=1).values.median(), "as near as neighbours of one clip"


def surreal(folder: Path, name: str, frames: int, mark: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pose = np.zeros((72, frames))
    pose[3], pose[4] = mark, np.arange(frames)
    scipy.io.savemat(folder / f"{name}_info.mat", {"pose": pose, "shape": np.full((10, frames), mark), "other": "x"})


def test_surreal_files_are_read_and_sequences_kept_together(tmp_path: Path) -> None:
    for sequence in range(4):
        for run in range(2):
            for clip in range(2):
                surreal(tmp_path / f"train/run{run}/0{sequence}_01", f"0{sequence}_01_c{clip:04d}", 6, sequence + 1.0)
    surreal(tmp_path / "train/run0/05_01", "05_01_c0001", 1, 5.0)
    (poses, betas), (held, _) = read_poses(tmp_path, 10_000, seed=0, held_out=0.25)
    assert len(poses) + len(held) == 4 * 2 * 2 * 6 + 1
    assert not set(poses[:, 1, 0].tolist()) & set(held[:, 1, 0].tolist())
    assert np.array_equal(betas[:, 0], poses[:, 1, 0])


def test_sequences_in_one_file_are_told_apart(tmp_path: Path) -> None:
    arrays = {f"pose_0{n}_01": np.full((8, 72), n + 1.0, np.float32) for n in range(3)}
    np.savez(tmp_path / "smpl_data.npz", trans_00_01=np.zeros((8, 3)), **arrays)
    (poses, _), (held, _) = read_poses(tmp_path, 100, seed=0, held_out=0.3)
    assert len(poses) + len(held) == 24
    assert not set(poses[:, 1, 0].tolist()) & set(held[:, 1, 0].tolist())


def test_a_gradient_that_is_not_finite_is_told_and_changes_nothing() -> None:
    """The loop stops on it by name; the last good weights are still there."""
    prior, (rotmats, betas) = build(PriorConfig(width=8)), bodies(8)
    assert isinstance(prior, Prior)
    generator = Generator(rotmats[0], 8)
    optimizers = {
        "prior": torch.optim.SGD(prior.parameters(), 1.0),
        "generator": torch.optim.SGD([torch.zeros(1)], 1.0),
    }
    before = [weight.clone() for weight in prior.parameters()]
    betas[0, 0] = torch.nan
    losses = Spar(PriorConfig(width=8, generated=0.0), prior, generator, optimizers)(
        {"rotmats": rotmats, "betas": betas}, 0
    )
    assert not torch.isfinite(losses["gradient_norm"])
    assert all(torch.equal(old, new) for old, new in zip(before, prior.parameters(), strict=True))
