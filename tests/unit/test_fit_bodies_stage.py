"""The stage: what it writes, what it drops and why, who reads it."""

from __future__ import annotations

import dataclasses
import json
import logging

import h5py
import numpy as np
import pytest

from codebase.body.model import BodyLayer, load_body
from codebase.data.bodies import bodies_in_im
from codebase.data.index import read_index, write_index
from codebase.errors import DataError
from codebase.fitting.prior import PosePrior
from codebase.fitting.tracks import collect
from codebase.stages import check, fit_bodies
from codebase.stages._fit_figures import fit_figures
from codebase.synthetic.motion import sample_poses
from tests.people import BODY, make_people

pytest_plugins = ["tests.fit_fixtures"]
SECTION = {"masks": False, "iterations": 6, "count": 300, "parts": 1, "smooth_rad": 0.0}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return make_people(tmp_path_factory.mktemp("people"), frames=4, sections={"fit_bodies": SECTION})


@pytest.fixture(scope="module", autouse=True)
def _quick(one_thread):
    """One prior for all runs of the stage."""
    before = fit_bodies.pose_prior
    prior = PosePrior.of(sample_poses(300, 7, load_body(BODY).joint_shape_map[0]), 1)
    fit_bodies.pose_prior = lambda *_, **__: prior
    yield
    fit_bodies.pose_prior = before


def indices(people):
    return [people.paths.index(split) for split in ("train", "val", "test")]


def fit(people, output, subject=9, files=None, **changes):
    section = people.config.fit_bodies.model_copy(update=changes)
    config = people.config.model_copy(update={"fit_bodies": section})
    fit_bodies.run(config, subject=subject, index=files or indices(people), body=BODY, every=1, output=output)
    return config


@pytest.fixture(scope="module")
def fitted(people, tmp_path_factory):
    output = tmp_path_factory.mktemp("fitted") / "S9.h5"
    fit(people, output)
    return output


def test_tracks_have_every_labelled_instant_once(people):
    index = read_index(people.paths.index("test"))
    tracks = collect([index, index], 9)
    assert [track.name for track in tracks] == ["act_02_subact_01", "act_14_subact_01"]
    for track in tracks:
        rows = np.flatnonzero((index.action == track.action) & (index.camera == 1))
        assert track.frame.tolist() == index.frame[rows].tolist()
        np.testing.assert_array_equal(track.joints_world_mm, index.joints_world_mm[index.instant[rows]])
        assert [camera.number for camera in track.cameras] == [1, 2]
    assert collect([index], 5) == []


def test_fitted_bodies_are_near_the_true_ones_and_the_figures_say_so(people, fitted):
    figures = fit_figures([fitted], people.truth(9), BodyLayer(load_body(BODY)))
    assert figures["fit_bodies/frames"] == 8
    assert figures["fit_bodies/kept_share"] == 1
    assert figures["fit_bodies/joint_error_mm"] < 4
    assert figures["fit_bodies/pve_mm"] < 25
    # no masks were looked at
    assert figures["fit_bodies/joints_only_pve_mm"] == pytest.approx(figures["fit_bodies/pve_mm"])
    assert "fit_bodies/mask_iou" not in figures
    assert fit_figures([], [], BodyLayer(load_body(BODY))) == {}


def test_the_figures_are_zero_for_the_truth_itself(people, fitted, tmp_path):
    copy = tmp_path / "S9.h5"
    copy.write_bytes(fitted.read_bytes())
    with h5py.File(copy, "r+") as file, h5py.File(people.truth(9)[0]) as true:
        for prefix in ("", "joints_only_"):
            file[f"{prefix}betas"][:] = true["betas"][:]
            for name in ("act_02_subact_01", "act_14_subact_01"):
                for key in ("pose_rad", "transl_m"):
                    file[f"{name}/{prefix}{key}"][:] = true[f"{name}/{key}"][:]
        file["act_02_subact_01/kept"][0] = False
        file["act_02_subact_01/pose_rad"][0] += 1
    figures = fit_figures([copy], people.truth(9), BodyLayer(load_body(BODY)))
    assert figures["fit_bodies/frames"] == 7
    assert figures["fit_bodies/kept_share"] == pytest.approx(7 / 8)
    for name in ("pve_mm", "joints_only_pve_mm", "world_pve_mm"):
        assert figures[f"fit_bodies/{name}"] == pytest.approx(0, abs=1e-3)


def test_figures_pair_files_by_subject(people, fitted, tmp_path):
    layer, (true,) = BodyLayer(load_body(BODY)), people.truth(9)
    other = tmp_path / "S8.h5"
    other.write_bytes(true.read_bytes())
    expected = fit_figures([fitted], [true], layer)
    assert fit_figures([fitted], [other, true], layer) == expected
    assert fit_figures([fitted], [other], layer) == {}


def test_readers_take_kept_frames_only(people, fitted, tmp_path):
    index = read_index(people.paths.index("test"))
    keys = {name: getattr(index, name) for name in ("subject", "action", "subaction", "frame")}
    turns = np.broadcast_to(np.eye(3), (len(index), 3, 3))
    known, _ = bodies_in_im([fitted], keys, turns)
    assert known.tolist() == list(range(len(index)))
    copy = tmp_path / "S9.h5"
    copy.write_bytes(fitted.read_bytes())
    with h5py.File(copy, "r+") as file:
        file["act_14_subact_01/kept"][1] = False
    known, _ = bodies_in_im([copy], keys, turns)
    dropped = np.flatnonzero((index.action == 14) & (index.frame == 2))
    assert set(range(len(index))) - set(known.tolist()) == set(dropped.tolist())


def test_badly_explained_frames_are_dropped_with_their_reason(people, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="posemill"):
        fit(people, tmp_path / "S9.h5", most_joint_mm=1e-6)
    assert "8 frames dropped: joints off by more than 1e-06 mm (fit_bodies.most_joint_mm)" in caplog.text
    with h5py.File(tmp_path / "S9.h5") as file:
        assert not file["act_02_subact_01/kept"][:].any()
        assert np.isfinite(file["act_02_subact_01/pose_rad"][:]).all()


def test_a_subject_without_poses_stops_nothing(people, tmp_path, caplog):
    index = read_index(people.paths.index("test"))
    joints = index.joints_world_mm.copy()
    joints[:, 1:] = np.nan
    write_index(tmp_path / "index_test.h5", dataclasses.replace(index, joints_world_mm=joints))
    output = tmp_path / "S9.h5"
    with caplog.at_level(logging.WARNING, logger="posemill"):
        config = fit(people, output, files=[tmp_path / "index_test.h5"])
    assert "S9: no frame has a known pose, so no body can be fitted" in caplog.text
    check.run(config, what="bodies", files=[output], against=[], output=tmp_path / "marker.json")
    keys = {name: getattr(index, name) for name in ("subject", "action", "subaction", "frame")}
    assert not len(bodies_in_im([output], keys, np.broadcast_to(np.eye(3), (len(index), 3, 3)))[0])


def test_masks_that_are_not_there_are_one_message(people, tmp_path):
    with pytest.raises(DataError, match="does not exist") as error:
        fit(people, tmp_path / "S9.h5", masks=True)
    assert ".png" in str(error.value)
    assert not (tmp_path / "S9.h5").exists()


def spoil(path, key, value, row=0):
    with h5py.File(path, "r+") as file:
        file[key][row] = value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("act_02_subact_01/joint_error_mm", np.nan, "joint_error_mm holds 1 numbers that are not finite"),
        ("act_02_subact_01/mask_iou", 1.5, "mask_iou is no share"),
        ("act_02_subact_01/pose_rad", np.inf, "pose_rad holds 72 numbers that are not finite"),
        ("betas", np.nan, "betas holds 1 numbers that are not finite"),
    ],
)
def test_the_check_refuses_what_is_wrong(people, fitted, tmp_path, key, value, message):
    copy, marker = tmp_path / "S9.h5", tmp_path / "marker.json"
    copy.write_bytes(fitted.read_bytes())
    check.run(people.config, what="bodies", files=[copy], against=[], output=marker)
    assert json.loads(marker.read_text())["passed"]
    spoil(copy, key, value)
    with pytest.raises(DataError, match=message):
        check.run(people.config, what="bodies", files=[copy], against=[], output=marker)


def test_offsets_are_for_data_of_others(people):
    config = people.config
    assert fit_bodies.offset_mm(config) == 0
    tree = config.model_copy(update={"dataset": config.dataset.model_copy(update={"kind": "tree"})})
    assert fit_bodies.offset_mm(tree) == fit_bodies.OFFSET_MM
    own = tree.model_copy(update={"fit_bodies": tree.fit_bodies.model_copy(update={"offset_mm": 5.0})})
    assert fit_bodies.offset_mm(own) == 5


def test_masks_that_are_boxes_are_not_looked_at(people, tmp_path, caplog):
    config = people.config
    extract = config.extract.model_copy(update={"masks": "boxes"})
    section = config.fit_bodies.model_copy(update={"masks": True})
    boxed = config.model_copy(
        update={
            "dataset": config.dataset.model_copy(update={"kind": "extract"}), "extract": extract, "fit_bodies": section,
        }
    )  # fmt: skip
    with caplog.at_level(logging.INFO, logger="posemill"):
        job = fit_bodies.prepare(boxed, load_body(BODY), collect([read_index(people.paths.index("test"))], 9))
    assert "boxes" in caplog.text
    assert not job.section.masks
    assert job.shape is job.bare
