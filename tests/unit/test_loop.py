"""The loop: exact resume, changed configs, NaN, final checkpoints."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codebase.config import TrainConfig
from codebase.errors import DataError, OutOfTimeError, UserError
from codebase.training import loop, optim
from codebase.training.state import load_checkpoint, run_digest


class Stream:
    """Batches of a toy regression; draws from numpy's and torch's global generators on purpose."""

    def __init__(self, size: int = 16):
        self.size, self.position = size, 0

    def __next__(self):
        self.position += 1
        x = torch.randn(self.size, 4) + float(np.random.rand()) + 0.01 * (self.position % 7)  # noqa: NPY002
        return {"x": x, "y": x.sum(dim=1, keepdim=True)}

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def train(folder: Path, config: TrainConfig, *, on_step=None, validate=True, budget_s=None, digest=None):
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)  # noqa: NPY002
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
    optimizer = optim.adam(config, net)
    modes = []

    def update(batch, step):
        if on_step is not None:
            on_step(step, batch)
        loss = (net(batch["x"]) - batch["y"]).square().mean()
        return {"loss": loss.detach(), "norm": optim.step(loss, optimizer, config.gradient_clip)}

    def check():
        modes.append(net.training)
        return {"weight": net[0].weight.sum().item(), "noise": torch.rand(()).item()}

    output = folder / f"model_{config.steps}.pt"
    loop.fit(
        config, modules={"net": net}, optimizers={"main": optimizer}, batches=Stream(config.batch_size),
        update=update, validate=check if validate else None, output=output,
        digest=digest or run_digest(config, version=1, inputs=[]), budget_s=budget_s, extra={"mean": torch.ones(3)},
    )  # fmt: skip
    assert net.training
    assert not any(modes)
    return load_checkpoint(output)


def config_of(**changes):
    defaults = {"steps": 20, "batch_size": 16, "warmup_steps": 3, "log_every": 4, "validate_every": 9, "save_every": 7}
    return TrainConfig(**(defaults | changes))


def same(a, b):
    assert a.model.keys() == b.model.keys()
    for key in a.model:
        assert torch.equal(a.model[key], b.model[key]), key
    assert a.history == b.history


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_run_stopped_by_a_signal_resumes_bit_for_bit(tmp_path, number):
    config = config_of()
    straight = train(tmp_path / "straight", config)

    def kill(step, batch):
        if step == 8:  # the ninth step
            os.kill(os.getpid(), number)

    with pytest.raises(OutOfTimeError, match="after step 9 of 20"):
        train(tmp_path / "halved", config, on_step=kill)
    assert signal.getsignal(number) is not None
    assert not (tmp_path / "halved" / "model_20.pt").exists()
    steps = []
    resumed = train(tmp_path / "halved", config, on_step=lambda step, _: steps.append(step))
    assert steps == list(range(9, 20))
    same(straight, resumed)
    assert [entry["step"] for entry in resumed.history] == [4, 8, 9, 12, 16, 18, 20]
    lines = (tmp_path / "halved" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == resumed.history
    assert not (tmp_path / "halved" / "state").exists()


def test_a_crash_resumes_from_the_last_save_bit_for_bit(tmp_path):
    config = config_of()
    straight = train(tmp_path / "straight", config)

    def crash(step, batch):
        if step == 11:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "halved", config, on_step=crash)
    steps = []
    same(straight, train(tmp_path / "halved", config, on_step=lambda step, _: steps.append(step)))
    assert steps[0] == 7


def test_the_budget_stops_and_each_attempt_makes_a_step(tmp_path):
    config = config_of(steps=4)
    straight = train(tmp_path / "straight", config)
    for attempt in range(3):
        with pytest.raises(OutOfTimeError, match=f"budget.*after step {attempt + 1} of 4"):
            train(tmp_path / "halved", config, budget_s=0.0)
    same(straight, train(tmp_path / "halved", config, budget_s=0.0))


def test_a_changed_config_starts_afresh_and_says_why(tmp_path, caplog):
    def kill(step, batch):
        if step == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(OutOfTimeError):
        train(tmp_path, config_of(), on_step=kill)
    steps = []
    with caplog.at_level("INFO", logger="posemill"):
        train(tmp_path, config_of(batch_size=8), on_step=lambda step, _: steps.append(step))
    assert steps[0] == 0
    assert "found state at step 9 for another configuration (batch_size 16 -> 8): starting from step 0" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", logger="posemill"):
        train(tmp_path, config_of(), digest="otherinputs")
    assert "the inputs or the stage's version changed" in caplog.text
    resumed = []
    train(tmp_path, config_of(), on_step=lambda step, _: resumed.append(step))
    assert resumed[0] == 9, "going back to the old configuration resumes it"


def test_a_broken_state_starts_afresh(tmp_path, caplog):
    config = config_of()
    state = tmp_path / "state" / run_digest(config, version=1, inputs=[]) / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"half a file")
    assert train(tmp_path, config).step == 20
    assert "unreadable" in caplog.text


def test_nan_stops_and_names_step_and_batch(tmp_path):
    def poison(step, batch):
        if step == 5:
            batch["x"][0, 0] = float("nan")

    with pytest.raises(UserError, match=r"loss.*not finite at step 6") as caught:
        train(tmp_path, config_of(save_every=2), on_step=poison)
    assert "x (16, 4) (not finite)" in str(caught.value)
    assert "y (16, 1);" in str(caught.value) or str(caught.value).count("(not finite)") == 1
    saved = torch.load(next(tmp_path.glob("state/*/state.pt")), weights_only=True)
    assert saved["progress"]["step"] == 4
    assert torch.isfinite(saved["modules"]["net"]["0.weight"]).all()


def test_it_learns_and_the_checkpoint_says_what_it_is(tmp_path):
    found = train(tmp_path, config_of(steps=300, learning_rate=0.03, log_every=50), validate=False)
    assert found.history[-1]["loss"] < 0.7 * found.history[0]["loss"]
    assert found.step == 300
    assert found.config["learning_rate"] == 0.03
    assert found.extra["mean"].tolist() == [1, 1, 1]
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
    net.load_state_dict(found.part("net"))


def test_loading_names_what_is_there(tmp_path):
    config = config_of(steps=1)
    train(tmp_path, config)
    with pytest.raises(DataError, match=r"model_1\.pt"):
        load_checkpoint(tmp_path / "model_2.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "model_3.pt")
    with pytest.raises(DataError, match="no checkpoint of PoseMill: it holds weights"):
        load_checkpoint(tmp_path / "model_3.pt")
    (tmp_path / "model_4.pt").write_bytes(b"no zip")
    with pytest.raises(DataError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "model_4.pt")


def test_a_run_that_is_adopted_leaves_no_state(tmp_path, monkeypatch):
    """Its owner was killed between the second name of its model and the end: a forced run must start anew."""
    config = TrainConfig(steps=6, save_every=2, warmup_steps=0)
    with pytest.raises(OutOfTimeError):
        train(tmp_path / "killed", config, budget_s=0.0)
    train(tmp_path / "done", config)
    shutil.copytree(tmp_path / "done/finished", tmp_path / "killed/finished")
    monkeypatch.setenv("POSEMILL_WORKFLOW", "1")
    train(tmp_path / "killed", config)
    assert (tmp_path / "killed/model_6.pt").is_file()
    assert not (tmp_path / "killed/state").exists()
