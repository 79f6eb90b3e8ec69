"""The networks of 2018 and 2019: as many parameters as the originals, in the same layers, and what surrounds them.

The numbers are of the originals' own modules, instantiated for crops of 128 px. What their forward passes never use is
left out: in Rhodin's two small layers (fc_1, fc_2: 83 507), the pose network, which is counted by itself, and
with the ResNet the whole UNet encoder.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from codebase.config import EncDecConfig, PoseConfig
from codebase.errors import DataError
from codebase.models.beginning import begin_encoder
from codebase.models.encoder_decoder import EncoderDecoder, build, restore
from codebase.models.pose2018 import PoseMlp2018
from codebase.models.resnet import IMAGENET

PRESETS = Path(__file__).resolve().parents[2] / "configs" / "presets"
NETWORKS = {
    "gaggi2019": "gaggi2019", "rhodin2018": "rhodin2018_unet", "rhodin2018_resnet50": "rhodin2018_resnet50",
}  # fmt: skip
FEW = {"points": 7, "appearance": 5}

GAGGI_ENCODER = [
    (64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (256, 128, 3, 3), (256, 256, 3, 3),
    (512, 256, 3, 3), (512, 512, 3, 3), (128, 131_072), (600, 131_072),
]  # fmt: skip
GAGGI_DECODER = [
    (98_304, 600),
    (512, 256, 2, 2), (256, 256, 3, 3), (256, 256, 3, 3), (256, 128, 2, 2), (128, 128, 3, 3), (128, 128, 3, 3),
    (128, 64, 2, 2), (64, 64, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3), (3, 67, 1, 1),
]  # fmt: skip
UNET_ENCODER = [
    (32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3),
    (256, 128, 3, 3), (256, 256, 3, 3), (600, 65_536), (128, 65_536),
]  # fmt: skip
RHODIN_DECODER = [
    (32_768, 600),
    (128, 256, 3, 3), (128, 128, 3, 3), (128, 128, 3, 3), (64, 128, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3),
    (32, 64, 3, 3), (32, 3, 3, 3), (32, 32, 3, 3), (32, 64, 3, 3), (32, 32, 3, 3), (3, 32, 1, 1),
]  # fmt: skip
RESNET_LAST = [(512, 1024, 3, 3), (128, 512, 5, 5), (728, 128)]


def preset(name: str) -> tuple[EncDecConfig, PoseConfig]:
    raw = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    return EncDecConfig.model_validate(raw["enc_dec"]), PoseConfig.model_validate(raw["pose"])


def sized(name: str) -> EncoderDecoder:
    """The network of a preset at the original's size, without memory for its weights."""
    with torch.device("meta"):
        return build(preset(name)[0], 128)


def small(network: str, size: int = 64, **changes: object) -> EncoderDecoder:
    torch.manual_seed(0)
    return build(EncDecConfig.model_validate(FEW | {"network": network, "latent_dropout": 0.3} | changes), size)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def kernels(module: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of all weights but those of norms, in the order of the layers."""
    return [tuple(p.shape) for p in module.parameters() if p.ndim > 1]


@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "whole"),
    [
        ("gaggi2019", 100_106_520, 61_394_316, 161_500_836),
        ("rhodin2018", 48_885_112, 20_488_419, 74_996_929 - 5_539_891 - 83_507),
        (
            "rhodin2018_resnet50",
            18_347_544,
            20_488_419,
            93_344_473 - 5_539_891 - 83_507 - 48_885_112,
        ),
    ],
)
def test_as_many_parameters_as_the_originals(name, encoder, decoder, whole):
    net = sized(name)
    assert (count(net.encoder), count(net.decoder), count(net)) == (encoder, decoder, whole)


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [("gaggi2019", GAGGI_ENCODER, GAGGI_DECODER), ("rhodin2018", UNET_ENCODER, RHODIN_DECODER)],
)
def test_layers_have_the_originals_shapes(name, encoder, decoder):
    net = sized(name)
    found, wanted = kernels(net.encoder), encoder
    assert sorted(found) == sorted(wanted)
    assert found[:8] == wanted[:8]
    assert kernels(net.decoder) == decoder


def test_the_resnets_layers_have_the_originals_shapes():
    net = sized("rhodin2018_resnet50")
    assert kernels(net.encoder)[-3:] == RESNET_LAST
    assert kernels(net.decoder) == RHODIN_DECODER
    parts = {"layer1": 215_808, "layer2": 1_219_584, "layer3": 7_098_368}
    assert {name: count(net.encoder.body.get_submodule(name)) for name in parts} == parts
    assert count(net.encoder.layer4) == 3_351_552
    assert count(net.encoder.to_vector) == 6_358_784
    assert not any(block.downsample for block in net.encoder.layer4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_pose_networks_are_the_originals(name):
    section = preset(name)[1]
    with torch.device("meta"):
        net = PoseMlp2018(section, 200)
    assert count(net) == 5_539_891
    kinds = [type(part).__name__ for part in net.members[0]]
    first, second = ["Linear", "ReLU", "BatchNorm1d"], ["Dropout", "Linear", "ReLU", "BatchNorm1d", "Dropout"]
    assert kinds == [*first, *second, "Linear"]
    assert kernels(net) == [(2048, 600), (2048, 2048), (51, 2048)]


@pytest.mark.parametrize("name", NETWORKS)
def test_presets_ask_for_what_the_originals_did(name):
    enc_dec, pose = preset(name)
    assert (enc_dec.network, enc_dec.points, enc_dec.appearance) == (NETWORKS[name], 200, 128)
    assert (enc_dec.latent_dropout, enc_dec.learning_rate, enc_dec.decay, enc_dec.warmup_steps) == (
        0.3,
        1e-3,
        "none",
        0,
    )
    assert (pose.learning_rate, pose.hidden, pose.layers, pose.dropout) == (1e-3, 2048, 2, 0.5)
    assert (enc_dec.precision, pose.precision) == ("fp32", "fp32")
    assert enc_dec.perceptual == "resnet18"
    gaggi = name == "gaggi2019"
    assert enc_dec.batches == ("gaggi2019" if gaggi else "rhodin2018")
    assert enc_dec.batch_size == {"gaggi2019": 64, "rhodin2018": 16, "rhodin2018_resnet50": 32}[name]
    # squared errors of pixels and features, halved; or absolute ones, of images over ImageNet's deviation
    mean_scale = sum(1 / deviation for deviation in IMAGENET[1]) / 3
    assert enc_dec.image_weight == pytest.approx(0.5 if gaggi else mean_scale, rel=1e-3)
    assert (enc_dec.l1_share, enc_dec.perceptual_norm) == ((0.0, "l2") if gaggi else (1.0, "l1"))
    assert enc_dec.perceptual_weight == (1.0 if gaggi else 2.0)
    assert (pose.targets, pose.loss) == (("mm", "distance") if gaggi else ("coordinates", "squares"))


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("network", NETWORKS.values())
def test_smaller_crops_too(network, size):
    net = small(network, size).eval()
    image, background = torch.rand(2, 3, size, size), torch.rand(2, 3, size, size)
    with torch.inference_mode():
        latent = net.encoder(image, background)
        painted = net.decoder(latent.points, latent.appearance, background)
        other = net.decoder(latent.points, latent.appearance, 1 - background)
    assert latent.points.shape == (2, 7, 3)
    assert latent.appearance.shape == (2, 5)
    assert painted.image.shape == (2, 3, size, size)
    assert painted.alpha_logit is None
    assert (painted.alpha == 1).all()
    assert not torch.equal(painted.image, other.image), "the background must reach the image"


def test_rectified_in_2019_and_linear_in_2018():
    image = torch.rand(16, 3, 64, 64)
    latents = {network: small(network, latent_dropout=0.0).encoder(image, image) for network in NETWORKS.values()}
    gaggi, unet, resnet = latents.values()
    assert (gaggi.points >= 0).all()
    assert (gaggi.points == 0).any()
    assert (gaggi.appearance >= 0).all()
    assert (unet.points < 0).any()
    assert (unet.appearance >= 0).all()
    assert (resnet.points < 0).any()
    assert (resnet.appearance < 0).any()


@pytest.mark.parametrize(
    ("network", "drops"), [("gaggi2019", 0.3), ("rhodin2018_unet", 0.3), ("rhodin2018_resnet50", 0)]
)
def test_dropout_of_latents_where_the_originals_had_it(network, drops):
    """With weights that make every point 1 (before dropout)."""
    net = small(network, points=1000)
    last = net.encoder.to_points if drops else net.encoder.latent
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(1.0)
    image = torch.rand(2, 3, 64, 64)
    points = net.train().encoder(image, image).points
    assert (points == 0).float().mean().item() == pytest.approx(drops, abs=0.05)
    assert (net.eval().encoder(image, image).points == 1).all()
    assert net.decoder.dropout.p == 0.3


def test_images_are_fed_as_the_originals_fed_them():
    image, seen = torch.rand(2, 3, 64, 64), {}
    for network in NETWORKS.values():
        net = small(network, latent_dropout=0.0)
        net.encoder.body.register_forward_pre_hook(lambda _, given, key=network: seen.update({key: given[0]}))
        net.encoder(image, image)
    torch.testing.assert_close(seen["gaggi2019"], image[:, [2, 1, 0]] * 255 / 256)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    torch.testing.assert_close(seen["rhodin2018_unet"], (image - mean) / deviation)
    assert seen["rhodin2018_resnet50"].shape == (2, 3, 128, 128), "a smaller crop is enlarged"


def test_of_the_resnet_only_the_upper_layers_learn(tmp_path):
    """Torchvision's names and shapes, random numbers: what is loaded is the file's, and stays as it is."""
    path = tmp_path / "resnet50.pth"
    config = EncDecConfig.model_validate(FEW | {"network": "rhodin2018_resnet50", "encoder_weights": path})
    net = build(config, 64)
    frozen = {name.split(".")[1] for name, p in net.encoder.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1", "layer2"}
    learns = {".".join(name.split(".")[:2]) for name, p in net.named_parameters() if p.requires_grad}
    assert {"encoder.body", "encoder.layer4", "encoder.to_vector", "encoder.latent", "decoder.unfold"} <= learns
    assert all(p.requires_grad for p in net.encoder.body.get_submodule("layer3").parameters())
    file = {name: value + 0.01 for name, value in net.encoder.body.state_dict().items() if "num_batches" not in name}
    torch.save(file, path)
    said = begin_encoder(net.encoder, config)
    assert "resnet50.pth" in said
    assert "layer4" in said.partition("random: ")[2]
    assert all(torch.equal(net.encoder.body.state_dict()[name], value) for name, value in file.items())
    assert all(p.requires_grad for p in small("rhodin2018_resnet50").parameters()), "without a file all of it learns"


def test_a_checkpoint_of_another_network_is_refused_by_name():
    weights = small("gaggi2019").state_dict()
    for network in ("ours", "rhodin2018_unet", "rhodin2018_resnet50"):
        with pytest.raises(DataError, match=f"enc_dec.network {network}"):
            restore(FEW | {"network": network}, weights, 64)
    assert not restore(FEW | {"network": "gaggi2019"}, weights, 64).training


@pytest.mark.parametrize("network", NETWORKS.values())
def test_what_cannot_be_made_is_refused(network):
    with pytest.raises(ValueError, match="cannot be halved"):
        small(network, 60)
    with pytest.raises(ValueError, match="has room for"):
        small(network, appearance=512)
    if network != "rhodin2018_resnet50":
        with pytest.raises(ValueError, match="encoder_weights"):
            EncDecConfig.model_validate({"network": network, "encoder_weights": "resnet50.pth"})


@pytest.mark.parametrize("network", NETWORKS.values())
def test_every_weight_learns(network):
    net = small(network, latent_dropout=0.0)
    image, background = torch.rand(4, 3, 64, 64), torch.rand(4, 3, 64, 64)
    net(image, background, torch.eye(3).repeat(4, 1, 1), background).image.square().sum().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a residual branch of ours begins at zero, so at first its own layers get no gradient
    assert [name for name in still if not name.startswith("encoder.body.layer")] == []
