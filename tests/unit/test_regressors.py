"""Regressors: all begin at the mean, also behind heads; axis-angle says the same bodies; a simple one guesses once."""

from __future__ import annotations

import itertools

import pytest
import roma
import torch

from codebase.config import HmrConfig
from codebase.models.hmr import build
from codebase.models.regressors import as_parameters, bodies_of

KINDS = [("ours", False), ("hmr2018", False), ("hmr2018", True)]
GRID = [(style, r, a, heads) for (style, heads), r, a in
        itertools.product(KINDS, ["iterative", "simple"], ["6d", "axis_angle"])]  # fmt: skip


def some_body() -> dict[str, torch.Tensor]:
    vectors = 0.5 * torch.randn(24, 3, generator=torch.Generator().manual_seed(3))
    vectors[0] = torch.tensor([3.1, 0.1, 0.0])  # facing the camera: nearly half a turn
    return {"mean_rotmats": roma.rotvec_to_rotmat(vectors), "mean_betas": torch.linspace(-1, 1, 10)}


@pytest.mark.parametrize(("style", "regressor", "rotation", "heads"), GRID)
def test_the_first_answer_is_near_the_mean(style, regressor, rotation, heads):
    mean = some_body()
    config = HmrConfig(
        style=style, regressor=regressor, rotation=rotation, heads=heads, width=32, features="pooled", places=False,
        widths=(8, 8), blocks=(1, 1), iterations=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = build(config, (48, 32), **mean).eval()
    with torch.no_grad():
        raw, places = model(torch.rand(2, 3, 48, 32))
    assert raw.shape == (1 if regressor == "simple" else 4, 2, 82 if rotation == "axis_angle" else 154)
    assert places.shape == (2, 0, 2)
    rotmats, betas = bodies_of(raw[0])
    assert (rotmats - mean["mean_rotmats"]).abs().max() < 0.25
    assert (betas - mean["mean_betas"]).abs().max() < 0.25


@pytest.mark.parametrize("rotation", ["6d", "axis_angle"])
def test_parameters_and_bodies_are_inverse(rotation):
    mean = some_body()
    rotmats, betas = bodies_of(as_parameters(mean["mean_rotmats"], mean["mean_betas"], rotation)[None])
    assert torch.allclose(rotmats[0], mean["mean_rotmats"], atol=1e-5)
    assert torch.equal(betas[0], mean["mean_betas"])


def test_heads_begin_as_the_identity_and_can_learn():
    config = HmrConfig(style="hmr2018", heads=True, rotation="axis_angle", width=8, features="pooled", places=False)
    model = build(config, 64, **some_body())
    count = 82
    joined = torch.cat([head.weight for head in model.regressor.heads])
    assert torch.equal(joined, torch.eye(count))
    assert [len(head.bias) for head in model.regressor.heads] == [3, 63, 6, 10]
    raw, _ = model(torch.rand(2, 3, 64, 64))
    raw[-1].square().sum().backward()
    assert all(head.weight.grad.abs().max() > 0 for head in model.regressor.heads)


def test_the_sizes_are_the_courses():
    """[2048 + 82, 1024, 1024, 82], and the encoder frozen."""
    config = HmrConfig(
        backbone="resnet50", frozen=True, style="hmr2018", heads=True, rotation="axis_angle", width=1024,
        features="pooled", places=False, dropout=0.5,
    )  # fmt: skip
    with torch.device("meta"):
        model = build(config, 256, **{k: v.to("meta") for k, v in some_body().items()})
    sizes = [tuple(p.shape) for name, p in model.regressor.named_parameters() if name.endswith("weight")][:3]
    assert sizes == [(82, 1024), (1024, 2130), (1024, 1024)] or sizes == [(1024, 2130), (1024, 1024), (82, 1024)]
    assert not any(p.requires_grad for p in model.encoder.parameters())
