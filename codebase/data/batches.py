"""Whole batches from memory-mapped crops, in an order that is a pure function of seed and step.

No loader workers: gathering 64 crops from a map costs well under a millisecond, less than sending them between
processes. Images stay uint8 (batch, height, width, channel); the trainer converts a batch to float once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from codebase.data.instants import Runs, runs, seen_by_two
from codebase.data.store import CropStore, Rows
from codebase.errors import DataError, UserError

__all__ = [
    "CropStore",
    "Frames",
    "Rows",
    "Stream",
    "Together",
    "ViewPairs",
    "in_turn",
    "next_view",
    "runs",
]


class Stream:
    """An endless stream of batches; a subclass says what the batch of a step is.

    The order depends on seed and step alone, so a stream whose `load_state_dict` got the step of another goes on
    exactly as that one, also on another number of processes: these have contiguous shares of a batch.

    Args:
        count: of what there is to draw.
        batch_size: of all processes together.
        share: rank of this process and their number.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if count == 0:
            raise UserError("There is nothing to draw batches from.", mend="widen the split, or see the exclusions")
        self.count, self.batch_size, self.seed, self.device, self.step = count, batch_size, seed, device, 0
        self._epoch, self._order = -1, np.zeros(0, np.int64)
        # a GPU leaves the processor idle: the next batch is made while it works on this one
        self.ahead = torch.device(device).type == "cuda"
        self._next: tuple[int, Future[dict[str, Tensor]]] | None = None
        rank, processes = share
        if batch_size % processes:
            raise UserError(
                f"A batch of {batch_size} cannot be shared equally by {processes} processes.",
                mend="make batch_size a multiple of gpus x nodes",
            )
        each = batch_size // processes
        self._own = slice(rank * each, (rank + 1) * each)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self

    def __next__(self) -> dict[str, Tensor]:
        batch = {name: value.to(self.device, non_blocking=True) for name, value in self._made(self.step).items()}
        self.step += 1
        if self.ahead:
            self._next = self.step, _side().submit(self.batch, self.step)
        return batch

    def _made(self, step: int) -> dict[str, Tensor]:
        """The batch of a step, which may have been made already; one of another step is waited for and dropped."""
        waiting, self._next = self._next, None
        found = waiting[1].result() if waiting is not None else {}
        return found if waiting is not None and waiting[0] == step else self.batch(step)

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"seed": self.seed, "step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another stream of the same seed stood."""
        if state["seed"] != self.seed:
            raise DataError(f"The state belongs to seed {state['seed']}, not {self.seed}.", mend="delete the state")
        self.step = state["step"]

    def _drawn(self, step: int) -> Int64[ndarray, " batch"]:
        """Own share of the numbers below count for a step: each once an epoch, in an order of the epoch's own."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(places, self.count)
        out = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(epochs):
            if epoch != self._epoch:
                order = np.random.default_rng((self.seed, 0, int(epoch))).permutation(self.count)
                self._epoch, self._order = int(epoch), order
            mine = epochs == epoch
            out[mine] = self._order[within[mine]]
        return out[self._own]

    def _uniform(self, step: int, draws: int) -> np.ndarray:
        """(draws, own share) numbers in [0, 1) of a step."""
        return np.random.default_rng((self.seed, 1, step)).random((draws, self.batch_size))[:, self._own]


@cache
def _side() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="batches")


class Frames(Stream):
    """Random rows, each once an epoch.

    Args:
        rows: the rows to draw from.
        gather: makes the batch of some rows, such as `lambda rows: store.gather(rows, ["image", "joints_im_mm"])`.
    """

    def __init__(
        self,
        rows: Rows,
        gather: Callable[[Rows], dict[str, Tensor]],
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(len(rows), batch_size, seed, device, share)
        self.rows, self.gather = np.asarray(rows, np.int64), gather

    def batch(self, step: int) -> dict[str, Tensor]:
        """What `gather` makes of the rows of the step."""
        return self.gather(self.rows[self._drawn(step)])


def in_turn(rows: Rows, batch_size: int) -> Iterator[Rows]:
    """All rows once, in order, for validation and prediction; the last batch may be short."""
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


class ViewPairs(Stream):
    """Batches for learning novel views: an instant seen by two cameras, and an appearance partner.

    Every instant with at least two cameras comes once an epoch, with a random ordered pair of its cameras. The
    partner is a random image of the same subject in another act (in another instant, where there is but one act), so
    that it shares clothes and nothing else.

    A batch holds `image`, `background`, `mask`, `has_mask`, `R_world_im` of the source view, and the same with the
    prefixes `target_` and `partner_`; with `views=3` also `third_`, of another camera of the instant, or of the target
    where only two saw it (`third_apart` says which).
    """

    NAMES = ("image", "background", "mask", "has_mask", "R_world_im")

    def __init__(
        self,
        store: CropStore,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
        views: int = 2,
    ) -> None:
        self.store, self.views = store, views
        self._start, self._views = seen_by_two(store)
        super().__init__(len(self._start), batch_size, seed, device, share)
        self._blocks = {
            "subject": _block_of_row(store.subject.astype(np.int64)),
            "act": _block_of_row(store.subject.astype(np.int64) * 100 + store.action),
            "instant": _block_of_row(store.instant),
        }

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step; see the class."""
        source, target, partner = self.rows(step)
        batch = self.store.gather(source, self.NAMES)
        others = {"target_": target, "partner_": partner}
        if self.views == 3:
            others["third_"] = self.thirds(step)
            batch["third_apart"] = torch.from_numpy(others["third_"] != target)
        for prefix, rows in others.items():
            batch |= {prefix + name: value for name, value in self.store.gather(rows, self.NAMES).items()}
        return batch

    def rows(self, step: int) -> tuple[Rows, Rows, Rows]:
        """Rows of the source views, the target views and the partners."""
        drawn, (u_source, u_target, u_partner) = self._drawn(step), self._uniform(step, 3)
        start, views = self._start[drawn], self._views[drawn]
        source = (u_source * views).astype(np.int64)
        target = (source + 1 + (u_target * (views - 1)).astype(np.int64)) % views
        return start + source, start + target, self._partners(start + source, u_partner)

    def thirds(self, step: int) -> Rows:
        """Rows of a third camera of each instant; the target's where there is none."""
        u_source, u_target, _, u_third = self._uniform(step, 4)  # the first three as in `rows`
        drawn = self._drawn(step)
        views = self._views[drawn]
        source, target = (u_source * views).astype(np.int64), (u_target * (views - 1)).astype(np.int64)
        third = (u_third * (views - 2)).astype(np.int64)
        third = np.where(views > 2, third + (third >= target), target)
        return self._start[drawn] + (source + 1 + third) % views

    def _partners(self, rows: Rows, uniform: np.ndarray) -> Rows:
        first, last = (bound[rows] for bound in self._blocks["subject"])
        partner = rows.copy()
        for name in ("instant", "act"):  # the better one, drawn last, stays where there is a choice
            low, high = (bound[rows] for bound in self._blocks[name])
            outside = (last - first) - (high - low)
            drawn = first + (uniform * outside).astype(np.int64)
            drawn += np.where(drawn >= low, high - low, 0)
            partner = np.where(outside > 0, drawn, partner)
        return partner


class Together:
    """Several streams drawn side by side; their batches may not share names."""

    def __init__(self, **streams: Stream) -> None:
        self.streams = streams

    def __next__(self) -> dict[str, Tensor]:
        return {name: value for stream in self.streams.values() for name, value in next(stream).items()}

    def state_dict(self) -> dict[str, Any]:
        """Where each stream stands."""
        return {name: stream.state_dict() for name, stream in self.streams.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another stood."""
        for name, stream in self.streams.items():
            stream.load_state_dict(state[name])


def next_view(instants: Runs, rows: Rows) -> Rows:
    """For each row the next camera's row of the same instant, in turn (itself where there is one camera).

    Args:
        instants: `runs` of the numbers of the store's instants; rows of an instant lie together.
        rows: some rows of the store.
    """
    start, length = instants
    block = np.searchsorted(start, rows, side="right") - 1
    return start[block] + (rows - start[block] + 1) % length[block]


def _block_of_row(values: Int64[ndarray, " rows"]) -> tuple[Int64[ndarray, " rows"], Int64[ndarray, " rows"]]:
    """For each row the first row of its run of equal values, and the row after its last."""
    start, length = runs(values)
    return np.repeat(start, length), np.repeat(start + length, length)
