"""`launch` and `status` on a live Slurm: stages, the whole DAG in one job, arrays, requeue from saved state, refusals.

The prior is what is trained: it is small, and must end on the very bits of a training that nothing disturbed. Where a
job has to last, its process is stopped (SIGSTOP), so that nothing depends on how fast the machine is.
"""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import psutil
import pytest
import torch
import yaml

from tests.cluster.scheduler import call, wait_for
from tests.cluster.workflows import LONG, House, first_line

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
STEPS = 200
NEEDS = ("--cores", "1", "--mem-mb", "3000", "--minutes", "5")


class Launched(House):
    """A house from which jobs are launched."""

    def launch(self, *words, timeout=2 * LONG):
        """`python -m codebase launch ...`; the exit code is the caller's to judge."""
        return subprocess.run(
            [sys.executable, "-m", "codebase", "launch", *words], cwd=self.root, env=self.environment,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def submit(self, *words):
        """Launch without waiting; the ids of the jobs."""
        done = self.launch(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"^submitted: (?:job|\d+ jobs,) (\d+)", done.stdout, flags=re.MULTILINE)

    def checkpoint(self, name):
        """Where the prior of a run goes."""
        return f"results/{name}/runs/prior/model_{STEPS}.pt"

    def prior(self, name, *more):
        """The words of a stage that trains the prior of a run."""
        words = ("train-prior", "--config", "configs/prior.yaml", "--body", "assets/free_body.npz")
        return ("--", *words, "--output", self.checkpoint(name), *more)

    def weights(self, name):
        return torch.load(self.root / self.checkpoint(name), weights_only=True)["model"]

    def job(self, number):
        """A job as Slurm tells it."""
        return next(job for job in self.slurm.jobs() if job.id == number)

    def await_state(self, number, *states):
        return wait_for(f"job {number} {states}", lambda: self.job(number).state in states and self.job(number), LONG)

    def saved(self, name):
        return list((self.root / f"results/{name}/runs/prior/state").glob("*/state.pt"))

    def log_of(self, name, number):
        """What a job that does a whole run said."""
        return (self.root / f"results/{name}/logs/launch-{number}.log").read_text()

    def status(self, run):
        """`status --json` of a run: state and the rest of each rule's only job."""
        done = subprocess.run(
            [sys.executable, "-m", "codebase", "status", "--json", run], cwd=self.root, env=self.environment,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return {job["rule"]: job for job in json.loads(done.stdout)["jobs"]}

    @contextmanager
    def held(self, name, stage="train-prior"):
        """Within it, the stage of a run stands still, with its state saved."""
        processes = wait_for(f"{stage} of {name}", lambda: self.trainings(name, stage), 120)
        wait_for("a saved state", lambda: self.saved(name) or not processes[0].is_running(), 120, every=0.005)
        for process in processes:
            process.suspend()
        assert not (self.root / self.checkpoint(name)).exists(), "it was over before it was held: raise STEPS"
        try:
            yield processes[0]
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def trainings(self, name, stage):
        found = []
        for process in self.processes(stage):
            with suppress(psutil.Error):
                if f"results/{name}/" in " ".join(process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture(scope="module")
def house(slurm, tmp_path_factory):
    """A house; `straight` is the prior that nothing disturbed. At the end no job of it is left."""
    found = Launched(tmp_path_factory.mktemp("launch") / "house", slurm)
    config = yaml.safe_load((found.root / "configs/tiny.yaml").read_text())
    config["prior"] |= {"steps": STEPS, "save_every": 10, "log_every": 1, "validate_every": 50}
    (found.root / "configs/prior.yaml").write_text(yaml.safe_dump(config))
    found.say("codebase", *found.prior("straight")[1:])
    yield found
    for job in slurm.active(found.root):
        call("scancel", job.id, check=False)


def assert_undisturbed(house, name):
    straight, found = house.weights("straight"), house.weights(name)
    assert straight.keys() == found.keys()
    assert all(torch.equal(straight[key], found[key]) for key in straight)


def test_a_stage_by_sbatch_and_waited_for(house):
    done = house.launch("--via", "sbatch", "--wait", *NEEDS, *house.prior("sbatch"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("#!/usr/bin/env bash\n#SBATCH --job-name=posemill-train-prior\n")
    (number,) = re.findall(r"^submitted: job (\d+); to cancel: scancel \1$", done.stdout, flags=re.MULTILINE)
    assert re.search(rf"{number}  done \(completed\)$", done.stdout, flags=re.MULTILINE)
    said = first_line(house.root / f"results/logs/launch-{number}.log")
    assert said["job"] == number
    assert re.search(r", gpu [01], pid \d+, commit \S+, ", said["line"])
    assert house.job(number).gpus == 1
    assert_undisturbed(house, "sbatch")


def test_warned_before_its_limit_a_job_saves_comes_back_and_goes_on(house):
    """The signal that Slurm sends before the limit: the stage leaves with 75, the job asks for its requeue."""
    (number,) = house.submit("--via", "sbatch", *NEEDS, *house.prior("warned"))
    with house.held("warned"):
        call("scancel", "--batch", "--signal=USR2", number)
    assert house.await_state(number, "COMPLETED").restarts == 1
    assert "resuming at step" in (house.root / f"results/logs/launch-{number}.log").read_text()
    assert_undisturbed(house, "warned")


def test_out_of_its_own_time_it_comes_back_a_limited_number_of_times(house):
    words = ("--requeues", "1", *NEEDS, *house.prior("limited", "--time-budget", "0.001s"))
    done = house.launch("--via", "sbatch", "--wait", *words)
    assert done.returncode == 75, done.stdout + done.stderr
    assert house.slurm.jobs(house.root)[-1].restarts == 1


def test_the_exit_code_of_a_failed_job_is_that_of_the_wait(house):
    words = ("train-prior", "--config", "configs/prior.yaml", "--body", "none.npz", "--output", "results/x/m.pt")
    done = house.launch("--via", "sbatch", "--wait", *NEEDS, "--", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(r"^A job failed; its log: results/logs/launch-\d+\.log$", done.stderr, flags=re.MULTILINE)
    assert "where:    none.npz" in done.stderr


def test_a_cancelled_job_stays_away_and_ctrl_c_only_ends_the_waiting(house):
    argv = [sys.executable, "-m", "codebase", "launch", "--via", "sbatch", "--wait", *NEEDS, *house.prior("cancelled")]
    waiting = subprocess.Popen(
        argv, cwd=house.root, env=house.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with house.held("cancelled"):
        os.killpg(waiting.pid, signal.SIGINT)
        out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 130, out + err
        (number,) = re.findall(r"To cancel: scancel (\d+)$", err, flags=re.MULTILINE)
        assert house.job(number).state == "RUNNING"
        call("scancel", number)
    job = house.await_state(number, "CANCELLED")
    wait_for("the end of its process", lambda: not house.trainings("cancelled", "train-prior"), 60)
    assert (house.job(number).state, job.restarts) == ("CANCELLED", 0)


def test_requeued_by_hand_it_goes_on_where_it_was(house):
    (number,) = house.submit("--via", "submitit", *NEEDS, *house.prior("requeued"))
    with house.held("requeued"):
        call("scontrol", "requeue", number)
    assert house.await_state(number, "COMPLETED").restarts == 1
    assert_undisturbed(house, "requeued")


@pytest.mark.parametrize("via", ["sbatch", "submitit"])
def test_preempted_it_comes_back_and_goes_on(house, via):
    """A job of a better queue takes its node; the scheduler brings it back, under its own number."""
    name = f"preempted_{via}"
    (number,) = house.submit("--via", via, "--queue", "spare", *NEEDS, *house.prior(name))
    with house.held(name):
        wants = [f"--nodelist={house.job(number).node}", "--nodes=1", "--gpus=2", "--mem=50M", "--output=/dev/null"]
        urgent = call("sbatch", "--parsable", "--partition=urgent", *wants, "--wrap=true").strip()
        house.await_state(urgent, "RUNNING", "COMPLETING", "COMPLETED")
    job = house.await_state(number, "COMPLETED")
    assert job.restarts >= 1
    said = house.root / ("results/logs" if via == "sbatch" else "results/logs/submitit")
    (log,) = said.glob(f"launch-{number}.log" if via == "sbatch" else f"{number}_0_log.out")
    assert "resuming at step" in log.read_text()
    assert_undisturbed(house, name)


def test_submitit_at_its_time_limit_saves_requeues_and_ends_alike(house):
    """A real limit of one minute: submitit is warned, the stage saves, the job comes back, if need be twice."""
    needs = ("--cores", "1", "--mem-mb", "3000", "--minutes", "1")
    (number,) = house.submit("--via", "submitit", *needs, *house.prior("limit", "--time-budget", "60m"))
    output = house.root / f"results/logs/submitit/{number}_0_log.out"
    with house.held("limit"):
        wait_for("the warning", lambda: output.is_file() and "Caught signal SIGUSR2" in output.read_text(), 120)
    job = house.await_state(number, "COMPLETED")
    assert job.restarts >= 1
    assert "resuming at step" in output.read_text()
    assert_undisturbed(house, "limit")


def test_an_array_of_submitit_after_the_job_that_makes_its_data(house):
    """A sweep: data once, then two points at most one at a time, each with results and a seed of its own."""
    sweep = ("--sweep", "prior.seed=3,4", "--max-running", "1", "--until", "prior", "configs/prior.yaml", "name=swept")
    done = house.launch("--via", "submitit", "--wait", *NEEDS, *sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    points = [house.root / f"results/swept-prior.seed-{seed}" for seed in (3, 4)]
    seeds = [yaml.safe_load((point / "config.yaml").read_text())["prior"]["seed"] for point in points]
    assert seeds == [3, 4]
    assert all((point / f"runs/prior/model_{STEPS}.pt").is_file() for point in points)
    assert (house.root / "results/swept/checks/crops_S1.json").is_file()
    assert not any((point / "crops").exists() or (point / "dataset").exists() for point in points)
    array = house.slurm.jobs(house.root)[-2:]
    first, second = sorted(array, key=lambda job: job.start)
    assert first.end <= second.start, "--max-running 1, and two ran at once"
    (manifest,) = (house.root / "results/sweeps").glob("swept-*/sweep.json")
    table = house.say("codebase", "launch", "--collect", str(manifest.parent))
    assert re.search(r"^swept-prior.seed-4 +4", table, flags=re.MULTILINE)


def test_the_whole_dag_in_one_job_warned_in_its_midst(house):
    """It stops before its limit, comes back by itself, and finishes; `status` says what happens meanwhile."""
    words = ("--via", "sbatch", *NEEDS, "--cores", "2", "configs/prior.yaml", "name=whole", "enc_dec.steps=4")
    (number,) = house.submit(*words)
    with house.held("whole"):
        found = house.status("results/whole")["train_prior"]
        assert (found["state"], found["job"], found["steps"]) == ("running", number, STEPS)
        call("scancel", "--batch", "--signal=USR2", number)
        wait_for("the news", lambda: "training stages save" in house.log_of("whole", number), 60)
    job = house.await_state(number, "COMPLETED")
    assert job.restarts == 1
    said = house.log_of("whole", number)
    assert "Asking Slurm for attempt 2" in said
    assert (house.root / "results/whole/report.html").is_file()
    assert {job["state"] for job in house.status("results/whole").values()} == {"done"}
    assert_undisturbed(house, "whole")


def test_status_of_a_job_that_was_killed(house):
    (number,) = house.submit("--via", "sbatch", *NEEDS, "--until", "prior", "configs/prior.yaml", "name=killed")
    with house.held("killed"):
        call("scancel", "--full", "--signal=KILL", number)
        house.await_state(number, "FAILED", "CANCELLED", "COMPLETED")
    found = house.status("results/killed")["train_prior"]
    assert found["state"] in ("failed", "lost?")
    assert number in (found["job"], found["why"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--queue", "nowhere"), ("nowhere|invalid partition", "urgent", "give --queue")),
        (("--gpus", "9"), ("9|not available", "gpu:pretended:2", "--gpus 0")),
        (("--gpu-model", "a100"), ("a100|not available|Invalid", "gpu:pretended:2", "--gpu-model")),
    ],
)
def test_what_the_site_does_not_have(house, words, said):
    for via in ("sbatch", "submitit"):
        done = house.launch("--via", via, *NEEDS, *words, *house.prior("refused"))
        assert done.returncode == 2, done.stdout + done.stderr
        assert all(re.search(word, done.stderr) for word in said), done.stderr
        assert "Traceback" not in done.stderr
