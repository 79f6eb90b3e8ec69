"""A training job of the DAG that is killed or told to stop goes on where it was, to the same weights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from conftest import REPOSITORY, make_house

STEPS = 120
TARGET = f"results/tiny/runs/prior/model_{STEPS}.pt"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """Makes houses with the tiny config."""

    def make(name):
        root = make_house(tmp_path_factory.mktemp(name) / "house")
        shutil.copy(REPOSITORY / "tests/data/tiny.yaml", root / "configs/tiny.yaml")
        return root

    return make


def start(house, *more):
    """Snakemake on its way to the prior's checkpoint, in a process group of its own."""
    argv = [sys.executable, "-m", "snakemake", "--profile", "cluster_profiles/local", "--configfile"]
    argv += ["configs/tiny.yaml", "--config", f"prior={{steps: {STEPS}, save_every: 5, validate_every: 1}}"]
    log = (house / "snakemake.log").open("a")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*argv, *more, "--", TARGET], cwd=house, stdout=log, stderr=log, env=environment, start_new_session=True
    )


def wait_until_saved(house, process):
    """Wait until the training has saved its state once."""
    for _ in range(1200):
        if list(house.glob("results/tiny/runs/prior/state/*/state.pt")):
            return
        assert process.poll() is None, (house / "snakemake.log").read_text()
        time.sleep(0.05)
    pytest.fail("no state was saved within a minute")


def weights(house):
    return torch.load(house / TARGET, weights_only=True)


@pytest.fixture(scope="module")
def straight(houses):
    """The checkpoint of a run that nothing disturbed."""
    house = houses("straight")
    assert start(house).wait(timeout=300) == 0, (house / "snakemake.log").read_text()
    return weights(house)


def assert_equal(left, right):
    assert left["step"] == right["step"] == STEPS
    assert left["model"].keys() == right["model"].keys()
    assert all(torch.equal(left["model"][name], right["model"][name]) for name in left["model"])


def test_kill_and_run_again(houses, straight):
    house = houses("killed")
    process = start(house)
    wait_until_saved(house, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (house / TARGET).exists(), "it was over before it was killed: raise STEPS"
    assert start(house, "--unlock").wait(timeout=60) == 0
    assert start(house).wait(timeout=300) == 0, (house / "snakemake.log").read_text()
    assert "resum" in (house / "results/tiny/logs/train_prior/all.log").read_text()
    assert_equal(weights(house), straight)


def test_told_to_stop_it_leaves_with_75_and_a_retry_resumes(houses, straight):
    house = houses("stopped")
    process = start(house, "--retries", "2")
    wait_until_saved(house, process)
    (training,) = trainings(process)
    training.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0, (house / "snakemake.log").read_text()
    said = (house / "snakemake.log").read_text()
    assert "out of time" in said, "the job did not stop by itself"
    assert_equal(weights(house), straight)


@pytest.mark.parametrize("moment", ["while it runs", "after its end"])
def test_snakemake_is_killed_its_job_is_not(houses, straight, moment):
    """Started again, it deletes the output and starts the job once more: that one must not train, nor write beside."""
    house = houses(f"orphan {moment}".replace(" ", "_"))
    process = start(house)
    wait_until_saved(house, process)
    (training,) = trainings(process)
    process.kill()  # alone: as on a cluster, where jobs live on
    process.wait()
    if moment == "after its end":
        training.wait(timeout=200)
        assert (house / TARGET).exists()
    assert start(house, "--unlock").wait(timeout=60) == 0
    assert start(house).wait(timeout=300) == 0, (house / "snakemake.log").read_text()
    said = (house / "results/tiny/logs/train_prior/all.log").read_text()
    assert f"wrote {TARGET}" not in said, said
    assert "took" in said or "is finished with these settings" in said, said
    assert_equal(weights(house), straight)
    steps = [json.loads(line)["step"] for line in (house / TARGET).with_name("history.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "two wrote the history"
    assert not (house / TARGET).with_name("finished").exists(), "the workflow succeeded: a forced run must train"


def trainings(process):
    """The training processes under a Snakemake."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if child.cmdline()[1:4] == ["-m", "codebase", "train-prior"]]
