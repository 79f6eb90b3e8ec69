"""Snakemake on LSF, interrupted or killed while its job runs; on the facade over a live Slurm (lsf/facade.py)."""

import os
import signal
import sys
from contextlib import contextmanager

import pytest

from tests.cluster.lsf_house import LsfHouse
from tests.cluster.scheduler import wait_for
from tests.cluster.workflows import LONG, end, running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
TARGET = "results/tiny/runs/prior/model_6.pt"
SITE = {"latency-wait": 5, "jobs": 8}


@pytest.fixture
def house(slurm, tmp_path):
    """A house in which nothing has run."""
    return LsfHouse(tmp_path / "house")


def said(house):
    """What Snakemake said in the background."""
    return (house.root / "snakemake.log").read_text()


@contextmanager
def training(house, name):
    """Snakemake trains the prior, whose process stands still; both, to be ended by the test."""
    snakemake = house.start(name, "--", TARGET)
    try:
        (process,) = wait_for("the training", lambda: running(house.root, "train-prior"), LONG, every=0.02)
        process.suspend()
        yield snakemake, process
    finally:
        end(snakemake)


@pytest.mark.parametrize(("name", "asks"), [("lsf", False), ("lsf", True), ("lsf-generic", False)])
def test_ctrl_c_cancels_what_was_submitted(house, name, asks):
    """Also while it asks for its jobs, when Snakemake has set the list of them aside."""
    house.install(name, **SITE)
    with training(house, name) as (snakemake, _):
        if asks:
            (house.facade / "slow").touch()
            before = len(house.calls("bjobs"))
            wait_for("a question", lambda: len(house.calls("bjobs")) > before, LONG)
            (house.facade / "slow").unlink()
        os.killpg(snakemake.pid, signal.SIGINT)
        assert snakemake.wait(LONG) != 0
    wait_for("the end of the training", lambda: not running(house.root, "train-prior"), LONG)
    ((job,),) = house.calls("bkill")
    # a job whose processes are gone counts as running until Slurm has cleaned up after it
    wait_for("EXIT", lambda: house.run("bjobs", "-noheader", "-o", "stat", job).stdout.strip() == "EXIT", LONG)


def test_a_killed_snakemake_of_the_generic_profile_finds_its_job_again(house):
    house.install("lsf-generic", **SITE, **{"seconds-between-status-checks": 1})
    with training(house, "lsf-generic") as (snakemake, process):
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
        unlocked = house.run(sys.executable, "-m", "snakemake", "--unlock", "--configfile", "configs/tiny.yaml")
        assert unlocked.returncode == 0, unlocked.stdout
        again = house.start("lsf-generic", "--", TARGET)
        try:
            wait_for("the job", lambda: said(house).count("external jobid") == 2 or again.poll() is not None, LONG)
            process.resume()
            assert again.wait(LONG) == 0, said(house)
        finally:
            end(again)
    assert "Resuming incomplete job" in said(house)
    assert len(house.submitted()["train_prior"]) == 1, "it was submitted again while it ran"
