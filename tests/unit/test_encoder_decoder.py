"""Residual networks, the encoder-decoder and its geometry."""

import pytest
import torch
from torch import nn

from codebase.config import EncDecConfig
from codebase.errors import DataError
from codebase.models.encoder_decoder import EncoderDecoder, restore, rotate
from codebase.models.resnet import ResNet
from codebase.training.average import Average

TINY = {
    "encoder_blocks": (1, 1, 1), "encoder_widths": (8, 8, 16), "decoder_widths": (16, 8, 8), "points": 6,
    "appearance": 4, "palette": 3,
}  # fmt: skip


def tiny(**changes):
    torch.manual_seed(0)
    return EncoderDecoder(EncDecConfig(**(TINY | changes)), 32)


# Parameters without the classifier: torchvision's published counts less its fc layer.
@pytest.mark.parametrize(
    ("blocks", "bottleneck", "count"),
    [
        ((2, 2, 2, 2), False, 11_689_512 - 513_000),  # ResNet-18
        ((3, 4, 6, 3), False, 21_797_672 - 513_000),  # ResNet-34
        ((3, 4, 6, 3), True, 25_557_032 - 2_049_000),  # ResNet-50
    ],
)
def test_sizes_and_names_are_torchvisions(blocks, bottleneck, count):
    net = ResNet(blocks, bottleneck=bottleneck)
    assert sum(p.numel() for p in net.parameters()) == count
    names = set(net.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight",
            "layer2.0.downsample.1.bias", "layer4.1.bn2.weight"} <= names  # fmt: skip
    assert ("layer1.0.downsample.0.weight" in names) == bottleneck
    assert not any("maxpool" in name or "fc" in name for name in names)


@pytest.mark.parametrize(("stem", "sides"), [("imagenet", [16, 8, 4, 2]), ("small", [32, 16, 8, 4])])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_stages_halve_the_resolution(stem, sides, norm):
    net = ResNet((1, 1, 1, 1), (8, 8, 16, 16), stem=stem, norm=norm)
    found = net(torch.rand(2, 3, 64, 64))
    assert [list(stage.shape) for stage in found] == [[2, c, s, s] for c, s in zip(net.channels, sides, strict=True)]
    assert net.stride == 64 // sides[-1]


@pytest.mark.parametrize("palette", [0, 3])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_shapes(palette, norm):
    net = tiny(palette=palette, norm=norm)
    image, background = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    latent = net.encoder(image, background)
    assert latent.points.shape == (2, 6, 3)
    assert latent.appearance.shape == (2, 4 + 3 * palette)
    painted = net(image, background, torch.eye(3).repeat(2, 1, 1), background)
    assert painted.image.shape == painted.foreground.shape == (2, 3, 32, 32)
    expected = painted.alpha * painted.foreground + (1 - painted.alpha) * background
    torch.testing.assert_close(painted.image, expected)


def test_the_palette_holds_colours_of_the_input():
    net = tiny().eval()
    image = torch.rand(4, 3, 32, 32) * torch.tensor([0.2, 0.5, 1.0])[:, None, None]
    colours = net.encoder(image, torch.zeros_like(image)).appearance[:, :9].unflatten(1, (3, 3))
    assert (colours >= 0).all()
    assert (colours.amax(dim=(0, 1)) <= torch.tensor([0.2, 0.5, 1.0])).all()


def test_the_encoder_sees_its_background_only_where_the_config_says_so():
    image = torch.rand(2, 3, 32, 32)
    for sees in (True, False):
        net = tiny(encoder_background=sees).eval()
        first, second = (net.encoder(image, torch.full_like(image, grey)).points for grey in (0.2, 0.8))
        assert torch.equal(first, second) is not sees
        assert net.encoder.body.conv1.in_channels == (6 if sees else 3)


def test_latents_are_linear_not_rectified():
    points = tiny().encoder(torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32)).points
    assert (points < 0).float().mean() > 0.2
    assert points.std(dim=0).mean() > 0.05, "different images must differ from the start"


def test_rotation_composes_and_inverts():
    points, (first, second) = torch.rand(3, 6, 3), torch.linalg.qr(torch.randn(2, 3, 3, 3))[0]
    torch.testing.assert_close(rotate(rotate(points, first), second), rotate(points, second @ first))
    torch.testing.assert_close(rotate(rotate(points, first), first.transpose(1, 2)), points)
    torch.testing.assert_close(rotate(points, first)[0, 2], first[0] @ points[0, 2])


def test_pixels_of_a_cell_lie_beside_each_other():
    """The decoder spreads each cell over 2 x 2 pixels as PixelShuffle does."""
    net = tiny(palette=0)
    maps = torch.randn(2, 16, 5, 5)
    expected = nn.functional.pixel_shuffle(maps.unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2), 2)
    found = net.decoder._mix(maps, torch.zeros(2, 4)) - torch.tensor([0.5, 0.5, 0.5, 0.0])[:, None, None]
    torch.testing.assert_close(found, expected)


def test_every_weight_learns():
    net = tiny()
    image, background = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
    net(image, background, torch.eye(3).repeat(4, 1, 1), background).image.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_bf16_stays_close_to_fp32():
    net = tiny().eval()
    image, background, rotation = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32), torch.eye(3).repeat(4, 1, 1)
    exact = net(image, background, rotation, background)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = net(image, background, rotation, background)
    assert near.image.dtype is torch.float32
    assert (near.image - exact.image).abs().max() < 0.05


def test_restoring_freezes_and_refuses_others():
    net = tiny()
    config = EncDecConfig(**TINY).model_dump(mode="json")
    restored = restore(config, net.state_dict(), 32)
    assert not restored.training
    assert not any(p.requires_grad for p in restored.parameters())
    with pytest.raises(DataError, match="does not fit"):
        restore(config | {"points": 7}, net.state_dict(), 32)


def test_a_crop_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="cannot be halved"):
        EncoderDecoder(EncDecConfig(**TINY), 36)


def test_the_average_follows():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(net, 0.9)
    with torch.no_grad():
        net[0].weight.add_(1.0)
    start = average.net[0].weight.clone()
    for step in range(500):
        average.update(net, step)
    torch.testing.assert_close(average.net[0].weight, net[0].weight)
    assert not torch.equal(start, average.net[0].weight)
    assert not average.net.training
