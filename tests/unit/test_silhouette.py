"""Silhouettes: what is covered, and how it changes when the body moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.body.arrays import load_body
from codebase.render.raster import Pinhole, rasterise
from codebase.render.silhouette import silhouettes, unique_edges

BODY = load_body(Path("assets/free_body.npz"))
FACES = torch.from_numpy(BODY.faces)
SIZE = 64
FINE = 16


def place(distance: float = 5.0) -> torch.Tensor:
    """The body in its T-pose before a camera: y down, seen from the front."""
    turned = torch.from_numpy(BODY.v_template) * torch.tensor([1.0, -1.0, -1.0])
    return turned - turned.mean(dim=0) + torch.tensor([0.0, 0.0, distance])


def camera(distance: float, count: int = 1) -> dict[str, torch.Tensor]:
    focal = SIZE * distance / 2.2
    return {"f_px": torch.full((count, 2), focal), "c_px": torch.full((count, 2), (SIZE - 1) / 2)}


def fine_area(vertices: torch.Tensor, distance: float) -> float:
    """Covered area in pixels, by a raster of FINE x FINE samples a pixel."""
    focal = SIZE * distance / 2.2
    whole = Pinhole(focal, focal, (SIZE - 1) / 2, (SIZE - 1) / 2, SIZE, SIZE).window(0, 0, SIZE, SIZE, FINE)
    return float((rasterise(vertices.numpy(), BODY.faces, whole, cull=True).face >= 0).sum()) / FINE**2


def test_mask_is_the_raster() -> None:
    drawn = silhouettes(place()[None], FACES, **camera(5.0), size=SIZE)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert abs(float(drawn.sum()) - fine_area(place(), 5.0)) < 0.02 * float(drawn.sum())


@pytest.mark.parametrize("distance", [2.0, 5.0, 30.0])
def test_no_dependence_on_distance(distance: float) -> None:
    near = silhouettes(place(5.0)[None], FACES, **camera(5.0), size=SIZE)
    there = silhouettes(place(distance)[None], FACES, **camera(distance), size=SIZE)
    # perspective changes the outline a little, but a body far away still has one
    assert float((near - there).abs().sum()) < 0.25 * float(near.sum())


def test_behind_the_camera_nothing_is_seen() -> None:
    behind = (place() * torch.tensor([1.0, 1.0, -1.0]))[None].requires_grad_()
    drawn = silhouettes(behind, FACES, **camera(5.0), size=SIZE)
    drawn.sum().backward()
    assert float(drawn.detach().sum()) == 0.0
    assert behind.grad is not None
    assert float(behind.grad.abs().sum()) == 0.0


def moved(vertices: torch.Tensor, kind: str, amount: torch.Tensor) -> torch.Tensor:
    centre = vertices.mean(dim=0)
    if kind == "scale":
        return (vertices - centre) * (1 + amount) + centre
    if kind == "turn":
        c, s, zero, one = amount.cos(), amount.sin(), amount * 0, amount * 0 + 1
        turn = torch.stack([c, -s, zero, s, c, zero, zero, zero, one]).reshape(3, 3)
        return (vertices - centre) @ turn.T + centre
    return vertices + amount * torch.eye(3)["xyz".index(kind)]


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["x", "y", "z", "scale", "turn"]),
    roll=st.floats(-0.6, 0.6),
    seed=st.integers(0, 1000),
)
def test_gradient_is_that_of_the_weighted_area(kind: str, roll: float, seed: int) -> None:
    """Against finite differences of a supersampled area, weighted by a smooth ramp so that x and y count too."""
    start = moved(place(), "turn", torch.tensor(roll))
    rng = np.random.default_rng(seed)
    slope = rng.uniform(-1, 1, 2)

    def ramp(n: int) -> torch.Tensor:
        line = torch.linspace(-1, 1, n)
        return 1.5 + slope[0] * line[None, :] + slope[1] * line[:, None]

    amount = torch.zeros((), requires_grad=True)
    drawn = silhouettes(moved(start, kind, amount)[None], FACES, **camera(5.0), size=SIZE)[0]
    (drawn * ramp(SIZE)).sum().backward()

    step = 0.02
    whole = Pinhole(SIZE * 5 / 2.2, SIZE * 5 / 2.2, (SIZE - 1) / 2, (SIZE - 1) / 2, SIZE, SIZE)
    fine = whole.window(0, 0, SIZE, SIZE, FINE)
    sums = [
        float(
            ((torch.from_numpy(rasterise(moved(start, kind, torch.tensor(s)).numpy(), BODY.faces, fine, cull=True).face)
              >= 0) * ramp(SIZE * FINE)).sum()
        ) / FINE**2
        for s in (-step, step)
    ]  # fmt: skip
    expected = (sums[1] - sums[0]) / (2 * step)
    assert amount.grad is not None
    # small derivatives (a translation under a nearly flat ramp) are judged against the outline's length
    assert abs(float(amount.grad) - expected) < 0.08 * abs(expected) + 12.0


def test_fitting_a_mask_brings_the_body_home() -> None:
    target = silhouettes(place()[None], FACES, **camera(5.0), size=SIZE)
    offset = torch.tensor([0.25, -0.2, 0.3], requires_grad=True)
    optimizer = torch.optim.Adam([offset], lr=0.02)

    def iou(mask: torch.Tensor) -> float:
        return float((mask * target).sum() / (mask + target).clamp(max=1).sum())

    first = iou(silhouettes((place() + offset.detach())[None], FACES, **camera(5.0), size=SIZE))
    for _ in range(80):
        drawn = silhouettes((place() + offset)[None], FACES, **camera(5.0), size=SIZE)
        loss = torch.zeros(())
        a, b = drawn[:, None], target[:, None]
        for _ in range(4):
            loss = loss + (a - b).square().mean()
            a, b = torch.nn.functional.avg_pool2d(a, 2), torch.nn.functional.avg_pool2d(b, 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first < 0.5
    assert iou(drawn.detach()) > 0.9


def test_edges_are_listed_once() -> None:
    edges = unique_edges(BODY.faces)
    assert len(edges) == 3 * len(BODY.faces) // 2  # a closed mesh
