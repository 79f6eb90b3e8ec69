"""SMPL+H files: the same surface as their own 52 joints give, with straight fingers."""

import numpy as np
import pytest
import smplx.lbs
import torch
from official_body import fingers, official, write_official
from scipy.spatial.transform import Rotation

from codebase.body.arrays import lbs_numpy, load_body
from codebase.body.stand_ins import numbers
from codebase.errors import UserError
from codebase.skeleton import SMPL

PARENTS = [-1, *SMPL.parents[1:22], *fingers()]


def plain(content):
    """The arrays of an official file's content."""
    regressor = np.zeros(content["weights"].T.shape)
    matrix = content["J_regressor"]
    regressor[matrix.__dict__["row"], matrix.__dict__["col"]] = matrix.data
    found = {
        "v_template": content["v_template"].x,
        "shapedirs": content["shapedirs"].a.x[..., :10],
        "J_regressor": regressor,
    }
    return {key: found.get(key, content[key]) for key in
            ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")}  # fmt: skip


@pytest.mark.parametrize("form", ["pkl", "npz"])
def test_hands_become_one_joint_and_the_body_stays(tmp_path, form):
    path = tmp_path / f"SMPLH_female.{form}"
    content = write_official(tmp_path / "SMPLH_female.pkl", joints=52)
    if form == "npz":
        np.savez(path, **plain(content), hands_meanl=np.zeros(45))
    body = load_body(path)
    random = np.random.default_rng(3)
    betas, pose = random.normal(size=(4, 10)), 0.6 * random.normal(size=(4, 52, 3))
    pose[:, 22:] = 0.0
    rotations = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(4, 52, 3, 3)
    vertices, joints = lbs_numpy(body, betas, np.concatenate([rotations[:, :22], np.tile(np.eye(3), (4, 2, 1, 1))], 1))
    arrays = {key: torch.tensor(np.asarray(value, np.float64)) for key, value in plain(content).items()}
    expected, expected_joints = smplx.lbs.lbs(
        torch.tensor(betas), torch.tensor(rotations), arrays["v_template"][None], arrays["shapedirs"],
        arrays["posedirs"].reshape(-1, 9 * 51).T, arrays["J_regressor"], torch.tensor(PARENTS), arrays["weights"],
        pose2rot=False,
    )  # fmt: skip
    assert np.abs(vertices - expected.numpy()).max() < 1e-5
    assert np.abs(joints[:, :22] - expected_joints[:, :22].numpy()).max() < 1e-5
    knuckles = expected_joints[:, [22, 25, 28, 31, 34]].mean(1).numpy()
    assert np.abs(joints[:, SMPL.index("left_hand")] - knuckles).max() < 1e-5
    assert np.allclose(body.weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("change", ["tree", "joints", "regressor", "posedirs"])
def test_other_skeletons_are_refused(tmp_path, change):
    arrays = plain(official(joints=52))
    if change == "tree":
        arrays["kintree_table"] = arrays["kintree_table"][:, ::-1]
    elif change == "joints":
        arrays["weights"], arrays["kintree_table"] = arrays["weights"][:, :30], arrays["kintree_table"][:, :30]
    elif change == "regressor":
        arrays["J_regressor"] = arrays["J_regressor"][:40]
    else:
        arrays["posedirs"] = arrays["posedirs"][:-1]
    np.savez(tmp_path / "body.npz", **arrays)
    with pytest.raises(UserError):
        load_body(tmp_path / "body.npz")


def test_numbers_knows_no_foreign_object():
    assert numbers(object()) is None
    assert numbers("text") is None
