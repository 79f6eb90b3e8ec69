"""Editing one section, or a stage's VERSION, re-runs that stage and what follows; nothing else does."""

import json
import re
import shutil

import pytest
from conftest import make_house, run_in

from codebase.config import read_config

END = {"predict", "check_predictions", "evaluate", "report", "all"}
FROM_POSE, FROM_HMR = {"train_pose", "check_pose"} | END, {"train_hmr", "check_hmr"} | END
FITTED = {"fit_bodies", "check_fitted", "evaluate", "report", "all"}
FROM_SMPL = {"train_smpl", "check_smpl"} | END
FROM_EMBED = {"embed", "check_embeddings"} | FROM_POSE | FROM_SMPL
# the network on images begins with the encoder
FROM_ENC_DEC = {"train_enc_dec", "check_enc_dec"} | FROM_HMR | FROM_EMBED
FROM_CROPS = {"crops", "check_crops"} | FROM_ENC_DEC


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A house in which every output exists and is recorded as made with the config of now."""
    house = make_house(tmp_path_factory.mktemp("made") / "house")
    listed = run_in(house, "snakemake", "--summary")
    for line in listed.stdout.splitlines()[1:]:
        path = house / line.split("\t")[0]
        if path.name == "meshes":
            path.mkdir(parents=True)
        elif not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("made by a test\n")
    done = run_in(house, "snakemake", "--touch", "--forceall", "--cores", "1")
    assert done.returncode == 0, done.stderr
    return house


@pytest.fixture
def finished(made, house):
    """A copy of it for one test, which `in_house` works in."""
    shutil.rmtree(house)
    return shutil.copytree(made, house, symlinks=True)


def due(in_house, *argv):
    """Rules that would run."""
    done = in_house("snakemake", "-n", "--rerun-triggers", "mtime", "params", "input", *argv)
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("Job stats:")[2].partition("total")[0]
    return set(re.findall(r"^(\w+) +\d+$", table, flags=re.MULTILINE))


def test_a_section_reruns_its_stage_and_what_follows(in_house, finished):
    assert due(in_house) == set()
    expected = {
        "runtime={workers: 2, threads: 1, device: cpu}": set(),
        "report={examples: 3}": {"report", "all"},
        "evaluate={per_act: false}": {"evaluate", "report", "all"},
        "fit_bodies={joint_mm: 4}": FITTED,
        "fit_bodies={measure_every: 3}": FITTED,
        "pose={learning_rate: 0.5}": FROM_POSE,
        "hmr={learning_rate: 0.5}": FROM_HMR,
        "prior={learning_rate: 0.5}": {"train_prior", "check_prior"} | FROM_SMPL,
        "embed={batch_size: 3}": FROM_EMBED,
        "enc_dec={learning_rate: 0.5}": FROM_ENC_DEC,
        "crops={box_mm: 1500}": FROM_CROPS,
        "backgrounds={every: 7}": {"backgrounds", "check_backgrounds"} | FROM_CROPS,
    }
    assert {edit: due(in_house, "--config", edit) for edit in expected} == expected


def test_an_image_network_from_scratch_leaves_the_encoder_alone(in_house, finished):
    scratch = ("--config", "hmr={start: scratch}")
    assert due(in_house, *scratch) == FROM_HMR
    done = in_house("snakemake", "--touch", "--forceall", "--cores", "1", *scratch)
    assert done.returncode == 0, done.stderr
    assert due(in_house, *scratch) == set()
    assert due(in_house, *scratch, "enc_dec={learning_rate: 0.5}") == FROM_ENC_DEC - {"train_hmr", "check_hmr"}


def test_published_weights_train_again_when_their_content_is_another(in_house, finished):
    weights = finished / "resnet18.pth"
    weights.write_bytes(b"some weights")
    judged = ("--config", f"enc_dec={{perceptual: resnet18, perceptual_weights: {weights}}}")
    done = in_house("snakemake", "--touch", "--forceall", "--cores", "1", *judged)
    assert done.returncode == 0, done.stderr
    weights.unlink()
    weights.write_bytes(b"some weights")
    assert due(in_house, *judged) == set(), "installed anew"
    weights.write_bytes(b"other weights")
    assert due(in_house, *judged) == FROM_ENC_DEC


def test_embedding_goes_on_with_the_subjects_that_lack_theirs(in_house, finished):
    made = sorted((finished / "results/mini/embeddings/enc_dec").glob("S*.pkl"))
    assert len(made) == 14
    (finished / "results/mini/embeddings/enc_dec/S5.pkl").unlink()
    argv = ("-n", "--rerun-triggers", "mtime", "params", "input")
    # asked for by name: nothing wants an embedding again while what is learned from it is there
    jobs = in_house("snakemake", *argv, "--", *(str(path.relative_to(finished)) for path in made)).stdout
    assert set(re.findall(r"^embed +(\d+)$", jobs, flags=re.MULTILINE)) == {"1"}
    assert not re.findall(r"^train_enc_dec +\d+$", jobs, flags=re.MULTILINE)
    jobs = in_house("snakemake", *argv, "--config", "embed={format: hdf5}").stdout
    assert set(re.findall(r"^embed +(\d+)$", jobs, flags=re.MULTILINE)) == {"14"}
    assert "embeddings/enc_dec/S5.h5" in jobs


def test_editing_the_test_split_trains_nothing_again(in_house, finished):
    people = read_config(finished / "configs/mini.yaml").split
    listed = {name: list(getattr(people, name).subjects) for name in ("train", "val", "test")}
    every = {"train": 1, "val": 4, "test": 2}

    def edit(**changes):
        split = {name: {"subjects": listed[name], "every": (every | changes)[name]} for name in listed}
        return "--config", f"split={json.dumps(split)}"

    ends = FITTED | {"check_index", "check_crops", "embed", "check_embeddings", "check_backgrounds"} | END
    assert due(in_house, *edit()) == set()
    assert due(in_house, *edit(test=3)) == {"index", "crops"} | ends
    jobs = in_house("snakemake", "-n", "--rerun-triggers", "mtime", "params", "input", *edit(test=3)).stdout
    assert set(re.findall(r"^crops +(\d+)$", jobs, flags=re.MULTILINE)) == {str(len(listed["test"]))}
    assert set(re.findall(r"^index +(\d+)$", jobs, flags=re.MULTILINE)) == {"1"}
    assert {"train_enc_dec", "train_pose", "train_smpl", "train_hmr"} <= due(in_house, *edit(train=2))


def bump(house, stage):
    source = house / f"codebase/stages/{stage}.py"
    text, count = re.subn(r"^(VERSION(?:: int)? = )\d+", r"\g<1>987", source.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{source} has no line `VERSION = n`"
    source.write_text(text)


def test_a_version_reruns_its_stage_and_a_comment_does_not(in_house, finished):
    (finished / "codebase/stages/evaluate.py").open("a").write("# a comment\n")
    assert due(in_house) == set()
    bump(finished, "evaluate")
    assert due(in_house) == {"evaluate", "report", "all"}


def test_other_reasons_to_run_are_seen_behind_a_gate(in_house, finished):
    """Two edits at once: the later stage's reason must not hide behind the earlier one's, nor the other way round."""
    argv = ["--config", "pose={learning_rate: 0.5}", "hmr={learning_rate: 0.5}"]
    assert due(in_house, *argv) == FROM_POSE | FROM_HMR


def test_checking_again_trains_nothing_again(in_house, finished):
    bump(finished, "check")
    assert due(in_house) == set(), "a new version of the checks is no reason to run"
    markers = sorted((finished / "results/mini/checks").glob("*.json"))
    people = 14
    assert len(markers) == 3 + 4 * people + 5 + 1 + len(read_config(finished / "configs/mini.yaml").split.test.subjects)
    for marker in markers:
        marker.write_text(marker.read_text())
    assert due(in_house) == set(), "a check by hand that finds the same re-runs what it gates"
    for marker in markers:
        marker.unlink()
    assert due(in_house) == set(), "a lost marker re-runs what it gates"
