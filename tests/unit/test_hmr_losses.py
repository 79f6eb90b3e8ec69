"""The losses in 2D and of the prior: what they are of the truth, their gradients, and a prior that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codebase.body.arrays import load_body
from codebase.config import HmrConfig
from codebase.errors import ConfigError, DataError
from codebase.models.gan2018 import Gan2018
from codebase.models.hmr import build
from codebase.models.implausible import break_bodies
from codebase.models.prior import AnyPrior, Prior
from codebase.models.regressors import as_parameters
from codebase.stages import train_hmr, train_prior
from codebase.training import hmr_lesson
from codebase.training.state import load_checkpoint
from tests.people import BODY, People, make_people

SMALL = {"widths": (8, 8), "blocks": (1, 1), "width": 16, "vertices": 20, "batch_size": 4, "dropout": 0.0, "steps": 4}
OFF = {"flip": 0.0, "turn_rad": 0.0, "colour": 0.0, "background": 0.0}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    sections = {"hmr": SMALL, "prior": {"steps": 30, "count": 300, "width": 16, "batch_size": 32}}
    return make_people(tmp_path_factory.mktemp("people"), acts=(2,), sections=sections)


def lesson_of(people: People, prior: AnyPrior | None = None, **changes: object) -> tuple[hmr_lesson.Lesson, dict]:
    section = HmrConfig(**(SMALL | OFF | changes))
    samples = train_hmr.Samples.load(people.crops(1), people.paths.index("train"), people.truth(1))
    mean_rotmats, mean_betas = train_hmr.mean_body(samples, load_body(BODY))
    model = build(section, samples.store.size, mean_rotmats=mean_rotmats, mean_betas=mean_betas)
    batch = samples.gather(np.arange(len(samples.store)))
    lesson = hmr_lesson.Lesson(section, model, load_body(BODY), samples.store.box_mm, prior)
    return lesson, hmr_lesson.prepare_images(section, batch, half_box_m=lesson.half_box_m)


def raw_of(rotmats: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    return torch.stack([as_parameters(*each, "6d") for each in zip(rotmats, betas, strict=True)])


def test_the_true_body_has_no_loss_in_2d_in_full_perspective_and_a_little_in_weak(people):
    full, batch = lesson_of(people, joints_2d_weight=1.0)
    weak, _ = lesson_of(people, joints_2d_weight=1.0, projection="weak")
    true = raw_of(batch["rotmats"], batch["betas"])
    assert full._parts(true, batch)["joints_2d"].max() < 0.01  # 1 mm
    assert weak._parts(true, batch)["joints_2d"].mean() > 0.02


@pytest.mark.parametrize("projection", ["weak", "full"])
def test_the_loss_in_2d_teaches_every_correction(people, projection):
    only = {f"{name}_weight": 0.0 for name in ("vertices", "joints", "places", "rotations", "betas")}
    lesson, batch = lesson_of(people, joints_2d_weight=1.0, projection=projection, places=False, **only)
    loss, parts = lesson(batch)
    loss.backward()
    assert parts["joints_2d"] > 0
    gradient = lesson.model.regressor.leave.weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("kind", [Prior, Gan2018])
def test_the_prior_pulls_towards_bodies_that_it_believes_in_and_stays_as_it_is(people, kind):
    torch.manual_seed(0)
    prior = kind(16).requires_grad_(False).eval()
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    lesson, batch = lesson_of(people, prior, prior_weight=1.0)
    raw = raw_of(*break_bodies(batch["rotmats"], batch["betas"])).requires_grad_()
    loss = lesson._parts(raw, batch)["prior"]
    loss.sum().backward()
    assert (loss > 0).all()
    assert (raw.grad.abs().amax(dim=1) > 0).all()
    with torch.no_grad():  # a small step against the gradient
        better = lesson._parts(raw - 0.01 * raw.grad / raw.grad.norm(dim=1, keepdim=True), batch)["prior"]
    assert better.mean() < loss.mean()
    whole, _ = lesson(batch)
    whole.backward()
    assert lesson.model.regressor.leave.weight.grad.abs().max() > 0
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())
    assert not any(name.startswith("prior.") for name, _ in lesson.model.named_parameters())


def test_a_trained_prior_is_heard_and_a_missing_one_refused(people, tmp_path: Path):
    changed = people.config.hmr.model_copy(update={"prior_weight": 1.0, "joints_2d_weight": 1.0, "scale": 0.1})
    config = people.config.model_copy(update={"hmr": changed})
    common = {
        "index_train": people.paths.index("train"), "index_val": people.paths.index("val"),
        "crops": people.crops(1, 8), "bodies": people.truth(1, 8), "body": BODY,
    }  # fmt: skip
    for several in ([], [tmp_path / "no.pt"] * 2):
        with pytest.raises(ConfigError, match=rf"hmr\.prior_weight is 1\.0, but {len(several)} priors are named"):
            train_hmr.run(config, **common, output=tmp_path / "model_4.pt", prior=several)
    with pytest.raises(DataError, match=r"no\.pt"):
        train_hmr.run(config, **common, output=tmp_path / "model_4.pt", prior=[tmp_path / "no.pt"])
    train_prior.run(config, body=BODY, output=tmp_path / "prior" / "model_30.pt")
    train_hmr.run(config, **common, output=tmp_path / "model_4.pt", prior=[tmp_path / "prior" / "model_30.pt"])
    last = load_checkpoint(tmp_path / "model_4.pt").history[-1]
    assert last["prior"] > 0
    assert last["joints_2d"] > 0
