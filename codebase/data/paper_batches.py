"""Batches as the papers composed them: which views are encoded, which are painted from them, and in whose clothes.

Each batch holds some views (`image`, `background`, `mask`, `has_mask`, `R_world_im`). The first of them, as many as
`target` is long, are encoded. View number i is turned into the frame of view `target[i]`, which is to be painted, in
the appearance of view `dressed_by[i]`.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from codebase.data.batches import Stream
from codebase.data.instants import seen_by_two
from codebase.data.store import CropStore, Rows

NAMES = ("image", "background", "mask", "has_mask", "R_world_im")
Numbers = Int64[ndarray, " n"]
Nested = tuple[Int64[ndarray, " runs"], Int64[ndarray, " runs"]]


class MainsAndPartners(Stream):
    """As Gaggi (2019): an ordered pair of cameras of an instant (main), and one of another act (partner).

    Every ordered pair of cameras of every instant comes once an epoch. Its partner is of the same subject: another act,
    one of that act's sequences, one of its instants and two of its cameras, each at random. Where the subject has no
    other act, it is any instant of the same one, also itself. The first of two views is encoded, the second painted,
    and main and partner swap their appearance. A batch of 64 holds 32 mains and their 32 partners, 64 images to encode
    and 64 to paint.
    """

    def __init__(
        self,
        store: CropStore,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.store, self.instants = store, Instants(store)
        others = self.instants.views[self.instants.of_row] - 1
        self._last = np.cumsum(others)  # ordered pairs up to and with each row's
        super().__init__(int(self._last[-1]), batch_size // 2, seed, device, share)

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step; see the module."""
        source, target = self.rows(step)
        count = len(source)
        batch = self.store.gather(np.concatenate([source, target]), NAMES)
        batch["target"] = torch.arange(count, 2 * count)
        batch["dressed_by"] = torch.arange(count) ^ 1
        return batch

    def rows(self, step: int) -> tuple[Rows, Rows]:
        """Rows of the views to encode and of those to paint: main, partner, main, partner."""
        drawn, uniform = self._drawn(step), self._uniform(step, 5)
        place = np.searchsorted(self._last, drawn, side="right")
        main = self.instants.of_row[place]
        camera = self.instants.rows[place] - self.instants.start[main]
        ahead = self._last[place] - drawn  # 1 to views - 1
        mains = self.instants.pair(main, camera, ahead)
        partner = self.instants.in_other_act(main, *uniform[:3])
        camera, ahead = self.instants.two_cameras(partner, *uniform[3:])
        partners = self.instants.pair(partner, camera, ahead)
        source, target = (np.stack(both, axis=1).ravel() for both in zip(mains, partners, strict=True))
        return source, target


class CameraGroups(Stream):
    """As Rhodin et al. (ECCV 2018): two cameras of one instant, and two of another instant of the same sequence.

    Every instant comes first in a group once an epoch; the other is any of its sequence, also itself. Within each pair
    the views to be painted are shuffled (half of the time, each is painted from itself), the appearances too, and pairs
    of a group swap their appearances. A batch of 16 holds 4 groups.
    """

    def __init__(
        self,
        store: CropStore,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.store, self.instants = store, Instants(store)
        super().__init__(len(self.instants.start), batch_size // 4, seed, device, share)

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step; see the module."""
        rows, target, dressed_by = self.rows(step)
        shuffled = {"target": torch.from_numpy(target), "dressed_by": torch.from_numpy(dressed_by)}
        return self.store.gather(rows, NAMES) | shuffled

    def rows(self, step: int) -> tuple[Rows, Numbers, Numbers]:
        """Rows of the groups, four after four; then `target` and `dressed_by` as in the module."""
        drawn, uniform = self._drawn(step), self._uniform(step, 9)
        groups: list[Rows] = []
        for instant, draws in ((drawn, uniform[0:2]), (self.instants.in_sequence(drawn, uniform[8]), uniform[2:4])):
            groups += self.instants.pair(instant, *self.instants.two_cameras(instant, *draws))
        rows = np.stack(groups, axis=1).ravel()
        turned = (uniform[4:8] < 0.5).T.reshape(-1, 2, 2)  # group; pose or appearance; first or second pair
        place = np.arange(len(rows)).reshape(-1, 2, 2)
        pose, look = (np.where(turned[:, kind, :, None], place[:, :, ::-1], place) for kind in (0, 1))
        return rows, pose.ravel(), look[:, ::-1].ravel()


class Instants:
    """Instants that at least two cameras saw, and how they lie in sequences, acts and subjects.

    Attributes:
        start, views: of each instant, its first row in the store and its number of cameras; its rows lie together.
        rows, of_row: rows of these instants, and the instant of each.
    """

    def __init__(self, store: CropStore) -> None:
        self.start, self.views = seen_by_two(store)
        self.of_row = np.repeat(np.arange(len(self.start)), self.views)
        self.rows = np.arange(len(self.of_row)) + (self.start - np.cumsum(self.views) + self.views)[self.of_row]
        subject, act, subact = (
            store.columns[name][self.start].astype(np.int64) for name in ("subject", "action", "subaction")
        )
        self._subject = _numbered(subject)
        self._act = _numbered(subject * 1000 + act)
        self._sequence = _numbered((subject * 1000 + act) * 1000 + subact)
        # once: each takes some milliseconds for all instants of Human3.6M, and a batch asks for all three
        self._acts_of, self._sequences_of = _within(self._act, self._subject), _within(self._sequence, self._act)
        self._instants_of = _within(np.arange(len(self.start)), self._sequence)

    def in_sequence(self, instant: Numbers, u: np.ndarray) -> Numbers:
        """Any instant of the same sequence; `u` uniform in [0, 1), here and below."""
        return _pick(self._instants_of, self._sequence[instant], u)

    def in_other_act(
        self, instant: Numbers, u_act: np.ndarray, u_sequence: np.ndarray, u_instant: np.ndarray
    ) -> Numbers:
        """An instant of another act of the subject, where there is one: first the act, then its sequence is drawn."""
        own = self._act[instant]
        first, count = (found[self._subject[instant]] for found in self._acts_of)
        act = first + (u_act * (count - 1)).astype(np.int64)
        act = np.where(count > 1, act + (act >= own), own)
        return _pick(self._instants_of, _pick(self._sequences_of, act, u_sequence), u_instant)

    def two_cameras(self, instant: Numbers, u_first: np.ndarray, u_second: np.ndarray) -> tuple[Numbers, Numbers]:
        """A camera of each instant, and how many cameras further on another one is."""
        views = self.views[instant]
        return (u_first * views).astype(np.int64), 1 + (u_second * (views - 1)).astype(np.int64)

    def pair(self, instant: Numbers, camera: Numbers, ahead: Numbers) -> tuple[Rows, Rows]:
        """Rows of a camera of each instant, and of the one that comes `ahead` places after it, in turn."""
        return self.start[instant] + camera, self.start[instant] + (camera + ahead) % self.views[instant]


def _numbered(values: Numbers) -> Numbers:
    """0 for the first run of equal values, 1 for the next, and so on."""
    return np.cumsum(np.diff(values, prepend=values[:1]) != 0)


def _within(inner: Numbers, outer: Numbers) -> Nested:
    """Of each outer run its first inner run, and how many it has; numbered as by `_numbered`, inner ones nested."""
    owner = outer[np.searchsorted(inner, np.arange(inner[-1] + 1))]
    first = np.searchsorted(owner, np.arange(outer[-1] + 1))
    return first, np.diff(first, append=len(owner))


def _pick(nested: Nested, chosen: Int64[ndarray, " drawn"], u: np.ndarray) -> Int64[ndarray, " drawn"]:
    """One of the inner runs of each chosen outer run; `nested` as `_within` gives it."""
    first, count = nested
    return first[chosen] + (u * count[chosen]).astype(np.int64)
