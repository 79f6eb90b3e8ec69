from __future__ import annotations

import subprocess
import sys

import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st

from codebase.config import SmplConfig
from codebase.errors import DataError
from codebase.models.rotations import FACING_CAMERA, chordal_mean, from_6d, mirrored, to_6d
from codebase.models.smpl import SmplHead, body_of, build, split


def rotations(*shape: int, seed: int = 0) -> torch.Tensor:
    return roma.rotvec_to_rotmat(torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed)) * 1.5)


def head(**changes: object) -> SmplHead:
    torch.manual_seed(0)
    return SmplHead(20, 8, mean_rotmats=rotations(24, seed=4), mean_betas=torch.linspace(-1, 1, 10), **changes)


@given(st.integers(0, 10_000))
def test_six_numbers_are_enough(seed: int) -> None:
    given_rotations = rotations(5, 24, seed=seed)
    assert torch.allclose(from_6d(to_6d(given_rotations)), given_rotations, atol=1e-5)


@given(st.integers(0, 10_000))
def test_any_six_numbers_make_a_rotation(seed: int) -> None:
    six = torch.randn(50, 6, generator=torch.Generator().manual_seed(seed))
    assert roma.is_rotation_matrix(from_6d(six), epsilon=1e-4)


def test_upright_before_the_camera() -> None:
    facing = torch.tensor(FACING_CAMERA)
    up, ahead = facing @ torch.tensor([0.0, 1, 0]), facing @ torch.tensor([0.0, 0, 1])
    assert torch.equal(up, torch.tensor([0.0, -1, 0])), "y of the im frame points down"
    assert torch.equal(ahead, torch.tensor([0.0, 0, -1])), "towards the camera"
    assert torch.linalg.det(facing) == 1


def test_chordal_mean_of_turns_about_one_axis_is_the_middle_one() -> None:
    angles = torch.tensor([-0.3, 0.1, 0.5])
    turns = roma.rotvec_to_rotmat(angles[:, None] * torch.tensor([0.0, 1, 0]))
    middle = torch.atan2(angles.sin().sum(), angles.cos().sum())
    assert torch.allclose(chordal_mean(turns), roma.rotvec_to_rotmat(middle * torch.tensor([0.0, 1, 0])), atol=1e-6)


def test_a_first_projection_in_inference_mode_leaves_gradients_to_later_ones() -> None:
    """In a process of its own: what the first call of one keeps, all others see."""
    script = """
import torch
from codebase.models.rotations import nearest

matrices = torch.randn(5, 3, 3, dtype=torch.float64)
with torch.inference_mode():
    first = nearest(matrices)
with torch.no_grad():
    assert not nearest(matrices.clone().requires_grad_()).requires_grad
learned = matrices.clone().requires_grad_()
second = nearest(learned)
second[0, 0, 0].backward()
assert torch.equal(first, second) and learned.grad.abs().sum() > 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_mirrored_joints_are_the_mirror_image() -> None:
    """On a body that is its own mirror image, the mirrored pose must give mirrored joints with sides exchanged."""
    from codebase.skeleton import SMPL

    rest = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))
    order, flip = torch.tensor(SMPL.mirrored), torch.tensor([-1.0, 1, 1])
    rest = (rest + rest[order] * flip) / 2

    def posed(rotmats: torch.Tensor) -> torch.Tensor:
        places, turns = [rest[0]], [rotmats[0]]
        for joint in range(1, 24):
            parent = SMPL.parents[joint]
            places.append(places[parent] + turns[parent] @ (rest[joint] - rest[parent]))
            turns.append(turns[parent] @ rotmats[joint])
        return torch.stack(places)

    pose = rotations(24, seed=9)
    assert torch.allclose(posed(mirrored(pose[None])[0]), posed(pose)[order] * flip, atol=1e-5)


def test_head_starts_near_the_mean_body() -> None:
    model = head().eval()
    rotmats, betas = split(model(torch.randn(16, 20, 3), torch.randn(16, 8)))
    assert roma.rotmat_geodesic_distance(rotmats, rotations(24, seed=4).expand_as(rotmats)).mean() < 0.3
    assert (betas - torch.linspace(-1, 1, 10)).abs().mean() < 0.3


def test_head_can_face_away() -> None:
    """The original's tanh on axis-angle could not turn beyond one radian; two that face apart must be learnt."""
    model = head(dropout=0.0)
    points, app = torch.randn(2, 20, 3), torch.randn(2, 8)
    wanted = torch.stack(
        [torch.tensor(FACING_CAMERA), torch.tensor(FACING_CAMERA) @ torch.diag(torch.tensor([-1.0, 1, -1]))]
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        rotmats, _ = split(model(points, app))
        loss = (rotmats[:, 0] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert roma.rotmat_geodesic_distance(split(model(points, app))[0][:, 0], wanted).max() < 0.1


def test_a_unit_that_never_moved_cannot_blow_up() -> None:
    model = head().eval()
    app = torch.randn(100, 8)
    app[:, 3] = 0.7
    model.fit_input(torch.randn(100, 20, 3), app)
    calm, wild = torch.zeros(1, 8), torch.zeros(1, 8)
    wild[0, 3] = 1e6
    points = torch.randn(1, 20, 3)
    assert (model(points, wild) - model(points, calm)).abs().max() < 1.0


def test_scale_of_the_embedding_does_not_matter() -> None:
    points, app = torch.randn(64, 20, 3), torch.randn(64, 8)
    small, large = head().eval(), head().eval()
    small.fit_input(points, app)
    large.fit_input(1000 * points, 50 * app + 3)
    assert torch.allclose(small(points, app), large(1000 * points, 50 * app + 3), atol=1e-3)


@pytest.mark.parametrize("count", [1, 7])
def test_shapes(count: int) -> None:
    rotmats, betas = split(head()(torch.randn(count, 20, 3), torch.randn(count, 8)))
    assert rotmats.shape == (count, 24, 3, 3)
    assert betas.shape == (count, 10)


def test_the_body_of_an_image_and_of_its_mirror_image_are_mirror_images() -> None:
    learned = build(SmplConfig(), 20, 8, rotations(24, seed=4)).eval()
    learned.turning.weight.data.normal_(std=0.1)
    points, other, app = torch.randn(5, 20, 3), torch.randn(5, 20, 3), torch.randn(5, 8)
    (rotmats, betas), (back, same) = (
        split(body_of(learned, points, other, app)),
        split(body_of(learned, other, points, app)),
    )
    assert torch.allclose(rotmats, mirrored(back), atol=1e-4)
    assert torch.equal(betas, same)
    assert roma.is_rotation_matrix(rotmats, epsilon=1e-4)
    with pytest.raises(DataError, match=r"embed\.mirrored"):
        body_of(learned, points, other[:, :0], app)
    plain = build(SmplConfig(mirror=0.0), 20, 8, rotations(24, seed=4)).eval()
    assert torch.equal(body_of(plain, points, other[:, :0], app), plain(points, app))
