"""Meshes drawn over pictures."""

from __future__ import annotations

import numpy as np
import pytest

from codebase.render.overlay import draw_mesh, shade

FACES = np.array([[0, 2, 1], [0, 3, 2]])  # a square turned towards the camera (y down, z away)


def _square(left, right, top, bottom, depth_mm=1000.0):
    return np.array(
        [[left, top, depth_mm], [right, top, depth_mm], [right, bottom, depth_mm], [left, bottom, depth_mm]]
    )


def _draw(vertices, faces=FACES, opacity=1.0):
    image = np.full((20, 30, 3), 10, np.uint8)
    # 1 px is 1 mm at 1 m
    drawn = draw_mesh(
        image,
        vertices,
        faces,
        np.array([1000.0, 1000.0]),
        np.array([0.0, 0.0]),
        colour=(100, 100, 100),
        opacity=opacity,
    )
    return image, drawn


def test_a_square_covers_exactly_its_pixels_and_half_of_those_on_its_edge():
    _, drawn = _draw(_square(4.5, 10.0, 2.5, 7.5))
    inside = int(drawn[5, 7, 0])
    assert inside > 60
    covered = drawn[..., 0] > 10
    assert np.argwhere(covered).min(0).tolist() == [3, 5]
    assert np.argwhere(covered).max(0).tolist() == [7, 10]
    # the right edge runs through the centres of column 10: one or two of three samples lie inside
    assert 10 + (inside - 10) / 3 - 1 <= drawn[5, 10, 0] <= 10 + 2 * (inside - 10) / 3 + 1


def test_a_surface_turned_away_is_not_drawn():
    image, drawn = _draw(_square(4.5, 10.5, 2.5, 7.5), FACES[:, ::-1])
    np.testing.assert_array_equal(drawn, image)


def test_opacity_lets_the_picture_shine_through():
    _, full = _draw(_square(4.5, 10.5, 2.5, 7.5))
    _, half = _draw(_square(4.5, 10.5, 2.5, 7.5), opacity=0.5)
    assert half[5, 7, 0] == pytest.approx((10 + full[5, 7, 0]) / 2, abs=1)


def test_nearer_surfaces_hide_farther_ones_and_light_comes_from_above():
    both = np.concatenate([_square(4.5, 10.5, 2.5, 7.5, 1000.0), 2 * _square(4.5, 10.5, 2.5, 7.5, 1000.0)])
    _, near = _draw(_square(4.5, 10.5, 2.5, 7.5))
    _, drawn = _draw(both, np.concatenate([FACES + 4, FACES]))
    np.testing.assert_array_equal(drawn, near)
    up, down = np.array([[[0, -1.0, 0]]]), np.array([[[0, 1.0, 0]]])
    assert shade(up)[0, 0, 0] > shade(down)[0, 0, 0] + 0.3
