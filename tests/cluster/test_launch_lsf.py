"""`launch --via bsub` and `status` on the facade of LSF over the live Slurm (lsf/facade.py says what that proves)."""

import json
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest
import torch
import yaml

from tests.cluster.lsf_house import LsfHouse
from tests.cluster.scheduler import wait_for
from tests.cluster.workflows import first_line

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
STEPS = 200
NEEDS = ("--via", "bsub", "--wait", "--cores", "1", "--mem-mb", "3000", "--minutes", "5")


@pytest.fixture(scope="module")
def house(slurm, tmp_path_factory):
    """A house; `straight` is the prior that nothing disturbed."""
    found = LsfHouse(tmp_path_factory.mktemp("lsf_launch") / "house")
    config = yaml.safe_load((found.root / "configs/tiny.yaml").read_text())
    config["prior"] |= {"steps": STEPS, "save_every": 10, "log_every": 1, "validate_every": 50}
    (found.root / "configs/prior.yaml").write_text(yaml.safe_dump(config))
    done = found.run(sys.executable, "-m", "codebase", *prior("straight")[1:])
    assert done.returncode == 0, done.stdout
    return found


def prior(name, *more):
    words = ("train-prior", "--config", "configs/prior.yaml", "--body", "assets/free_body.npz")
    return ("--", *words, "--output", f"results/{name}/model_{STEPS}.pt", *more)


def launch(house, *words):
    return house.run(sys.executable, "-m", "codebase", "launch", *words, timeout=900)


def weights(house, name):
    return torch.load(house.root / f"results/{name}/model_{STEPS}.pt", weights_only=True)["model"]


def warned(house, name):
    """As LSF does at a run limit: SIGUSR2 to the job, in the midst of its training."""

    def training():
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if " codebase train-prior " in words and f"results/{name}/" in words and "launch" not in words:
                    return process
        return None

    process = wait_for("the training", training, 120)
    saved = (house.root / f"results/{name}/state").glob
    wait_for("a saved state", lambda: list(saved("*/state.pt")) or not process.is_running(), 120, every=0.005)
    process.suspend()
    process.parent().send_signal(signal.SIGUSR2)
    process.resume()


@pytest.mark.parametrize("syntax", ["gpu", "rusage"])
def test_a_stage_stops_comes_back_and_ends_alike(house, syntax):
    """Warned, it leaves with 75: LSF requeues it (-Q 75), and --wait knows that it is not over."""
    with ThreadPoolExecutor(1) as beside:
        signals = beside.submit(warned, house, syntax)
        done = launch(house, *NEEDS, "--gpu-syntax", syntax, *prior(syntax))
        signals.result()
    assert done.returncode == 0, done.stdout
    (number,) = re.findall(r"^submitted: job (\d+); to cancel: bkill \1$", done.stdout, flags=re.MULTILINE)
    log = house.root / f"results/logs/launch-{number}.log"
    assert re.search(rf"job lsf {number}, gpu [01],", first_line(log)["line"])
    assert "resuming at step" in log.read_text()
    straight, found = weights(house, "straight"), weights(house, syntax)
    assert all(torch.equal(straight[key], found[key]) for key in straight)


def test_an_array_and_the_job_before_it(house):
    sweep = ("--sweep", "prior.seed=3,4", "--max-running", "1", "--until", "prior", "configs/prior.yaml", "name=swept")
    done = launch(house, *NEEDS, *sweep)
    assert done.returncode == 0, done.stdout
    (manifest,) = (house.root / "results/sweeps").glob("swept-*/sweep.json")
    assert [re.sub(r"^\d+", "", point["job"]) for point in json.loads(manifest.read_text())["points"]] == ["[1]", "[2]"]
    for seed in (3, 4):
        assert (house.root / f"results/swept-prior.seed-{seed}/runs/prior/model_{STEPS}.pt").is_file()


def test_a_queue_that_is_not_there(house):
    done = launch(house, *NEEDS, "--queue", "nowhere", *prior("refused"))
    assert done.returncode == 2
    assert "error: bsub refused the job: nowhere: No such queue" in done.stdout
    assert "give --queue" in done.stdout
