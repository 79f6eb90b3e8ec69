"""Files of bodies: frames without one, and shapes that belong to a sequence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from codebase.data.bodies import FORMAT, bodies_in_im
from codebase.errors import DataError
from codebase.files import create_h5


def test_frames_without_a_body_are_left_out_and_a_sequence_may_have_its_own_shape(tmp_path):
    pose = np.zeros((4, 24, 3), np.float32)
    pose[:, 0, 2] = [0.1, 0.2, 0.3, 0.4]
    pose[1] = np.nan
    with create_h5(tmp_path / "S5.h5", format_name=FORMAT) as file:
        file["betas"] = np.zeros(10, np.float32)
        for name in ("act_02_subact_01", "act_03_subact_01"):
            file[f"{name}/pose_rad"], file[f"{name}/transl_m"] = pose, np.zeros((4, 3), np.float32)
        file["act_03_subact_01/betas"] = np.ones(10, np.float32)
    keys = {
        "subject": np.full(6, 5), "action": np.array([2, 2, 2, 3, 3, 4]), "subaction": np.ones(6, int),
        "frame": np.array([1, 2, 5, 2, 4, 1]),
    }  # fmt: skip
    turn = Rotation.from_euler("x", 0.5).as_matrix()
    known, found = bodies_in_im([tmp_path / "S5.h5"], keys, np.broadcast_to(turn, (6, 3, 3)))
    assert known.tolist() == [0, 4]
    assert found.betas.tolist() == [[0] * 10, [1] * 10]
    expected = turn @ Rotation.from_rotvec([[0, 0, 0.1], [0, 0, 0.4]]).as_matrix()
    np.testing.assert_allclose(found.rotmats[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("damage", ["infinite pose", "nan shape", "nan shape of a sequence", "short shape"])
def test_parameters_that_are_not_finite_are_refused(tmp_path, damage):
    pose, betas, own = np.zeros((4, 24, 3), np.float32), np.zeros(10, np.float32), np.zeros(10, np.float32)
    if damage == "infinite pose":
        pose[2, 3, 1] = np.inf
    elif damage == "nan shape":
        betas[4] = np.nan
    elif damage == "nan shape of a sequence":
        own[4] = np.nan
    else:
        own = own[:9]
    path = tmp_path / "S5.h5"
    with create_h5(path, format_name=FORMAT) as file:
        file["betas"], file["act_02_subact_01/betas"] = betas, own
        file["act_02_subact_01/pose_rad"], file["act_02_subact_01/transl_m"] = pose, np.zeros((4, 3), np.float32)
    keys = {"subject": np.full(1, 5), "action": np.full(1, 2), "subaction": np.ones(1, int), "frame": np.ones(1, int)}
    with pytest.raises(DataError, match=r"S5\.h5"):
        bodies_in_im([path], keys, np.eye(3)[None])


@pytest.mark.parametrize("name", ["act_two_subact_01", "act_02_subact_", "act_02", "acts_02_subact_01"])
def test_groups_that_name_no_sequence_are_refused(tmp_path, name):
    path = tmp_path / "S5.h5"
    with create_h5(path, format_name=FORMAT) as file:
        file["betas"], file[f"{name}/pose_rad"] = np.zeros(10, np.float32), np.zeros((4, 24, 3), np.float32)
    keys = {key: np.ones(1, int) for key in ("subject", "action", "subaction", "frame")}
    with pytest.raises(DataError, match="names no sequence"):
        bodies_in_im([path], keys, np.eye(3)[None])
