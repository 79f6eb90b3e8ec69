"""Whom validation or the test split cannot measure: the log says who, why and what follows; nothing stops for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from codebase.data.embeddings import read_embeddings, write_embeddings
from codebase.data.index import Index, frame_key, read_index, write_index
from codebase.data.labels import warn_of_unlabelled
from codebase.data.pairs import without_pair
from codebase.stages import index as index_stage
from codebase.stages import train_enc_dec, train_hmr, train_image_pose, train_pose, train_prior, train_smpl
from codebase.training.state import load_checkpoint
from tests.learned import part_of
from tests.people import APPEARANCE, BODY, POINTS, People, make_people
from tests.trees import config, write_tree

QUIET = {"steps": 1, "batch_size": 4, "warmup_steps": 0, "log_every": 1, "validate_every": 1, "precision": "fp32"}
SECTIONS = {
    "enc_dec": QUIET
    | {"points": POINTS, "appearance": APPEARANCE, "palette": 0, "encoder_widths": [8] * 3, "encoder_blocks": [1] * 3,
       "decoder_widths": [8, 8, 8], "validation_pairs": 4},
    "pose": QUIET | {"hidden": 16, "layers": 1, "members": 1},
    "image_pose": QUIET | {"hidden": 8},
    "prior": QUIET | {"width": 16, "count": 64},
    "smpl": QUIET | {"width": 16, "blocks": 1},
    "hmr": QUIET | {"widths": [8] * 4, "width": 16},
    "runtime": {"threads": 1, "device": "cpu"},
}  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    """S1 to learn from, S7 and S8 to validate on, each seen by three cameras."""
    return make_people(tmp_path_factory.mktemp("people"), val=(7, 8), cameras=(1, 2, 3), frames=2, sections=SECTIONS)


def part(people: People, folder: Path, rows: np.ndarray) -> Path:
    """The index of validation with some of its rows alone."""
    write_index(folder / "index_val.h5", part_of(validation(people), rows))
    return folder / "index_val.h5"


def validation(people: People) -> Index:
    return read_index(people.paths.index("val"))


def train_views(people: People, folder: Path, index_val: Path) -> dict:
    """What the training of the encoder-decoder logged last."""
    output = folder / "run/model_1.pt"
    train_enc_dec.run(
        people.config, index_train=people.paths.index("train"), index_val=index_val, crops=people.crops(1, 7, 8),
        output=output,
    )  # fmt: skip
    assert output.is_file()
    return json.loads((output.parent / "history.jsonl").read_text().splitlines()[-1])


def test_one_camera_of_somebody_in_validation_is_told(people, tmp_path, caplog):
    index = validation(people)
    last = train_views(people, tmp_path, part(people, tmp_path, (index.subject == 8) | (index.camera == 2)))
    assert said(caplog) == [
        "S7: no instant is seen by two cameras (camera 2), so no novel view of it is validated"
    ]  # fmt: skip
    assert "val/psnr_all_db" in last


def test_one_camera_of_everybody_in_validation_is_told(people, tmp_path, caplog):
    index = validation(people)
    other_acts = np.where(index.action == 2, index.camera == 1, index.camera == 3)
    rows = np.where(index.subject == 8, other_acts, index.camera == 2)
    last = train_views(people, tmp_path, part(people, tmp_path, rows))
    first, second, then = said(caplog)
    assert first.startswith("S7: no instant is seen by two cameras (camera 2)")
    assert second.startswith("S8: no instant is seen by two cameras (cameras 1, 3)")
    assert then.startswith("validation: no pair of views, so no error is measured while training")
    assert not [name for name in last if name.startswith("val/")]


def test_two_cameras_of_everybody_are_no_news(people, tmp_path, caplog):
    train_views(people, tmp_path, part(people, tmp_path, validation(people).camera != 3))
    assert not said(caplog)


def test_the_index_tells_of_every_split_who_has_one_camera(tmp_path, caplog):
    tree = write_tree(tmp_path / "tree", frames=2)
    for folder in tree.folders:
        if folder.subject == 8 and folder.camera != 4:
            (tree.root / folder.name).rename(tmp_path / folder.name)
    files = {f"output_{split}": tmp_path / f"{split}.h5" for split in ("train", "val", "test")}
    index_stage.run(config(tree, tmp_path), **files)
    told = [line for line in said(caplog) if "two cameras" in line]
    assert told == [
        "val: S8: no instant is seen by two cameras (camera 4), so there is no novel view of it to learn from or to "
        "measure"
    ]  # fmt: skip


def test_cameras_that_saw_other_instants_make_no_pair():
    key = frame_key([1, 1, 5, 5, 8], 2, 1, [1, 2, 1, 2, 3], [7, 7, 7, 8, 7])
    assert without_pair(key) == {5: "cameras 1, 2", 8: "camera 3"}
    assert without_pair(key[::-1]) == without_pair(key)
    assert without_pair(key[:0]) == {}


def test_who_has_no_label_in_validation_is_told(caplog):
    key = frame_key([1, 5, 5], 2, 1, 1, [1, 1, 2])
    warn_of_unlabelled(key, np.array([True, False, True]))
    warn_of_unlabelled(key[:0], np.zeros(0, bool))
    assert not said(caplog)
    warn_of_unlabelled(key, np.array([True, False, False]))
    assert said(caplog) == ["validation: no row with known joints of S5, so no figure is of them"]


@pytest.fixture(scope="module")
def unlabelled(people: People, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """By stage what it takes, without a label of S7 and S8."""
    folder = tmp_path_factory.mktemp("unlabelled")
    index = validation(people)
    write_index(folder / "index_val.h5", replace(index, has_joints=np.zeros(len(index), bool)))
    embeddings, crops = people.embeddings(1), people.crops(1)
    for subject in (7, 8):
        found = read_embeddings(people.embeddings(subject)[0])
        nobody = {"has_joints": np.zeros(len(found), bool), "joints_im_mm": np.full_like(found.joints_im_mm, np.nan)}
        embeddings.append(folder / f"S{subject}.pkl")
        write_embeddings(embeddings[-1], replace(found, **nobody))
        crops.append(Path(shutil.copy(people.paths.crops(subject), folder)))
        with h5py.File(crops[-1], "r+") as file:
            file["has_joints"][:], file["joints_im_mm"][:] = False, np.nan
    prior = folder / "prior/model_1.pt"
    train_prior.run(people.config, body=BODY, output=prior)
    split = {"index_train": people.paths.index("train"), "index_val": folder / "index_val.h5"}
    return {
        train_pose: split | {"embeddings": embeddings},
        train_image_pose: split | {"crops": crops},
        train_smpl: split | {"embeddings": embeddings, "crops": crops, "prior": prior, "body": BODY},
        train_hmr: split | {"crops": crops, "bodies": people.truth(1), "body": BODY},
    }


@pytest.mark.parametrize("stage", [train_pose, train_image_pose, train_smpl, train_hmr])
def test_validation_without_a_label_is_told(people, unlabelled, tmp_path, caplog, stage):
    stage.run(people.config, **unlabelled[stage], output=tmp_path / "model_1.pt")
    (told,) = said(caplog)
    assert told.startswith("validation: no row with known joints (S7, S8), so no error is measured while training")
    assert "the last step's model is written" in told
    history = load_checkpoint(tmp_path / "model_1.pt").history
    assert history
    assert not [name for entry in history for name in entry if name.startswith("val/")]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
