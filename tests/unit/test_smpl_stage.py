"""train_smpl: silhouettes and joints agree on true bodies, only the labelled are learned from, and it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codebase.body.model import BodyLayer, load_body
from codebase.data.bodies import bodies_in_im
from codebase.data.embeddings import read_embeddings
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.models.augment import mirror_joints, mirror_rotations
from codebase.models.pose import vertical_turns
from codebase.models.prior import Prior
from codebase.models.rotations import FACING_CAMERA
from codebase.models.smpl import split
from codebase.stages import train_smpl
from codebase.training import smpl_lesson, team
from codebase.training.frozen_prior import frozen_prior
from codebase.training.state import load_checkpoint, save_checkpoint
from codebase.training.team import Team
from tests.people import BODY, People, make_people

SECTION = {
    "width": 64, "steps": 40, "batch_size": 16, "learning_rate": 3e-3, "log_every": 20, "validate_every": 40,
    "warmup_steps": 5, "silhouette_from": 20, "silhouette_samples": 2, "noise": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    folder = tmp_path_factory.mktemp("people")
    made = make_people(folder, train=(1, 5), acts=(2,), sections={"smpl": SECTION, "prior": {"width": 32}})
    torch.manual_seed(0)
    mean = torch.eye(3).repeat(24, 1, 1)
    save_checkpoint(
        made.paths.checkpoint("prior"), modules={"prior": Prior(32)}, step=1, config=made.config.prior, history=[],
        extra={"mean_rotmats": mean},
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def train(people: People) -> train_smpl.Samples:
    latents = [read_embeddings(path) for path in people.embeddings(1, 5)]
    return train_smpl.Samples.load(people.crops(1, 5), latents, people.paths.index("train"))


@pytest.fixture(scope="module")
def lesson(people: People, train: train_smpl.Samples) -> smpl_lesson.Lesson:
    judge, mean = frozen_prior(people.paths.checkpoint("prior"))
    head = train_smpl.build(people.config.smpl, train.L_3d.shape[1], train.L_app.shape[1], mean)
    return smpl_lesson.Lesson(people.config.smpl, head, judge, BodyLayer(load_body(BODY)), train.store.size)


def true_bodies(people: People, store: CropStore) -> tuple[torch.Tensor, torch.Tensor]:
    _, bodies = bodies_in_im(people.truth(1, 5), store.columns, store.R_world_im)
    return torch.from_numpy(bodies.rotmats), torch.from_numpy(bodies.betas)


def test_embeddings_are_those_of_their_rows(train: train_smpl.Samples) -> None:
    """The fixture's embeddings are the joints with noise; a shifted row would be off by decimetres."""
    off = (400 * train.L_3d.numpy() - train.store.joints_im_mm)[:, 1:]
    assert np.abs(off).mean() < 10


def test_true_bodies_fill_their_masks_in_all_views(
    people: People, train: train_smpl.Samples, lesson: smpl_lesson.Lesson
) -> None:
    """The masks were drawn of these very bodies, so nothing may differ, whatever turn augmentation made."""
    rows = np.array([0, 3, 9, 13])
    rotmats, betas = (part[rows] for part in true_bodies(people, train.store))
    batch = train.gather_views(rows)
    assert batch["views/seen"].shape == (4, 2)
    turn = vertical_turns(batch["views/R_world_im"], torch.tensor([0.0, 1.0, 2.0, 3.0]))
    turned = torch.cat([(turn @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)
    assert lesson._silhouettes(turned, betas, turn, batch) < 0.02
    wrong = lesson._silhouettes(rotmats, betas, turn, batch)
    assert wrong > 0.1


def test_silhouettes_pull_a_body_upright(people: People, train: train_smpl.Samples, lesson: smpl_lesson.Lesson) -> None:
    rows = np.array([0, 9])
    rotmats, betas = (part[rows] for part in true_bodies(people, train.store))
    batch, still = train.gather_views(rows), torch.eye(3).repeat(2, 1, 1)
    lean = torch.zeros(2, 3, requires_grad=True)
    import roma

    optimizer = torch.optim.Adam([lean], 0.03)
    start = torch.tensor([[0.3, 0.0, 0.2], [-0.3, 0.0, 0.2]])
    differences = []
    for _ in range(25):
        tilted = roma.rotvec_to_rotmat(start + lean) @ rotmats[:, 0]
        loss = lesson._silhouettes(torch.cat([tilted[:, None], rotmats[:, 1:]], 1), betas, still, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        differences.append(float(loss.detach()))
    assert differences[-1] < 0.6 * differences[0]


def test_shares_of_the_gradient_add_up(train: train_smpl.Samples, lesson: smpl_lesson.Lesson) -> None:
    optimizer = torch.optim.SGD(lesson.head.parameters(), 0.0)
    batch = train.gather(np.arange(4)) | train.gather_twice(np.arange(3)) | train.gather_views(np.arange(2))
    found = lesson(batch, optimizer, step=20)
    shares = [float(value) for name, value in found.items() if name.startswith("gradient_share/")]
    assert len(shares) == 7
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert min(shares) > 0
    before = lesson(batch, optimizer, step=0)
    assert "silhouettes" not in before


def test_mirrored_samples_are_seen_in_a_mirror(train: train_smpl.Samples, lesson: smpl_lesson.Lesson) -> None:
    section = lesson.section.model_copy(update={"mirror": 1.0})
    whole = smpl_lesson.Lesson(section, lesson.head, lesson.prior, lesson.layer, lesson.size)
    batch = train.gather(np.arange(4)) | train.gather_twice(np.arange(3)) | train.gather_views(np.arange(2))
    found = whole._mirrored(batch)
    # the fixture's points are the joints, so those of the mirrored image are the mirrored joints
    assert torch.allclose(400 * found["L_3d"], found["joints_im_mm"], atol=400 * 0.1)
    assert torch.allclose(found["joints_im_mm"], mirror_joints(batch["joints_im_mm"]))
    relative = found["twice/R_world_im"][:3] @ found["twice/R_world_im"][3:].transpose(1, 2)
    there = batch["twice/R_world_im"][:3] @ batch["twice/R_world_im"][3:].transpose(1, 2)
    assert torch.allclose(relative, mirror_rotations(there), atol=1e-5)
    assert torch.equal(found["views/L_3d"], batch["views/L_3d"]), "masks are of the image itself"


def test_processes_mirror_their_shares_as_one_would(
    train: train_smpl.Samples, lesson: smpl_lesson.Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = lesson.section.model_copy(update={"mirror": 0.5})

    def mirrored(rank: int, size: int) -> dict[str, torch.Tensor]:
        crew = Team(rank, size)
        crew.generator = torch.Generator().manual_seed(5)
        monkeypatch.setattr(team, "_team", crew)
        rows = crew.mine(torch.arange(8)).numpy()
        whole = smpl_lesson.Lesson(section, lesson.head, lesson.prior, lesson.layer, lesson.size)
        return whole._mirrored(train.gather(rows) | train.gather_twice(rows))

    def alone(lesson_of: object, net: object, function: object) -> object:
        return None

    monkeypatch.setattr(Team, "wrap", alone)
    one, parts = mirrored(0, 1), [mirrored(rank, 2) for rank in range(2)]
    assert not torch.equal(one["L_3d"], train.gather(np.arange(8))["L_3d"]), "some are mirrored"
    for name, values in one.items():
        groups = 2 if name.startswith("twice/") else 1
        shares = torch.cat([part[name].unflatten(0, (groups, -1)) for part in parts], dim=1).flatten(0, 1)
        torch.testing.assert_close(shares, values, msg=name)


def test_gradients_of_the_parts_add_up(train: train_smpl.Samples, lesson: smpl_lesson.Lesson) -> None:
    alone = {"views_weight": 0.0, "prior_weight": 0.0, "shear_weight": 0.0, "betas_weight": 0.0}
    alone["stray_weight"] = 0.0
    quieted = {"turn": False, "mirror": 0.0, "noise": 0.0, "dropout": 0.0, "gradient_clip": 1e9}
    section = lesson.section.model_copy(update=quieted | alone)
    quiet = smpl_lesson.Lesson(section, lesson.head.eval(), lesson.prior, lesson.layer, lesson.size)
    batch = train.gather(np.arange(4)) | train.gather_twice(np.arange(2))
    quiet(batch, torch.optim.SGD(quiet.head.parameters(), 0.0), step=0)
    got = quiet.head.leave.bias.grad.clone()
    rotmats, betas = split(quiet.head(batch["L_3d"], batch["L_app"]))
    loss = section.joints_weight * quiet._joints(rotmats, betas, batch["joints_im_mm"])
    (wanted,) = torch.autograd.grad(loss, quiet.head.leave.bias)
    assert torch.allclose(got, wanted, atol=1e-5, rtol=1e-4)


def run(people: People, output: Path, **changes: object):
    config = people.config.model_copy(update={"smpl": people.config.smpl.model_copy(update=changes)})
    train_smpl.run(
        config, index_train=people.paths.index("train"), index_val=people.paths.index("val"),
        embeddings=people.embeddings(1, 5, 8), crops=people.crops(1, 5, 8), prior=people.paths.checkpoint("prior"),
        body=BODY, output=output,
    )  # fmt: skip
    return load_checkpoint(output)


def test_it_learns_bodies_from_joints(people: People, tmp_path: Path) -> None:
    found = run(people, tmp_path / "model_40.pt")
    first, last = found.history[0], found.history[-1]
    assert last["joints"] < 0.7 * first["joints"]
    assert "silhouettes" not in first
    assert last["silhouettes"] > 0
    assert last["val/pa_mpjpe_mm"] < last["val/mpjpe_mm"]
    assert torch.equal(found.extra["mean_rotmats"][0], torch.tensor(FACING_CAMERA))


def test_only_labelled_subjects_are_learned_from(people: People, train: train_smpl.Samples) -> None:
    section = people.config.smpl.model_copy(update={"mask_subjects": "labelled"})
    streams = train_smpl._streams(section, train, torch.device("cpu"))
    ours = set(train.store.key[train.store.subject == 1].tolist())
    for name in ("labelled", "masked"):
        assert {int(train.store.key[row]) for row in streams.streams[name].rows} == ours
    assert set(next(streams)) >= {"joints_im_mm", "views/mask", "twice/L_3d"}
    assert not any(name.startswith("twice/") and "joints" in name for name in next(streams))
    with pytest.raises(DataError, match="no row with known joints of subjects"):
        train.of((7,), "smpl.label_subjects")


def test_a_stream_of_two_resumes(people: People, train: train_smpl.Samples) -> None:
    first, second = (train_smpl._streams(people.config.smpl, train, torch.device("cpu")) for _ in range(2))
    next(first)
    second.load_state_dict(first.state_dict())
    one, two = next(first), next(second)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_two_views_of_a_true_body_agree(people: People, train: train_smpl.Samples, lesson: smpl_lesson.Lesson) -> None:
    batch = train.gather_twice(np.array([0, 2, 9]))
    keys = np.concatenate([np.array([0, 2, 9]), np.array([1, 3, 8])])
    assert torch.equal(batch["twice/L_3d"], train.L_3d[keys])
    rotmats, betas = (part[keys] for part in true_bodies(people, train.store))
    still = torch.eye(3).repeat(6, 1, 1)
    assert lesson._views(rotmats, betas, still, batch) < 1e-8
    assert lesson._views(rotmats.roll(1, 0), betas, still, batch) > 1e-3
