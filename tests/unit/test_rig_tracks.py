"""Joints, roots and boxes of a rig, read from files."""

import numpy as np
import pytest

from codebase.config.rig import RigTrack, RigWorld
from codebase.data.doors.tracks import read_track
from codebase.errors import DataError
from codebase.skeleton import H36M

ROOT = H36M.index("root")


def read(folder, joints, names):
    np.savez(folder / "joints.npz", joints=joints, names=np.array(names))
    return read_track(RigTrack.model_validate({"file": "joints.npz"}), folder, RigWorld())


def poses(count):
    return np.random.default_rng(count).normal(0, 500, (4, count, 3))


def test_all_names_in_any_order_are_labels(tmp_path):
    joints = poses(len(H36M))
    found = read(tmp_path, joints, H36M.names[::-1])
    assert np.array_equal(found, joints[:, ::-1])


def test_some_joints_give_the_root_alone(tmp_path):
    names = ["left_hip", "root", "head"]
    joints = poses(3)
    found = read(tmp_path, joints, names)
    assert np.array_equal(found[:, ROOT], joints[:, 1])
    assert np.isnan(np.delete(found, ROOT, axis=1)).all()


def test_the_root_lies_between_the_hips_where_it_has_no_name(tmp_path):
    joints = poses(3)
    joints[2, 0] = np.nan  # a hip unknown in one instant
    found = read(tmp_path, joints, ["left_hip", "right_hip", "neck"])
    assert np.allclose(found[[0, 1, 3], ROOT], joints[[0, 1, 3], :2].mean(axis=1))
    assert np.isnan(found[2]).all()


def test_joints_without_root_and_hips_are_refused(tmp_path):
    with pytest.raises(DataError, match="neither the root nor both hips") as caught:
        read(tmp_path, poses(2), ["head", "neck"])
    assert "joints.npz" in str(caught.value)
