"""Bodies that are wrong: real ones, broken in the ways in which regressors break them."""

from __future__ import annotations

from collections.abc import Callable

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.skeleton import SMPL

Rotmats = Float[Tensor, "batch 24 3 3"]
Betas = Float[Tensor, "batch 10"]


def break_bodies(rotmats: Rotmats, betas: Betas, generator: torch.Generator | None = None) -> tuple[Rotmats, Betas]:
    """Break each body in one of six ways, chosen at random; global orientations stay.

    Ways: joints jittered (0.1 to 1.2 rad), joints turned at random, bends exaggerated, upper or lower half of another
    body, every joint from another body, left and right exchanged in rotation but not in place. One in four has its
    shape blown up as well, half of those with the pose left whole.
    """
    count = len(rotmats)
    chosen = torch.randint(len(WAYS), (count,), generator=generator)
    broken = rotmats.clone()
    for number, way in enumerate(WAYS.values()):
        mine = (chosen == number).nonzero()[:, 0].to(rotmats.device)
        if len(mine):
            broken[mine] = way(rotmats, mine, _Random(rotmats, generator))
    dice = torch.rand(count, generator=generator).to(rotmats.device)
    whole = dice < 0.125
    broken[whole] = rotmats[whole]
    broken[:, 0] = rotmats[:, 0]
    factor = 1.5 + 3 * torch.rand(count, 1, generator=generator).to(betas)
    return broken, torch.where((dice < 0.25)[:, None], _blown_up(betas, factor), betas)


def break_by(
    name: str, rotmats: Rotmats, betas: Betas, generator: torch.Generator | None = None
) -> tuple[Rotmats, Betas]:
    """Break every body in one way: a name of WAYS (shapes stay), or SHAPE (shapes are blown up, poses stay)."""
    if name == SHAPE:
        return rotmats, _blown_up(betas, 1.5 + 3 * torch.rand(len(betas), 1, generator=generator).to(betas))
    broken = WAYS[name](rotmats, torch.arange(len(rotmats), device=rotmats.device), _Random(rotmats, generator))
    return torch.cat([rotmats[:, :1], broken[:, 1:]], dim=1), betas


class _Random:
    """Random numbers on the right device, always drawn on the CPU, so that every device trains alike."""

    def __init__(self, like: Tensor, generator: torch.Generator | None) -> None:
        self.like, self.generator = like, generator

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator).to(self.like)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.like)

    def index(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator).to(self.like.device)

    def some_joints(self, count: int) -> Tensor:
        """A mask of joints (count, 24, 1, 1), each body with its own share of joints."""
        return (self.uniform(count, 24) < 0.08 + 0.92 * self.uniform(count, 1))[..., None, None]


Way = Callable[[Tensor, Tensor, _Random], Tensor]


def _jittered(every: Tensor, mine: Tensor, random: _Random) -> Tensor:
    size = 0.1 * 12 ** random.uniform(len(mine), 1, 1)
    noise = roma.rotvec_to_rotmat(size * random.normal(len(mine), 24, 3) * 3**-0.5)
    return torch.where(random.some_joints(len(mine)), every[mine] @ noise, every[mine])


def _random(every: Tensor, mine: Tensor, random: _Random) -> Tensor:
    direction = torch.nn.functional.normalize(random.normal(len(mine), 24, 3), dim=-1)
    turned = roma.rotvec_to_rotmat(direction * (0.5 + 2.6 * random.uniform(len(mine), 24, 1)))
    return torch.where(random.some_joints(len(mine)), turned, every[mine])


def _exaggerated(every: Tensor, mine: Tensor, random: _Random) -> Tensor:
    vectors = roma.rotmat_to_rotvec(every[mine]) * (1.5 + 1.5 * random.uniform(len(mine), 1, 1))
    return roma.rotvec_to_rotmat(vectors)


def _halves(every: Tensor, mine: Tensor, random: _Random) -> Tensor:
    legs = [i for i, name in enumerate(SMPL.names) if any(part in name for part in ("hip", "knee", "ankle", "foot"))]
    mixed = every[mine].clone()
    mixed[:, legs] = every[random.index(len(every), len(mine))][:, legs]
    return mixed


def _shuffled(every: Tensor, mine: Tensor, random: _Random) -> Tensor:
    rows = random.index(len(every), len(mine), 24)
    return every[rows, torch.arange(24, device=every.device)]


def _wrong_side(every: Tensor, mine: Tensor, random: _Random) -> Tensor:
    order = torch.tensor(SMPL.mirrored, device=every.device)
    return torch.where(random.some_joints(len(mine)), every[mine][:, order], every[mine])


def _blown_up(betas: Tensor, factor: Tensor) -> Tensor:
    """Shapes of at least 1.5 times the usual norm (the square root of 10), in the direction that they had."""
    norm = betas.norm(dim=1, keepdim=True).clamp_min(1e-3)
    return betas / norm * factor * betas.shape[1] ** 0.5


WAYS: dict[str, Way] = {
    "jittered": _jittered,
    "random": _random,
    "exaggerated": _exaggerated,
    "halves": _halves,
    "shuffled": _shuffled,
    "wrong_side": _wrong_side,
}
SHAPE = "shape"
