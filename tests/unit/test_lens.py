"""What a bent frame shows lies in its crop where the ideal pinhole would have it; a straight lens changes no bit."""

from __future__ import annotations

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.data.human36m import MASK_SUFFIX, write_meta
from codebase.data.lens import Lens, cut_straight, straighten
from codebase.data.resample import after_reduction, cut
from codebase.data.store import CropStore
from codebase.geometry import apply_affine, project, world_to_camera
from codebase.stages import backgrounds, crops, index
from tests.trees import camera, config, poses, write_tree

SIDE = 400
USUAL = (-0.21, 0.25, -0.0014, -0.0015, -0.003)  # about as bent as Human3.6M's cameras, and much more
BENT = (-0.5, 0.3, 0.004, -0.003, 0.05)


def blob(places, side=SIDE, sigma=3.0):
    """Grey spots at pixel places, as a sharp-edged picture would not allow places to be read to 0.01 px."""
    v, u = np.mgrid[:side, :side]
    spots = [np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma**2)) for x, y in np.atleast_2d(places)]
    return np.rint(250 * np.max(spots, axis=0)).astype(np.uint8)


def middle(image, near, reach=9):
    """Centroid of the spot near a place."""
    u, v = np.rint(near).astype(int)
    part = image[v - reach : v + reach + 1, u - reach : u + reach + 1].astype(float)
    rows, columns = np.mgrid[v - reach : v + reach + 1, u - reach : u + reach + 1]
    return np.array([(columns * part).sum(), (rows * part).sum()]) / part.sum()


AWAY = st.floats(-0.75, 0.75)


@settings(max_examples=40)
@given(AWAY, AWAY, st.floats(0.8, 1.6), st.sampled_from([1, 2]))
def test_a_spot_lands_where_the_pinhole_sees_it(x, y, scale, factor):
    lens = Lens((1.15 * SIDE,) * 2, (SIDE / 2 + 3.3, SIDE / 2 - 1.7), USUAL)
    pinhole = np.array([SIDE / 2 * (1 + x), SIDE / 2 * (1 + y)])
    frame = blob(lens.recorded(pinhole), sigma=2.0 * factor)  # wider ones are bent themselves
    small = frame.reshape(SIDE // factor, factor, SIDE // factor, factor).mean(axis=(1, 3)).astype(np.float32)
    to_crop = np.array([[scale / factor, 0, 64], [0, scale / factor, 64]])
    to_crop[:, 2] -= to_crop[:, :2] @ pinhole - [0.3, -0.2]
    crop = cut_straight(small, after_reduction(to_crop, factor), 128, lens, factor, repeat_border=True)
    place = apply_affine(to_crop, pinhole[None])[0]
    assert np.abs(middle(crop, place, reach=40) - place).max() < 0.05


def test_a_straight_lens_changes_no_bit():
    frame = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    to_crop = np.array([[0.7, 0, 3.3], [0, 0.7, -8.1]])
    straight = Lens((90.0, 90.0), (40.0, 45.0), (0.0,) * 5)
    for border in (True, False):
        found = cut_straight(frame, to_crop, 64, straight, 1, repeat_border=border)
        np.testing.assert_array_equal(found, cut(frame, to_crop, 64, repeat_border=border))


def test_a_whole_frame_is_straightened_and_says_where_it_starts():
    lens = Lens((1.15 * SIDE,) * 2, (SIDE / 2 + 3.3, SIDE / 2 - 1.7), USUAL)
    pinhole = np.array([[60.0, 70.0], [330.0, 200.0], [180.0, 340.0]])
    whole, origin = straighten(blob(lens.recorded(pinhole), sigma=2.0), lens, 1)
    assert (origin < 0).all()
    for place in pinhole - origin:
        assert np.abs(middle(whole, place) - place).max() < 0.05
    frame = blob(pinhole)
    same, nowhere = straighten(frame, Lens(lens.f_px, lens.c_px, (0.0,) * 5), 1)
    assert same is frame
    assert not nowhere.any()


def test_the_frames_corners_are_not_lost():
    lens = Lens((1.15 * SIDE,) * 2, (SIDE / 2, SIDE / 2), BENT)
    frame = np.zeros((SIDE, SIDE), np.uint8)
    frame[:12, :12] = 255
    corner = lens.straight(np.array([4.0, 4.0]))
    assert (corner < -10).all()  # outside of the pinhole image of the frame's size
    to_crop = np.array([[1.0, 0, 32 - corner[0]], [0, 1.0, 32 - corner[1]]])
    assert cut_straight(frame, to_crop, 64, lens, 1, repeat_border=False)[32, 32] == 255
    far = np.array([[1.0, 0, 9000.0], [0, 1.0, 9000.0]])
    assert (cut_straight(frame, far, 64, lens, 1, repeat_border=False) == 0).all()
    assert (cut_straight(frame + np.uint8(9), far, 64, lens, 1, repeat_border=True) > 0).all()


@pytest.fixture
def bent_tree(tmp_path):
    """A tree whose frames show the hips and the head top as spots, through a lens."""
    tree = write_tree(tmp_path / "tree", acts=(2,), cameras=(1, 3), frames=2, width=SIDE, height=SIDE)
    for folder in tree.folders:
        shot = camera(folder.camera, width=SIDE, height=SIDE)
        pose = poses(folder.subject, 2, 1, 2)
        write_meta(
            tree.root / folder.name, pose3d_world_mm=pose, width=SIDE, height=SIDE, distortion=np.array(BENT), **shot
        )
        in_camera = world_to_camera(pose.reshape(-1, 3), shot["R"], shot["T_mm"])
        spots = project(in_camera, shot["f_px"], shot["c_px"], np.array(BENT)).reshape(2, -1, 2)
        for frame in (1, 2):
            spot = blob(spots[frame - 1, [0, 10]])
            cv2.imwrite(str(folder.file(tree.root, frame)), spot, [cv2.IMWRITE_JPEG_QUALITY, 100])
            cv2.imwrite(str(folder.file(tree.root, frame, MASK_SUFFIX)), spot)
    return tree


def test_crops_of_a_bent_tree_are_straight(bent_tree, tmp_path):
    own = config(bent_tree, tmp_path, crops={"size": 128, "box_mm": 2000.0})
    files = {f"output_{name}": tmp_path / f"index_{name}.h5" for name in ("train", "val", "test")}
    index.run(own, **files)
    backgrounds.run(own, subject=1, output=tmp_path / "background.npy")
    crops.run(
        own, subject=1, index=list(files.values()), background=tmp_path / "background.npy", output=tmp_path / "S1.h5"
    )
    with h5py.File(tmp_path / "S1.h5") as file:
        found = {name: file[name][:] for name in ("R", "T_mm", "f_px", "c_px", "crop_from_image", "frame")}
    found |= {n: v.numpy() for n, v in CropStore([tmp_path / "S1.h5"]).gather(np.arange(4), ("image", "mask")).items()}
    assert len(found["frame"]) == 4
    for row in range(4):
        pose = poses(1, 2, 1, 2)[found["frame"][row] - 1]
        ideal = project(
            world_to_camera(pose, found["R"][row], found["T_mm"][row]), found["f_px"][row], found["c_px"][row]
        )
        for place in apply_affine(found["crop_from_image"][row], ideal)[[0, 10]]:
            assert np.abs(middle(found["mask"][row], place) - place).max() < 0.05
            grey = found["image"][row].mean(-1)
            assert np.abs(middle(np.where(grey > 3, grey, 0), place) - place).max() < 0.1
