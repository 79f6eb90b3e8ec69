"""The processes that train one network together: who this one is, its share of a batch, and what they tell each other.

Alone, everything here is the identity, so one process computes what it always did. In a team:

- a batch is global and each process has an equal, contiguous share of it; the global order is the one process's;
- random draws of augmentation are made for the whole batch by every process from one generator that all keep in step,
  and each takes its share: they are the same on any number of processes. Dropout draws inside the networks; its masks
  are a function of (seed, step, rank), so they differ with the number of processes;
- DistributedDataParallel averages gradients over processes. So each process's loss must be such that the mean over
  processes is the loss of the whole batch: a mean over an equal share is; a weighted mean needs the global weights
  (`average`), and a statistic of the batch through which gradients flow needs `mean`.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from codebase.errors import UserError

# Others wait while the first validates, saves, or waits for the folder.
_LONG, _COLLECTIVE = timedelta(days=14), timedelta(hours=2)


class Team:
    """The processes of one training run.

    Attributes:
        rank, size: this process's number, and how many there are.
        generator: of draws that all make together; None (torch's own generator) when alone.
    """

    def __init__(self, rank: int = 0, size: int = 1, control: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size, self._control = rank, size, control
        self.generator: torch.Generator | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes, validates and logs."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """What a stream of batches must know: rank and size."""
        return self.rank, self.size

    def begin(self) -> None:
        """From here on draws are made together, going on where torch's own generator stands."""
        if self.size > 1:
            self.generator = torch.Generator()
            self.generator.set_state(torch.get_rng_state())

    def begin_step(self, seed: int, step: int) -> None:
        """Give the layers' own draws (dropout) a seed of this step and process."""
        if self.size > 1:
            torch.manual_seed(((seed * 1_000_003 + step) * 4099 + self.rank + 1) % 2**63)

    def mine(self, whole: Tensor, dim: int = 0) -> Tensor:
        """The share of this process in something that all of them have."""
        if self.size == 1:
            return whole
        share = whole.shape[dim] // self.size
        return whole.narrow(dim, self.rank * share, share)

    def rand(self, count: int, *shape: int, groups: int = 1) -> Tensor:
        """Uniform numbers (groups * count, *shape), `count` being this process's share of each group."""
        return self._drawn(torch.rand, count, shape, groups)

    def randn(self, count: int, *shape: int, groups: int = 1) -> Tensor:
        """Normal numbers, likewise."""
        return self._drawn(torch.randn, count, shape, groups)

    def _drawn(self, draw: Callable[..., Tensor], count: int, shape: tuple[int, ...], groups: int) -> Tensor:
        whole = draw(groups * self.size * count, *shape, generator=self.generator)
        return self.mine(whole.unflatten(0, (groups, self.size * count)), 1).flatten(0, 1)

    def total(self, value: Tensor) -> Tensor:
        """The sum over processes, without gradient."""
        if self.size == 1:
            return value.detach()
        value = value.detach().clone()
        dist.all_reduce(value)
        return value

    def average(self, value: Tensor) -> Tensor:
        """The mean over processes, without gradient."""
        return value.detach() if self.size == 1 else self.total(value.float()) / self.size

    def norm(self, value: Tensor) -> Tensor:
        """The Euclidean norm of the parts of all processes together, without gradient."""
        return value.detach().norm() if self.size == 1 else self.total(value.square().sum()).sqrt()

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes; gradients flow to all of them."""
        return value if self.size == 1 else _Mean.apply(value, self.size)

    def variance(self, samples: Tensor) -> Tensor:
        """The (biased) variance of the whole batch over dim 0; gradients flow to all processes."""
        if self.size == 1:
            return samples.var(dim=0, unbiased=False)
        return self.mean((samples - self.mean(samples.mean(dim=0))).square().mean(dim=0))

    def roll(self, rows: Tensor) -> Tensor:
        """`rows.roll(1, 0)` of the whole batch: each row gets the one before it, the very first the very last."""
        rolled = rows.roll(1, 0)
        if self.size == 1:
            return rolled
        last = rows[-1:].contiguous()
        lasts = [torch.empty_like(last) for _ in range(self.size)]
        dist.all_gather(lasts, last)
        rolled[0] = lasts[self.rank - 1][0]
        return rolled

    def wrap(self, net: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function(net, ...)` with the gradients of `net` averaged over processes in backward.

        Args:
            net: with trainable parameters that all take part in every call; one call a backward.
            function: what is computed with it, such as `PoseNet.each`.
        """
        if self.size == 1:
            return partial(function, net)
        device = next(net.parameters()).device
        places = [device] if device.type == "cuda" else None
        # buffers are equal anyway: every process follows the statistics of the whole batch
        named = inspect.signature(DistributedDataParallel.__init__).parameters
        apart: dict[str, Any] = {
            "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers": False
        }
        return DistributedDataParallel(_Through(net, function), device_ids=places, **apart)

    def any(self, flag: bool) -> bool:
        """Whether it holds for any process."""
        if self.size == 1:
            return flag
        told = torch.tensor(int(flag))
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self._control)
        return bool(told)

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            dist.barrier(group=self._control)

    def told(self, content: bytes) -> bytes:
        """What the first process says."""
        if self.size == 1:
            return content
        length = torch.tensor(len(content))
        dist.broadcast(length, 0, group=self._control)
        buffer = torch.empty(int(length), dtype=torch.uint8)
        if self.first and content:
            buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        if int(length):
            dist.broadcast(buffer, 0, group=self._control)
        return buffer.numpy().tobytes()


_team = Team()


def team() -> Team:
    """The team of this process; alone unless `join` found others."""
    return _team


def inside() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def join(device: torch.device) -> torch.device:
    """Meet the other processes, if torchrun started this one; returns the device of this process.

    Raises:
        UserError: there are fewer GPUs here than processes.
    """
    global _team
    if not inside() or int(os.environ["WORLD_SIZE"]) == 1 or dist.is_initialized():
        return device
    _die_with_parent()
    local = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(
                f"{os.environ['LOCAL_WORLD_SIZE']} processes shall train here, each on a GPU, but this host shows "
                f"{torch.cuda.device_count()}.",
                where="gpus of the section",
                mend="ask the scheduler for as many GPUs, or lower gpus",
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_COLLECTIVE)
    _team = Team(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo", timeout=_LONG))
    return device


def leave() -> None:
    """Say good-bye to the others; harmless when alone."""
    global _team
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    _team = Team()


def _die_with_parent() -> None:
    """Ask Linux for SIGTERM when the launcher is killed, so that nobody trains on alone."""
    if hasattr(ctypes, "CDLL") and os.name == "posix":
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None:
            prctl(1, signal.SIGTERM, 0, 0, 0)


class _Mean(torch.autograd.Function):
    """Mean over processes, forwards and backwards: what DDP then averages is the gradient of the mean loss."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, size: int) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.size = size
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / size

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient / ctx.size, None


class _Through(nn.Module):
    """A network and what is computed with it, as one module whose `forward` DDP watches."""

    def __init__(self, net: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, *values: object) -> Any:  # noqa: ANN401 - what the function gives
        return self.function(self.net, *values)
