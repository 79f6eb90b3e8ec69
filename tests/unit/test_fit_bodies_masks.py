"""Bodies from joints and masks of several cameras: distances, windows of any lens, and how masks pull."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from codebase.body.arrays import lbs_numpy
from codebase.data.human36m import MASK_SUFFIX, Folder
from codebase.errors import DataError
from codebase.fitting.contours import Contours, expected_cloth
from codebase.fitting.fitter import Fitter
from codebase.fitting.normal import Normal
from codebase.fitting.points import Points
from codebase.fitting.solve import Guess
from codebase.fitting.tracks import Camera, Track
from codebase.fitting.windows import Windows, outside, read_windows
from codebase.geometry import distort, world_to_camera
from codebase.render.raster import Pinhole, rasterise
from tests.posed import BODY, SECTION, millimetres, nudged, performed, pve_mm
from tests.trees import camera

pytest_plugins = ["tests.fit_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 160


def filmed(root, pose, joints_m, *, numbers=(1, 2, 3)):
    """Masks of bare bodies in a dataset tree, and the track."""
    cameras = []
    for number in numbers:
        known = camera(number, width=SIZE, height=SIZE) | {"distortion": np.zeros(5)}
        cameras.append(Camera(number, **known, width=SIZE, height=SIZE, has_mask=np.ones(len(pose), bool)))
    frame = np.arange(1, len(pose) + 1, dtype=np.int32)
    track = Track(1, 2, 1, frame, millimetres(joints_m).astype(np.float32), tuple(cameras))
    vertices, _ = lbs_numpy(BODY, pose.betas[:1].numpy(), pose.rotmats.numpy(), pose.transl_m.numpy())
    for one in cameras:
        for row, place in enumerate(vertices):
            cam = world_to_camera(1000 * place.astype(np.float64), one.R, one.T_mm)
            lens = Pinhole(*one.f_px, *one.c_px, SIZE, SIZE).window(0, 0, SIZE, SIZE, 3)
            covered = (rasterise(cam, BODY.faces, lens).face >= 0).reshape(SIZE, 3, SIZE, 3).mean((1, 3)) >= 0.5
            path = Folder(1, 2, 1, one.number).file(root, row + 1, MASK_SUFFIX)
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), 255 * covered.astype(np.uint8))
    return track


@pytest.fixture(scope="module")
def scene(tmp_path_factory, points):
    """A sequence with masks: its tree, its track, the true bodies."""
    pose = performed(3, frames=4)
    root = tmp_path_factory.mktemp("masks")
    return root, filmed(root, pose, points(pose)), pose


def test_masks_of_the_true_body_overlap_with_it_and_hold_it_in_place(scene, prior):
    root, track, pose = scene
    windows = read_windows(track, root, size=96, wanted=np.ones(len(track), bool))
    assert windows.seen.all()
    contours = Contours(BODY, Points(BODY), windows)
    bare = dataclasses.replace(Guess.at(pose), cloth_m=0 * expected_cloth())
    assert contours.overlap(bare).min() > 0.88  # people of 50 pixels
    contours.look(bare)
    at_truth = contours.cost(bare)
    for axis in range(3):
        moved = pose.transl_m.clone()
        moved[:, axis] += 0.05
        there = dataclasses.replace(bare, pose=dataclasses.replace(pose, transl_m=moved))
        contours.look(there)
        assert contours.cost(there) > 2 * at_truth


def test_what_the_frame_does_not_show_counts_nowhere(scene, tmp_path):
    root, track, pose = scene
    cameras = []
    for one in track.cameras:
        masks = {row: Folder(1, 2, 1, one.number).file(root, row + 1, MASK_SUFFIX) for row in range(len(track))}
        shown = int(np.median(np.nonzero(cv2.imread(str(masks[0]), 0))[1]))  # half of the person
        for path in masks.values():
            (tmp_path / path.relative_to(root)).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / path.relative_to(root)), cv2.imread(str(path), 0)[:, :shown])
        cameras.append(dataclasses.replace(one, width=shown))
    narrow = dataclasses.replace(track, cameras=tuple(cameras))
    windows = read_windows(narrow, tmp_path, size=96, wanted=np.ones(len(track), bool))
    assert windows.seen.all()
    assert Contours(BODY, Points(BODY), windows).overlap(Guess.at(pose)).min() > 0.75


def test_the_pull_of_masks_is_the_gradient_of_its_cost(scene):
    root, track, pose = scene
    windows = read_windows(track, root, size=96, wanted=np.ones(len(track), bool))
    contours = Contours(BODY, Points(BODY), windows)
    rng = torch.Generator().manual_seed(0)
    guess = dataclasses.replace(
        Guess.at(nudged(pose, 0.03 * torch.randn(4, 75, generator=rng).double())), cloth_m=expected_cloth()
    )
    contours.look(guess)
    normal = Normal.empty(4, 10 + len(guess.cloth_m))
    contours.add(guess, normal, shape=True)

    def cost(step, grow=0.0, worn=0.0):
        pose = nudged(guess.pose, step)
        return contours.cost(
            Guess(dataclasses.replace(pose, betas=pose.betas + grow), guess.offsets_m, guess.cloth_m + worn)
        )

    still = torch.zeros(4, 75, dtype=torch.float64)
    for name, size in (("place", 1e-3), ("turn", 2e-3)):
        step = still.clone()
        (step[:, 72:] if name == "place" else step[:, :72]).copy_(
            size * torch.randn(4, 3 if name == "place" else 72, generator=rng, dtype=torch.float64)
        )
        change, said = (cost(step) - cost(-step)) / 2, float((normal.pull * step).sum())
        # blended points are taken to turn as if they were stiff, and maps are sampled between their pixels
        assert abs(change - said) < 0.2 * abs(said) + 0.02 * float(normal.pull.norm() * step.norm()), name
    worn = 1e-4 * torch.randn(len(guess.cloth_m), generator=rng, dtype=torch.float64)
    assert abs((cost(still, worn=worn) - cost(still, worn=-worn)) / 2 - float(normal.shared_pull[10:] @ worn)) < 1e-3
    grow = 0.05 * torch.randn(10, generator=rng, dtype=torch.float64)
    change, said = (cost(still, grow) - cost(still, -grow)) / 2, float(normal.shared_pull[:10] @ grow)
    assert abs(change - said) < 0.2 * abs(said) + 0.02 * float(normal.shared_pull[:10].norm() * grow.norm())


def test_masks_and_joints_give_shape_and_pose(scene, prior):
    root, track, pose = scene
    fitter = Fitter(BODY, prior, SECTION)
    windows = read_windows(track, root, size=96, wanted=np.ones(len(track), bool))
    bare = fitter.shape(track.joints_world_mm)
    alone = fitter.sequence(bare, track.joints_world_mm, track.frame)
    shape = fitter.dressed(bare, track.joints_world_mm, windows)
    found = fitter.sequence(shape, track.joints_world_mm, track.frame, windows.take)
    assert pve_mm(found.pose, pose).mean() < 15
    assert pve_mm(found.pose, pose).mean() < pve_mm(alone.pose, pose).mean() + 2
    assert found.mask_iou.min() > 0.88
    assert shape.cloth_m.mean() < expected_cloth().mean(), "nobody is dressed here"


def test_a_mask_of_another_size_than_its_frame_is_refused(scene, tmp_path):
    root, track, _ = scene
    for path in root.rglob("*.png"):
        (tmp_path / path.relative_to(root)).parent.mkdir(exist_ok=True)
        (tmp_path / path.relative_to(root)).write_bytes(path.read_bytes())
    victim = Folder(1, 2, 1, 2).file(tmp_path, 3, MASK_SUFFIX)
    cv2.imwrite(str(victim), np.zeros((SIZE, SIZE // 2), np.uint8))
    with pytest.raises(DataError, match=f"{SIZE // 2} x {SIZE} pixels") as error:
        read_windows(track, tmp_path, size=96, wanted=np.ones(len(track), bool))
    assert str(victim) in str(error.value)
    victim.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_windows(track, tmp_path, size=96, wanted=np.ones(len(track), bool))
    others = np.arange(1, 5) != 3
    assert read_windows(track, tmp_path, size=96, wanted=others).seen.sum() == 9


def test_windows_are_straight_whatever_the_lens(scene, tmp_path):
    root, track, _ = scene
    k = np.array([-0.2, 0.05, 0.001, -0.001, 0.0])
    one = track.cameras[0]
    bent = dataclasses.replace(track, cameras=(dataclasses.replace(one, distortion=k),))
    # what the lens shows at each pixel: where its ray would be without the lens
    rays = (np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1) - one.c_px) / one.f_px
    straight = rays.copy()
    for _ in range(20):
        straight += rays - distort(straight.reshape(-1, 2), k).reshape(rays.shape)
    places = (straight * one.f_px + one.c_px).astype(np.float32)
    for row in range(len(track)):
        path = Folder(1, 2, 1, 1).file(root, row + 1, MASK_SUFFIX)
        recorded = cv2.remap(cv2.imread(str(path), 0), places, None, cv2.INTER_LINEAR)
        there = Folder(1, 2, 1, 1).file(tmp_path, row + 1, MASK_SUFFIX)
        there.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(there), recorded)
    wanted = np.ones(len(track), bool)
    ideal = read_windows(dataclasses.replace(track, cameras=(one,)), root, size=96, wanted=wanted)
    found = read_windows(bent, tmp_path, size=96, wanted=wanted)
    both, either = (ideal.person & found.person).sum(), (ideal.person | found.person).sum()
    assert both / either > 0.97


def test_distances_are_exact_for_a_half_plane_between_pixels():
    for cover in (0.0, 0.3, 0.8):
        window = np.zeros((40, 40), np.uint8)
        window[:, :20] = 255
        window[:, 20] = round(255 * cover)
        # the outline lies this far right of the last full pixel's centre
        expected = np.arange(40) - 19.5 - cover
        off = outside(window)[20] - expected
        assert np.abs(off[10:30]).max() < 0.55
        assert abs(off[18:23].mean()) < 0.35


def test_windows_of_sequences_with_different_cameras_are_joined():
    one, other = Windows.none(2, 4, 8), Windows.none(3, 3, 8)
    one.seen[:], other.seen[:] = True, True
    both = Windows.join([one, other])
    assert both.person.shape == (5, 4, 8, 8)
    assert both.seen.sum() == 2 * 4 + 3 * 3
    assert both.take(np.array([4])).seen.tolist() == [[True, True, True, False]]
