"""Cameras and crops: what must stay the same does, and a projected point lands on its place in the crop."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from codebase.geometry import (
    apply_affine,
    crop_from_image,
    crop_intrinsics,
    distort,
    project,
    rotation_to_root,
    undistort,
    world_to_camera,
    world_to_im,
)  # fmt: skip
from codebase.orbit import latent_rotation


def finite(low, high):
    return st.floats(low, high, allow_nan=False, width=64)


@st.composite
def rotations(draw):
    axis = draw(arrays(float, 3, elements=finite(-1, 1)))
    return Rotation.from_rotvec(3 * axis).as_matrix()


@st.composite
def roots(draw):
    """A point in front of a camera, mm, at up to 60 degrees from its axis."""
    z = draw(finite(1000, 9000))
    return np.array([draw(finite(-1.7, 1.7)) * z, draw(finite(-1.7, 1.7)) * z, z])


POINTS = arrays(float, (5, 3), elements=finite(-3000, 3000))
PLACES = arrays(float, 3, elements=finite(-6000, 6000))


@given(POINTS, rotations(), PLACES)
def test_world_to_camera_puts_the_centre_at_zero_and_keeps_distances(points, R, T_mm):
    assert np.abs(world_to_camera(T_mm[None], R, T_mm)).max() < 1e-9
    there = world_to_camera(points, R, T_mm)
    np.testing.assert_allclose(there @ R + T_mm, points, atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(there, axis=1), np.linalg.norm(points - T_mm, axis=1), atol=1e-8)


@given(roots())
def test_rotation_to_root_is_a_rotation_that_brings_the_root_onto_the_axis(root):
    R = rotation_to_root(root)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) > 0
    np.testing.assert_allclose(R @ root, [0, 0, np.linalg.norm(root)], atol=1e-8)
    # about y, then about x: the camera's x axis keeps out of y, so the horizon does not tilt
    assert abs(R[0, 1]) < 1e-12


@given(roots(), rotations(), PLACES, POINTS, rotations(), PLACES)
def test_moving_the_whole_rig_changes_no_pose_in_the_im_frame(root_cam, R, T_mm, points, turn, shift):
    root = root_cam @ R + T_mm
    pose = (points - points[:1]) @ world_to_im(root, R, T_mm).T
    moved_root, moved_T, moved_points = (turn @ root + shift, turn @ T_mm + shift, points @ turn.T + shift)
    moved = (moved_points - moved_points[:1]) @ world_to_im(moved_root, R @ turn.T, moved_T).T
    np.testing.assert_allclose(moved, pose, atol=1e-6)


@given(roots(), rotations(), PLACES, roots(), rotations(), rotations(), PLACES)
def test_moving_the_whole_rig_changes_no_crop_and_no_turn_of_latents(root_cam, R_a, T_a, other_cam, R_b, turn, shift):
    root = root_cam @ R_a + T_a
    T_b = root - other_cam @ R_b
    f_px, c_px = np.array([1100.0, 1230.0]), np.array([480.0, 551.0])

    def rig(turn, shift):
        moved = root @ turn.T + shift
        found = []
        for R, T_mm in ((R_a @ turn.T, turn @ T_a + shift), (R_b @ turn.T, turn @ T_b + shift)):
            root_cam = world_to_camera(moved[None], R, T_mm)[0]
            affine = crop_from_image(root_cam, f_px, c_px, box_mm=2000.0, size_px=128)
            found.append((affine, world_to_im(moved, R, T_mm)))
        return found

    (crop_a, a), (crop_b, b) = rig(np.eye(3), np.zeros(3))
    (moved_crop_a, moved_a), (moved_crop_b, moved_b) = rig(turn, shift)
    np.testing.assert_allclose([moved_crop_a, moved_crop_b], [crop_a, crop_b], rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(latent_rotation(moved_b, moved_a), latent_rotation(b, a), atol=1e-9)
    np.testing.assert_allclose(moved_a, a @ turn.T, atol=1e-9)


@given(roots(), rotations(), PLACES)
def test_R_world_im_is_as_documented(root_cam, R, T_mm):
    """The camera's frame turned about its y axis, then about the new x axis, until z meets the root; no roll."""
    x, y, z = root_cam
    about_y, about_x = np.arctan2(x, z), -np.arctan2(y, np.hypot(x, z))
    axes = Rotation.from_euler("YX", [about_y, about_x]).as_matrix()  # columns: the im axes in the camera's frame
    found = world_to_im(root_cam @ R + T_mm, R, T_mm)
    np.testing.assert_allclose(found, axes.T @ R, atol=1e-9)
    np.testing.assert_allclose(found @ (root_cam @ R), [0, 0, np.linalg.norm(root_cam)], atol=1e-6)


@given(roots(), rotations(), PLACES, POINTS, arrays(float, 5, elements=finite(-0.1, 0.1)), st.integers(32, 512))
def test_from_the_world_into_the_crop_and_back(root_cam, R, T_mm, points, bend, size):
    f_px, c_px, distortion = np.array([1100.0, 1230.0]), np.array([480.0, 551.0]), bend * [1, 1, 0.05, 0.05, 1]
    inwards = min(1.0, root_cam[2] * 0.4 / max(np.hypot(*root_cam[:2]), 1))  # lenses see so far
    near = root_cam * [inwards, inwards, 1]
    world = (near + points * [0.2, 0.2, 0.1]) @ R + T_mm
    cam = world_to_camera(world, R, T_mm)
    recorded = project(cam, f_px, c_px, distortion)
    affine = crop_from_image(near, f_px, c_px, box_mm=2000.0, size_px=size)
    straight = undistort((recorded - c_px) / f_px, distortion) * f_px + c_px
    in_crop = apply_affine(affine, straight)
    np.testing.assert_allclose(in_crop, apply_affine(affine, project(cam, f_px, c_px)), atol=1e-5)
    f_crop, c_crop = crop_intrinsics(affine, f_px, c_px)
    rays = np.concatenate([(in_crop - c_crop) / f_crop, np.ones((len(points), 1))], axis=1)
    np.testing.assert_allclose((rays * cam[:, 2:]) @ R + T_mm, world, atol=1e-2)


@given(roots(), rotations(), PLACES, roots(), rotations(), POINTS)
def test_the_rotation_between_two_views_carries_one_pose_onto_the_other(root_cam, R_a, T_a, other_cam, R_b, points):
    root = root_cam @ R_a + T_a
    T_b = root - other_cam @ R_b
    a, b = world_to_im(root, R_a, T_a), world_to_im(root, R_b, T_b)
    np.testing.assert_allclose((points @ a.T) @ (b @ a.T).T, points @ b.T, atol=1e-8)


@given(roots(), finite(200, 2000), finite(200, 2000), finite(0, 1000), finite(0, 1000), finite(500, 3000), POINTS)
def test_projecting_into_the_crop_is_projecting_and_then_cropping(root, f_x, f_y, c_x, c_y, box_mm, points):
    f_px, c_px = np.array([f_x, f_y]), np.array([c_x, c_y])
    affine = crop_from_image(root, f_px, c_px, box_mm=box_mm, size_px=64)
    in_front = root + points * 0.2 * np.array([1, 1, 0.1])
    cropped = apply_affine(affine, project(in_front, f_px, c_px))
    np.testing.assert_allclose(cropped, project(in_front, *crop_intrinsics(affine, f_px, c_px)), atol=1e-6)


@given(roots(), finite(200, 2000), finite(0, 1000), finite(500, 3000), st.integers(8, 512))
def test_the_box_about_the_root_fills_the_crop(root, f, c, box_mm, size):
    f_px, c_px = np.full(2, f), np.full(2, c)
    affine = crop_from_image(root, f_px, c_px, box_mm=box_mm, size_px=size)
    corners = root + box_mm / 2 * np.array([[0, 0, 0], [-1, -1, 0], [1, 1, 0]])
    found = apply_affine(affine, project(corners, f_px, c_px))
    expected = np.repeat([[(size - 1) / 2], [-0.5], [size - 0.5]], 2, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


DISTORTIONS = arrays(float, 5, elements=finite(-0.3, 0.3)).map(lambda d: d * [1, 1, 0.05, 0.05, 1])


@given(arrays(float, (6, 3), elements=finite(-1, 1)), DISTORTIONS, finite(200, 2000), finite(200, 2000), finite(0, 999))
def test_distortion_is_opencvs(points, distortion, f_x, f_y, c):
    in_front = points * [1.5, 1.5, 0.4] + [0, 0, 2]
    f_px, c_px = np.array([f_x, f_y]), np.array([c, 1000 - c])
    K = np.array([[f_x, 0, c], [0, f_y, 1000 - c], [0, 0, 1]])
    theirs = cv2.projectPoints(in_front, np.zeros(3), np.zeros(3), K, distortion)[0][:, 0]
    np.testing.assert_allclose(project(in_front, f_px, c_px, distortion), theirs, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(project(in_front, f_px, c_px, np.zeros(5)), project(in_front, f_px, c_px))


@given(arrays(float, (6, 2), elements=finite(-0.5, 0.5)), DISTORTIONS)
def test_undistorting_takes_distortion_back(rays, distortion):
    recorded = distort(rays, distortion)
    found = undistort(recorded, distortion)
    np.testing.assert_allclose(distort(found, distortion), recorded, atol=1e-9)
    np.testing.assert_allclose(found, rays, atol=1e-7)


def test_batches_are_what_single_samples_are():
    random = np.random.default_rng(0)
    roots_cam = random.normal(size=(7, 3)) * 500 + [0, 0, 5000]
    R = Rotation.random(7, random_state=1).as_matrix()
    T_mm, points = random.normal(size=(7, 3)) * 1000, random.normal(size=(7, 4, 3)) * 1000 + [0, 0, 9000]
    f_px, c_px = np.full((7, 2), 900.0), np.full((7, 2), 500.0)
    batched = crop_from_image(roots_cam, f_px, c_px, box_mm=2000.0, size_px=64)
    for i in range(7):
        np.testing.assert_allclose(world_to_camera(points, R, T_mm)[i], world_to_camera(points[i], R[i], T_mm[i]))
        np.testing.assert_allclose(project(points, f_px, c_px)[i], project(points[i], f_px[i], c_px[i]))
        np.testing.assert_allclose(world_to_im(roots_cam, R, T_mm)[i], world_to_im(roots_cam[i], R[i], T_mm[i]))
        single = crop_from_image(roots_cam[i], f_px[i], c_px[i], box_mm=2000.0, size_px=64)
        np.testing.assert_allclose(batched[i], single)
