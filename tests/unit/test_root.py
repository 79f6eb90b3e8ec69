"""Where a body stands, from where its joints fall: exact on exact input, whatever the place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase.models.root import root_from_places


def seen(seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, 0.4, (count, 17, 3))
    root = np.stack([rng.uniform(-2, 2, count), rng.uniform(-1, 1, count), rng.uniform(2.5, 9, count)], axis=1)
    placed = joints + root[:, None]
    return joints, root, placed[..., :2] / placed[..., 2:]


@given(st.integers(0, 2**31))
def test_exact_places_give_the_exact_root(seed):
    joints, root, rays = seen(seed)
    assert np.abs(root_from_places(joints, rays) - root).max() < 1e-8


def test_a_joint_of_no_weight_does_not_count():
    joints, root, rays = seen(1)
    rays[:, 4] += 0.3
    weights = np.ones((3, 17))
    assert np.abs(root_from_places(joints, rays, weights) - root).max() > 0.01
    weights[:, 4] = 0
    assert np.abs(root_from_places(joints, rays, weights) - root).max() < 1e-8


def test_a_pixel_of_noise_costs_centimetres_not_metres():
    joints, root, rays = seen(2, 50)
    noise = np.random.default_rng(0).normal(0, 1 / 1145, rays.shape)  # one pixel of Human3.6M's cameras
    off = np.linalg.norm(root_from_places(joints, rays + noise) - root, axis=1)
    assert np.median(off) < 0.05


def test_joints_on_one_point_give_no_error():
    joints = np.zeros((1, 17, 3))
    assert root_from_places(joints, np.zeros((1, 17, 2))).shape == (1, 3)


@pytest.mark.parametrize("joints", [3, 17])
def test_three_joints_suffice(joints):
    points, root, rays = seen(3)
    assert np.abs(root_from_places(points[:, :joints], rays[:, :joints]) - root).max() < 1e-6
