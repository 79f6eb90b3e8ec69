"""A regressor that looks for what it needs: tokens of the body attend to tokens of the image, layer by layer.

After HMR 2.0 (Goel et al., "Humans in 4D", ICCV 2023), whose one query token reads a pose and a shape of the image's
tokens by cross attention, from the mean on. Here each layer makes a correction and is told its own estimate.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.models.regressors import as_parameters
from codebase.models.smpl import BETAS, JOINTS


class Correction(nn.Module):
    """A decoder layer: tokens look at each other where there are several, then at the image, then think."""

    def __init__(self, width: int, *, dropout: float, alone: bool) -> None:
        super().__init__()
        heads = next(count for count in (8, 4, 2, 1) if width % count == 0)
        self.around = None if alone else nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_around = None if alone else nn.LayerNorm(width)
        self.look, self.norm_look = nn.MultiheadAttention(width, heads, batch_first=True), nn.LayerNorm(width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )  # fmt: skip

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], image: Float[Tensor, "batch seen width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """The tokens, wiser."""
        if self.around is not None and self.norm_around is not None:
            own = self.norm_around(tokens)
            tokens = tokens + self.around(own, own, own, need_weights=False)[0]
        tokens = tokens + self.look(self.norm_look(tokens), image, image, need_weights=False)[0]
        return tokens + self.think(tokens)


class AttentionRegressor(nn.Module):
    """Correct an estimate once in each layer, beginning at the dataset's mean.

    Args:
        cells: channels and number of the grid's cells.
        places: numbers of a place (its centre and what is seen there), and how many places; none: (0, 0).
        mean_rotmats: mean pose, the global orientation first.
        mean_betas: mean shape.
        width: numbers of a token.
        iterations: layers, each with weights of its own.
        dropout: share of a layer's units dropped in training.
        rotation: "6d" or "axis_angle".
        each_joint: a token for each joint and one for the shape, in place of one for all.
    """

    mean: Tensor

    def __init__(
        self,
        cells: tuple[int, int],
        places: tuple[int, int],
        *,
        mean_rotmats: Float[Tensor, "24 3 3"],
        mean_betas: Float[Tensor, "10"],
        width: int = 512,
        iterations: int = 3,
        dropout: float = 0.1,
        rotation: str = "6d",
        each_joint: bool = False,
    ) -> None:
        super().__init__()
        mean = as_parameters(mean_rotmats, mean_betas, rotation)
        self.each = (len(mean) - BETAS) // JOINTS if each_joint else 0
        self.enter_cells = nn.Linear(cells[0], width)
        self.enter_places = nn.Linear(places[0], width) if places[1] else None
        self.where = nn.Parameter(0.02 * torch.randn(cells[1] + places[1], width))  # which cell, or which place
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(0.02 * torch.randn(JOINTS + 1 if each_joint else 1, width))
        inputs = [self.each, BETAS] if each_joint else [len(mean)]
        # nobody is told of the last correction, and processes that share a step wait for every weight
        self.told = nn.ModuleList(nn.Linear(count, width, bias=False) for count in inputs if iterations > 1)
        self.layers = nn.ModuleList(Correction(width, dropout=dropout, alone=not each_joint) for _ in range(iterations))
        self.last = nn.LayerNorm(width)
        self.leave = nn.ModuleList(nn.Linear(width, count) for count in inputs)
        with torch.no_grad():  # the first estimates stay near the mean
            for part in self.leave:
                part.get_parameter("weight").mul_(0.05)
                part.get_parameter("bias").zero_()
        self.register_buffer("mean", mean)

    def forward(
        self, cells: Float[Tensor, "batch cells channels"], places: Float[Tensor, "batch places numbers"] | None = None
    ) -> Float[Tensor, "iterations batch parameters"]:
        """Raw parameters after each layer (`bodies_of` reads a row); the last row is the answer."""
        seen = [self.enter_cells(cells)]
        if self.enter_places is not None and places is not None:
            seen.append(self.enter_places(places))
        image = self.norm(torch.cat(seen, dim=1) + self.where)
        tokens = self.query.expand(len(cells), -1, -1)
        estimate, estimates = self.mean.expand(len(cells), -1), []
        for number, layer in enumerate(self.layers, start=1):
            tokens = layer(tokens, image)
            step = self._read(self.last(tokens))
            estimate = estimate + step
            estimates.append(estimate)
            if number < len(self.layers):
                tokens = tokens + self._tell(step)
        return torch.stack(estimates)

    def _read(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch parameters"]:
        if not self.each:
            return self.leave[0](tokens[:, 0])
        return torch.cat([self.leave[0](tokens[:, :JOINTS]).flatten(1), self.leave[1](tokens[:, JOINTS])], dim=1)

    def _tell(self, step: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch tokens width"]:
        """What the tokens are told of a correction."""
        if not self.each:
            return self.told[0](step)[:, None]
        joints = self.told[0](step[:, :-BETAS].unflatten(1, (JOINTS, self.each)))
        return torch.cat([joints, self.told[1](step[:, -BETAS:])[:, None]], dim=1)
