"""The ResNets are torchvision's: sizes, names, and published weights that fit or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from codebase.config import HmrConfig
from codebase.errors import DataError
from codebase.models.hmr import build, start_from
from codebase.models.resnet import load_published, named

MEAN = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
# torchvision's table of parameters, with its classifier of 1000 classes
WITH_CLASSIFIER = {
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_CLASSIFIER)
def test_sizes_are_those_of_the_published_networks(name):
    with torch.device("meta"):
        net = named(name)
    classifier = (net.channels[-1] + 1) * 1000
    assert sum(p.numel() for p in net.parameters()) + classifier == WITH_CLASSIFIER[name]


def test_names_are_torchvisions():
    names = set(named("resnet50").state_dict())
    for name in (
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.1.weight",
        "layer3.5.bn3.bias",
        "layer4.2.conv2.weight",
    ):
        assert name in names
    assert "layer1.1.downsample.0.weight" not in names


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision's are: with a classifier, without counts of batches."""
    torch.manual_seed(1)
    content = {key: value for key, value in named("resnet18").state_dict().items() if "num_batches" not in key}
    content |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path_factory.mktemp("weights") / "resnet18-f37072fd.pth"
    torch.save(content, path)
    return path


def test_published_weights_load_and_are_named(published):
    config = HmrConfig(
        backbone="resnet18", backbone_weights=published, normalisation="imagenet", features="pooled", places=False,
        width=8, frozen=True,
    )  # fmt: skip
    model = build(config, 32, **MEAN)
    told = start_from(model, config)
    assert "resnet18-f37072fd.pth" in told
    assert "frozen" in told
    there = torch.load(published, weights_only=True)
    assert torch.equal(model.encoder.conv1.weight, there["conv1.weight"])


def test_random_weights_are_said():
    config = HmrConfig(backbone="resnet18", width=8, features="pooled", places=False)
    assert "random" in start_from(build(config, 32, **MEAN), config)


@pytest.mark.parametrize("wrong", ["resnet34", "resnet50"])
def test_weights_of_another_network_are_refused_and_nothing_is_loaded(published, wrong):
    net = named(wrong)
    before = net.conv1.weight.clone()
    with pytest.raises(DataError, match="another network"):
        load_published(net, published)
    assert torch.equal(net.conv1.weight, before)


def test_missing_and_foreign_files_are_errors(tmp_path):
    with pytest.raises(DataError, match="backbone_weights"):
        load_published(named("resnet18"), tmp_path / "no.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(DataError, match="no weights"):
        load_published(named("resnet18"), tmp_path / "text.pth")


def test_a_frozen_encoder_stays_while_the_rest_learns():
    config = HmrConfig(backbone="resnet18", frozen=True, features="pooled", places=False, width=8, style="hmr2018")
    model = build(config, 32, **MEAN)  # in the mode that it begins in
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model(torch.rand(4, 3, 32, 32))[0].square().sum().backward()
        optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())
    assert model.regressor.leave.bias.abs().max() > 0
    assert model.regressor.training
    assert not model.encoder.training
