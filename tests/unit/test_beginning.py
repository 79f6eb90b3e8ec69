"""An encoder begins with published weights where they are its own, says so, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codebase.config import EncDecConfig
from codebase.errors import DataError
from codebase.models.beginning import begin_encoder, load_body
from codebase.models.encoder_decoder import Encoder, build_encoder
from codebase.models.resnet import IMAGENET, SHAPES, named
from codebase.training.notes import note, read_note

IMAGENETS = {"stem": "imagenet", "normalisation": "imagenet", "points": 5, "appearance": 4, "palette": 3}
SHAPE = {"resnet18": {}, "resnet50": {"encoder_blocks": (3, 4, 6, 3), "bottleneck": True}}


@pytest.fixture(scope="module")
def make_file(tmp_path_factory) -> Callable[[str], tuple[str, Path]]:
    """A test of the file's format alone: torchvision's names and shapes, random numbers, older: without counts."""

    def make(name: str) -> tuple[str, Path]:
        torch.manual_seed(1)
        content = {key: value for key, value in named(name).state_dict().items() if "num_batches" not in key}
        content |= {key: value + 0.1 for key, value in content.items() if value.ndim == 1}  # not as a new network's
        path = tmp_path_factory.mktemp("weights") / f"{name}.pth"
        torch.save(content | {"fc.weight": torch.zeros(1000, 3), "fc.bias": torch.zeros(1000)}, path)
        return name, path

    return make


@pytest.fixture(scope="module")
def file(make_file) -> tuple[str, Path]:
    return make_file("resnet18")


def named_blocks(file: tuple[str, Path]) -> tuple[int, ...]:
    return SHAPES[file[0]][0]


def section(file: tuple[str, Path], **changes: object) -> EncDecConfig:
    name, path = file
    return EncDecConfig.model_validate(IMAGENETS | SHAPE[name] | {"encoder_weights": path} | changes)


@pytest.mark.parametrize(("name", "background"), [("resnet18", False), ("resnet50", True)])
def test_every_tensor_of_the_body_is_the_files(make_file, name, background):
    file = make_file(name)
    config = section(file, encoder_background=background)
    encoder = Encoder(config, 64)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    said = begin_encoder(encoder, config)
    there = torch.load(file[1], weights_only=True)
    for name, value in encoder.body.state_dict().items():
        if name == "conv1.weight":
            assert torch.equal(value[:, :3], there[name])
            assert not value[:, 3:].any()
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(value, there[name]), name
    others = [name for name in before if not name.startswith("body.")]
    assert others
    assert all(torch.equal(encoder.state_dict()[name], before[name]) for name in others)
    assert file[1].name in said
    assert said.endswith("random: latent, look")
    assert ("zero: 3 channels of conv1" in said) == background


def test_it_then_sees_an_image_as_the_files_network_does(file):
    """The background's channels begin silent, and the image is normalised as in the network's training."""
    config = section(file, encoder_background=True)
    encoder = Encoder(config, 64).eval()
    begin_encoder(encoder, config)
    net = named(file[0])
    load_body(net, file[1])
    image, background = (torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    heard: list[torch.Tensor] = []
    encoder.body.register_forward_hook(lambda _, __, stages: heard.append(stages[-1]))
    with torch.no_grad():
        encoder(image, background)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in IMAGENET)
        expected = net.eval()((image - mean) / deviation)[-1]
    torch.testing.assert_close(heard[0], expected, rtol=1e-4, atol=1e-4)


def test_fewer_stages_take_what_they_have(file):
    config = section(file, encoder_blocks=named_blocks(file)[:3], encoder_widths=(64, 128, 256))
    encoder = Encoder(config, 64)
    begin_encoder(encoder, config)
    assert torch.equal(
        encoder.body.layer3[1].conv2.weight, torch.load(file[1], weights_only=True)["layer3.1.conv2.weight"]
    )


@pytest.mark.parametrize(
    "changes", [{"encoder_widths": (32, 64, 128, 256)}, {"encoder_blocks": (3, 4, 23, 3)}], ids=["widths", "blocks"]
)
def test_another_networks_file_is_refused_and_nothing_is_loaded(file, changes):
    config = section(file, **changes)
    encoder = Encoder(config, 64)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(DataError, match=r"another network than the encoder(.|\n)*encoder_widths"):
        begin_encoder(encoder, config)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_an_error_names_no_key_that_the_resnet_of_2018_does_not_read(file):
    """Its shape is fixed: widths and blocks mend nothing."""
    config = EncDecConfig.model_validate({"network": "rhodin2018_resnet50", "encoder_weights": file[1]})
    with pytest.raises(DataError, match="another network than the encoder") as error:
        begin_encoder(build_encoder(config, 64), config)
    assert "torchvision's resnet50-0676ba61.pth" in str(error.value)
    assert "encoder_weights" in str(error.value)
    assert not [key for key in ("encoder_widths", "encoder_blocks", "bottleneck") if key in str(error.value)]


def test_parts_that_the_file_lacks_stay_random_and_are_named(file):
    net = named(file[0])
    net.layer4_reg = torch.nn.Conv2d(3, 3, 3)
    before = net.layer4_reg.weight.clone()
    with pytest.raises(DataError, match="layer4_reg"):
        load_body(net, file[1])
    assert load_body(net, file[1], random=("layer4_reg",)).endswith("random: layer4_reg")
    assert torch.equal(net.layer4_reg.weight, before)


def test_a_deeper_network_is_not_cut_to_fit(make_file):
    """Blocks of ResNet-18 are the first of ResNet-34, in name and shape."""
    path = make_file("resnet34")[1]
    with pytest.raises(DataError, match=r"another network than the encoder(.|\n)*layer1\.2"):
        begin_encoder(Encoder(section(("resnet18", path)), 64), section(("resnet18", path)))


def test_random_weights_are_said():
    config = EncDecConfig()
    assert "random weights (enc_dec.encoder_weights is null)" in begin_encoder(Encoder(config, 64), config)


def test_a_missing_file_is_an_error_that_says_where_to_get_it(tmp_path):
    config = EncDecConfig.model_validate(IMAGENETS | {"encoder_weights": tmp_path / "no.pth"})
    with pytest.raises(
        DataError, match=r"enc_dec.encoder_weights leads to a file(.|\n)*resnet18-f37072fd.pth of https"
    ):
        begin_encoder(Encoder(config, 64), config)


@pytest.mark.parametrize("wrong", [{"stem": "small"}, {"normalisation": "plain"}, {"norm": "group"}], ids=str)
def test_a_config_that_cannot_use_the_weights_is_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match=f"enc_dec.{next(iter(wrong))}"):
        EncDecConfig.model_validate(IMAGENETS | {"encoder_weights": tmp_path / "any.pth"} | wrong)


def test_plain_normalisation_is_what_it_was():
    """To the last bit: networks that were trained before must see the same."""
    encoder = Encoder(EncDecConfig(), 32)
    image = torch.rand(2, 3, 32, 32)
    seen = (image - encoder.pixel_mean) / encoder.pixel_deviation
    assert torch.equal(seen, (image - 0.5) * 4)
    assert not any("pixel" in name for name in encoder.state_dict())


def test_notes_read_back():
    assert read_note(note("ResNet, façade (sha256 0f)")) == "ResNet, façade (sha256 0f)"
