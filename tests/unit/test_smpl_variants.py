"""The body head's other ways: corrections, the original's head and losses, and the ablation that compares them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
import yaml

from benchmarks import ablate_smpl
from codebase.body.model import BodyLayer, load_body
from codebase.config import PoseConfig, PriorConfig, SmplConfig
from codebase.errors import DataError
from codebase.files import read_json
from codebase.models import encoder_decoder, hmr, pose
from codebase.models.prior import build as build_prior
from codebase.models.rotations import FACING_CAMERA
from codebase.models.smpl import SmplHead, TanhHead, build, restore, split
from codebase.stages import train_smpl
from codebase.training import optim, smpl_lesson
from codebase.training.frozen_prior import frozen_prior
from codebase.training.state import load_checkpoint, save_checkpoint
from tests.people import APPEARANCE, BODY, POINTS, People, make_people

MEAN = torch.eye(3).repeat(24, 1, 1)
PRESET = yaml.safe_load(Path("configs/presets/gaggi2019.yaml").read_text())
SECTION = {
    "width": 32, "steps": 6, "batch_size": 8, "log_every": 3, "validate_every": 6, "warmup_steps": 2,
    "silhouette_from": 2, "silhouette_samples": 2,
}  # fmt: skip


def save_prior(people: People, **section: object) -> Path:
    torch.manual_seed(0)
    config = PriorConfig.model_validate({"width": 16} | section)
    path = people.paths.checkpoint("prior")
    save_checkpoint(
        path, modules={"prior": build_prior(config)}, step=1, config=config, history=[], extra={"mean_rotmats": MEAN}
    )
    return path


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    made = make_people(tmp_path_factory.mktemp("people"), train=(1, 5), acts=(2,), sections={"smpl": SECTION})
    save_prior(made)
    return made


def head(**changes: object) -> SmplHead | TanhHead:
    torch.manual_seed(0)
    return build(SmplConfig.model_validate({"width": 32} | changes), POINTS, APPEARANCE, MEAN)


def test_original_cannot_face_away() -> None:
    """Whatever it sees, each component of each rotation stays within a radian, so the front never points away."""
    model = head(head="gaggi2019").eval()
    rotmats, betas = split(model(1e4 * torch.randn(200, POINTS, 3), 1e4 * torch.randn(200, APPEARANCE)))
    turned = torch.tensor(FACING_CAMERA).T @ rotmats[:, 0]
    assert roma.rotmat_to_rotvec(turned).abs().max() < 1 + 1e-4
    assert roma.rotmat_to_rotvec(rotmats[:, 1:]).abs().max() < 1 + 1e-4
    assert betas.abs().max() <= 1
    assert (rotmats[:, 0, 2, 2] < 0.2).all(), "the front of nobody points away from the camera"


def test_corrections_see_the_estimate() -> None:
    model, points, app = head(iterations=3).eval(), torch.randn(4, POINTS, 3), torch.randn(4, APPEARANCE)
    before = model(points, app)
    with torch.no_grad():
        model.enter_pose.weight.normal_()  # a constant would not survive the layer norm
    assert not torch.allclose(before, model(points, app))
    assert roma.rotmat_geodesic_distance(split(before)[0], MEAN.expand(4, -1, -1, -1)).mean() < 0.5
    assert not hasattr(head(iterations=0), "enter_pose")


@pytest.mark.parametrize("changes", [{}, {"iterations": 2}, {"head": "gaggi2019", "blocks": 1}], ids=str)
def test_heads_come_back_from_their_checkpoints(changes: dict) -> None:
    model, config = head(**changes).eval(), SmplConfig.model_validate({"width": 32} | changes)
    again = restore(config.model_dump(), model.state_dict())
    points, app = torch.randn(3, POINTS, 3), torch.randn(3, APPEARANCE)
    assert torch.equal(model(points, app), again(points, app))


def test_checkpoints_of_other_stages_are_refused(tmp_path: Path) -> None:
    section = PoseConfig().model_dump(mode="json")
    with pytest.raises(DataError, match="does not fit the body head"):
        restore(section, {"scale_3d": torch.ones(5, 1), "offset": torch.zeros(3)})
    path = tmp_path / "model_1.pt"
    torch.save({"model": {}, "step": 1, "config": section, "history": [], "extra": {}, "digest": "0"}, path)
    with pytest.raises(DataError, match="holds no prior"):
        frozen_prior(path)
    for other in (encoder_decoder.restore, hmr.restore):
        with pytest.raises(DataError, match="does not fit"):
            other(section, {}, 64)
    with pytest.raises(DataError, match="does not fit"):
        pose.restore(PriorConfig().model_dump(mode="json"), {"scale": torch.ones(3)})


def test_what_the_original_cannot_do_is_refused() -> None:
    for wrong in ({"iterations": 1}, {"gpus": 2, "batch_size": 64, "silhouette_samples": 4}):
        with pytest.raises(ValueError, match="gaggi2019"):
            SmplConfig.model_validate({"head": "gaggi2019"} | wrong)


def test_rates_without_decay_stay() -> None:
    section = SmplConfig(decay="none", warmup_steps=4, steps=100)
    assert [optim.rate_factor(section, step) for step in (0, 3, 4, 99)] == [0.25, 1, 1, 1]
    assert optim.rate_factor(SmplConfig(warmup_steps=4, steps=100), 99) < 0.01


def test_cross_entropy_pulls_hard_silhouettes() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    drawn = mask.roll(1, 2).requires_grad_()
    loss = smpl_lesson.cross_entropy(drawn, mask)
    loss.backward()
    assert drawn.grad is not None
    assert (drawn.grad[0, 2:6, 2] < 0).all()
    assert (drawn.grad[0, 2:6, 6] > 0).all()
    assert torch.isfinite(drawn.grad).all()
    assert smpl_lesson.cross_entropy(mask, mask) < 0.06 < loss


def lesson_of(people: People, section: SmplConfig) -> tuple[smpl_lesson.Lesson, dict]:
    from codebase.data.embeddings import read_embeddings

    latents = [read_embeddings(path) for path in people.embeddings(1, 5)]
    train = train_smpl.Samples.load(people.crops(1, 5), latents, people.paths.index("train"))
    judge, mean = frozen_prior(people.paths.checkpoint("prior"))
    model = build(section, POINTS, APPEARANCE, mean)
    rows = np.arange(4)
    batch = train.gather(rows) | train.gather_twice(rows[:2]) | train.gather_views(rows[:2])
    return smpl_lesson.Lesson(section, model, judge, BodyLayer(load_body(BODY)), train.store.size), batch


def test_losses_come_in_at_their_steps(people: People) -> None:
    section = SmplConfig.model_validate(SECTION | {"prior_from": 3, "silhouette_from": 5})
    lesson, batch = lesson_of(people, section)
    optimizer = torch.optim.SGD(lesson.head.parameters(), 0.0)
    shares = {step: lesson(batch, optimizer, step=step) for step in (0, 3, 5)}
    assert shares[0]["gradient_share/prior"] == 0
    assert shares[3]["gradient_share/prior"] > 0
    assert "silhouettes" not in shares[3]
    assert shares[5]["gradient_share/silhouettes"] > 0


def test_without_agreement_no_second_view_is_seen(people: People) -> None:
    section = SmplConfig.model_validate(SECTION | {"views_weight": 0.0})
    lesson, batch = lesson_of(people, section)
    alone = {name: value for name, value in batch.items() if not name.startswith("twice/")}
    found = lesson(alone, torch.optim.SGD(lesson.head.parameters(), 0.0), step=9)
    assert "views" not in found
    assert found["gradient_share/silhouettes"] > 0


def test_the_originals_thirteen_joints_are_near_those_of_the_same_name(people: People) -> None:
    """SMPL's joints are not Human3.6M's, but a true body's are within some centimetres of them."""
    from codebase.data.bodies import bodies_in_im

    section = SmplConfig.model_validate(SECTION | {"joints": "gaggi13"})
    lesson, batch = lesson_of(people, section)
    store = train_smpl.Samples.load(
        people.crops(1, 5), [train_smpl.read_embeddings(p) for p in people.embeddings(1, 5)],
        people.paths.index("train"),
    ).store  # fmt: skip
    _, bodies = bodies_in_im(people.truth(1, 5), store.columns, store.R_world_im)
    rotmats, betas = torch.from_numpy(bodies.rotmats[:4]), torch.from_numpy(bodies.betas[:4])
    off = lesson._joints(rotmats, betas, batch["joints_im_mm"])
    assert 0.05 < off < 0.8, "in units of 100 mm"
    assert len(smpl_lesson._OF_H36M) == 13
    assert lesson._joints(rotmats.flip(0), betas, batch["joints_im_mm"]) > off


@pytest.mark.parametrize("kind", ["mixture", "gan2018"])
def test_preset_and_mixture_train_bodies(people: People, tmp_path: Path, kind: str) -> None:
    prior = save_prior(people, kind=kind)
    changes = {k: v for k, v in PRESET["smpl"].items() if k != "name"} if kind == "gan2018" else {}
    section = SmplConfig.model_validate(SECTION | changes | {k: SECTION[k] for k in SECTION})
    config = people.config.model_copy(update={"smpl": section})
    output = tmp_path / "model_6.pt"
    train_smpl.run(
        config, index_train=people.paths.index("train"), index_val=people.paths.index("val"),
        embeddings=people.embeddings(1, 5, 8), crops=people.crops(1, 5, 8), prior=prior, body=BODY, output=output,
    )  # fmt: skip
    last = load_checkpoint(output).history[-1]
    assert np.isfinite(list(last.values())).all()
    assert last["gradient_share/prior"] > 0
    assert last["gradient_share/silhouettes"] > 0
    save_prior(people)


def test_ablation_makes_its_table_and_skips_what_is_done(
    people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_prior(people)
    config = people.paths.root / "config.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(people.config.model_dump(mode="json")))
    command = ["ablate_smpl", str(config), "smpl.steps=3", "--seeds", "0", "1", "--variants", "joints", "both"]
    monkeypatch.setattr(sys, "argv", command)
    ablate_smpl.main()
    folder = people.paths.root / "ablate_smpl"
    figures = read_json(folder / "both_seed1" / "figures.json")
    assert figures["test/pve_mm"] > 0
    assert 0 <= figures["val/silhouette_iou"] <= 1
    first = (folder / "table.md").read_text()
    assert first.count("\n") == 2 + 2 * 3
    assert "±" in first
    written = (folder / "both_seed1" / "figures.json").stat().st_mtime_ns
    ablate_smpl.main()
    assert (folder / "both_seed1" / "figures.json").stat().st_mtime_ns == written
    assert capsys.readouterr().out == (first + "\n") * 2
