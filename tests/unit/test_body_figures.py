"""Figures of bodies by facing direction, and of their silhouettes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from codebase import metrics
from codebase.body.model import BodyLayer, load_body
from codebase.data.bodies import Bodies, bodies_in_im
from codebase.data.index import read_index
from codebase.data.store import CropStore
from codebase.files import create_h5, read_json
from codebase.geometry import world_to_im
from codebase.models.rotations import FACING_CAMERA
from codebase.stages import _body_figures as figures
from codebase.stages import evaluate
from tests.people import BODY, People, make_people

UPRIGHT = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # y up to the world's z; the front, z, to the world's x


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    return make_people(tmp_path_factory.mktemp("people"), train=(1,), test=(9, 11), cameras=(1, 2), size=64)


@pytest.fixture(scope="module")
def store(people: People) -> CropStore:
    return CropStore(people.crops(9, 11), read_index(people.paths.index("test")).key)


@pytest.fixture(scope="module")
def layer() -> BodyLayer:
    return BodyLayer(load_body(BODY))


def truth(people: People, store: CropStore) -> Bodies:
    rows, bodies = bodies_in_im(people.truth(9, 11), store.columns, store.R_world_im)
    assert np.array_equal(rows, np.arange(len(store)))
    return bodies


@given(st.floats(-180, 180), st.floats(0, 360), st.floats(2000, 8000), st.floats(-800, 1500))
def test_facing_is_the_angle_on_the_ground(heading: float, around: float, away_mm: float, height_mm: float) -> None:
    """A person in the middle of a room, a camera anywhere around: only the angle between them counts."""
    angle = np.radians(around)
    place = away_mm * np.array([np.cos(angle), np.sin(angle), 0]) + [0, 0, height_mm]
    ahead = -place / np.linalg.norm(place)
    right = np.cross(ahead, [0.0, 0, 1])
    right /= np.linalg.norm(right)
    R_world_im = world_to_im(np.zeros((1, 3)), np.stack([right, np.cross(ahead, right), ahead])[None], place[None])
    # counter-clockwise from above, which is the person's own left
    person = Rotation.from_euler("z", around + heading, degrees=True).as_matrix() @ UPRIGHT
    found = metrics.facing_deg(R_world_im @ person, R_world_im)
    assert abs((found[0] - heading + 180) % 360 - 180) < 1e-6


def test_a_left_turn_looks_to_the_right_of_the_image() -> None:
    facing = np.array(FACING_CAMERA)
    R_world_im = np.array([[[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]])  # level, looking along the world's x
    for angle, where in ((0, [0, 0, -1]), (90, [1, 0, 0]), (180, [0, 0, 1]), (-90, [-1, 0, 0])):
        turned = facing @ Rotation.from_euler("y", angle, degrees=True).as_matrix()
        assert turned[:, 2] == pytest.approx(np.array(where, float), abs=1e-9)
        assert abs(metrics.facing_deg(turned[None], R_world_im)[0]) == pytest.approx(abs(angle))
    left = facing @ Rotation.from_euler("y", 90, degrees=True).as_matrix()
    assert metrics.facing_deg(left[None], R_world_im)[0] == pytest.approx(90)
    lying = facing @ Rotation.from_euler("x", 90, degrees=True).as_matrix()
    assert np.isnan(metrics.facing_deg(lying[None], R_world_im)[0])


def test_intersection_over_union() -> None:
    mask = np.zeros((3, 4, 4), bool)
    mask[:2, :2] = True
    drawn = np.zeros_like(mask)
    drawn[0, 1:3] = True
    drawn[2] = True
    found = metrics.iou(drawn, mask)
    assert found[:2].tolist() == [pytest.approx(1 / 3), 0]
    assert np.isnan(found[2]), "there is no person in that mask"


def test_true_bodies_fill_their_masks_and_moved_ones_do_not(people: People, store: CropStore, layer: BodyLayer) -> None:
    """The masks were drawn of these bodies with the same camera: a shift of half a pixel would cost a tenth."""
    rows, bodies = np.arange(len(store)), truth(people, store)
    mask = store.gather(rows, ("mask",))["mask"].numpy() >= 128
    exact = metrics.iou(figures.drawn(bodies, store, rows, layer), mask)
    assert exact.min() > 0.97
    shifted = metrics.iou(np.roll(figures.drawn(bodies, store, rows, layer), 1, axis=2), mask)
    assert shifted.mean() < exact.mean() - 0.05
    turned = bodies.rotmats.copy()
    turned[:, 0] = np.diag([1.0, -1, -1]) @ turned[:, 0]  # head over heels
    assert metrics.iou(figures.drawn(Bodies(bodies.betas, turned), store, rows, layer), mask).mean() < 0.7


def test_errors_go_to_the_half_and_the_bin_that_people_face() -> None:
    facing = np.array([0.0, 89, 91, 180, -170, 44, np.nan, -23])
    errors = {"smpl/pve_mm": np.arange(8.0), "smpl/mean_body_pve_mm": np.ones(8), "smpl/pa_pve_mm": np.zeros(8)}
    halves = figures.by_facing(errors, facing)
    assert set(halves) == {
        f"smpl/{who}pve_facing_{where}_mm" for who in ("", "mean_body_") for where in ("camera", "away")
    }
    assert np.flatnonzero(np.isfinite(halves["smpl/pve_facing_camera_mm"])).tolist() == [0, 1, 5, 7]
    assert np.flatnonzero(np.isfinite(halves["smpl/pve_facing_away_mm"])).tolist() == [2, 3, 4]
    bins = figures.in_bins(errors, facing)
    assert bins["smpl/pve_mm/facing_000"] == 0
    assert bins["smpl/pve_mm/facing_045"] == 5
    assert bins["smpl/pve_mm/facing_090"] == 1.5
    assert bins["smpl/pve_mm/facing_180"] == 3.5
    assert bins["smpl/pve_mm/facing_315"] == 7
    assert "smpl/pve_mm/facing_225" not in bins


def predictions(people: People, store: CropStore, path: Path) -> Path:
    """A file of predictions: smpl is right, hmr faces the other way."""
    bodies = truth(people, store)
    turned = bodies.rotmats.copy()
    half = np.array(Rotation.from_euler("z", 180, degrees=True).as_matrix())
    turned[:, 0] = store.R_world_im @ half @ np.swapaxes(store.R_world_im, 1, 2) @ turned[:, 0]
    joints = store.joints_im_mm
    with create_h5(path, format_name="posemill.predictions") as file:
        for name in ("subject", "action", "subaction", "camera", "frame"):
            file[f"frames/{name}"] = store.columns[name]
        file["frames/R_world_im"], file["truth/joints_im_mm"] = store.R_world_im, joints
        for name, rotmats in (("smpl", bodies.rotmats), ("hmr", turned)):
            file[f"{name}/betas"], file[f"{name}/rotmats"] = bodies.betas, rotmats
            file[f"{name}/joints_im_mm"] = joints
        file["pose/joints_im_mm"], file["baseline/joints_im_mm"] = joints, joints.mean(axis=0)
        file["baseline/smpl_betas"] = np.zeros(10, np.float32)
        file["baseline/smpl_rotmats"] = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
        file["baseline/smpl_joints_im_mm"] = joints.mean(axis=0)
        for name in ("source", "target"):
            file[f"novel_view/{name}"] = np.arange(2)
        for name in ("mse_foreground", "mse_background_only", "mse_all"):
            file[f"novel_view/{name}"] = np.full(2, 0.01)
        file.attrs["counts"] = "{}"
    return path


def test_metrics_tell_who_faces_away(people: People, store: CropStore, tmp_path: Path) -> None:
    path = predictions(people, store, tmp_path / "predictions.h5")
    output = tmp_path / "metrics.json"
    evaluate.run(
        people.config, predictions=path, bodies=people.truth(9, 11), body=BODY, crops=people.crops(9, 11), output=output
    )
    found = read_json(output)
    for half in ("camera", "away"):
        assert found[f"smpl/pve_facing_{half}_mm"] < 0.01
        assert found[f"hmr/pve_facing_{half}_mm"] > 50
        assert found[f"smpl/mean_body_pve_facing_{half}_mm"] > 50
    assert found["smpl/heading_error_deg"] < 0.1
    assert found["hmr/heading_error_deg"] == pytest.approx(180, abs=0.1)
    assert found["smpl/silhouette_iou"] > 0.97
    assert found["smpl/silhouette_iou"] > found["hmr/silhouette_iou"] > found["smpl/mean_body_silhouette_iou"]
    assert any(name.startswith("hmr/pve_mm/facing_") for name in found)


def test_without_masks_or_bodies_figures_are_absent(people: People, store: CropStore, tmp_path: Path) -> None:
    path = predictions(people, store, tmp_path / "predictions.h5")
    with h5py.File(path) as file:
        assert len(file["smpl/betas"]) == len(store)
    output = tmp_path / "metrics.json"
    evaluate.run(people.config, predictions=path, bodies=[], body=BODY, output=output)
    assert not [name for name in read_json(output) if "iou" in name or "facing" in name or "heading" in name]
