"""Files of bodies: frames without one, and shapes that belong to a sequence."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from codebase.data.bodies import FORMAT, bodies_in_im
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
