"""The z-buffer against what geometry says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.render.raster import Pinhole, interpolate, rasterise, vertex_normals

CAMERA = Pinhole(50.0, 60.0, 15.5, 11.0, 32, 24)
ONE_FACE = np.array([[0, 1, 2]], np.int32)


@pytest.fixture
def icosahedron() -> tuple[np.ndarray, np.ndarray]:
    """Unit vertices and outward faces."""
    golden = (1 + 5**0.5) / 2
    vertices = np.array(
        [[x, y * golden, 0] for x in (-1, 1) for y in (-1, 1)]
        + [[0, x, y * golden] for x in (-1, 1) for y in (-1, 1)]
        + [[y * golden, 0, x] for x in (-1, 1) for y in (-1, 1)]
    )
    faces = []
    for i in range(12):
        for j in range(i + 1, 12):
            for k in range(j + 1, 12):
                a, b, c = vertices[[i, j, k]]
                if max(np.linalg.norm(a - b), np.linalg.norm(b - c), np.linalg.norm(c - a)) < 2.1:
                    faces.append([i, j, k] if np.linalg.det([a, b, c]) > 0 else [i, k, j])
    return vertices / np.linalg.norm(vertices[0]), np.array(faces, np.int32)


def _pixels(camera: Pinhole) -> np.ndarray:
    v, u = np.mgrid[: camera.height, : camera.width]
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)


corner = st.tuples(*[st.floats(-2, 2), st.floats(-2, 2), st.floats(-3, 6)])


@settings(max_examples=60, deadline=None)
@given(st.tuples(corner, corner, corner))
def test_a_pixel_is_covered_exactly_where_its_ray_meets_the_triangle(corners: tuple) -> None:
    triangle = np.array(corners, float)
    if abs(np.linalg.det(triangle)) < 1e-3:
        return
    rays = _pixels(CAMERA)
    weights = np.linalg.solve(triangle.T, rays[..., None])[..., 0]
    inverse_depth = weights.sum(-1)
    sure = np.abs(weights).min(-1) > 1e-6
    expected = (weights.min(-1) > 0) & (inverse_depth > 0)
    raster = rasterise(triangle, ONE_FACE, CAMERA)
    assert ((raster.face == 0) == expected)[sure].all()
    hit = (raster.face == 0) & sure
    np.testing.assert_allclose(raster.inverse_depth[hit], inverse_depth[hit], rtol=1e-4)
    place = interpolate(raster, triangle, ONE_FACE, triangle, CAMERA)
    np.testing.assert_allclose(place[hit] * raster.inverse_depth[hit][:, None], rays[hit], atol=1e-3)


def test_the_nearer_face_wins_whatever_the_order() -> None:
    near = np.array([[-1, -1, 2], [1, -1, 2], [0, 1, 2.0]])
    far = near * [3, 3, 1] + [0, 0, 1]
    vertices = np.concatenate([far, near])
    for faces in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        raster = rasterise(vertices, np.array(faces, np.int32), CAMERA)
        assert faces[raster.face[11, 15]] == [3, 4, 5]
        np.testing.assert_allclose(raster.inverse_depth[11, 15], 0.5, rtol=1e-6)


def test_culling_keeps_the_faces_towards_the_camera(icosahedron: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = icosahedron
    placed = vertices * 0.4 + [0, 0, 3]
    full, culled = rasterise(placed, faces, CAMERA), rasterise(placed, faces, CAMERA, cull=True)
    assert (full.face >= 0).sum() > 50
    np.testing.assert_array_equal(full.face, culled.face)


def test_a_window_with_samples_sees_the_same_scene() -> None:
    triangle = np.array([[-0.31, -0.41, 2.03], [0.52, 0.013, 2.5], [0.017, 0.43, 3]])
    whole = rasterise(triangle, ONE_FACE, CAMERA).face
    fine = rasterise(triangle, ONE_FACE, CAMERA.window(4, 2, 20, 16, samples=3)).face
    np.testing.assert_array_equal(fine[1::3, 1::3], whole[2:18, 4:24])


def test_normals_of_a_sphere_point_outwards(icosahedron: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = icosahedron
    np.testing.assert_allclose(vertex_normals(vertices, faces), vertices, atol=1e-6)
