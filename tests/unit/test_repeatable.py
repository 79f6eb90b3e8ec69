"""The same training twice is the same to the bit, on the CPU and on as many threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from codebase.config.root import RuntimeConfig
from codebase.training.runtime import prepare


@pytest.fixture
def four_threads() -> Iterator[None]:
    """Prepared as a stage is; afterwards the process is as it was."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    prepare(RuntimeConfig(device="cpu", threads=4), seed=0)
    yield
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])


def test_gradients_of_rows_gathered_more_than_once_are_the_same_every_time(four_threads: None) -> None:
    """So silhouettes gather a body for each view. Threads meet in one row, and used to add in the order they came."""
    bodies = torch.randn(2, 2000, 3, requires_grad=True)
    views = torch.arange(61) % 2
    upstream = torch.randn(61, 2000, 3)
    found = [torch.autograd.grad(bodies[views], bodies, upstream)[0] for _ in range(40)]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_a_run_on_a_gpu_does_not_inherit_what_one_on_the_cpu_asked_for(
    four_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch holds for the process, and on a GPU it refuses kernels."""
    assert torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr("codebase.training.runtime.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("codebase.training.runtime.join", lambda device: device)
    prepare(RuntimeConfig(device="cpu", threads=4), seed=0)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_seed_decides_all_draws(four_threads: None) -> None:
    first = torch.randn(5)
    prepare(RuntimeConfig(device="cpu", threads=4), seed=0)
    assert torch.equal(torch.randn(5), first)
