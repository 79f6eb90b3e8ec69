"""Digests of runs, the schedule, the budget."""

import os
import signal
import time

import pytest
import torch
from conftest import REPOSITORY
from torch import nn

from codebase.config import TrainConfig, read_config
from codebase.stages import train_prior
from codebase.training import optim, precision
from codebase.training.budget import STOP_SIGNALS, Budget
from codebase.training.state import run_digest


def test_the_digest_depends_on_what_changes_the_result(tmp_path):
    file = tmp_path / "crops.h5"
    file.write_bytes(b"one")
    base = run_digest(TrainConfig(), version=1, inputs=[file])
    assert base == run_digest(TrainConfig(save_every=3), version=1, inputs=[file])
    assert base != run_digest(TrainConfig(batch_size=3), version=1, inputs=[file])
    assert base != run_digest(TrainConfig(), version=2, inputs=[file])
    file.write_bytes(b"two")
    assert base != run_digest(TrainConfig(), version=1, inputs=[file])


def test_large_inputs_are_sampled_to_their_end(tmp_path, monkeypatch):
    monkeypatch.setattr("codebase.training.state._WHOLE_FILE_BYTES", 10)
    file = tmp_path / "crops.h5"
    file.write_bytes(bytes(3 << 20))
    base = run_digest(TrainConfig(), version=1, inputs=[file])
    with file.open("r+b") as handle:
        handle.seek(-1, os.SEEK_END)
        handle.write(b"x")
    assert base != run_digest(TrainConfig(), version=1, inputs=[file])


def test_the_schedule_warms_up_and_ends_at_zero():
    config = TrainConfig(steps=100, warmup_steps=10)
    factors = [optim.rate_factor(config, step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1
    assert factors[100] == pytest.approx(0)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert optim.rate_factor(TrainConfig(steps=5, warmup_steps=50), 4) == 1


def test_rates_keep_each_groups_own_base():
    net = nn.Linear(2, 2)
    optimizer = optim.adam(TrainConfig(weight_decay=0.1, learning_rate=0.5), net)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    optim.set_rate([optimizer], 0.1)
    optim.set_rate([optimizer], 0.2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_a_step_clips_and_leaves_weights_alone_when_the_gradient_is_not_finite():
    net = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    before = net.weight.detach().clone()
    norm = optim.step(100 * net.weight.sum(), optimizer, 0.5)
    assert norm == pytest.approx(100 * 2**0.5)
    assert (net.weight - before).norm().item() == pytest.approx(0.5, rel=1e-4)
    kept = net.weight.detach().clone()
    optim.step(net.weight.sum() * float("nan"), optimizer, 0.5)
    assert torch.equal(net.weight, kept)


def test_the_budget_leaves_room_for_two_slow_turns():
    with Budget(10.0) as budget:
        assert budget.turn() is None
        time.sleep(0.02)
        assert budget.turn() is None
        budget._slowest = 4.999
        assert "budget of 10 s" in str(budget.turn())


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signals_set_a_flag_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with Budget() as budget:
        assert budget.turn() is None
        os.kill(os.getpid(), number)
        assert budget.turn() == number.name
    assert signal.getsignal(number) == before


def test_the_second_interrupt_means_now():
    with Budget(), pytest.raises(KeyboardInterrupt):  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)


def test_precision_follows_the_request():
    cpu = torch.device("cpu")
    assert precision.dtype_of("fp32", cpu) is torch.float32
    assert precision.dtype_of("bf16", cpu) is torch.bfloat16
    assert precision.dtype_of("auto", cpu) is (torch.bfloat16 if precision.has_bf16(cpu) else torch.float32)
    layer = precision.place(nn.Conv2d(3, 4, 3), cpu)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    with precision.autocast("bf16", cpu):
        assert layer(torch.zeros(1, 3, 8, 8)).dtype is torch.bfloat16
    with precision.autocast("fp32", cpu):
        assert layer(torch.zeros(1, 3, 8, 8)).dtype is torch.float32


@pytest.mark.parametrize("seconds", [None, 500.0])
def test_the_time_before_the_first_step_counts(seconds, monkeypatch, tmp_path):
    """Inputs may be copied to scratch for longer than the margin before the time limit."""
    late, told, clock = [0.0], {}, time.monotonic

    def prepare(*_):
        late[0] = 400.0
        return torch.device("cpu")

    monkeypatch.setattr(time, "monotonic", lambda: clock() + late[0])
    monkeypatch.setattr(train_prior, "prepare", prepare)
    monkeypatch.setattr(train_prior.loop, "fit", lambda *_, **given: told.update(given))
    made = read_config(REPOSITORY / "configs/mini.yaml")
    train_prior.run(made, body=REPOSITORY / "assets/free_body.npz", output=tmp_path / "model.pt", budget_s=seconds)
    assert told["budget_s"] == (None if seconds is None else pytest.approx(100, abs=90))
