"""The course's two commands on rendered people: train, stop, go on, predict, and all that may be wrong with files."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from codebase.body.model import BodyLayer, load_body
from codebase.config import Config
from codebase.config.course import read_course_config
from codebase.course import predict
from codebase.course.samples import CourseSamples
from codebase.course.train import train
from codebase.errors import ConfigError, DataError, OutOfTimeError
from codebase.files import read_json
from codebase.models.projection import Cameras
from codebase.stages import train_prior
from tests.course import course_tree, rewrite_npz, write_yaml
from tests.people import BODY

COLUMNS = {"root_loc": 3, "root_orient": 3, "betas": 10, "pose_body": 63, "pose_hand": 6}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return course_tree(tmp_path_factory.mktemp("people"))


def command(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """As the course ran it: from inside codebase/."""
    return subprocess.run(
        [sys.executable, f"{name}.py", *words], cwd=REPOSITORY / "codebase", capture_output=True, text=True, timeout=600
    )


def run_train(yaml: Path, **more: object) -> Path:
    config = read_course_config(yaml)
    train(config, **more)  # type: ignore[arg-type]
    return config.out_dir


def run_test(yaml: Path, model: str) -> Path:
    config = read_course_config(yaml)
    predict.test(config, yaml, Path(model))
    return config.out_dir


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def same(a: Path, b: Path) -> None:
    one, two = (torch.load(path, weights_only=True) for path in (a, b))
    for key, value in one["model"].items():
        assert torch.equal(value, two["model"][key]), key
    assert one["posemill"]["progress"] == two["posemill"]["progress"]
    assert (one["it"], one["epoch_it"], one["loss_val_best"]) == (two["it"], two["epoch_it"], two["loss_val_best"])


@pytest.fixture(scope="module")
def trained(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YAML whose network is trained: 12 frames, 2 epochs of 3 batches, by the command itself."""
    yaml = write_yaml(tmp_path_factory.mktemp("run") / "modelfinal.yaml", tree)
    done = command("train", str(yaml))
    assert done.returncode == 0, done.stderr
    assert "random weights" in done.stderr
    return yaml


def test_checkpoints_are_the_courses(trained):
    out = read_course_config(trained).out_dir
    assert {p.name for p in out.glob("*.pt")} == {f"model_{name}.pt" for name in (0, 2, 4, 6, "best")}
    found = torch.load(out / "model_4.pt", weights_only=True)
    assert {"model", "optimizer", "epoch_it", "it", "loss_val_best"} <= set(found)
    assert (found["it"], found["epoch_it"]) == (4, 1)
    history = [json.loads(line) for line in (out / "run/history.jsonl").read_text().splitlines()]
    scores = {int(e["step"]): e["val/v2v_l2_m2"] for e in history if "val/v2v_l2_m2" in e}
    best = torch.load(out / "model_best.pt", weights_only=True)
    assert best["it"] == min(scores, key=scores.__getitem__)
    assert best["loss_val_best"] == min(scores.values())


def test_metrics_are_written_for_both_splits_and_each_correction(trained):
    found = read_json(read_course_config(trained).out_dir / "metrics.json")
    for split in ("train", "val"):
        for name in (
            "v2v_l2_m2",
            "pve_mm",
            "pa_pve_mm",
            "mpjpe_mm",
            "n_mpjpe_mm",
            "pa_mpjpe_mm",
            "mean_body_v2v_l2_m2",
        ):
            assert found[f"{split}/{name}"] > 0
        assert found[f"{split}/v2v_l2_m2/iteration_3"] == found[f"{split}/v2v_l2_m2"]
        assert found[f"{split}/v2v_l2_m2/iteration_1"] != found[f"{split}/v2v_l2_m2"]
    assert "random" in found["backbone"]
    assert found["root"] == "given"


def test_results_read_back_have_the_reported_error(trained, tree):
    """By the command; then, with nothing of ours but the body layer, the course's metric from the CSV and the npz."""
    done = command("test", str(trained), "--model_file", "model_6.pt")
    assert done.returncode == 0, done.stderr
    out = read_course_config(trained).out_dir
    rows = rows_of(out / "results.csv")
    assert list(rows[0]) == ["id", *COLUMNS]
    assert len(rows) == 12
    layer, errors = BodyLayer(load_body(BODY)), []
    for row in rows:
        values = {key: np.array(ast.literal_eval(row[key])) for key in COLUMNS}
        assert {key: len(value) for key, value in values.items()} == COLUMNS
        with np.load(tree / row["id"]) as file:
            truth = {key: file[key] for key in COLUMNS}
        assert np.abs(values["root_loc"] - truth["root_loc"]).max() < 1e-5
        errors.append(((vertices(layer, values) - vertices(layer, truth)) ** 2).mean())
    reported = read_json(out / "metrics_test.json")["test/v2v_l2_m2"]
    assert np.mean(errors) == pytest.approx(reported, rel=1e-3)
    with zipfile.ZipFile(out / "submission.zip") as archive:
        names = archive.namelist()
        assert archive.read("config.yaml") == trained.read_bytes()
    assert {"codebase/test.py", "codebase/LICENSE", "codebase/models/hmr.py"} <= set(names)
    assert not [n for n in names if n.endswith((".npz", ".pt", ".pkl", ".jpg"))]


def test_a_submission_makes_itself_again(trained):
    """Predicting with the config of the submission, which the new one replaces."""
    out = run_test(trained, "model_6.pt")
    before = (out / "submission.zip").read_bytes()
    run_test(out / "submission/config.yaml", "model_6.pt")
    assert (out / "submission.zip").read_bytes() == before


def vertices(layer: BodyLayer, values: dict[str, np.ndarray]) -> np.ndarray:
    import roma

    pose = np.concatenate([values[key] for key in ("root_orient", "pose_body", "pose_hand")])
    rotmats = roma.rotvec_to_rotmat(torch.from_numpy(pose.reshape(1, 24, 3)).float())
    betas, root = (torch.from_numpy(values[key][None]).float() for key in ("betas", "root_loc"))
    return layer.vertices(betas, rotmats, root)[0].numpy()


def test_a_finished_run_is_not_trained_again(trained):
    out = read_course_config(trained).out_dir
    before = (out / "model_6.pt").stat().st_mtime_ns
    run_train(trained)
    assert (out / "model_6.pt").stat().st_mtime_ns == before


@contextmanager
def stopped_in_batch(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM while the n-th batch of training is read."""
    gather, calls = CourseSamples.gather, []

    def stop(self, rows):
        if len(rows) == 4 and self.frames.id[0].startswith("S1"):
            calls.append(rows)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGTERM)
        return gather(self, rows)

    with monkeypatch.context() as changed:
        changed.setattr(CourseSamples, "gather", stop)
        yield


def test_a_run_that_was_stopped_resumes_exactly(trained, tree, tmp_path, monkeypatch):
    yaml = write_yaml(tmp_path / "modelfinal.yaml", tree)
    with pytest.raises(OutOfTimeError), stopped_in_batch(3, monkeypatch):
        run_train(yaml)
    out = run_train(yaml)
    whole = read_course_config(trained).out_dir
    same(out / "model_6.pt", whole / "model_6.pt")
    same(out / "model_best.pt", whole / "model_best.pt")


def test_a_run_begun_from_a_model_file_goes_on_exactly(trained, tree, tmp_path):
    whole = read_course_config(trained).out_dir
    out = run_train(write_yaml(tmp_path / "modelfinal.yaml", tree), model_file=whole / "model_2.pt")
    assert not (out / "model_2.pt").exists()
    same(out / "model_6.pt", whole / "model_6.pt")


def test_a_run_begun_from_its_own_best_model_resumes_after_it_wrote_over_that(trained, tree, tmp_path, monkeypatch):
    yaml = write_yaml(tmp_path / "modelfinal.yaml", tree)
    whole, out = read_course_config(trained).out_dir, read_course_config(yaml).out_dir
    out.mkdir()
    shutil.copy(whole / "model_2.pt", out / "model_best.pt")
    with pytest.raises(OutOfTimeError), stopped_in_batch(3, monkeypatch):
        run_train(yaml, model_file=Path("model_best.pt"))
    (state,) = (out / "run/state").glob("*/state.pt")
    assert torch.load(out / "model_best.pt", weights_only=True)["it"] == 4
    began = []
    monkeypatch.setattr("codebase.course.train.begin_from", lambda *_, **__: began.append(state))
    run_train(yaml, model_file=Path("model_best.pt"))
    assert not began, "it went on from where it was stopped, not from the best model"
    assert not state.exists()
    same(out / "model_6.pt", whole / "model_6.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hmr__rotation": "6d"}, "rotation axis_angle"),
        ({"hmr__widths": [8, 8]}, r"widths \[8, 16\]"),
        ({"training__optimizer": {"name": "SGD", "lr": 0.1}}, "optimizer adam"),
        ({"data__resx": 128}, r"crops of \(32, 24\)"),
    ],
)
def test_a_model_of_another_network_is_refused(trained, tree, tmp_path, changes, message):
    yaml = write_yaml(tmp_path / "modelfinal.yaml", tree, **changes)
    with pytest.raises(DataError, match=message):
        run_train(yaml, model_file=read_course_config(trained).out_dir / "model_2.pt")


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_missing_model_lists_those_that_exist(trained, name):
    runs = {"train": lambda: run_train(trained, model_file=Path("model_40000.pt")),
            "test": lambda: run_test(trained, "model_40000.pt")}  # fmt: skip
    with pytest.raises(DataError, match=r"model_0\.pt, model_2\.pt, model_4\.pt, model_6\.pt, model_best\.pt"):
        runs[name]()


def test_frames_without_bodies_are_predicted_and_missing_pictures_listed(trained, tree, tmp_path, monkeypatch):
    """A picture that is missing and one that is broken: the rest is predicted, and the run ends with the list."""
    copied = tmp_path / "course"
    shutil.copytree(tree, copied)
    for path in copied.glob("S9/Directions*/*.npz"):
        rewrite_npz(path, betas=None, root_orient=None, pose_body=None, pose_hand=None)
    images = copied / "S9/Images/Directions.54138969"
    (images / "000001.jpg").unlink()
    (images / "000003.jpg").unlink()
    (images / "000003.jpg").write_bytes(b"no picture")
    yaml = write_yaml(tmp_path / "modelfinal.yaml", copied)
    model = read_course_config(trained).out_dir / "model_best.pt"
    with pytest.raises(DataError, match="2 of 12 pictures"):
        run_test(yaml, str(model))
    out = read_course_config(yaml).out_dir
    assert len(rows_of(out / "results.csv")) == 10
    lost = rows_of(out / "missing_images.csv")
    assert [row["id"] for row in lost] == [f"S9/Directions.54138969/0000{n}.npz" for n in (0, 2)]
    assert not (out / "metrics_test.json").exists()
    done = command("test", str(yaml), "--model_file", str(model))
    assert done.returncode == 2
    assert "missing_images.csv" in done.stderr
    shutil.copytree(tree / "S9/Images", copied / "S9/Images", dirs_exist_ok=True)
    run_test(yaml, str(model))
    assert not (out / "missing_images.csv").exists()


def test_the_command_takes_frames_without_a_body_and_refuses_those_without_a_box(trained, tree, tmp_path, capsys):
    """The command line itself: 0 for the course's own test npz; 2, and the file's name, where the box is not known."""
    from codebase.cli import main

    copied = tmp_path / "course"
    shutil.copytree(tree, copied)
    paths = sorted(copied.glob("S9/Directions*/*.npz"))
    for path in paths:
        rewrite_npz(path, betas=None, root_orient=None, pose_body=None, pose_hand=None)
    yaml = write_yaml(tmp_path / "modelfinal.yaml", copied)
    words = ["test", str(yaml), "--model_file", str(read_course_config(trained).out_dir / "model_best.pt")]
    assert main(words) == 0
    out = read_course_config(yaml).out_dir
    assert len(rows_of(out / "results.csv")) == len(paths) == 12
    (out / "results.csv").unlink()
    for key, path in zip(("root_loc", "center_img", "scale_img"), paths, strict=False):
        whole = path.read_bytes()
        rewrite_npz(path, **{key: None})
        capsys.readouterr()
        assert main(words) == 2
        said = capsys.readouterr().err
        assert path.name in said
        assert str(path.parent.name) in said
        assert key in said
        assert "Traceback" not in said
        path.write_bytes(whole)
    assert not (out / "results.csv").exists()


def test_losses_and_augmentations_of_ours_hold_for_the_courses_data(tree, tmp_path):
    """Attention, joints in 2D through a lens that bends, scale, occlusion; the prior, which must be named."""
    ours = {
        "style": "ours", "heads": False, "features": "grid", "places": True, "places_weight": 1.0, "flip": 0.5,
        "turn_rad": 0.2, "scale": 0.1, "occlusion": 0.5, "joints_2d_weight": 1.0, "supervise": "all",
        "widths": [8, 16], "blocks": [1, 1], "width": 32, "frozen": False, "precision": "fp32",
    }  # fmt: skip
    model = {"name": "conv", "backbone": "ours", "regressor": "attention"}
    out = run_train(write_yaml(tmp_path / "m.yaml", tree, training__epochs=1, model=model, hmr=ours))
    last = [json.loads(line) for line in (out / "run" / "history.jsonl").read_text().splitlines()][-1]
    assert last["joints_2d"] > 0
    assert last["places"] > 0
    found = read_json(out / "metrics.json")
    assert found["val/v2v_l2_m2/iteration_3"] == found["val/v2v_l2_m2"] != found["val/v2v_l2_m2/iteration_1"]
    judged = write_yaml(tmp_path / "p.yaml", tree, training__epochs=1, hmr=ours | {"prior_weight": 0.1}, model=model)
    with pytest.raises(ConfigError, match="the key `prior`"):
        run_train(judged)
    made = tmp_path / "prior" / "model_30.pt"
    poses = {"steps": 30, "count": 300, "width": 16, "batch_size": 32}
    train_prior.run(Config(name="some", prior=poses), body=BODY, output=made)
    with judged.open("a") as file:
        file.write(f"prior: {made}\n")
    last = (run_train(judged) / "run" / "history.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["prior"] > 0


def test_training_leaves_missing_pictures_out_and_says_so(tree, tmp_path, caplog):
    copied = tmp_path / "course"
    shutil.copytree(tree, copied)
    (copied / "S1/Images/Directions.54138969/000001.jpg").unlink()
    yaml = write_yaml(tmp_path / "m.yaml", copied, data__val_subjects="S1", training__epochs=1)
    with caplog.at_level("WARNING"):
        out = run_train(yaml)
    assert "1 pictures of the train split are missing" in caplog.text
    assert caplog.text.count("S1 train and validate") == 1
    assert len(rows_of(out / "train_missing_images.csv")) == 1


def test_a_frozen_encoder_and_an_estimated_root(tree, tmp_path):
    """Frozen: not a number of the encoder moves. The root is found from the joints' places, and figures say which."""
    yaml = write_yaml(
        tmp_path / "m.yaml", tree, training__epochs=1,
        hmr={
            "widths": [8, 16], "blocks": [1, 1], "width": 32, "frozen": True, "precision": "fp32", "places": True,
            "places_weight": 1.0, "root": "estimated", "rotation": "6d", "frame": "im", "style": "ours",
            "supervise": "all", "flip": 0.5, "turn_rad": 0.2, "colour": 0.5, "heads": False,
        },
    )  # fmt: skip
    out = run_train(yaml)
    first, last = (torch.load(out / f"model_{n}.pt", weights_only=True)["model"] for n in (0, 3))
    encoder = [key for key in first if key.startswith("encoder.")]
    assert any("running_var" in key for key in encoder)
    assert all(torch.equal(first[key], last[key]) for key in encoder)
    assert any(not torch.equal(first[key], last[key]) for key in first if key.startswith("regressor."))
    figures = read_json(out / "metrics.json")
    assert figures["val/v2v_l2_m2_root_estimated"] > 0
    assert figures["val/root_loc_mm_root_estimated"] > 0
    run_test(yaml, "model_best.pt")
    tests = read_json(out / "metrics_test.json")
    assert {"test/v2v_l2_m2", "test/v2v_l2_m2_root_estimated"} <= set(tests)
    rows = rows_of(out / "results.csv")
    found = np.array([ast.literal_eval(row["root_loc"]) for row in rows])
    truth = np.array([np.load(tree / row["id"])["root_loc"] for row in rows])
    assert 1000 * np.linalg.norm(found - truth, axis=1).mean() == pytest.approx(
        tests["test/root_loc_mm_root_estimated"], rel=1e-3
    )


def shown(samples: CourseSamples, rows: np.ndarray) -> np.ndarray:
    """The true joints' places in the crops, from -1 to 1."""
    truth = samples.truth(rows)
    cameras = Cameras.of(truth, count=len(rows), half_box_m=1.0)
    return cameras.project(truth["joints_im_mm"] / 1000).double().numpy()


def test_answers_that_are_the_truth_have_no_error(tree):
    """Exact places and true bodies: no vertex error, and the estimated root is the true one."""
    from codebase.config import HmrConfig
    from codebase.course.measure import Answers, Figures
    from codebase.data.course import read_course
    from codebase.models.root import root_from_places

    frames = read_course(tree, tree, ["S9"])
    body = load_body(BODY)
    samples = CourseSamples(frames, body, HmrConfig(root="estimated"), (32, 32))
    rows = np.arange(len(frames))
    betas, rotmats = samples.bodies(rows)
    places = shown(samples, rows)
    root = root_from_places(samples.joints(betas, rotmats).double().numpy(), frames.rays(places, (32, 32)))
    figures = Figures(samples, BodyLayer(body))
    figures.add(rows, Answers(betas[None], rotmats[None], root))
    found = figures.means(torch.eye(3).repeat(1, 24, 1, 1), torch.zeros(1, 10))
    assert found["v2v_l2_m2"] == found["pve_mm"] == found["mpjpe_mm"] == 0
    assert found["root_loc_mm_root_estimated"] < 0.5
    assert found["v2v_l2_m2_root_estimated"] < 1e-6
    assert found["mean_body_v2v_l2_m2"] > 0.01


def test_beside_a_finished_run_a_model_file_still_counts(trained, tree, tmp_path):
    """In the out_dir of a run that is done: the new run begins at the file's step, not at the mean."""
    out = tmp_path / "out"
    shutil.copytree(read_course_config(trained).out_dir, out)
    run_train(write_yaml(tmp_path / "m.yaml", tree, training__optimizer={"name": "Adam", "lr": 1e-4}),
              model_file=Path("model_4.pt"))  # fmt: skip
    was, now = (torch.load(folder / "model_6.pt", weights_only=True)["posemill"]["progress"]["history"]
                for folder in (read_course_config(trained).out_dir, out))  # fmt: skip
    assert now[:4] == was[:4]
    assert now[5] != was[5]
