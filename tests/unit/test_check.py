"""Checks of artefacts: sound ones pass with the same words each time, broken ones are refused by name."""

import json
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from codebase.config import Config
from codebase.data.embeddings import read_embeddings, write_embeddings
from codebase.errors import DataError, UserError
from codebase.provenance import file_digest
from codebase.stages import check
from codebase.training.state import save_checkpoint
from tests.people import make_people
from tests.unit.report_run import make_run


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Index, crops, bodies, embeddings, backgrounds and a checkpoint, all sound, made from each other."""
    found = make_people(tmp_path_factory.mktemp("people"))
    paths, config = found.paths, found.config
    for subject in config.dataset.subjects:
        paths.background(subject).parent.mkdir(parents=True, exist_ok=True)
        np.save(paths.background(subject), np.full((2, 8, 8, 3), 90, np.uint8))
    save_checkpoint(
        paths.checkpoint("enc_dec"), modules={"net": torch.nn.Linear(4, 4)}, step=config.enc_dec.steps,
        config=config.enc_dec, history=[], extra={"mean": torch.zeros(3)},
    )  # fmt: skip
    digest = file_digest(paths.checkpoint("enc_dec"))
    for subject in config.dataset.subjects:
        with h5py.File(paths.crops(subject)) as crops:
            sources = {"checkpoint_digest": digest, "crops_digest": str(crops.attrs["digest"])}
        file = paths.embeddings(subject)
        write_embeddings(file, type(read_embeddings(file))(**vars(read_embeddings(file)) | sources))
    return found


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """A run with predictions, of the checkpoints beside them."""
    run = make_run(tmp_path_factory.mktemp("run"))
    networks = ("enc_dec", "pose", "smpl", "hmr")
    digests = {network: file_digest(run.paths.checkpoint(network)) for network in networks}
    with h5py.File(run.paths.predictions, "r+") as file:
        file.attrs["checkpoints"] = json.dumps(digests)
        errors = [name for name in file["novel_view"] if name.startswith("mse_")]
        for name in errors:
            file["novel_view"][name][:] = 0.01
        if "has_joints" not in file["frames"]:
            file["frames/has_joints"] = np.ones(len(file["frames/frame"]), bool)
    return run


@pytest.fixture
def case(request, people, predicted, tmp_path):
    """By name of a kind: the config, a copy of an artefact, and what it was made from."""

    def find(what):
        paths = people.paths
        indices = [paths.index(split) for split in ("train", "val", "test")]
        file, against, config = {
            "index": (indices[0], [], people.config),
            "backgrounds": (paths.background(1), indices, people.config),
            "bodies": (paths.truth(1), [], people.config),
            "crops": (paths.crops(1), indices, people.config),
            "checkpoint": (paths.checkpoint("enc_dec"), [], people.config),
            "embeddings": (paths.embeddings(1), [paths.checkpoint("enc_dec"), paths.crops(1)], people.config),
            "predictions": (predicted.paths.predictions,
                            [predicted.paths.index("test"), *map(predicted.paths.checkpoint, ("enc_dec", "hmr"))],
                            predicted.config),
        }[what]  # fmt: skip
        copy = tmp_path / file.name
        shutil.copy(file, copy)
        return config, copy, against

    return find


KINDS = ("index", "backgrounds", "bodies", "crops", "checkpoint", "embeddings", "predictions")


def run(config: Config, what: str, file: Path, against: list[Path]) -> str:
    output = file.with_name("marker.json")
    check.run(config, what=what, files=[file], against=against, output=output)
    return output.read_text()


@pytest.mark.parametrize("what", KINDS)
def test_a_sound_artefact_passes_and_says_the_same_each_time(case, what):
    config, file, against = case(what)
    said = run(config, what, file, against)
    assert json.loads(said) == {"what": what, "files": [file.name], "passed": True}
    assert run(config, what, file, against) == said


def test_novel_views_of_frames_without_a_mask_pass(case):
    """As `view_errors.measure` gives them: what is over the mask's pixels is NaN."""
    config, file, against = case("predictions")
    with h5py.File(file, "r+") as predictions:
        for name in ("mse_foreground", "mse_background_only"):
            predictions[f"novel_view/{name}"][0] = np.nan
    assert json.loads(run(config, "predictions", file, against))["passed"]
    with h5py.File(file, "r+") as predictions:
        predictions["novel_view/mse_all"][0] = np.nan
    with pytest.raises(DataError, match="novel_view/mse_all holds 1 numbers that are not finite"):
        run(config, "predictions", file, against)


def test_novel_views_of_what_two_cameras_saw_are_missed(case):
    config, file, against = case("predictions")
    with h5py.File(file, "r+") as predictions:
        del predictions["novel_view"]
    with pytest.raises(DataError, match="novel_view is missing, though two cameras saw the same instants"):
        run(config, "predictions", file, against)


@pytest.mark.parametrize("what", KINDS)
def test_a_truncated_file_is_refused_by_name(case, what):
    config, file, against = case(what)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match=file.name):
        run(config, what, file, against)
    assert not file.with_name("marker.json").exists()


@pytest.mark.parametrize("what", KINDS)
def test_a_file_whose_end_is_a_hole_is_refused_by_name(case, what):
    config, file, against = case(what)
    whole = file.read_bytes()
    keep = len(whole) // 2
    file.write_bytes(whole[:keep] + bytes(len(whole) - keep))
    with pytest.raises(DataError, match=file.name):
        run(config, what, file, against)


@pytest.mark.parametrize("what", KINDS)
def test_an_empty_or_missing_file_is_refused_by_name(case, what):
    config, file, against = case(what)
    for spoil in (lambda: file.write_bytes(b""), file.unlink):
        spoil()
        with pytest.raises(DataError, match=file.name):
            run(config, what, file, against)


def nan_in_h5(dataset):
    def poison(file):
        with h5py.File(file, "r+") as handle:
            where = handle[dataset]
            where[0] = np.nan

    return poison


def zeros_in_h5(dataset):
    def poison(file):
        with h5py.File(file, "r+") as handle:
            handle[dataset][-1:] = 0

    return poison


def embeddings_with(**change):
    def poison(file):
        content = pickle.loads(file.read_bytes())
        content["L_3d"][-1] = change["value"]
        file.write_bytes(pickle.dumps(content, protocol=5))

    return poison


def checkpoint_with(change):
    def poison(file):
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, file)

    return poison


def nan_weight(content):
    content["model"]["net.weight"][0, 0] = float("nan")


def zero_weights(content):
    content["model"]["net.weight"].zero_()


def early(content):
    content["step"] -= 1


def with_other_h5_attribute(name, value):
    def poison(file):
        with h5py.File(file, "r+") as handle:
            handle.attrs[name] = value

    return poison


@pytest.mark.parametrize(
    ("what", "poison", "said"),
    [
        ("index", nan_in_h5("instants/joints_world_mm"), "not finite"),
        ("index", nan_in_h5("views/R"), "views/R holds 9 numbers that are not finite"),
        ("index", zeros_in_h5("instants/joints_world_mm"), "joints_world_mm: 1 rows are all zero"),
        ("bodies", nan_in_h5("act_02_subact_01/pose_rad"), "act_02_subact_01/pose_rad holds 72 numbers"),
        ("crops", nan_in_h5("joints_im_mm"), "not finite"),
        ("crops", nan_in_h5("root_world_mm"), "root_world_mm holds 3 numbers"),
        ("crops", zeros_in_h5("image"), "1 images are all zero"),
        ("embeddings", embeddings_with(value=np.nan), "L_3d holds"),
        ("embeddings", embeddings_with(value=0), "L_3d: 1 rows are all zero"),
        ("checkpoint", checkpoint_with(nan_weight), "net.weight holds 1 numbers that are not finite"),
        ("checkpoint", checkpoint_with(zero_weights), "All weights are zero"),
        ("checkpoint", checkpoint_with(early), "It stands at step"),
        ("predictions", nan_in_h5("pose/joints_im_mm"), "pose/joints_im_mm holds 51 numbers"),
        ("predictions", zeros_in_h5("hmr/joints_im_mm"), "hmr/joints_im_mm: 1 rows are all zero"),
        ("predictions", with_other_h5_attribute("checkpoints", '{"enc_dec": "0", "hmr": "0"}'), "another checkpoint"),
    ],
)
def test_poison_is_found_and_named(case, what, poison, said):
    config, file, against = case(what)
    poison(file)
    with pytest.raises(DataError, match=said) as error:
        run(config, what, file, against)
    assert str(error.value.where) == str(file)


def test_a_black_background_is_refused_where_the_index_lists_frames_of_the_camera(case):
    config, file, against = case("backgrounds")
    images = np.load(file)
    images[1] = 0
    np.save(file, images)
    with pytest.raises(DataError, match="Camera 2 is all black"):
        run(config, "backgrounds", file, against)
    run(config, "backgrounds", file, [])


def test_artefacts_of_other_sources_are_refused(case, people, tmp_path):
    config, file, against = case("embeddings")
    other = tmp_path / "crops" / "S1.h5"
    other.parent.mkdir()
    shutil.copy(people.paths.crops(1), other)
    with_other_h5_attribute("digest", "of other rows")(other)
    with pytest.raises(DataError, match="another file of crops: the digest is"):
        run(config, "embeddings", file, [against[0], other])
    config, file, against = case("crops")
    with pytest.raises(DataError, match="the indices list 0 of subject 1"):
        run(config, "crops", file, [people.paths.index("val")])


def test_an_unknown_kind_is_named(people, tmp_path):
    with pytest.raises(UserError, match="no check of 'meshes'"):
        check.run(people.config, what="meshes", files=[], against=[], output=tmp_path / "marker.json")
