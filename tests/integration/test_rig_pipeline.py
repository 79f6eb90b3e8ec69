"""Somebody's rig of three cameras, some people without joints or masks: through the whole DAG, to the page."""

from __future__ import annotations

import json
import math
import shutil

import h5py
import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, make_house, run_in

from codebase.config import read_config
from codebase.data.embeddings import read_embeddings
from codebase.data.index import read_index
from codebase.data.store import CropStore
from codebase.errors import UserError
from codebase.files import open_h5
from codebase.paths import Paths
from codebase.stages import evaluate, report, train_hmr, train_pose, train_smpl
from tests.doors.people import render
from tests.doors.rigs import write_rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SUBJECTS, ACTS, CAMERAS, FRAMES = (1, 5, 8, 9), (2, 14), (2, 7, 31), 6


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A house in which the DAG has run from rig.json: S5 has neither joints nor masks, S9's second act no joints."""
    root = make_house(tmp_path_factory.mktemp("rig") / "house")
    people = render(root.parent / "people", subjects=SUBJECTS, acts=ACTS, frames=FRAMES)
    write_rig(root / "capture", people, numbers=CAMERAS, joints_of=(1, 8, 9), masks_of=(1, 9))
    path = root / "capture" / "S9" / "rig.json"
    rig = json.loads(path.read_text())
    del rig["sequences"][1]["joints"]
    path.write_text(json.dumps(rig))
    config = yaml.safe_load((REPOSITORY / "tests/data/tiny.yaml").read_text())
    config |= {
        "name": "rig", "extract": {"door": "rig", "source": "capture"},
        "dataset": {"kind": "extract", "subjects": list(SUBJECTS), "acts": list(ACTS), "subacts": [1],
                    "cameras": list(CAMERAS)},
        "split": {"train": {"subjects": [1, 5]}, "val": {"subjects": [8]}, "test": {"subjects": [9]}},
        "evaluate": {"cameras": [7, 31]},
    }  # fmt: skip
    (root / "configs/rig.yaml").write_text(yaml.safe_dump(config))
    words = ("--configfile", "configs/rig.yaml", "--profile", "cluster_profiles/local", "--cores", "2")
    done = run_in(root, "snakemake", *words, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture(scope="module")
def paths(house):
    found = read_config(house / "results/rig/config.yaml")
    return Paths(found.model_copy(update={"results": house / "results"}))


def test_frames_without_joints_reach_crops_and_embeddings(paths):
    index = read_index(paths.index("train"))
    known = index.subject == 1
    assert (index.has_joints == known).all()
    assert set(index.camera.tolist()) == set(CAMERAS)
    assert (~known).sum() >= 2 * 3 * (FRAMES - 2)
    store = CropStore([paths.crops(5)])
    assert not store.has_joints.any()
    assert np.isnan(store.joints_im_mm).all()
    assert np.isfinite(store.root_world_mm).all()
    assert store.has_mask.mean() > 0.8  # by difference
    found = read_embeddings(paths.embeddings(5))
    assert len(found) == len(store)
    assert np.isfinite(found.L_3d).all()


def test_all_are_predicted_and_the_labelled_are_measured(house, paths):
    index = read_index(paths.index("test"))
    with open_h5(paths.predictions, format_name="posemill.predictions") as file:
        known, truth = file["frames/has_joints"][:], file["truth/joints_im_mm"][:]
        for name in ("pose", "smpl", "hmr"):
            assert np.isfinite(file[f"{name}/joints_im_mm"][:]).all()
        assert len(file["novel_view/source"]) == 2 * len(index)
    assert (known == (index.action == 2)).all()
    assert np.isnan(truth[~known]).all()
    metrics = json.loads(paths.metrics.read_text())
    assert all(math.isfinite(value) for value in metrics.values() if not isinstance(value, str))
    assert metrics["index/test_rows"] == len(index)
    assert metrics["index/test_labelled_rows"] == (known & (index.camera != 2)).sum()
    assert {"pose/mpjpe_mm", "pose/mpjpe_mm/act_02_Directions", "enc_dec/psnr_foreground_db/act_14_Walking"} <= set(
        metrics
    )
    assert "pose/mpjpe_mm/act_14_Walking" not in metrics
    header = paths.results_csv.read_text().splitlines()[1]
    assert header.startswith("S9/act_02_subact_01.ca_02/000001")


def test_a_test_split_without_any_label_still_has_its_page(paths, tmp_path):
    predictions, metrics, page = (tmp_path / name for name in ("predictions.h5", "metrics.json", "report.html"))
    shutil.copy(paths.predictions, predictions)
    with h5py.File(predictions, "r+") as file:
        file["truth/joints_im_mm"][:] = np.nan
        file["frames/has_joints"][:] = False
        file["novel_view/mse_foreground"][:] = np.nan  # nor any mask
    body = REPOSITORY / "assets/free_body.npz"
    evaluate.run(paths.config, predictions=predictions, bodies=[], body=body, output=metrics)
    found = json.loads(metrics.read_text())
    assert found["index/test_labelled_rows"] == 0
    assert not [name for name in found if "mpjpe" in name]
    assert "enc_dec/psnr_all_db" in found
    checkpoints = [paths.checkpoint(stage) for stage in ("enc_dec", "pose", "prior", "smpl", "hmr")]
    report.run(
        paths.config, metrics=metrics, predictions=predictions, index_test=paths.index("test"),
        checkpoints=checkpoints, body=body, output=page,
    )  # fmt: skip
    text = page.read_text()
    assert "the true pose is not known" in text
    assert "or no true poses to show them beside" in text


@pytest.mark.parametrize("stage", ["pose", "smpl", "hmr"])
def test_label_subjects_without_labels_are_one_clear_error(paths, stage, tmp_path):
    section = getattr(paths.config, stage).model_copy(update={"label_subjects": (5,)})
    config = paths.config.model_copy(update={stage: section})
    crops, embeddings = ([of(s) for s in (1, 5, 8)] for of in (paths.crops, paths.embeddings))
    body = REPOSITORY / "assets/free_body.npz"
    own = {
        "pose": (train_pose, {"embeddings": embeddings}),
        "smpl": (train_smpl, {"embeddings": embeddings, "crops": crops, "body": body,
                              "prior": paths.checkpoint("prior")}),
        "hmr": (train_hmr, {"crops": crops, "bodies": [], "body": body}),
    }  # fmt: skip
    module, inputs = own[stage]
    indices = {"index_train": paths.index("train"), "index_val": paths.index("val")}
    with pytest.raises(UserError, match="no row with known joints") as caught:
        module.run(config, **indices, **inputs, output=tmp_path / "runs" / "x" / "model_4.pt")
    assert f"{stage}.label_subjects" in str(caught.value)


def test_cameras_that_the_test_split_lacks_are_one_clear_error(paths, tmp_path):
    section = paths.config.evaluate.model_copy(update={"cameras": (4,)})
    with pytest.raises(UserError, match=r"no frame of the cameras \[4\]"):
        evaluate.run(
            paths.config.model_copy(update={"evaluate": section}), predictions=paths.predictions, bodies=[],
            body=REPOSITORY / "assets/free_body.npz", output=tmp_path / "metrics.json",
        )  # fmt: skip
