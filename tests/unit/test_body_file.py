"""The free body's file: layout, closed surface, regressors, statures, and files that are refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from codebase.body.arrays import load_body
from codebase.body.builder.mesh import watertight
from codebase.body.regressors import h36m_error_mm
from codebase.body_sources import known
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


def test_a_file_without_h36m_regressor_gets_one_that_is_as_good(tmp_path):
    """Against the joints' definition, on shapes and poses that neither regressor was fitted to."""
    arrays = dict(np.load(PATH))
    del arrays["J17_regressor"]
    np.savez(tmp_path / "licensed.npz", **arrays)
    fitted, own = load_body(tmp_path / "licensed.npz"), load_body(PATH)
    assert fitted.J17_is_fitted
    assert not own.J17_is_fitted
    assert (fitted.J17_regressor >= 0).all()
    assert np.array_equal(fitted.J17_regressor.sum(1), np.ones(17, np.float32))
    errors_mm = dict(zip(H36M.names, h36m_error_mm(fitted.linear, fitted.J17_regressor, 40), strict=True))
    assert np.mean(list(errors_mm.values())) < 3.5
    assert max(errors_mm.values()) < 9
    assert errors_mm["head_top"] < 1
    again = load_body(tmp_path / "licensed.npz")
    assert np.array_equal(again.J17_regressor, fitted.J17_regressor)


def test_labels_and_landmarks_for_painting(body):
    assert set(np.unique(body.part)) == set(range(len(body.part_names)))
    marks = body.landmarks
    assert marks["eye_left"][0] > 0.02 > -0.02 > marks["eye_right"][0]
    chain = ["chin", "lip_bottom", "mouth", "lip_top", "nose_tip", "eye_left", "brow_mid_left", "hairline", "crown"]
    heights = [marks[name][1] for name in chain]
    assert heights == sorted(heights)
    away_m = [np.linalg.norm(body.v_template[body.landmark_vertices[name]] - point) for name, point in marks.items()]
    assert max(away_m) < 0.015


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("basicModel_neutral_lbs_10_207_0_v1.0.0.pkl", ["SMPLify", "https://smplify.is.tue.mpg.de"]),
        ("basicmodel_m_lbs_10_207_0_v1.0.0.pkl", ["SMPL 1.0.0", "https://smpl.is.tue.mpg.de", "basicModel_f"]),
        ("basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl", ["SMPL 1.1.0", "https://smpl.is.tue.mpg.de"]),
        ("basicModel_f_lbs_10_207_0_v1.1.0.pkl", ["SMPL 1.1.0", "https://smpl.is.tue.mpg.de"]),
        ("SMPL_NEUTRAL.pkl", ["that smplx asks for", "https://smpl.is.tue.mpg.de", "v1.1.0.pkl", "https://smplify"]),
        ("SMPLH_FEMALE.npz", ["SMPL+H", "https://mano.is.tue.mpg.de"]),
        ("mine.npz", ["https://smpl.is.tue.mpg.de", "https://smplify.is.tue.mpg.de"]),
    ],
)
def test_a_missing_file_says_where_to_get_which_under_which_licence_and_where_to_put_it(tmp_path, name, words):
    with pytest.raises(UserError) as caught:
        load_body(tmp_path / name)
    for word in (*words, "register", "non-commercial research", "dataset.body", "assets/free_body.npz", "CC0", name):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "gender", "model"),
    [
        ("basicModel_neutral_lbs_10_207_0_v1.0.0.pkl", "neutral", "SMPLify"),
        ("basicmodel_f_lbs_10_207_0_v1.0.0.pkl", "female", "SMPL 1.0.0"),
        ("BASICMODEL_M_LBS_10_207_0_V1.1.0.pkl", "male", "SMPL 1.1.0"),
        ("SMPL_MALE.pkl", "male", "smplx asks for"),
        ("smpl_female.npz", "female", "smplx asks for"),
        ("SMPLH_male.pkl", "male", "SMPL+H"),
    ],
)
def test_names_of_official_files_are_known(name, gender, model):
    found = known(Path("anywhere") / name)
    assert found.gender == gender
    assert model in found.source.model


@pytest.mark.parametrize("name", ["free_body.npz", "SMPLX_NEUTRAL.npz", "basicmodel_m_lbs_10_207_0_v1.1.0.pkl.bak"])
def test_other_names_are_not(name):
    assert known(Path(name)) is None


def damaged(what):
    """The free body's arrays with one thing wrong."""
    arrays = dict(np.load(PATH))
    arrays["f"] = arrays["f"].astype(np.int64)
    changes = {
        "missing": lambda a: a.pop("weights"),
        "fewer weights": lambda a: a.update(weights=a["weights"][:-1]),
        "fewer template vertices": lambda a: a.update(v_template=a["v_template"][:-1]),
        "flat template": lambda a: a.update(v_template=a["v_template"].ravel()),
        "no template": lambda a: a.update(v_template=np.float32(1)),
        "six components": lambda a: a.update(shapedirs=a["shapedirs"][..., :6]),
        "posedirs of another body": lambda a: a.update(posedirs=a["posedirs"][:-7]),
        "posedirs on end": lambda a: a.update(posedirs=a["posedirs"].reshape(207, 6890, 3)),
        "regressor of another body": lambda a: a.update(J_regressor=a["J_regressor"][:, 1:]),
        "regressor 17 of another body": lambda a: a.update(J17_regressor=a["J17_regressor"][:, 1:]),
        "complex": lambda a: a.update(weights=a["weights"].astype(np.complex64)),
        "nan": lambda a: a["v_template"].__setitem__((5, 0), np.nan),
        "infinite": lambda a: a["shapedirs"].__setitem__((5, 0, 9), np.inf),
        "too large": lambda a: a.update(posedirs=a["posedirs"].astype(np.float64) + 1e300),
        "nan in the 17": lambda a: a["J17_regressor"].__setitem__((0, 0), np.nan),
        "face beyond": lambda a: a["f"].__setitem__((0, 0), 6890),
        "face below": lambda a: a["f"].__setitem__((0, 0), -1),
        "face of four": lambda a: a.update(f=np.zeros((5, 4), np.int64)),
        "face of floats": lambda a: a.update(f=a["f"] + 0.5),
        "no face": lambda a: a.update(f=a["f"][:0]),
        "tree": lambda a: a.update(kintree_table=a["kintree_table"][:, ::-1]),
        "short tree": lambda a: a.update(kintree_table=a["kintree_table"][:, :23]),
        "no tree": lambda a: a.update(kintree_table=np.int64(3)),
        "nan tree": lambda a: a.update(kintree_table=np.full((2, 24), np.nan)),
        "objects": lambda a: a.update(v_template=np.array([object()], dtype=object)),
        "SMPL-X": lambda a: a.update(weights=np.ones((6890, 55)), kintree_table=np.zeros((2, 55), int)),
        "fewer labels": lambda a: a.update(part=a["part"][:-1]),
        "unknown label": lambda a: a.update(part=a["part"] + 200),
        "fewer landmarks": lambda a: a.update(landmarks=a["landmarks"][:-1]),
        "landmark beyond": lambda a: a.update(landmark_vertices=a["landmark_vertices"] + 6890),
        "label below": lambda a: a.update(part=a["part"].astype(np.int64) - 1),
        "landmark below": lambda a: a.update(landmark_vertices=a["landmark_vertices"].astype(int) - 6890),
    }  # fmt: skip
    if what is not None:
        changes[what](arrays)
    return arrays if what is not None else list(changes)


@pytest.mark.parametrize("damage", damaged(None))
def test_meshes_whose_parts_disagree_and_numbers_that_are_none_are_refused(tmp_path, damage):
    path = tmp_path / "body.npz"
    np.savez(path, **damaged(damage))
    with pytest.raises(UserError) as caught:
        load_body(path)
    assert str(path) in str(caught.value)
    assert caught.value.expected


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken", PATH.read_bytes()[:200_000]])
def test_files_that_are_no_npz_are_refused(tmp_path, content):
    path = tmp_path / "body.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="no npz of plain arrays"):
        load_body(path)


def test_a_single_array_under_the_name_of_an_npz_is_refused(tmp_path):
    path = tmp_path / "body.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="no npz of plain arrays"):
        load_body(path)


def test_arrays_are_frozen(body):
    with pytest.raises(dataclasses.FrozenInstanceError):
        body.name = "other"
