"""A house that trains the prior on the cluster, and ways to make its process slow or hang."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from tests.cluster.scheduler import Job, call, wait_for
from tests.cluster.workflows import LONG, House, end, history

STEPS = 200
RUN = "results/tiny/runs/prior"
TARGET = f"{RUN}/model_{STEPS}.pt"
LOG = "results/tiny/logs/train_prior/all.log"
OVERRIDES = f"prior={{steps: {STEPS}, save_every: 10, log_every: 1, validate_every: 50}}"
STAGE = "train-prior"


class Trained(House):
    """A house whose target is the prior's checkpoint."""

    process: subprocess.Popen[bytes] | None = None

    def train(self) -> subprocess.Popen[bytes]:
        """Snakemake on its way to the checkpoint."""
        self.process = self.start("--config", OVERRIDES, "--", TARGET)
        return self.process

    def job(self, **wanted: object) -> Job:
        """The last job of this house that is as wanted, once there is one."""

        def ask() -> object:
            found = reversed(self.slurm.jobs(self.root))
            return next((job for job in found if all(getattr(job, key) == wanted[key] for key in wanted)), None)

        return wait_for(f"a job with {wanted}", ask, LONG)

    def saved(self) -> psutil.Process:
        """The training's process, once its state is saved for the first time; it is stopped there."""

        def ask() -> object:
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            done = list((self.root / RUN).glob("state/*/state.pt"))
            return done and self.processes(STAGE)

        (process,) = wait_for("a saved state", ask, LONG, every=0.02)
        process.suspend()
        assert not (self.root / TARGET).exists(), "it was over before it was stopped: raise STEPS"
        return process

    def end(self) -> None:
        """Leave no Snakemake and no job behind."""
        if self.process is not None:
            end(self.process)
        for job in self.slurm.active(self.root):
            call("scancel", job.id)


def assert_same(house: House, straight: dict) -> None:
    """The checkpoint is the one of the undisturbed run, and its history has each step once."""
    found = torch.load(house.root / TARGET, weights_only=True)
    assert found["step"] == straight["step"] == STEPS
    assert found["model"].keys() == straight["model"].keys()
    # the first step that differs says whether it was the start, a resumed step, or the undisturbed run
    assert [pair for pair in zip(found["history"], straight["history"], strict=True) if pair[0] != pair[1]][:1] == []
    assert [name for name in found["model"] if not torch.equal(found["model"][name], straight["model"][name])] == []
    assert history(house.root / RUN) == list(range(1, STEPS + 1))
    assert not (house.root / RUN / "state").exists()


@contextmanager
def kept_still(process: psutil.Process) -> Iterator[None]:
    """Keep a process stopped, also when the scheduler wakes it to tell it to end: a step that does not come back."""
    over = threading.Event()

    def stop() -> None:
        with suppress(psutil.NoSuchProcess):
            while not over.wait(0.005):
                process.suspend()

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def slowed(process: psutil.Process, run: Path, age_s: float) -> Iterator[None]:
    """Let a process run a fiftieth of the time until it is so old, says that it stops, or is gone."""
    over = threading.Event()

    def hinder() -> None:
        with suppress(psutil.NoSuchProcess):
            born = process.create_time()
            while not over.is_set() and '"stopped"' not in (run / "progress.json").read_text():
                process.suspend()
                over.wait(0.98)
                process.resume()
                if time.time() - born > age_s:
                    break
                over.wait(0.02)

    thread = threading.Thread(target=hinder)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
