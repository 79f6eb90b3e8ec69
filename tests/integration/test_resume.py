"""A training stage in its own process: stopped by a signal or by its budget, it goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import REPOSITORY

from codebase.config import to_yaml
from codebase.paths import Paths
from codebase.stages import backgrounds, crops, index
from tests.trees import config, write_tree

STEPS = 60
NET = {
    "encoder_blocks": [1, 1, 1], "encoder_widths": [8, 8, 16], "decoder_widths": [16, 8, 8], "points": 6,
    "appearance": 4, "palette": 3, "steps": STEPS, "batch_size": 4, "warmup_steps": 4, "log_every": 1,
    "validate_every": 7, "save_every": 9, "validation_pairs": 8, "average_decay": 0.9, "latent_dropout": 0.1,
}  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A config whose crops are cut, and the config's file."""
    folder = tmp_path_factory.mktemp("resume")
    made = config(write_tree(folder / "tree"), folder / "results", enc_dec=NET, runtime={"threads": 1})
    paths = Paths(made)
    (folder / "config.yaml").write_text(to_yaml(made))
    for subject in made.split.subjects:
        backgrounds.run(made, subject=subject, output=paths.background(subject))
    splits = [paths.index(split) for split in ("train", "val", "test")]
    index.run(made, output_train=splits[0], output_val=splits[1], output_test=splits[2])
    for subject in made.split.subjects:
        crops.run(
            made, subject=subject, index=splits, background=paths.background(subject), output=paths.crops(subject)
        )
    return made, folder / "config.yaml"


def start(made, run_dir, *more):
    paths = Paths(made[0])
    argv = [sys.executable, "-m", "codebase", "train-enc-dec", "--config", made[1]]
    argv += ["--index-train", paths.index("train"), "--index-val", paths.index("val")]
    argv += ["--crops", paths.crops(1), paths.crops(8), "--output", run_dir / f"model_{STEPS}.pt", *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(list(map(str, argv)), cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, stderr = process.communicate(timeout=200)
    return process.returncode, stderr


def steps_logged(run_dir):
    history = run_dir / "history.jsonl"
    return [int(json.loads(line)["step"]) for line in history.read_text().splitlines()] if history.is_file() else []


@pytest.fixture(scope="module")
def straight(made, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("straight")
    code, stderr = finish(start(made, run_dir))
    assert code == 0, stderr
    return torch.load(run_dir / f"model_{STEPS}.pt", weights_only=True)


def assert_same(run_dir, straight):
    found = torch.load(run_dir / f"model_{STEPS}.pt", weights_only=True)
    assert found["step"] == STEPS
    assert found["history"] == straight["history"]
    assert found["model"].keys() == straight["model"].keys()
    assert [name for name in found["model"] if not torch.equal(found["model"][name], straight["model"][name])] == []
    assert steps_logged(run_dir) == list(range(1, STEPS + 1))
    assert not (run_dir / "state").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_stops_it_and_the_next_attempt_ends_on_the_same_bits(made, straight, tmp_path, number):
    process = start(made, tmp_path)
    while process.poll() is None and len(steps_logged(tmp_path)) < 3:
        time.sleep(0.002)
    process.send_signal(number)
    code, stderr = finish(process)
    assert code == 75, stderr
    assert number.name in stderr
    done = torch.load(next(tmp_path.glob("state/*/state.pt")), weights_only=True)["progress"]["step"]
    assert 3 <= done < STEPS
    code, stderr = finish(start(made, tmp_path))
    assert code == 0, stderr
    assert f"resuming at step {done}" in stderr
    assert_same(tmp_path, straight)


def test_a_killed_run_goes_on_from_its_last_save(made, straight, tmp_path):
    process = start(made, tmp_path)
    while process.poll() is None and not list(tmp_path.glob("state/*/state.pt")):
        time.sleep(0.002)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    assert finish(start(made, tmp_path))[0] == 0
    assert_same(tmp_path, straight)


@pytest.mark.timeout(900)  # up to STEPS starts of a process
def test_a_budget_too_small_still_gets_there(made, straight, tmp_path):
    code, attempts = 75, 0
    while code == 75 and attempts < STEPS:  # each makes a step, however slow the machine is
        code, stderr = finish(start(made, tmp_path, "--time-budget", "3s"))
        attempts += 1
    assert code == 0, stderr
    assert attempts > 1
    assert_same(tmp_path, straight)
