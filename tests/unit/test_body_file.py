"""The free body's file: layout, closed surface, regressors, statures, and files that are refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from codebase.body.arrays import load_body
from codebase.body.builder.mesh import watertight
from codebase.body.regressors import approximate_h36m_regressor
from codebase.errors import UserError
from codebase.skeleton import H36M, SMPL

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "assets" / "free_body.npz"


@pytest.fixture(scope="module")
def body():
    return load_body(PATH)


def test_layout_is_smpls(body):
    assert body.v_template.shape == (6890, 3)
    assert body.faces.shape == (13776, 3)
    assert PATH.stat().st_size < 1.2e6
    assert np.allclose(body.weights.sum(1), 1, atol=1e-6)
    assert (body.weights >= 0).all()


def test_surface_is_closed_and_a_hole_would_be_noticed(body):
    assert watertight(body.faces, 6890)
    assert not watertight(body.faces[1:], 6890)
    corners = body.v_template[body.faces].astype(float)
    volume_m3 = np.einsum("fx,fx->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert 0.045 < volume_m3 < 0.09  # outward faces, a person's volume


def test_regressors_are_sparse_convex_combinations(body):
    for regressor in (body.J_regressor, body.J17_regressor):
        assert (regressor >= 0).all()
        assert np.array_equal(regressor.sum(1), np.ones(len(regressor), np.float32))
        assert (regressor > 0).sum(1).max() < 60


def test_recorded_errors_meet_the_promise():
    report = json.loads(PATH.with_suffix(".json").read_text())
    assert report["J_regressor_mean_error_mm"] <= 3.0
    assert report["corrected_mean_mm"] < 0.5 * report["linear_mean_mm"]
    assert report["watertight"]


def test_t_pose_and_statures(body):
    joints = dict(zip(SMPL.names, body.J_regressor @ body.v_template, strict=True))
    assert joints["left_wrist"][0] > 0.5 > -0.5 > joints["right_wrist"][0]
    assert abs(joints["left_wrist"][1] - joints["left_shoulder"][1]) < 0.03
    assert joints["head"][1] > joints["pelvis"][1] > joints["left_foot"][1]
    assert joints["left_foot"][2] > joints["left_ankle"][2] + 0.08  # faces +z
    betas = np.random.default_rng(0).standard_normal((500, 10))
    height_m = np.ptp(body.v_template[:, 1] + np.einsum("vl,nl->nv", body.shapedirs[:, 1], betas), axis=1)
    assert abs(height_m.mean() - 1.70) < 0.02
    assert np.percentile(height_m, 1) > 1.48
    assert np.percentile(height_m, 99) < 1.96


def test_h36m_joints_are_where_their_names_say(body):
    joints = dict(zip(H36M.names, body.J17_regressor @ body.v_template, strict=True))
    assert np.allclose(joints["root"], (joints["left_hip"] + joints["right_hip"]) / 2, atol=0.01)
    order = ["left_foot", "left_knee", "root", "spine", "neck", "head", "head_top"]
    heights = [joints[name][1] for name in order]
    assert heights == sorted(heights)
    assert joints["left_hip"][0] > 0 > joints["right_hip"][0]
    assert joints["head"][2] > joints["head_top"][2]


def test_geometry_fallback_agrees_with_the_fitted_regressor(body):
    fallback = approximate_h36m_regressor(body.v_template, body.J_regressor)
    distance_mm = 1e3 * np.linalg.norm((fallback - body.J17_regressor) @ body.v_template, axis=1)
    assert distance_mm.max() < 25


def test_labels_and_landmarks_for_painting(body):
    assert set(np.unique(body.part)) == set(range(len(body.part_names)))
    marks = body.landmarks
    assert marks["eye_left"][0] > 0.02 > -0.02 > marks["eye_right"][0]
    chain = ["chin", "lip_bottom", "mouth", "lip_top", "nose_tip", "eye_left", "brow_mid_left", "hairline", "crown"]
    heights = [marks[name][1] for name in chain]
    assert heights == sorted(heights)
    away_m = [np.linalg.norm(body.v_template[body.landmark_vertices[name]] - point) for name, point in marks.items()]
    assert max(away_m) < 0.015


def test_a_missing_file_says_where_to_get_one(tmp_path):
    with pytest.raises(UserError, match=r"smpl\.is\.tue\.mpg\.de") as caught:
        load_body(tmp_path / "SMPL_NEUTRAL.pkl")
    assert "SMPL_NEUTRAL.pkl" in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "shape", "nan", "face", "tree", "objects", "text"])
def test_broken_files_are_refused(tmp_path, body, damage):
    arrays = dict(np.load(PATH))
    if damage == "missing":
        del arrays["weights"]
    elif damage == "shape":
        arrays["weights"] = arrays["weights"][:-1]
    elif damage == "nan":
        arrays["v_template"][5, 0] = np.nan
    elif damage == "face":
        arrays["f"] = arrays["f"].astype(np.int64) + 1
    elif damage == "tree":
        arrays["kintree_table"] = arrays["kintree_table"][:, ::-1]
    elif damage == "objects":
        arrays["v_template"] = np.array([object()], dtype=object)
    path = tmp_path / "body.npz"
    if damage == "text":
        path.write_text("no zip")
    else:
        np.savez(path, **arrays)
    with pytest.raises(UserError) as caught:
        load_body(path)
    assert str(path) in str(caught.value)


def test_arrays_are_frozen(body):
    with pytest.raises(dataclasses.FrozenInstanceError):
        body.name = "other"
