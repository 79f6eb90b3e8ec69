"""The whole DAG for real, on three small people: from nothing to the page, and from somebody's tree."""

import csv
import json
import math
import shutil

import h5py
import pytest
import torch
import yaml
from conftest import REPOSITORY, make_house, run_in

from codebase.cli import COMMANDS
from codebase.config import read_config
from codebase.files import open_h5
from codebase.paths import Paths

TINY = REPOSITORY / "tests/data/tiny.yaml"
METRICS = (
    "enc_dec/psnr_foreground_db",
    "enc_dec/psnr_background_only_db",
    "pose/mpjpe_mm",
    "pose/n_mpjpe_mm",
    "pose/pa_mpjpe_mm",
    "pose/mean_pose_n_mpjpe_mm",
    "smpl/pve_mm",
    "smpl/mean_body_pve_mm",
    "hmr/v2v_l2_m2",
    "hmr/mean_v2v_l2_m2",
    "fit_bodies/pve_mm",
    "fit_bodies/joints_only_pve_mm",
    "fit_bodies/mask_iou",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def launch(house, *words, timeout=800):
    return run_in(house, "codebase", "launch", "--via", "local", *words, timeout=timeout)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A house in which the tiny DAG has run."""
    root = make_house(tmp_path_factory.mktemp("tiny") / "house")
    shutil.copy(TINY, root / "configs/tiny.yaml")
    done = launch(root, "configs/tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/tiny/report.html" in done.stdout
    assert "results/tiny/metrics.json" in done.stdout
    return root


@pytest.fixture(scope="module")
def config(house):
    return read_config(house / "results/tiny/config.yaml")


def artefacts(house):
    """Every file of the run but logs, with its time of writing."""
    files = [path for path in (house / "results/tiny").rglob("*") if path.is_file() and "logs" not in path.parts]
    return {path.relative_to(house): path.stat().st_mtime_ns for path in files}


def test_metrics_are_flat_finite_and_named_with_units(house):
    metrics = json.loads((house / "results/tiny/metrics.json").read_text())
    assert set(METRICS) <= set(metrics)
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    assert all(math.isfinite(value) for value in numbers.values())
    assert not [name for name, value in metrics.items() if isinstance(value, dict | list)], "metrics.json is not flat"
    assert "pose/mpjpe_mm/S9" in metrics
    used = "efficientnet_lite0, efficientnet-lite0-57934424.pth (sha256 579344248a93e230)"
    assert metrics["enc_dec/perceptual_network"] == used
    assert metrics["enc_dec/encoder_begins_with"].startswith("random weights")
    assert any(name.startswith("pose/mpjpe_mm/act_02") for name in metrics)


def test_every_test_frame_is_predicted(house, config):
    paths = Paths(config)
    expected = 2 * 4 * config.synthesize.frames  # acts, cameras; subject 9 alone
    with open_h5(house / paths.predictions, format_name="posemill.predictions") as file:
        assert len(file["frames/subject"]) == expected
        assert set(file["frames/subject"][:]) == {9}
    with (house / paths.results_csv).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == expected
    assert list(rows[0]) == ["id", "root_loc", "root_orient", "betas", "pose_body", "pose_hand"]
    assert len(list((house / paths.meshes).glob("*.obj"))) == config.predict.meshes


def test_the_page_is_one_file(house):
    page = (house / "results/tiny/report.html").read_text(encoding="utf-8")
    assert len(page) > 20_000
    for fetched in ('src="http', "src='http", '<link rel="stylesheet" href', 'src="results'):
        assert fetched not in page, f"the page fetches something: {fetched}"


def test_nothing_is_left_behind(house):
    run = house / "results/tiny"
    assert not list(run.glob("runs/*/state")), "state of finished trainings"
    hidden = {path.name for path in run.rglob(".*") if path.is_file()} - {".snakemake_timestamp"}
    assert not hidden, "temporary files"


SWEEP = """
labels: {representations: [from_scratch, old], amounts: [S1, 50%], seeds: [0]}
image_pose: {steps: 3, batch_size: 4, warmup_steps: 1, hidden: 16, validate_every: 3}
rivals: {old: {enc_dec: {steps: 2, points: 12}, pose: {steps: 3}}}
"""


def test_labels_are_swept_with_a_rival(house, tmp_path):
    """The sweep of a finished run: its own jobs, what reads its curve, and nothing else again."""
    root = shutil.copytree(house, tmp_path / "house", symlinks=True)
    (root / "configs/tiny.yaml").write_text(TINY.read_text() + SWEEP)
    done = launch(root, "configs/tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    run = root / "results/tiny"
    for stage in ("train_enc_dec", "embed", "predict"):
        for log in (house / "results/tiny/logs" / stage).glob("*.log"):
            assert (run / "logs" / stage / log.name).read_text() == log.read_text(), f"{stage} ran again"
    curve = json.loads((run / "labels/curve.json").read_text())
    assert set(curve["representations"]) == {"from_scratch", "old"}
    labels = curve["representations"]["old"]
    assert labels["50%"]["labelled_sequences"] == [1]
    assert labels["S1"]["labelled_sequences"] == [2]
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("from_scratch", "old"):
        swept = curve["representations"][name]["S1"]["n_mpjpe_mm"]
        assert metrics[f"pose/{name}_n_mpjpe_mm"] == pytest.approx(swept["mean"])
        measured = json.loads((run / f"labels/{name}.json").read_text())
        assert all(one.startswith("S9/") for one in measured["sequences"]), "somebody else was measured"
    assert 'id="labels"' in (run / "report.html").read_text(encoding="utf-8")


def test_logs_begin_with_host_job_and_command(house):
    logs = sorted((house / "results/tiny/logs").rglob("*.log"))
    unused = {"extract", "train_image_pose", "measure_labels", "label_sweep"}  # which this run has no use for
    assert {log.parent.name for log in logs} == set(COMMANDS) - unused
    for log in logs:
        first = next((line for line in log.read_text().splitlines() if "host " in line), "")
        assert "python -m codebase " in first, f"{log} does not say what it ran"


def test_a_second_run_does_nothing_and_says_so(house):
    before = artefacts(house)
    done = launch(house, "configs/tiny.yaml")
    assert done.returncode == 0, done.stderr
    assert "nothing had to run" in done.stdout
    assert "results/tiny/report.html" in done.stdout
    assert artefacts(house) == before


def test_editing_the_report_writes_the_page_alone(house, config):
    before = artefacts(house)
    done = launch(house, "configs/tiny.yaml", f"report.examples={config.report.examples + 1}")
    assert done.returncode == 0, done.stderr
    after = artefacts(house)
    changed = {str(path) for path in after if after[path] != before.get(path)}
    assert changed == {"results/tiny/report.html", "results/tiny/config.yaml"}


def test_somebody_s_tree_goes_through(house, tmp_path):
    """The same frames as a tree without bodies, one folder empty, one frame broken, one camera missing."""
    tree = tmp_path / "tree"
    shutil.copytree(house / "results/tiny/dataset", tree, ignore=shutil.ignore_patterns("truth"))
    empty = tree / "s_01_act_14_subact_01_ca_02"
    shutil.rmtree(empty)
    empty.mkdir()
    broken = tree / "s_09_act_02_subact_01_ca_01/s_09_act_02_subact_01_ca_01_000002.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    own = yaml.safe_load(TINY.read_text()) | {"name": "own"}
    own["dataset"] |= {"kind": "tree", "root": str(tree), "cameras": [1, 2, 4]}
    (house / "configs/own.yaml").write_text(yaml.safe_dump(own))
    done = launch(house, "configs/own.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((house / "results/own/metrics.json").read_text())
    assert math.isfinite(metrics["pose/mpjpe_mm"])
    # the tree has no bodies, so fitted ones are learned from and measured against, and figures say so
    assert math.isfinite(metrics["against_fitted/hmr/pve_mm"])
    assert not {"hmr/pve_mm", "fit_bodies/pve_mm"} & set(metrics)
    with open_h5(house / "results/own/bodies/S9.h5", format_name="posemill.bodies") as file:
        assert file["act_02_subact_01/kept"][:].any()
        assert file["joint_offsets_mm"][:].any()
    hmr = (house / "results/own/logs/train_hmr/all.log").read_text()
    assert "results/own/bodies/S1.h5" in hmr
    with open_h5(house / "results/own/index_test.h5", format_name="posemill.index", version=2) as file:
        excluded = [name.decode() if isinstance(name, bytes) else name for name in file["exclusions/folder"][:]]
        assert set(file["frames/camera"][:]) == {1, 2, 4}
        assert len(file["frames/camera"]) == 2 * 3 * 4 - 1
    with open_h5(house / "results/own/index_train.h5", format_name="posemill.index", version=2) as file:
        excluded += [name.decode() if isinstance(name, bytes) else name for name in file["exclusions/folder"][:]]
    assert any(empty.name in name for name in excluded), "the empty folder is not in the exclusions"
    assert any(broken.stem in name for name in excluded), "the broken frame is not in the exclusions"


def test_a_tree_without_frames_is_one_message_the_log_and_exit_code_2(house, tmp_path):
    config = {"name": "void", "dataset": {"kind": "tree", "root": str(tmp_path)}}
    (house / "configs/void.yaml").write_text(yaml.safe_dump(config))
    done = launch(house, "configs/void.yaml")
    assert done.returncode == 2, done.stderr
    ending = done.stderr.rpartition("Exiting because a job execution failed")[2]
    assert "A job failed; its log: results/void/logs/" in ending
    assert str(tmp_path) in ending
    assert ending.count("error: ") >= 1
    assert "Traceback" not in ending


def break_everything(run):
    """One file of each kind of artefact: cut off, with a hole, or poisoned with NaN; by its check's name, the file."""
    broken = {
        "index_val": run / "index_val.h5", "backgrounds_S1": run / "backgrounds/background_subject1.npy",
        "bodies_S8": run / "dataset/truth/S8.h5", "fitted_S9": run / "bodies/S9.h5", "crops_S1": run / "crops/S1.h5",
        "embeddings_S9": run / "embeddings/enc_dec/S9.pkl", "predictions": run / "predictions.h5",
        **{name: run / f"runs/{name}/model_{steps}.pt" for name, steps in
           (("enc_dec", 6), ("pose", 8), ("prior", 6), ("smpl", 4), ("hmr", 4))},
    }  # fmt: skip
    for name, file in broken.items():
        whole = file.read_bytes()
        if name in ("backgrounds_S1", "pose", "smpl", "embeddings_S9"):
            file.write_bytes(whole[: len(whole) // 2])
        elif name in ("prior", "hmr"):
            file.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with h5py.File(broken["crops_S1"], "r+") as file:
        file["image"][-2:] = 0
    for name, dataset in (
        ("index_val", "instants/joints_world_mm"), ("predictions", "hmr/joints_im_mm"), ("bodies_S8", "betas"),
        ("fitted_S9", "act_02_subact_01/joint_error_mm"),
    ):  # fmt: skip
        with h5py.File(broken[name], "r+") as file:
            file[dataset][0] = math.nan
    checkpoint = torch.load(broken["enc_dec"], weights_only=True)
    weight = next(value for value in checkpoint["model"].values() if value.is_floating_point())
    weight[(0,) * weight.ndim] = math.nan
    torch.save(checkpoint, broken["enc_dec"])
    return broken


def test_broken_artefacts_of_each_kind_fail_the_dag_by_name(house, tmp_path):
    other = make_house(tmp_path / "house")
    shutil.copytree(house / "results/tiny", other / "results/tiny")
    shutil.copy(TINY, other / "configs/tiny.yaml")
    broken = break_everything(other / "results/tiny")
    markers = [f"results/tiny/checks/{name}.json" for name in broken]
    checks = sorted({"check_" + name.partition("_S")[0].removesuffix("_val") for name in broken})
    done = run_in(
        other, "snakemake", "--profile", "cluster_profiles/local", "--configfile", "configs/tiny.yaml", "--keep-going",
        "--allowed-rules", *checks, "--forcerun", *checks, "--", *markers, timeout=400,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    for name, file in broken.items():
        where = f"where:    {file.relative_to(other)}"
        log = other / f"results/tiny/logs/check/{name}.log"
        assert where in log.read_text(), f"{name}: {log.read_text()}"
        assert where in done.stderr, f"{name}: the message does not reach the user"
    assert not [marker for marker in markers if (other / marker).exists()]
