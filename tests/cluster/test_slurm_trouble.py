"""What clusters do to jobs, done to them for real: killed for memory and time, preempted, requeued, submitted twice.

All of it to the training of the prior, which is small: it must end on the very bits of a training that nothing
disturbed. Where a job has to last, the test stops its process (SIGSTOP), as a file server that hangs would, so that
nothing depends on how fast the machine is.
"""

import os
import signal
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import torch

from tests.cluster.scheduler import call, script, wait_for
from tests.cluster.trained import LOG, OVERRIDES, RUN, STAGE, STEPS, TARGET, Trained, assert_same, kept_still, slowed
from tests.cluster.workflows import LONG, House, written_by

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
MINUTE = {"runtime": "1 if attempt == 1 else 10"}


@pytest.fixture(scope="module")
def make(slurm, tmp_path_factory):
    """Makes houses; at the end no job and no Snakemake of theirs is left."""
    houses = []

    def made(name, **site):
        houses.append(Trained(tmp_path_factory.mktemp(name) / "house", slurm, **site))
        return houses[-1]

    yield made
    for house in houses:
        house.end()


@pytest.fixture(scope="module")
def straight(slurm, tmp_path_factory):
    """The checkpoint of the same training in one go, without a cluster."""
    house = House(tmp_path_factory.mktemp("straight") / "house", slurm)
    argv = [
        "snakemake",
        "--profile",
        "cluster_profiles/local",
        "--configfile",
        "configs/tiny.yaml",
        "--config",
        OVERRIDES,
    ]
    house.say(*argv, "--", TARGET, timeout=LONG)
    return torch.load(house.root / TARGET, weights_only=True)


def leave_before_the_wall(house):
    """Training gets 40 s of the rule's minute, and is slow for longer; Slurm gives more: machines are slow to start."""
    snakemake = house.train()
    training = house.saved()
    call("scontrol", "update", f"JobId={house.job(state='RUNNING').id}", "TimeLimit=5")
    with slowed(training, house.root / RUN, 43):
        house.job(over=True)
    house.finish(snakemake)


def run_into_the_wall(house):
    """The stage believes that it has four hours, and a step does not come back when the scheduler says TERM."""
    snakemake = house.train()
    training = house.saved()
    job = house.job(state="RUNNING")
    with kept_still(training):
        call("scontrol", "update", f"JobId={job.id}", "TimeLimit=1")
        house.job(id=job.id, over=True)
    house.finish(snakemake)


@pytest.fixture(scope="module", autouse=True)
def minutes(make, straight):
    """The two tests of time limits, which mostly wait, run beside the others; their houses, and when each is done."""
    houses = {
        leave_before_the_wall: make("budget", **{"set-resources": {"train_prior": MINUTE}}),
        run_into_the_wall: make("wall"),
    }
    with ThreadPoolExecutor(2) as pool:
        yield {work.__name__: (house, pool.submit(work, house)) for work, house in houses.items()}


def test_killed_for_memory_it_is_tried_again_with_more(make, straight):
    house = make("memory", **{"set-resources": {"train_prior": {"mem_mb": "400 * attempt"}}})
    house.finish(house.train())
    first, *_, last = house.slurm.jobs(house.root)
    # the step's state is OUT_OF_MEMORY, but the job's only FAILED, because Snakemake in it outlives the step
    assert first.state in ("OUT_OF_MEMORY", "FAILED")
    assert "oom-kill event" in house.said() or "exceeded memory limit" in house.said()
    assert (first.memory_mb, first.gpus) == (400, 1)
    assert last.state == "COMPLETED"
    assert last.memory_mb >= 800
    assert_same(house, straight)


def test_preempted_it_comes_back(make, straight):
    house = make("preempted", **{"default-resources": {"slurm_partition": "spare"}})
    snakemake = house.train()
    house.saved()
    job = house.job(state="RUNNING")
    wants = ["--partition=urgent", f"--nodelist={job.node}", "--nodes=1", "--gpus=2", "--mem=50M"]
    where = [f"--chdir={house.root.parent}", "--output=/dev/null"]
    urgent = call("sbatch", "--parsable", *wants, *where, "--wrap=true").strip()
    house.finish(snakemake)
    (last,) = house.slurm.jobs(house.root)
    assert (last.id, last.state) == (job.id, "COMPLETED"), "the same job, requeued by the scheduler"
    assert last.restarts >= 1
    assert next(other for other in house.slurm.jobs() if other.id == urgent).state == "COMPLETED"
    assert "resuming at step" in (house.root / LOG).read_text()
    assert_same(house, straight)


def test_requeued_by_hand_it_comes_back(make, straight):
    house = make("requeued")
    snakemake = house.train()
    house.saved()
    job = house.job(state="RUNNING")
    call("scontrol", "requeue", job.id)
    house.finish(snakemake)
    (last,) = house.slurm.jobs(house.root)
    assert (last.id, last.state) == (job.id, "COMPLETED")
    assert last.restarts == 1
    assert "resuming at step" in (house.root / LOG).read_text()
    assert_same(house, straight)


def test_snakemake_killed_and_started_again_has_no_double_writer(make, straight):
    """The new Snakemake knows nothing of the old one's job and submits the same training again, while it runs."""
    house = make("killed")
    snakemake = house.train()
    training = house.saved()
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    assert len(house.slurm.active(house.root)) == 1, "the job of the killed Snakemake does not run on"
    house.say("snakemake", "--unlock", "--configfile", "configs/tiny.yaml", "--config", OVERRIDES)
    with written_by(house.root / RUN) as writers:
        again = house.train()
        both = wait_for("the second copy", lambda: len(found := house.processes(STAGE)) == 2 and found, LONG)
        (second,) = (process for process in both if process.pid != training.pid)
        wait_for("the second copy's log", lambda: "waiting: " in (house.root / LOG).read_text(), LONG)
        assert len(house.slurm.active(house.root)) == 2
        training.resume()
        house.finish(again)
    assert writers == [training.pid], f"{second.pid} wrote, too"
    wait_for("the end of both jobs", lambda: not house.slurm.active(house.root), LONG)
    assert [job.state for job in house.slurm.jobs(house.root)] == ["COMPLETED", "COMPLETED"]
    told = (house.root / LOG).read_text()
    assert "finished" in told
    assert f"of {STEPS}, " not in told, "the second copy trained"
    assert_same(house, straight)


def test_ctrl_c_cancels_what_was_submitted_and_the_next_start_goes_on(make, straight):
    house = make("interrupted")
    snakemake = house.train()
    house.saved()
    os.killpg(snakemake.pid, signal.SIGINT)
    assert snakemake.wait(LONG) != 0
    wait_for("an empty queue", lambda: not house.slurm.active(house.root), LONG)
    assert not house.processes(STAGE)
    (first,) = house.slurm.jobs(house.root)
    assert first.state == "CANCELLED"
    assert not (house.root / TARGET).exists()
    house.finish(house.train())
    assert "resuming at step" in (house.root / LOG).read_text()
    assert_same(house, straight)


def test_before_its_time_is_over_it_leaves_and_the_next_job_goes_on(minutes, straight):
    house, done = minutes["leave_before_the_wall"]
    done.result(2 * LONG)
    first, *_, last = house.slurm.jobs(house.root)
    assert first.state == "FAILED", "the scheduler ended it"
    assert first.id != last.id
    assert "out of time: time budget" in house.said()
    assert "resuming at step" in (house.root / LOG).read_text()
    assert_same(house, straight)


def test_killed_at_the_wall_the_next_job_goes_on(minutes, straight):
    house, done = minutes["run_into_the_wall"]
    done.result(2 * LONG)
    first, *_, last = house.slurm.jobs(house.root)
    assert first.state == "TIMEOUT"
    assert first.id != last.id
    assert "resuming at step" in (house.root / LOG).read_text()
    assert_same(house, straight)


def test_the_controller_may_be_away_while_a_job_ends(make, minutes, straight):
    wait([done for _, done in minutes.values()])  # they ask the controller
    house = make("controller")
    snakemake = house.train()
    training = house.saved()
    assert script("controller", "stop").returncode == 0
    try:
        training.resume()
        wait_for("the checkpoint", (house.root / TARGET).is_file, LONG)
        wait_for("the end of the training", lambda: not house.processes(STAGE), LONG)
        assert snakemake.poll() is None, house.said()
    finally:
        assert script("controller", "start").returncode == 0
    house.finish(snakemake)
    (job,) = house.slurm.jobs(house.root)
    assert (job.state, job.restarts) == ("COMPLETED", 0)
    assert_same(house, straight)
