"""Where crops show joints: of the cameras of our crops and of the course's, in both perspectives, of changed images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.config import HmrConfig
from codebase.geometry import apply_affine, project, world_to_camera
from codebase.models import augment
from codebase.models.projection import Cameras, columns
from codebase.stages import train_hmr
from codebase.training import hmr_lesson
from tests.people import make_people

SIZE = 64


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> train_hmr.Samples:
    people = make_people(tmp_path_factory.mktemp("people"), acts=(2,), size=SIZE)
    return train_hmr.Samples.load(people.crops(1), people.paths.index("train"), people.truth(1))


def cameras_of(samples: train_hmr.Samples) -> Cameras:
    return Cameras.of(samples.cameras, count=len(samples.store), half_box_m=1.0)


def in_px(places: torch.Tensor) -> np.ndarray:
    """Crop pixels of places from -1 to 1."""
    return (places.double().numpy() + 1) * SIZE / 2 - 0.5


def joints_of(samples: train_hmr.Samples) -> torch.Tensor:
    return torch.from_numpy(samples.store.joints_im_mm / 1000).float()


def test_full_perspective_is_what_the_frames_camera_sees(samples):
    """Joints from the world through the frame's camera and the crop's map, and through the crop's own camera."""
    store = samples.store
    world_mm = store.joints_im_mm @ store.R_world_im + store.root_world_mm[:, None]
    seen = project(world_to_camera(world_mm, store.R, store.T_mm), store.f_px, store.c_px)
    expected = apply_affine(store.crop_from_image, seen)
    assert np.abs(in_px(cameras_of(samples).project(joints_of(samples))) - expected).max() < 0.01


def test_weak_perspective_is_that_of_points_as_far_away_as_the_root(samples):
    cameras, joints = cameras_of(samples), joints_of(samples)
    flat = joints @ cameras.turn.transpose(1, 2)
    flat[..., 2] = 0
    expected = cameras.project(flat @ cameras.turn)
    weak = cameras.project(joints, weak=True)
    assert np.abs(in_px(weak) - in_px(expected)).max() < 0.01
    assert np.abs(in_px(weak) - in_px(cameras.project(joints))).max() > 0.3  # they do differ
    store = samples.store
    box_m = store.box_mm / 1000  # a crop shows a fronto-parallel square of this side at the root
    assert (weak - (flat / (box_m / 2))[..., :2]).abs().max() < 1e-4


def test_a_lens_that_bends_is_in_it():
    k = np.array([[-0.2, 0.25, -0.003, 0.001, -0.01]])
    root, f, c = np.array([[0.4, -0.3, 4.0]]), np.array([[300.0, 310.0]]), np.array([[40.0, 30.0]])
    points = np.random.default_rng(0).normal(0, 0.4, (1, 9, 3))
    batch = columns(turn=np.eye(3)[None], root_m=root, f_crop_px=f, c_crop_px=c, size=(SIZE, SIZE), distortion=k)
    found = Cameras.of(batch, count=1, half_box_m=1.0).project(torch.from_numpy(points).float())
    assert np.abs(in_px(found) - project(points + root, f, c, k)).max() < 0.01


def blobs(places: torch.Tensor) -> torch.Tensor:
    """Black images with a soft bright spot at each place, its weight 1."""
    at = torch.from_numpy(in_px(places))[:, None, None]
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="xy"), dim=-1)
    return (-(grid - at).square().sum(dim=-1) / (2 * 2.5**2)).exp().float()


@settings(deadline=None, max_examples=20)
@given(
    angle=st.floats(-0.6, 0.6), factor=st.floats(0.75, 1.35), mirror=st.booleans(),
    x=st.floats(-0.4, 0.4), y=st.floats(-0.4, 0.4), z=st.floats(-0.5, 0.5),
)  # fmt: skip
def test_a_changed_image_shows_a_changed_point_where_its_camera_says(samples, angle, factor, mirror, x, y, z):
    """Mirror, roll and scale: the spot that a point makes moves to where the changed camera shows the changed point."""
    cameras = cameras_of(samples)
    count = len(samples.store)
    point = torch.tensor([x, y, z]).repeat(count, 1, 1)
    image = blobs(cameras.project(point)[:, 0])[:, None].expand(-1, 3, -1, -1)
    chosen = torch.full((count,), mirror)
    image = torch.where(chosen[:, None, None, None], image.flip(-1), image)
    point = torch.where(chosen[:, None, None], point * torch.tensor([-1.0, 1, 1]), point)
    angles, factors = torch.full((count,), angle), torch.full((count,), factor)
    turn = augment.roll_matrix(angles)
    image, point = augment.roll_image(image, angles, factors), point @ turn.transpose(1, 2)
    changed = cameras.mirrored(chosen.float()).rolled(turn).scaled(factors)
    weight = image[:, 0].double()
    grid = torch.arange(SIZE).double()
    found = torch.stack([(weight * grid).sum((1, 2)), (weight * grid[:, None]).sum((1, 2))], 1)
    found = (found / weight.sum((1, 2))[:, None]).numpy()
    assert np.abs(found - in_px(changed.project(point))[:, 0]).max() < 0.1  # px


def test_scale_changes_places_and_leaves_joints_and_rotations(samples):
    section = HmrConfig(flip=0, turn_rad=0, colour=0, background=0, scale=0.3)
    batch = samples.gather(np.arange(len(samples.store)))
    plain = hmr_lesson.prepare_images(section.model_copy(update={"scale": 0.0}), batch)
    scaled = hmr_lesson.prepare_images(section, batch)
    for name in ("joints_m", "rotmats", "betas"):
        assert torch.equal(plain[name], scaled[name])
    ratio = scaled["places"].norm(dim=2) / plain["places"].norm(dim=2).clamp_min(1e-3)
    far = plain["places"].norm(dim=2) > 0.1
    factor = torch.tensor([float(r[f].mean()) for r, f in zip(ratio, far, strict=True)])
    assert factor.std() > 0.05
    assert all((r[f] - m).abs().max() < 1e-3 for r, f, m in zip(ratio, far, factor, strict=True))


def test_what_hides_a_part_leaves_the_targets_and_hides_a_joint(samples):
    section = HmrConfig(flip=0, turn_rad=0, colour=0, background=0, occlusion=0.5)
    batch = samples.gather(np.arange(len(samples.store)).repeat(4))
    plain = hmr_lesson.prepare_images(section.model_copy(update={"occlusion": 0.0}), batch)
    torch.manual_seed(1)
    hidden = hmr_lesson.prepare_images(section, batch)
    for name in set(plain) - {"image"}:
        assert torch.equal(plain[name], hidden[name])
    changed = (plain["image"] != hidden["image"]).any(dim=1)
    touched = changed.flatten(1).any(dim=1).float().mean()
    assert 0.2 < touched < 0.8
    share = changed.flatten(1).float().mean(dim=1)
    assert share.max() < 0.26
    inside = in_px(plain["places"]).round().astype(int).clip(0, SIZE - 1)
    for row in np.flatnonzero(changed.flatten(1).any(dim=1).numpy()):
        assert changed[row, inside[row, :, 1], inside[row, :, 0]].any()  # at least one joint


def test_unhidden_images_are_untouched_whatever_is_drawn():
    image, other = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    places, numbers = torch.zeros(2, 17, 2), torch.rand(2, augment.OCCLUSION_NUMBERS)
    noise, chosen = torch.rand(2, 3, 4, 4), torch.tensor([False, True])
    found = augment.occlude(image, other, places, numbers, noise, chosen)
    assert torch.equal(found[0], image[0])
    assert not torch.equal(found[1], image[1])
    assert found[1, 0, 8, 8] != image[1, 0, 8, 8]  # the joint, at the centre


def test_without_cameras_a_crop_shows_its_box(tmp_path: Path):
    joints = torch.randn(3, 17, 3)
    found = Cameras.of({"joints": joints}, count=3, half_box_m=1.25).project(joints)
    assert (found - joints[..., :2] / 1.25).abs().max() < 1e-3
