"""Pose networks on images: where their encoder starts, what they restore from, and how crops are changed."""

import json

import numpy as np
import pytest
import torch

from codebase.config import (
    EncDecConfig,
    ImagePoseConfig,
    image_network,
)
from codebase.errors import DataError, UserError
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.image_pose import ImagePose, restore, start_from_enc_dec, start_from_imagenet
from codebase.training import optim
from codebase.training.image_pose_lesson import augmented

ENC_DEC = EncDecConfig(
    points=6, appearance=4, palette=3, encoder_blocks=(1, 1), encoder_widths=(8, 16), decoder_widths=(16, 8)
)
SIZE = 16


def network(**settings):
    section = image_network(ImagePoseConfig(hidden=8, dropout=0.0, **settings), ENC_DEC)
    return section, ImagePose(section, SIZE)


def images(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 3, SIZE, SIZE, generator=generator) for _ in range(2)]


def test_an_encoder_taken_over_sees_what_it_saw():
    torch.manual_seed(3)
    trained = EncoderDecoder(ENC_DEC, SIZE).eval()
    _, net = network(start="enc_dec")
    start_from_enc_dec(net, trained.encoder.state_dict())
    image, background = images()
    with torch.no_grad():
        expected = trained.encoder(image, background).points
        assert torch.equal(net.eval().encoder(image, background).points, expected)
    other = EncoderDecoder(ENC_DEC.model_copy(update={"points": 7}), SIZE)
    with pytest.raises(DataError, match="does not fit the encoder"):
        start_from_enc_dec(net, other.encoder.state_dict())


@pytest.mark.parametrize(("start", "frozen"), [("enc_dec", True), ("scratch", False)])
def test_statistics_of_a_learned_encoder_stay(start, frozen):
    _, net = network(start=start)
    net.train()
    before = {name: value.clone() for name, value in net.encoder.named_buffers() if "running" in name}
    net(*images())
    after = dict(net.encoder.named_buffers())
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items()) == frozen


def test_a_learned_encoder_has_a_rate_of_its_own():
    section, net = network(start="enc_dec", learning_rate=0.01)
    optimizer = optim.adam(section, net.encoder, net.pose, rates=(section.encoder_rate, 1.0))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in net.encoder.parameters()} == {0.1 * 0.01}
    assert {rates[id(p)] for p in net.pose.parameters()} == {0.01}


def test_a_checkpoint_says_what_its_network_is():
    section, net = network()
    back = restore(json.loads(section.model_dump_json()), net.state_dict(), SIZE)
    with torch.no_grad():
        assert torch.equal(back(*images()), net.eval()(*images()))
    with pytest.raises(DataError, match="does not fit"):
        restore(json.loads(section.model_dump_json()), net.state_dict(), 2 * SIZE)


def test_imagenet_never_begins_with_random_weights(tmp_path):
    section, net = network(start="imagenet", backbone_weights=tmp_path / "none.pth")
    with pytest.raises(UserError, match="does not exist") as error:
        start_from_imagenet(net, section)
    assert "image_pose.backbone_weights" in str(error.value)
    assert "none.pth" in str(error.value)
    torch.save({name: value + 1 for name, value in net.encoder.body.state_dict().items()}, tmp_path / "none.pth")
    said = start_from_imagenet(net, section)
    assert "none.pth" in said


def sample(count=6, seed=0):
    rng = np.random.default_rng(seed)
    pixels = {name: torch.from_numpy(rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)) for name in
              ("image", "background")}  # fmt: skip
    mask = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
    mask[:, 4:12, 4:12] = 255
    joints = torch.from_numpy(rng.normal(size=(count, 17, 3)).astype(np.float32) * 100)
    return pixels | {"mask": mask, "has_mask": torch.ones(count, dtype=torch.bool), "joints_im_mm": joints}


def test_without_augmentation_a_batch_is_what_the_crops_hold():
    batch = sample()
    image, background, joints = augmented(batch, ImagePoseConfig(colour=0, background=0, flip=0, roll_rad=0))
    assert torch.equal(image.permute(0, 2, 3, 1) * 255, batch["image"].float())
    assert torch.equal(background.permute(0, 2, 3, 1) * 255, batch["background"].float())
    assert torch.equal(joints, batch["joints_im_mm"])


def test_where_nobody_is_image_and_background_change_alike():
    """The empty scene that the encoder is shown stays that of the image, whatever colours or wall it got."""
    batch = sample()
    batch["background"][:, 0] = batch["image"][:, 0]  # a row that shows the room in both
    torch.manual_seed(0)
    image, background, _ = augmented(batch, ImagePoseConfig(colour=1.0, background=1.0, flip=0.5, roll_rad=0))
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[4:12, 4:12] = False
    assert torch.allclose(image[:, :, outside], background[:, :, outside], atol=1e-6)
    torch.manual_seed(0)
    image, background, _ = augmented(batch, ImagePoseConfig(colour=1.0, background=0.0, flip=0.0, roll_rad=0))
    assert torch.allclose(image[:, :, 0], background[:, :, 0], atol=1e-6)
    assert (image[:, :, 8] - background[:, :, 8]).abs().mean() > 0.05


def test_spots_change_people_alone():
    batch = sample()
    torch.manual_seed(0)
    only_spots = ImagePoseConfig(colour=0, colour_spots=4, background=0, flip=0, roll_rad=0)
    image, background, _ = augmented(batch, only_spots)
    changed = (image.permute(0, 2, 3, 1) * 255 - batch["image"]).abs().amax(dim=3) > 0.5
    assert changed[batch["mask"] > 0].float().mean() > 0.02
    assert not changed[batch["mask"] == 0].any()
    torch.testing.assert_close(background.permute(0, 2, 3, 1) * 255, batch["background"].float())


def test_a_mirrored_image_has_a_mirrored_pose():
    batch = sample()
    image, _, joints = augmented(batch, ImagePoseConfig(colour=0, background=0, flip=1.0, roll_rad=0))
    assert torch.equal(image.flip(-1).permute(0, 2, 3, 1) * 255, batch["image"].float())
    assert torch.allclose(joints[..., 0].sum(dim=1), -batch["joints_im_mm"][..., 0].sum(dim=1), atol=1e-3)
    assert torch.equal(joints[:, 0, 1:], batch["joints_im_mm"][:, 0, 1:])
