"""Errors: worth zero where nothing is wrong, blind to what they align away, and to nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from codebase.metrics import mpjpe, n_mpjpe, orthogonal_mpjpe, pa_mpjpe, procrustes, psnr_db, pve, v2v_l2

SEEDS = st.integers(0, 10_000)
POSES = st.builds(
    lambda seed, flat: np.random.default_rng(seed).normal(size=(2, 17, 3)) * [400, 400 * flat, 400],
    SEEDS,
    st.floats(0.05, 1),
)


@given(POSES, SEEDS)
def test_pa_mpjpe_does_not_see_a_similarity(poses, seed):
    random = np.random.default_rng(seed)
    turned = poses @ Rotation.random(2, random_state=seed).as_matrix()
    moved = turned * random.uniform(0.2, 4) + random.normal(size=(2, 1, 3)) * 500
    assert pa_mpjpe(moved, poses).max() < 1e-6
    assert pa_mpjpe(poses, moved).max() < 1e-5


def test_pa_mpjpe_sees_a_mirror_image():
    pose = np.random.default_rng(0).normal(size=(1, 17, 3)) * 300
    assert pa_mpjpe(pose * [-1, 1, 1], pose)[0] > 50


@given(POSES, POSES)
def test_each_alignment_helps(predicted, target):
    squared = lambda a: ((a - target) ** 2).sum(axis=(1, 2))  # noqa: E731 - what least squares minimises
    scale = (predicted * target).sum(axis=(1, 2)) / (predicted**2).sum(axis=(1, 2))
    assert (squared(procrustes(predicted, target)) <= squared(predicted * scale[:, None, None]) + 1e-3).all()


@given(POSES, st.floats(0.1, 10))
def test_n_mpjpe_sees_no_scale(poses, scale):
    assert n_mpjpe(poses * scale, poses).max() < 1e-6


@given(POSES, SEEDS)
def test_the_orthogonal_error_sees_neither_turn_nor_mirror_but_size_and_place(poses, seed):
    turned = poses @ Rotation.random(2, random_state=seed).as_matrix()
    assert orthogonal_mpjpe(turned, poses).max() < 1e-6
    assert orthogonal_mpjpe(turned * [-1, 1, 1], poses).max() < 1e-6
    size = np.linalg.norm(poses, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(orthogonal_mpjpe(turned * 1.5, poses), 0.5 * size)
    assert (orthogonal_mpjpe(poses + 100, poses) > 1).all()
    assert (pa_mpjpe(turned * 1.5 + 100, poses) < 1e-5).all()


def test_the_orthogonal_error_is_scipys_procrustes_and_nothing_more():
    from scipy.linalg import orthogonal_procrustes

    predicted, target = np.random.default_rng(0).normal(size=(2, 5, 17, 3)) * 300
    wanted = [
        mpjpe((a @ orthogonal_procrustes(a, b)[0])[None], b[None])[0] for a, b in zip(predicted, target, strict=True)
    ]
    np.testing.assert_allclose(orthogonal_mpjpe(predicted, target), wanted)


def test_known_values():
    target = np.zeros((2, 4, 3))
    predicted = target + np.array([3.0, 4.0, 0])
    assert mpjpe(predicted, target).tolist() == [5.0, 5.0]
    assert pve(predicted, target).tolist() == [5.0, 5.0]
    assert v2v_l2(predicted, target) == pytest.approx([25 / 3, 25 / 3])
    assert psnr_db(np.array([1.0, 0.01])) == pytest.approx([0, 20])
    assert np.isfinite(n_mpjpe(target, predicted)).all()  # a prediction of zeros cannot be scaled
    assert np.isfinite(pa_mpjpe(target, predicted)).all()
