"""`python -m codebase body info|convert|view` on real files: what is said, what is written, what is refused."""

import cv2
import h5py
import numpy as np
import pytest
from conftest import REPOSITORY
from official_body import write_official

from codebase.body.arrays import lbs_numpy, load_body, rotation_matrices
from codebase.body.convert import convert
from codebase.body.facts import facts
from codebase.body_tools import read_betas, read_pose
from codebase.cli import main
from codebase.data.bodies import FORMAT
from codebase.errors import DataError, UserError
from codebase.files import create_h5
from codebase.report.body_rows import rows_of_file
from codebase.report.body_sheet import PAPER, SIDES, four_sides
from codebase.skeleton import SMPL

BODY = REPOSITORY / "assets/free_body.npz"


@pytest.fixture(scope="module")
def body():
    return load_body(BODY)


def run(capsys, *words):
    code = main(["body", *map(str, words)])
    return code, *capsys.readouterr()


def test_info_says_what_the_free_body_is_and_that_it_holds_together(capsys):
    code, out, _ = run(capsys, "info", BODY)
    assert code == 0
    for words in ("CC0", "6890 vertices, 13776 faces", "1.71 m", "10 components", "regressor in the file"):
        assert words in out
    assert out.count("  ok  ") == 7
    assert "  NO  " not in out
    assert sum(" mm  " in line for line in out.splitlines()) == 17


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("basicmodel_m_lbs_10_207_0_v1.1.0.pkl", ["SMPL 1.1.0", "male", "300 components, the first 10"]),
        ("basicModel_neutral_lbs_10_207_0_v1.0.0.pkl", ["SMPLify", "neutral"]),
        ("SMPL_FEMALE.pkl", ["smplx asks for", "its 300 components are those of 1.1.0", "female"]),
        ("mine.pkl", ["unknown origin", "does not say"]),
    ],
)
def test_info_says_which_official_file_it_is(tmp_path, name, words):
    write_official(tmp_path / name, shapes=300 if "1.1" in name or "FEMALE" in name else 10)
    said = "\n".join(f"{label} {value}" for label, value in facts(tmp_path / name).lines)
    for word in (*words, "fitted when the file is read", "60 vertices"):
        assert word in said


@pytest.mark.parametrize("damage", ["hole", "inside out", "weights", "regressor", "turned"])
def test_info_says_what_does_not_hold(tmp_path, capsys, damage):
    arrays = dict(np.load(BODY))
    if damage == "hole":
        arrays["f"] = arrays["f"][1:]
    elif damage == "inside out":
        arrays["f"] = arrays["f"][:, ::-1]
    elif damage == "weights":
        arrays["weights"][7] *= 0.5
    elif damage == "regressor":
        arrays["J_regressor"][3] *= 1.1
    else:
        arrays["v_template"] = arrays["v_template"][:, [0, 2, 1]] * (1, -1, 1)
    np.savez(tmp_path / "body.npz", **arrays)
    code, out, err = run(capsys, "info", tmp_path / "body.npz")
    assert code == 2
    assert "  NO  " in out
    assert "does not hold together" in err


def test_convert_keeps_everything_that_is_used(tmp_path, capsys):
    source, target = tmp_path / "SMPL_NEUTRAL.pkl", tmp_path / "neutral.npz"
    write_official(source, shapes=300)
    code, out, _ = run(capsys, "convert", source, target)
    assert code == 0
    assert "licence" in out
    before, after = load_body(source), load_body(target)
    for name, array in before.linear.items():
        assert np.array_equal(array, after.linear[name]), name
    assert np.array_equal(before.faces, after.faces)
    assert np.array_equal(before.J17_regressor, after.J17_regressor)
    assert not after.J17_is_fitted
    first = target.read_bytes()
    convert(source, target)
    assert target.read_bytes() == first
    assert dict(facts(target).lines)["gender"] == "neutral"
    assert "from SMPL_NEUTRAL.pkl" in dict(facts(target).lines)["what"]


def test_converting_the_free_body_loses_nothing(tmp_path, body):
    convert(BODY, tmp_path / "again.npz")
    again = load_body(tmp_path / "again.npz")
    assert np.array_equal(again.part, body.part)
    assert again.part_names == body.part_names
    assert again.landmark_vertices == body.landmark_vertices
    assert all(np.array_equal(again.linear[name], array) for name, array in body.linear.items())


def test_convert_refuses_to_destroy(tmp_path):
    copy = tmp_path / "body.npz"
    copy.write_bytes(BODY.read_bytes())
    with pytest.raises(DataError, match="over itself"):
        convert(copy, copy)
    with pytest.raises(DataError, match="npz alone"):
        convert(copy, tmp_path / "body.pkl")
    with pytest.raises(DataError, match="does not exist"):
        convert(tmp_path / "SMPL_MALE.pkl", tmp_path / "new.npz")
    with pytest.raises(DataError, match="does not exist"):
        convert(tmp_path / "SMPL_MALE.pkl", copy)
    assert copy.read_bytes() == BODY.read_bytes()


def test_four_sides_are_seen_from_where_they_say(body):
    vertices, _ = lbs_numpy(body, np.zeros((1, 10)), read_pose(["left_shoulder=0,-1.57,0"])[None])
    front, left, back, right = (
        (picture != PAPER).any(axis=2) for picture in four_sides(vertices[0], body.faces, side_px=80)
    )
    assert list(SIDES) == ["front", "left side", "back", "right side"]
    # the pictures are centred on all of the body: the head lies away from the arms
    heads = [
        mask[np.flatnonzero(mask.any(axis=1))[:5]].any(axis=0).nonzero()[0].mean()
        for mask in (front, left, back, right)
    ]
    middle = 39.5
    assert heads[0] > middle + 5  # the right arm is on the picture's left
    assert heads[1] > middle + 5  # ahead is left, seen from the body's left
    assert heads[2] < middle - 5
    assert heads[3] < middle - 5
    assert np.mean(front[:, ::-1] != back) < 0.08 < np.mean(front != back)  # mirrored, but for perspective


def test_view_draws_a_body_file(tmp_path, capsys):
    output = tmp_path / "body.png"
    code, out, _ = run(capsys, "view", BODY, output, "--betas=-2,1", "--pose", "left_elbow=0,-1.2,0", "head=0,0.4,0")
    assert code == 0
    assert str(output) in out
    picture = cv2.imread(str(output))
    assert picture.shape[1] == 4 * 320
    assert 0.1 < (np.abs(picture.astype(int) - PAPER[::-1]).max(axis=2) > 30).mean() < 0.5


def bodies_file(path, pose):
    with create_h5(path, format_name=FORMAT) as file:
        file["betas"] = np.zeros(10, np.float32)
        file["act_02_subact_01/pose_rad"], file["act_02_subact_01/transl_m"] = pose, np.zeros((len(pose), 3))
    return path


def test_bodies_of_a_dataset_stand_upright_and_face_the_viewer(tmp_path, body):
    """World: z up; the same person turned about the vertical looks the same."""
    upright = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # y of the body up, z of the world
    pose = np.zeros((4, 24, 3), np.float32)
    for row, angle in enumerate((0.0, 2.0, -1.0)):
        turn = rotation_matrices(np.array([0.0, 0.0, angle])) @ upright
        pose[row, 0] = cv2.Rodrigues(turn)[0][:, 0]
    pose[3] = np.nan
    path = bodies_file(tmp_path / "S9.h5", pose)
    rows, names = rows_of_file(path, body, "hmr", [f"act_02_subact_01/{frame}" for frame in (1, 2, 3)])
    assert list(names) == list(SIDES)
    template, _ = lbs_numpy(body, np.zeros((1, 10)), np.tile(np.eye(3), (1, 24, 1, 1)))
    for row in rows:
        centred = row.vertices_m - row.vertices_m.mean(0)
        assert np.abs(centred - (template[0] - template[0].mean(0))).max() < 1e-4
    evenly, _ = rows_of_file(path, body, "hmr", [])
    assert [row.title[-1] for row in evenly] == ["1", "2", "3"]


@pytest.mark.parametrize("at", ["act_02_subact_01/5", "act_03_subact_01/1", "frame 3", "act_02_subact_01/4",
                                "S11/act_02_subact_01/1"])  # fmt: skip
def test_frames_without_a_body_are_an_error(tmp_path, body, at):
    pose = np.zeros((4, 24, 3), np.float32)
    pose[3] = np.nan
    with pytest.raises(DataError) as caught:
        rows_of_file(bodies_file(tmp_path / "S9.h5", pose), body, "hmr", [at])
    assert caught.value.expected


def test_another_hdf5_file_is_named(tmp_path, capsys):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "posemill.index"
    code, _, err = run(capsys, "view", tmp_path / "other.h5", tmp_path / "x.png")
    assert code == 2
    assert "posemill.index" in err


@pytest.mark.parametrize(
    "words",
    [
        ["--betas", "nan"], ["--betas=1,inf"], ["--betas=1,,2"], ["--betas=" + ",".join("1" * 11)],
        ["--pose", "elbow=1,0,0"], ["--pose", "left_elbow=1,0"], ["--pose", "left_elbow=nan,0,0"],
        ["--pose", "left_elbow"],
    ],
)  # fmt: skip
def test_parameters_that_are_none_are_refused(tmp_path, capsys, words):
    code, _, err = run(capsys, "view", BODY, tmp_path / "x.png", *words)
    assert code == 2
    assert "expected:" in err
    assert not list(tmp_path.iterdir())


def test_no_other_kind_of_picture_is_written(tmp_path, capsys):
    code, _, err = run(capsys, "view", BODY, tmp_path / "x.gif")
    assert code == 2
    assert ".png" in err


def test_betas_and_pose_are_read():
    assert read_betas("1,-2").tolist() == [1, -2, 0, 0, 0, 0, 0, 0, 0, 0]
    assert read_betas(None).tolist() == [0] * 10
    turned = read_pose(["left_knee=0.5,0,0"])
    assert np.allclose(turned[SMPL.index("left_knee")], cv2.Rodrigues(np.array([0.5, 0, 0]))[0])
    assert np.array_equal(np.delete(turned, SMPL.index("left_knee"), 0), np.tile(np.eye(3), (23, 1, 1)))
    with pytest.raises(UserError):
        read_betas("one")
