"""The regressor that attends: it begins at the mean, sees the image and its own estimate, and all of it learns."""

from __future__ import annotations

import itertools

import pytest
import torch

from codebase.config import HmrConfig
from codebase.models.attention import AttentionRegressor
from codebase.models.hmr import build, restore
from codebase.models.regressors import bodies_of
from tests.unit.test_regressors import some_body

GRID = list(itertools.product(["one", "joints"], ["6d", "axis_angle"], [True, False]))


def section(**changes: object) -> HmrConfig:
    small = {"regressor": "attention", "width": 32, "widths": (8, 8), "blocks": (1, 1), "iterations": 4}
    return HmrConfig.model_validate(small | changes)


@pytest.mark.parametrize(("queries", "rotation", "places"), GRID)
def test_it_begins_near_the_mean_and_answers_after_each_layer(queries, rotation, places):
    torch.manual_seed(0)
    mean = some_body()
    model = build(section(queries=queries, rotation=rotation, places=places), (48, 32), **mean).eval()
    with torch.no_grad():
        raw, seen = model(torch.rand(2, 3, 48, 32))
    assert raw.shape == (4, 2, 82 if rotation == "axis_angle" else 154)
    assert seen.shape == (2, 17 if places else 0, 2)
    rotmats, betas = bodies_of(raw[0])
    assert (rotmats - mean["mean_rotmats"]).abs().max() < 0.25
    assert (betas - mean["mean_betas"]).abs().max() < 0.25
    for part in model.regressor.leave:
        torch.nn.init.zeros_(part.weight)
    with torch.no_grad():
        raw, _ = model(torch.rand(2, 3, 48, 32))
    torch.testing.assert_close(raw, model.regressor.mean.expand_as(raw))


@pytest.mark.parametrize(("queries", "iterations"), [("one", 3), ("joints", 2), ("joints", 1)])
def test_every_weight_learns(queries, iterations):
    """So that processes may share a step: a part without a gradient would be waited for."""
    model = build(section(queries=queries, iterations=iterations), 32, **some_body())
    raw, places = model(torch.rand(2, 3, 32, 32))
    (raw.square().sum() + places.square().sum()).backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None]
    assert silent == []


def test_where_a_feature_lies_counts():
    """The same cells in another order are another image: positions are coded."""
    torch.manual_seed(0)
    net = AttentionRegressor((8, 6), (0, 0), width=32, **some_body()).eval()
    cells = torch.randn(1, 6, 8)
    with torch.no_grad():
        assert not torch.allclose(net(cells), net(cells.flip(1)), atol=1e-5)


def test_a_layer_is_told_the_estimate():
    torch.manual_seed(0)
    net = AttentionRegressor((8, 6), (0, 0), width=32, **some_body()).eval()
    cells = torch.randn(1, 6, 8)
    with torch.no_grad():
        told = net(cells)
        torch.nn.init.zeros_(net.told[0].weight)
        untold = net(cells)
    assert torch.equal(told[0], untold[0])
    assert not torch.allclose(told[1], untold[1], atol=1e-6)


def test_a_checkpoint_of_it_is_restored():
    config = section(queries="joints")
    model = build(config, 32, **some_body()).eval()
    again = restore(config.model_dump(mode="json"), model.state_dict(), 32)
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(image)[0], model(image)[0])


@pytest.mark.parametrize("change", [{"style": "hmr2018"}, {"features": "pooled"}])
def test_what_it_cannot_do_is_refused(change):
    with pytest.raises(ValueError, match=r"hmr\.regressor: attention"):
        section(**change)
