"""Two processes train as one does: gradients, weights, resume on another number, stop, and what a death looks like."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from conftest import REPOSITORY

from codebase.config import to_yaml
from codebase.models.prior import Prior
from codebase.training.state import load_checkpoint, save_checkpoint
from tests.people import make_people

STAGES = ("enc_dec", "pose", "image_pose", "prior", "smpl", "hmr")
QUIET = {"log_every": 1, "validate_every": 2, "save_every": 100, "warmup_steps": 1, "steps": 4, "batch_size": 8}
SECTIONS = {
    "enc_dec": QUIET
    | {"encoder_blocks": [1, 1], "encoder_widths": [8, 16], "decoder_widths": [16, 8, 8], "points": 6,
       "appearance": 4, "palette": 3, "norm": "group", "precision": "fp32",
       "consistency_weight": 0.5, "validation_pairs": 8},
    "pose": QUIET | {"hidden": 32, "dropout": 0.0},
    "image_pose": QUIET | {"start": "scratch", "hidden": 32, "dropout": 0.0, "precision": "fp32"},
    "prior": QUIET | {"width": 32, "count": 100, "generated": 0.4, "batch_size": 10},
    "smpl": QUIET | {"width": 32, "dropout": 0.0, "silhouette_from": 1, "silhouette_samples": 2},
    # batch norms all over: they look at the whole batch
    "hmr": QUIET
    | {"widths": [8, 8, 16, 16], "width": 32, "dropout": 0.0, "precision": "fp32", "scale": 0.1, "occlusion": 0.5,
       "joints_2d_weight": 1.0, "prior_weight": 0.1},
    "runtime": {"threads": 1, "device": "cpu"},
}  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Crops, embeddings and truth of three people, and an untrained prior."""
    made = make_people(tmp_path_factory.mktemp("people"), acts=(2, 14), cameras=(1, 2, 3), sections=SECTIONS)
    save_checkpoint(
        made.paths.checkpoint("prior"), modules={"prior": Prior(32)}, step=1, config=made.config.prior, history=[],
        extra={"mean_rotmats": torch.eye(3).repeat(24, 1, 1)},
    )  # fmt: skip
    return made


def write_config(people, path, *, gpus=1, **changes):
    """The config with changes to all training sections."""
    sections = {stage: getattr(people.config, stage).model_copy(update={"gpus": gpus, **changes}) for stage in STAGES}
    path.write_text(to_yaml(people.config.model_copy(update=sections)))
    return path


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]


def run_stages(launcher, config, out, *words):
    """Stages in one process or in a team; the folder of their gradients and checkpoints."""
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.spread_stages", *words[:-1], str(config), str(out), *words[-1]],
        cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    return out


@pytest.fixture(scope="module")
def both(people, tmp_path_factory):
    """All stages in double precision on one process and on two: folders by number."""
    folder = tmp_path_factory.mktemp("both")
    config = write_config(people, folder / "config.yaml")
    return {n: run_stages(how, config, folder / str(n), STAGES) for n, how in ((1, []), (2, TORCHRUN))}


@pytest.fixture(scope="module")
def single(people, tmp_path_factory):
    """The convolutional ones in single precision: on one process, on one with two threads, on two processes."""
    folder = tmp_path_factory.mktemp("single")
    config, threaded = write_config(people, folder / "config.yaml"), folder / "threads.yaml"
    threaded.write_text(config.read_text().replace("threads: 1", "threads: 2"))
    ways = {"one": ([], config), "threads": ([], threaded), "two": (TORCHRUN, config)}
    return {n: run_stages(*way, folder / n, "--single", ("enc_dec", "hmr")) for n, way in ways.items()}


def gradients(folder, stage):
    """Of the first steps."""
    found = torch.load(folder / stage / "gradients.pt", weights_only=True)
    assert len(found) == 4
    return found


def error(found, exact):
    """Relative, of all weights together."""
    return float((found.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_are_those_of_one_process(both, stage):
    errors = [error(two, one) for one, two in zip(*(gradients(both[n], stage) for n in (1, 2)), strict=True)]
    assert max(errors) < 1e-12, errors


@pytest.mark.parametrize("stage", ["enc_dec", "hmr"])
def test_in_single_precision_two_processes_differ_as_two_threads_of_one_do(single, stage):
    """Both add up over a batch in two parts, and round that in another order than one thread does."""
    # the first step alone: later ones begin at weights that differ by the rounding before
    one, threads, two = (gradients(single[name], stage)[0] for name in ("one", "threads", "two"))
    assert 0 < error(two, one) < 3 * error(threads, one) < 5e-5


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_on_two_ends_where_a_run_on_one_does(both, stage):
    one, two = (load_checkpoint(both[n] / stage / "model_4.pt") for n in (1, 2))
    for name, value in one.model.items():
        torch.testing.assert_close(two.model[name], value, rtol=1e-5, atol=1e-6)
    assert one.digest == two.digest
    for alone, shared in zip(one.history, two.history, strict=True):
        assert alone.keys() == shared.keys()
        for name in alone:
            assert shared[name] == pytest.approx(alone[name], rel=1e-5, abs=1e-6), name


def start(config, people, output, *more):
    argv = [sys.executable, "-m", "codebase", "train-pose", "--config", config, "--index-train"]
    argv += [people.paths.index("train"), "--index-val", people.paths.index("val")]
    argv += ["--embeddings", *people.embeddings(1, 8), "--output", output, *more]
    return subprocess.Popen(list(map(str, argv)), cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True)


def finish(process):
    _, said = process.communicate(timeout=100)
    return process.returncode, said


def steps_logged(folder):
    history = folder / "history.jsonl"
    return [int(json.loads(line)["step"]) for line in history.read_text().splitlines()] if history.is_file() else []


def wait_for_steps(folder, process, count):
    while len(steps_logged(folder)) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@pytest.fixture(scope="module")
def long(people, tmp_path_factory):
    """Configs of a longer run on one and on two processes, and its checkpoint of one."""
    folder = tmp_path_factory.mktemp("long")
    changes = {"steps": 300, "validate_every": 100, "save_every": 40}
    configs = {n: write_config(people, folder / f"{n}.yaml", gpus=n, **changes) for n in (1, 2)}
    code, said = finish(start(configs[1], people, folder / "straight/model_300.pt"))
    assert code == 0, said
    return configs, load_checkpoint(folder / "straight/model_300.pt")


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_stopped_on_some_it_goes_on_with_others(people, long, tmp_path, first, then):
    configs, straight = long
    process = start(configs[first], people, tmp_path / "model_300.pt")
    wait_for_steps(tmp_path, process, 20)
    process.send_signal(signal.SIGTERM)
    code, said = finish(process)
    assert code == 75, said
    assert said.count("SIGTERM: stopped and saved after step") == 1, said
    assert "Traceback" not in said
    done = torch.load(next(tmp_path.glob("state/*/state.pt")), weights_only=True)["progress"]["step"]
    code, said = finish(start(configs[then], people, tmp_path / "model_300.pt"))
    assert code == 0, said
    assert f"resuming at step {done}" in said
    assert said.count("host ") == 1, "one process speaks"
    found = load_checkpoint(tmp_path / "model_300.pt")
    assert steps_logged(tmp_path) == list(range(1, 301))
    for alone, shared in zip(straight.history, found.history, strict=True):
        assert shared["mpjpe_mm"] == pytest.approx(alone["mpjpe_mm"], rel=0.02), alone["step"]


def workers(process):
    """Pids of the training processes that the launcher started."""
    children = psutil.Process(process.pid).children()
    return {int(child.environ()["RANK"]): child.pid for child in children if "RANK" in child.environ()}


@pytest.mark.parametrize("rank", [0, 1])
def test_when_one_is_killed_all_end_with_one_message(people, long, tmp_path, rank):
    process = start(long[0][2], people, tmp_path / "model_300.pt")
    wait_for_steps(tmp_path, process, 45)
    os.kill(workers(process)[rank], signal.SIGKILL)
    code, said = finish(process)
    assert code == 1, said
    assert said.count("killed: ") == 1
    assert "error: " not in said
    assert f"process {rank} on" in said
    assert "was killed by SIGKILL" in said
    assert "Traceback" not in said
    assert list(tmp_path.glob("state/*/state.pt"))


def test_an_error_for_people_is_said_once(people, long, tmp_path):
    (tmp_path / "broken.pkl").write_bytes(b"no pickle")
    process = start(long[0][2], people, tmp_path / "model_300.pt", "--embeddings", str(tmp_path / "broken.pkl"))
    code, said = finish(process)
    assert code == 2, said
    assert said.count("The file is no readable pickle") == 1
    assert "Traceback" not in said
