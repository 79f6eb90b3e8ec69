from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from codebase.body.model import BodyLayer, load_body
from codebase.config import HmrConfig
from codebase.errors import ConfigError
from codebase.models import augment
from codebase.models.hmr import IterativeRegressor, build, restore
from codebase.models.smpl import split
from codebase.skeleton import H36M
from codebase.stages import train_hmr
from codebase.training import hmr_lesson
from codebase.training.state import load_checkpoint
from tests.people import BODY, make_people

SMALL = {"widths": (8, 8, 16, 16), "blocks": (1, 1, 1, 1), "width": 64, "vertices": 50, "batch_size": 8, "dropout": 0.0}
QUIET = {"flip": 0.0, "turn_rad": 0.0, "colour": 0.0, "background": 0.0}


@pytest.fixture(scope="module")
def layer() -> BodyLayer:
    return BodyLayer(load_body(BODY))


def some_pose(count: int) -> torch.Tensor:
    return roma.rotvec_to_rotmat(0.4 * torch.randn(count, 24, 3, generator=torch.Generator().manual_seed(0)))


def test_regressor_without_evidence_answers_the_mean() -> None:
    mean = some_pose(1)[0]
    model = IterativeRegressor(16, mean_rotmats=mean, mean_betas=torch.arange(10.0), width=32).eval()
    torch.nn.init.zeros_(model.leave.weight)
    answers = model(torch.randn(5, 16))
    assert answers.shape == (3, 5, 154)
    rotmats, betas = split(answers[-1])
    assert torch.allclose(rotmats, mean.expand_as(rotmats), atol=1e-5)
    assert torch.equal(betas, torch.arange(10.0).expand(5, 10))


def test_each_iteration_sees_the_last_estimate() -> None:
    model = IterativeRegressor(16, mean_rotmats=some_pose(1)[0], mean_betas=torch.zeros(10), width=32).eval()
    first, second, third = model(torch.randn(2, 16))
    assert not torch.allclose(second - first, third - second)


def test_mirrored_image_and_pose_belong_together(layer: BodyLayer) -> None:
    """The mirrored pose must put the joints where the flipped image shows them (the free body is nearly symmetric)."""
    rotmats, betas = some_pose(6), torch.zeros(6, 10)

    def joints(pose: torch.Tensor) -> torch.Tensor:
        found = layer.joints17(betas, pose)
        return found - found[:, :1]

    image = torch.rand(6, 3, 8, 8)
    chosen = torch.tensor([True, False] * 3)
    flipped, seen, pose = augment.mirror_some(image, joints(rotmats), rotmats, chosen)
    assert torch.equal(flipped[0], image[0].flip(-1))
    assert torch.equal(flipped[1], image[1])
    assert (joints(pose) - seen).norm(dim=2).max() < 0.01  # metres; 0.2 and more for a wrong sign or order


def test_rolled_image_and_pose_belong_together() -> None:
    """A bright pixel moves to where the rolled direction projects."""
    image = torch.zeros(1, 3, 33, 33)
    image[..., 16, 26] = 1.0  # 10 pixels to the right of the centre
    angle = torch.tensor([np.pi / 2], dtype=torch.float32)
    rolled = augment.roll_image(image, angle)
    direction = (augment.roll_matrix(angle)[0] @ torch.tensor([10.0, 0, 0])).round().int().tolist()
    assert rolled[0, 0, 16 + direction[1], 16 + direction[0]] > 0.9
    assert rolled[0, 0].sum() == pytest.approx(1, abs=1e-3)


def test_points_without_meshes_are_those_of_the_mesh(layer: BodyLayer) -> None:
    section = HmrConfig(**SMALL)
    mean = some_pose(1)[0]
    model = build(section, 32, mean_rotmats=mean, mean_betas=torch.zeros(10))
    lesson = hmr_lesson.Lesson(section, model, load_body(BODY), 2000.0)
    rotmats, betas = some_pose(3), torch.randn(3, 10)
    joints, vertices = lesson.points(betas, rotmats)
    mesh = layer.vertices(betas, rotmats) - layer.joints24(betas, rotmats)[:, :1]
    distance = torch.cdist(vertices, mesh, compute_mode="donot_use_mm_for_euclid_dist").min(dim=2).values
    assert distance.max() < 1e-5
    assert joints[:, H36M.index("root")].abs().max() == 0


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory):
    sections = {"hmr": SMALL | QUIET | {"steps": 30, "learning_rate": 2e-3, "log_every": 10, "validate_every": 15}}
    return make_people(tmp_path_factory.mktemp("people"), acts=(2,), sections=sections)


def train(people, bodies: list[Path], output: Path, **changes: object):
    config = people.config.model_copy(update={"hmr": people.config.hmr.model_copy(update=changes)})
    train_hmr.run(
        config, index_train=people.paths.index("train"), index_val=people.paths.index("val"),
        crops=people.crops(1, 8), bodies=bodies, body=BODY, output=output,
    )  # fmt: skip
    return load_checkpoint(output)


def test_it_learns_the_people_that_it_sees(people, tmp_path: Path) -> None:
    found = train(people, people.truth(1, 8), tmp_path / "model_30.pt")
    first, last = found.history[0], found.history[-1]
    assert last["vertices"] < 0.8 * first["vertices"]
    assert "val/pve_mm" in last
    assert last["val/mean_body_pve_mm"] > 0
    assert found.extra["mean_betas"].shape == (10,)


def test_a_tree_without_bodies_is_learned_from_its_joints(people, tmp_path: Path) -> None:
    found = train(people, [], tmp_path / "model_30.pt")
    assert found.history[-1]["vertices"] == 0
    assert found.history[-1]["joints"] < found.history[0]["joints"]
    assert "val/pve_mm" not in found.history[-1]


def test_true_bodies_give_the_labelled_joints(people, layer: BodyLayer) -> None:
    """Truth files, turned into the im frame, must reproduce the joints of the index."""
    samples = train_hmr.Samples.load(people.crops(1), people.paths.index("train"), people.truth(1))
    assert samples.has_body.all()
    joints = layer.joints17(samples.betas, samples.rotmats)
    found = 1000 * (joints - joints[:, :1]).numpy()
    assert np.abs(found - samples.store.joints_im_mm).max() < 0.5


def test_augmentation_keeps_joints_and_rotations_together(people, layer: BodyLayer) -> None:
    samples = train_hmr.Samples.load(people.crops(1), people.paths.index("train"), people.truth(1))
    section = people.config.hmr.model_copy(update={"turn_rad": 0.5, "colour": 0.5, "background": 0.5})
    batch = hmr_lesson.prepare_images(section, samples.gather(np.arange(len(samples.store))))
    joints = layer.joints17(batch["betas"], batch["rotmats"])
    assert (joints - joints[:, :1] - batch["joints_m"]).norm(dim=2).max() < 1e-3
    assert batch["image"].min() >= 0
    assert batch["image"].max() <= 1


def test_the_courses_network_trains_on_our_crops(people, tmp_path: Path) -> None:
    """Axis-angle, joined regressor, heads, all vertices, no places; errors after each correction are told."""
    found = train(
        people, people.truth(1, 8), tmp_path / "model_4.pt", steps=4, validate_every=4, backbone="resnet18",
        frozen=True, normalisation="imagenet", features="pooled", places=False, style="hmr2018", heads=True,
        rotation="axis_angle", supervise="last", decay="none", vertices=None, vertices_weight=0.0, joints_weight=0.0,
        rotations_weight=0.0, betas_weight=0.0, v2v_l1_weight=1.0, v2v_l2_weight=1.0, pose_body_weight=0.1,
    )  # fmt: skip
    last = found.history[-1]
    assert "places" not in last
    assert last["v2v_l1"] > last["v2v_l2"] > 0
    assert last["val/pve_mm"] == last["val/pve_mm/iteration_3"] != last["val/pve_mm/iteration_1"]
    network = restore(found.config, found.part("hmr"), int(found.extra["size"]))
    assert network(torch.rand(1, 3, 32, 32))[0].shape == (3, 1, 82)


@pytest.mark.parametrize("change", [{"frame": "camera"}, {"root": "estimated"}])
def test_what_is_for_course_data_alone_is_refused(people, tmp_path: Path, change: dict) -> None:
    with pytest.raises(ConfigError, match="course data"):
        train(people, [], tmp_path / "model_30.pt", **change)
