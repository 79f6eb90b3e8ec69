"""What a user on Slurm gets wrong: one message that says what was tried and what to change, and no job left behind."""

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.workflows import LONG, House, end

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
STEPS = 30
OVERRIDES = f"prior={{steps: {STEPS}, save_every: 10}}"
TARGET = f"results/tiny/runs/prior/model_{STEPS}.pt"


@pytest.fixture
def train(slurm, tmp_path):
    """Trains the prior in a house with this site file, once; the house, when Snakemake has given up."""

    def run(*words, **site):
        house = House(tmp_path / "house", slurm, **site)
        process = house.start("--retries", "0", "--config", OVERRIDES, *words, "--", TARGET)
        try:
            assert process.wait(LONG) != 0, house.said()
        finally:
            end(process)
        assert not slurm.active(house.root), "a job was left behind"
        return house

    return run


def closing_words(house):
    """What stands after Snakemake's own account of the failure."""
    return house.said()[-3000:]


def test_no_scheduler_on_path(slurm, tmp_path):
    house = House(tmp_path / "house", slurm)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sh", "env", "git", "uname", "which"):
        (tools / name).symlink_to(shutil.which(name))
    house.environment["PATH"] = str(tools)
    assert house.start().wait(LONG) != 0
    said = house.said()
    assert "no sbatch" in said
    assert "login node" in said
    assert "Traceback" not in said


def test_a_partition_that_does_not_exist(train):
    house = train(**{"default-resources": {"slurm_partition": "nope"}})
    assert "invalid partition specified: nope" in house.said()
    assert "slurm_partition" in closing_words(house)
    assert not house.slurm.jobs(house.root)


def test_a_gpu_where_there_is_none(train):
    house = train(**{"default-resources": {"slurm_partition": "cpu"}})
    assert "Requested node configuration is not available" in house.said()
    assert "gpu" in closing_words(house)


def test_a_model_of_gpu_that_no_node_has(train):
    house = train(gpu={"gpu_model": "h100"})
    assert "--gpus=h100:1" in house.said()
    assert "no node has that" in closing_words(house)


def test_an_error_for_people_is_submitted_once(slurm, tmp_path):
    """The profile's five retries are for jobs that may get through the next time."""
    house = House(tmp_path / "house", slurm)
    (house.root / "empty").mkdir()
    process = house.start("--config", f"prior={{steps: {STEPS}, poses: empty}}", "--", TARGET)
    try:
        assert process.wait(LONG) == 1, house.said()
    finally:
        end(process)
    assert "error: The folder holds no poses." in closing_words(house)
    (job,) = house.slurm.jobs(house.root)
    assert job.state == "FAILED"


@contextmanager
def small_disk(folder: Path, megabytes: float):
    """A file system of its own at `folder`, which is soon full."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={round(megabytes * 1024)}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(slurm, tmp_path):
    house = House(tmp_path / "house", slurm)
    with small_disk(house.root / "results", 0.25):
        process = house.start("--retries", "0", "--config", OVERRIDES, "--", TARGET)
        try:
            assert process.wait(LONG) != 0, house.said()
        finally:
            end(process)
        said = house.said()
    assert "error: The file could not be written: the disk is full." in said
    assert "where:    results/tiny/runs/prior/" in said
    assert "results=/scratch" in said
    assert not slurm.active(house.root)
