"""Virtual cameras: they are what cameras that are really carried round would be, and they compose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from codebase.geometry import world_to_camera, world_to_im
from codebase.orbit import (
    AXES,
    UP,
    angles_of,
    axis_in_world,
    azimuths_from,
    carried,
    from_angles,
    latent_rotation,
    through,
    turntable,
)

ANGLE = st.floats(-3.1, 3.1)
TILT = st.floats(-1.4, 1.4)
VECTOR = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)
TURNS = VECTOR.map(lambda v: Rotation.from_rotvec(3 * v).as_matrix())
PLACE = st.tuples(*[st.floats(-3000, 3000)] * 3).map(np.array)


def angle_between(first, second):
    return np.degrees(Rotation.from_matrix(first @ second.T).magnitude())


@given(TURNS, PLACE, PLACE, VECTOR, ANGLE)
def test_a_carried_camera_is_a_camera_that_is_really_carried(R, T_mm, root, axis, angle):
    """Also for a root off the camera's axis, where R_centre is no unit matrix."""
    T_mm = root - (np.abs(T_mm) * [0.3, -0.2, 1] + np.array([0, 0, 2000])) @ R  # the root lies before the camera
    turn = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    moved_R, moved_T = R @ turn.T, root + turn @ (T_mm - root)
    same = world_to_camera(root[None], R, T_mm), world_to_camera(root[None], moved_R, moved_T)
    np.testing.assert_allclose(*same, atol=1e-6)
    found = carried(world_to_im(root, R, T_mm), axis, np.array([angle]))[0]
    np.testing.assert_allclose(found, world_to_im(root, moved_R, moved_T), atol=1e-9)


@given(TURNS, st.integers(2, 30), st.sampled_from(AXES))
def test_a_turntable_starts_at_the_source_and_its_steps_compose_to_identity(source, steps, axis):
    views = turntable(source, steps, axis=axis)
    np.testing.assert_allclose(views[0], source, atol=1e-12)
    step = latent_rotation(views[1], views[0])
    whole = np.eye(3)
    for before, after in zip(views, np.roll(views, -1, axis=0), strict=True):
        np.testing.assert_allclose(latent_rotation(after, before), step, atol=1e-9)  # even ones
        whole = latent_rotation(after, before) @ whole
    np.testing.assert_allclose(whole, np.eye(3), atol=1e-9)
    assert angle_between(views[1], views[0]) == pytest.approx(360 / steps, abs=1e-6)


@given(TURNS, st.integers(2, 12))
def test_turning_about_the_vertical_keeps_the_vertical_and_turning_about_another_axis_does_not(source, steps):
    up = source @ UP
    turns = latent_rotation(turntable(source, steps), source)
    np.testing.assert_allclose(turns @ up, np.broadcast_to(up, (steps, 3)), atol=1e-9)
    ahead = latent_rotation(turntable(source, steps, axis="view"), source)
    np.testing.assert_allclose(ahead[:, 2], np.broadcast_to([0, 0, 1.0], (steps, 3)), atol=1e-9)
    over = latent_rotation(turntable(source, 4, axis="horizontal"), source)
    level = source @ axis_in_world("horizontal", source)
    np.testing.assert_allclose(over @ level, np.broadcast_to(level, (4, 3)), atol=1e-9)
    np.testing.assert_allclose(over[2] @ up, -up, atol=1e-9)


@given(ANGLE, TILT, TILT)
def test_angles_are_those_of_the_camera_and_back(azimuth, elevation, roll):
    found = from_angles(azimuth, elevation, roll)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(angles_of(found), [azimuth, elevation, roll], atol=1e-6)
    place = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    np.testing.assert_allclose(found @ place, [0, 0, -1], atol=1e-9)  # seen from the camera, the root is behind it


@pytest.mark.parametrize("z", [1.0, -1.0])
def test_straight_from_above_and_below_angles_are_still_a_camera(z):
    look = Rotation.from_euler("zx", [0.7, 0]).as_matrix() @ np.diag([1.0, -z, -z])
    np.testing.assert_allclose(from_angles(*angles_of(look)), look, atol=1e-9)


@given(ANGLE, st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), st.floats(0.1, 1.0), st.integers(2, 24))
def test_the_camera_rises_half_way_round_and_comes_back(azimuth, elevation, roll, rise, half):
    views = turntable(from_angles(azimuth, elevation, roll), 2 * half, elevation_rad=rise)
    _, highest, tilt = angles_of(views[half])
    assert highest == pytest.approx(elevation + rise, abs=1e-9)
    assert tilt == pytest.approx(roll, abs=1e-9)
    np.testing.assert_allclose(views[0], from_angles(azimuth, elevation, roll), atol=1e-12)
    assert max(angles_of(view)[1] for view in views) <= highest + 1e-9


@given(ANGLE, st.floats(-0.5, 0.5))
def test_about_the_horizontal_axis_the_camera_first_rises(azimuth, elevation):
    views = turntable(from_angles(azimuth, elevation, 0.0), 36, axis="horizontal")
    assert angles_of(views[1])[1] == pytest.approx(elevation + np.radians(10), abs=1e-9)


CAMERAS = st.lists(st.tuples(ANGLE, st.floats(-0.6, 0.9), st.floats(-0.5, 0.5)), min_size=2, max_size=6)


@settings(max_examples=40)
@given(CAMERAS, st.integers(6, 50))
def test_a_path_meets_every_camera_exactly_and_closes(angles, steps):
    """Turning by the angle between two cameras is then what the decoder gets for the real pair."""
    keys = np.stack([from_angles(*each) for each in angles])
    path, stops = through(keys, steps)
    assert path.shape == (steps, 3, 3)
    assert stops[0] == 0
    assert len(set(stops)) == len(keys)
    for key, stop in enumerate(stops):
        np.testing.assert_array_equal(path[stop], keys[key])
        np.testing.assert_array_equal(latent_rotation(path[stop], path[0]), keys[key] @ keys[0].T)
    np.testing.assert_allclose(path @ np.swapaxes(path, 1, 2), np.broadcast_to(np.eye(3), path.shape), atol=1e-9)
    ahead = np.array(azimuths_from(keys[0], list(path))) % 360
    ahead[ahead > 360 - 1e-6] = 0
    assert (np.diff(ahead) > -1e-6).all()  # always the same way round


@given(ANGLE, ANGLE, st.floats(-0.6, 0.9), st.floats(-0.4, 0.4))
def test_cameras_of_one_height_and_roll_are_a_turn_about_the_vertical_apart(first, second, elevation, roll):
    one, other = from_angles(first, elevation, roll), from_angles(second, elevation, roll)
    np.testing.assert_allclose(carried(one, UP, np.array([second - first]))[0], other, atol=1e-9)
