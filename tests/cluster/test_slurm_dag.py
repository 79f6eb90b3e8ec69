"""The whole DAG as jobs of a real Slurm, by `snakemake --profile slurm`; each GPU rule on a GPU of its own.

Of the tests' small config, in some 45 jobs. Of the miniature itself, in some 135 jobs and up to an hour, with
`runtime: {threads: 1}` in a copy of the config where cores are shared, since threads of convolutions wait by spinning:

    POSEMILL_CLUSTER_CONFIG=configs/mini.yaml bash tests/run.sh --cluster tests/cluster/test_slurm_dag.py
"""

import json
import math
import os
import shutil
from itertools import combinations
from pathlib import Path

import pytest
from conftest import REPOSITORY

from codebase.cli import COMMANDS
from codebase.config import read_config
from tests.cluster.workflows import TINY, House, first_line

CONFIG = REPOSITORY / os.environ.get("POSEMILL_CLUSTER_CONFIG", TINY)
PATIENCE = float(os.environ.get("POSEMILL_CLUSTER_PATIENCE", "1000" if CONFIG == TINY else "7200"))
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(PATIENCE + 200)]
GPU_STAGES = ("train_enc_dec", "train_pose", "train_prior", "train_smpl", "train_hmr", "embed", "predict")
RUN = Path("results") / read_config(CONFIG).name


def assert_one_gpu_each(house, jobs):
    """Each job of a GPU rule saw the one device that it asked for, and no two had the same one at the same time."""
    seen = {}
    for log in (house.root / RUN / "logs").rglob("*.log"):
        told = first_line(log)
        job = jobs.get(told["job"])
        assert job is not None, f"{log} names no job of this run: {told['line']}"
        if log.parent.name in GPU_STAGES:
            assert job.gpus == 1, job
            assert told["gpu"] in ("0", "1"), f"{log} saw not one of the node's two devices: {told['line']}"
            seen[job] = told["gpu"]
        else:
            assert job.gpus == 0, job
    assert {job.rule for job in seen} == set(GPU_STAGES)
    for one, other in combinations(seen, 2):
        together = one.start < other.end and other.start < one.end
        assert not (together and (one.node, seen[one]) == (other.node, seen[other])), (
            f"both on one device: {one} {other}"
        )


def assert_complete(house):
    run = house.root / RUN
    metrics = json.loads((run / "metrics.json").read_text())
    assert all(math.isfinite(value) for value in metrics.values() if isinstance(value, int | float))
    assert (run / "report.html").stat().st_size > 20_000
    stages = {log.parent.name for log in (run / "logs").rglob("*.log")}
    assert {"synthesize", "backgrounds", "index", "crops", "evaluate", "report", *GPU_STAGES} <= stages <= set(COMMANDS)


@pytest.fixture(scope="module")
def done(slurm, tmp_path_factory):
    """A house in which the DAG has run, and the jobs that it took."""
    house = House(tmp_path_factory.mktemp("dag") / "house", slurm)
    shutil.copy(CONFIG, house.root / "configs/dag.yaml")
    house.finish(house.start(config="configs/dag.yaml"), timeout=PATIENCE)
    return house, {job.id: job for job in slurm.jobs(house.root)}


def test_the_whole_dag_runs_as_jobs_and_each_gpu_rule_has_one_gpu(done):
    house, jobs = done
    assert_complete(house)
    assert {job.state for job in jobs.values()} == {"COMPLETED"}
    assert_one_gpu_each(house, jobs)
    assert {job.node for job in jobs.values()} == {"n0", "n1"}, "one node did all the work"


def test_it_asks_for_the_memory_of_the_profile(done):
    _, jobs = done
    asked = {job.rule: job.memory_mb for job in jobs.values()}
    assert asked["train_enc_dec"] == 16000
    assert asked["embed"] == 8000
    assert asked["index"] == 4000


def test_a_second_run_submits_nothing(slurm, done):
    house, jobs = done
    house.finish(house.start(config="configs/dag.yaml"))
    assert len(slurm.jobs(house.root)) == len(jobs)
    assert "Nothing to be done" in house.said()
