"""The LSF profiles through Snakemake's real plugins, on the facade of LSF over a live Slurm (see lsf/facade.py).

What this proves: our reading of LSF, real GPUs' allocation, real kills. It is no proof on LSF itself.
"""

import json
import math
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import h5py
import pytest

from tests.cluster.lsf_house import LsfHouse

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
GPU_RULES = {"train_enc_dec", "train_pose", "train_prior", "train_smpl", "train_hmr", "embed", "predict"}
RUN = "results/tiny"


def gpu_of(log):
    """The GPU that a job says it has: LSF names one with -gpu, and keeps quiet where none was asked for."""
    found = re.search(r"\bjob lsf \d+, gpu ([^,]+),", log.read_text())
    assert found is not None, log
    return found[1]


# Snakemake in the job alone needs more than the first attempt gets
TOO_LITTLE = {"mem_mb": "100 if attempt == 1 else 2000"}
ROOMY = {"latency-wait": 5, "jobs": 8}
SITE = {"set-resources": {"report": TOO_LITTLE, "train_prior": TOO_LITTLE}, **ROOMY}


@pytest.fixture(scope="module")
def house(slurm, tmp_path_factory):
    """A house in which the whole DAG has run through the profile lsf; two rules have too little memory at first."""
    found = LsfHouse(tmp_path_factory.mktemp("lsf") / "house")
    config = found.root / "configs/tiny.yaml"
    config.write_text(config.read_text().replace("threads: 1}", "threads: 1, workers: 2}"))
    found.install("lsf", **SITE)
    found.first = found.snakemake("lsf", timeout=1000)
    assert found.first.returncode == 0, found.first.stdout
    return found


def test_the_whole_dag_runs_and_each_gpu_rule_asks_for_one_gpu_and_sees_one(house):
    metrics = json.loads((house.root / RUN / "metrics.json").read_text())
    assert all(math.isfinite(value) for value in metrics.values() if isinstance(value, int | float))
    submitted = house.submitted()
    assert {rule for rule, jobs in submitted.items() if all(job.get("-gpu") == "num=1" for job in jobs)} == GPU_RULES
    logs = sorted((house.root / RUN / "logs").rglob("*.log"))
    saw = {log: gpu_of(log) for log in logs}
    assert {log.parent.name for log, gpu in saw.items() if gpu in ("0", "1")} == GPU_RULES
    assert all(gpu in ("0", "1") for log, gpu in saw.items() if log.parent.name in GPU_RULES)


def test_memory_is_asked_for_by_the_core_and_minutes_as_in_the_profile(house):
    (hmr,) = house.submitted()["train_hmr"]
    assert (hmr["-n"], hmr["-R"], hmr["-W"]) == ("1", "rusage[mem=16000.0] span[hosts=1]", "1440")
    crops = [(job["-n"], job["-R"]) for job in house.submitted()["crops"]]
    assert set(crops) == {("2", "rusage[mem=2000.0] span[hosts=1]")}


@pytest.mark.parametrize(("rule", "made"), [("report", "report.html"), ("train_prior", "runs/prior/model_6.pt")])
def test_a_job_killed_for_memory_is_submitted_again_with_more(house, rule, made):
    killed, again = house.submitted()[rule]
    cores = int(killed["-n"])
    assert f"rusage[mem={100 / cores}]" in killed["-R"]
    assert f"rusage[mem={2000 / cores}]" in again["-R"]
    assert "LSF status is: 'EXIT'" in house.first.stdout
    assert (house.root / RUN / made).is_file()


def test_a_second_run_submits_nothing(house):
    before = len(house.calls("bsub"))
    done = house.snakemake("lsf")
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout
    assert len(house.calls("bsub")) == before


def test_a_lost_host_is_waited_for_until_somebody_ends_it(house):
    """An older file of the job lies there: the plugin alone would take it for the job's."""
    before = len(house.submitted()["index"])
    written = (house.root / RUN / "index_val.h5").stat().st_mtime_ns
    assert house.run("lose", "rule_index:split=val").returncode == 0
    with ThreadPoolExecutor() as pool:
        running = pool.submit(
            house.snakemake, "lsf", "--forcerun", f"{RUN}/index_val.h5", "--", f"{RUN}/checks/index_val.json"
        )
        job = house.await_lost()
        assert not running.done(), "it took the lost host for success"
        assert house.run("bkill", "-r", job).returncode == 0
        done = running.result(timeout=120)
    assert done.returncode == 0, done.stdout
    assert "LSF status is: 'EXIT'" in done.stdout
    assert len(house.submitted()["index"]) == before + 2
    assert (house.root / RUN / "index_val.h5").stat().st_mtime_ns > written


def test_a_lost_host_that_wrote_nothing_is_noticed_by_what_is_missing(house):
    """Without our bjobs the plugin takes UNKWN for success; the output that is not there then counts as a failure."""
    before = len(house.submitted()["index"])
    (house.root / RUN / "index_val.h5").unlink()
    assert house.run("lose", "rule_index:split=val").returncode == 0
    done = house.snakemake("lsf", "--", f"{RUN}/index_val.h5", POSEMILL_LSF_LOST="success")
    assert done.returncode == 0, done.stdout
    assert "Missing files after" in done.stdout
    assert len(house.submitted()["index"]) == before + 2


def test_a_lost_host_that_wrote_rubbish_stops_the_run_with_the_file_s_name(house):
    """Holes in the images, as a file system leaves them that lost its last writes; UNKWN says success."""
    good, rubbish = house.root / RUN / "crops/S1.h5", house.root / "rubbish.h5"
    shutil.copy(good, rubbish)
    with h5py.File(rubbish, "r+") as file:
        file["image"][-3:] = 0
    trained = (house.root / RUN / "runs/enc_dec/model_6.pt").stat().st_mtime_ns
    assert house.run("lose", "rule_crops:subject=1", f"cp rubbish.h5 {RUN}/crops/S1.h5").returncode == 0
    wanted = ("--forcerun", f"{RUN}/crops/S1.h5", "--retries", "0", "--", f"{RUN}/runs/enc_dec/model_6.pt")
    done = house.snakemake("lsf", *wanted, POSEMILL_LSF_LOST="success")
    assert done.returncode == 1, done.stdout
    assert f"{RUN}/crops/S1.h5" in (house.root / RUN / "logs/check/crops_S1.log").read_text()
    assert "3 images are all zero" in done.stdout, "the check's message does not reach the user"
    assert (house.root / RUN / "runs/enc_dec/model_6.pt").stat().st_mtime_ns == trained, "it trained on rubbish"
    mended = house.snakemake("lsf", "--forcerun", f"{RUN}/crops/S1.h5", "--", f"{RUN}/checks/crops_S1.json")
    assert mended.returncode == 0, mended.stdout


def test_without_badmin_the_generic_profile_runs(house):
    """A job that is killed for memory comes again with more; a check behind it; a GPU in the older syntax."""
    before = len(house.submitted()["train_prior"])
    house.install(
        "lsf-generic", **SITE, **{"seconds-between-status-checks": 1},
        gpu={"lsf_extra": "-R rusage[ngpus_excl_p={gpus}]"},
    )  # fmt: skip
    done = house.snakemake(
        "lsf-generic", "--forcerun", "train_prior", "--", f"{RUN}/checks/prior.json", LSF_FACADE_NO_BADMIN="1"
    )
    assert done.returncode == 0, done.stdout
    killed, again = house.submitted()["train_prior"][before:]
    assert ("rusage[mem=100]" in killed["-R"], "rusage[mem=2000]" in again["-R"]) == (True, True)
    assert "rusage[ngpus_excl_p=1]" in again["-R"]
    assert "-gpu" not in again
    assert gpu_of(house.root / RUN / "logs/train_prior/all.log") in ("0", "1")
