"""The network on images that begins with the representation's encoder: its weights, its inputs, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from codebase.config import Config, EncDecConfig, HmrConfig, hmr_network, stage_digest
from codebase.config.course import read_course_config
from codebase.errors import ConfigError, DataError
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.hmr import Hmr, build, restore, start_from_enc_dec
from codebase.training import global_norm, hmr_lesson, optim
from tests.course import write_yaml

SIZE = 16
ENC_DEC = EncDecConfig(
    points=6, appearance=4, palette=3, encoder_blocks=(1, 1), encoder_widths=(8, 16), decoder_widths=(16, 8)
)
MEAN = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
BLIND = ENC_DEC.model_copy(update={"encoder_background": False})


def network(enc_dec: EncDecConfig = ENC_DEC, **settings: object) -> tuple[HmrConfig, Hmr]:
    torch.manual_seed(1)
    section = hmr_network(HmrConfig.model_validate({"start": "enc_dec", "width": 16, **settings}), enc_dec)
    return section, build(section, SIZE, **MEAN)


def trained(enc_dec: EncDecConfig = ENC_DEC, seed: int = 3) -> EncoderDecoder:
    """Its statistics are not those that a new network has."""
    torch.manual_seed(seed)
    found = EncoderDecoder(enc_dec, SIZE)
    for part in found.encoder.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return found.eval()


def images(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 3, SIZE, SIZE, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("enc_dec", [ENC_DEC, BLIND], ids=["sees the background", "sees the image alone"])
def test_it_begins_with_the_very_weights_and_sees_what_they_see(enc_dec):
    encoder = trained(enc_dec).encoder
    _, model = network(enc_dec)
    words = start_from_enc_dec(model, encoder.state_dict(), of="model_9.pt (sha256 abc)")
    assert words == "the encoder of enc_dec, model_9.pt (sha256 abc)"
    own = model.encoder.state_dict()
    wanted = {name: value for name, value in encoder.state_dict().items() if not name.startswith("look.")}
    assert set(own) == set(wanted) | {"mean", "spread"}
    assert all(torch.equal(own[name], value) for name, value in wanted.items())
    image, background = images()
    with torch.no_grad():
        expected = encoder(image, background).points
        points = model.eval().encoder.points_of(model.encoder.stages(image, background)[-1])
        assert torch.equal(points, expected)
        model.standardise_points(expected)
        points = model.encoder.points_of(model.encoder.stages(image, background)[-1])
    assert points.mean(dim=0).abs().max() < 1e-5
    assert points.square().mean(dim=(0, 2)) == pytest.approx(torch.ones(6), abs=1e-3)


def test_the_background_is_seen_where_the_encoder_saw_it():
    image, background = images()
    for enc_dec, sees in ((ENC_DEC, True), (BLIND, False)):
        _, model = network(enc_dec)
        start_from_enc_dec(model, trained(enc_dec).encoder.state_dict(), of="")
        assert model.sees_background == sees
        with torch.no_grad():
            right, wrong = (model.eval()(image, seen)[0] for seen in (background, background.roll(1, 0)))
        assert torch.equal(right, wrong) != sees
    _, model = network()
    with pytest.raises(ValueError, match="sees the background"):
        model(image)
    with torch.no_grad():
        assert network(BLIND)[1].eval()(image)[0].shape == (3, 4, 154)


@pytest.mark.parametrize(
    ("settings", "stay"),
    [({}, True), ({"statistics": "batch"}, False), ({"frozen": True, "statistics": "batch"}, True)],
)
def test_statistics_stay_as_they_were_learned(settings, stay):
    _, model = network(**settings)
    start_from_enc_dec(model, trained().encoder.state_dict(), of="")
    model.eval()
    model.train()
    before = {name: value.clone() for name, value in model.encoder.named_buffers() if "running" in name}
    model(*images())
    after = dict(model.encoder.named_buffers())
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items()) == stay


def test_gradients_reach_the_encoder_at_its_rate():
    section, model = network(encoder_rate=0.25, learning_rate=0.01)
    rates = {id(p): group["lr"] for group in optim.make(section, model).param_groups for p in group["params"]}
    for name, value in model.named_parameters():
        assert rates[id(value)] == pytest.approx(0.0025 if name.startswith("encoder.") else 0.01), name
    raw, places = model(*images())
    (raw.square().sum() + places.square().sum()).backward()
    assert not [name for name, value in model.named_parameters() if value.grad is None]
    # L_3d is read, and L_app is not
    rows = model.encoder.latent.weight.grad.abs().sum(dim=1)
    assert (rows[: 3 * 6] > 0).all()
    assert (rows[3 * 6 :] == 0).all()


@pytest.mark.parametrize(
    ("settings", "untaught"),
    [
        ({"frozen": True}, "encoder."),
        ({"points": False}, "encoder.latent."),
        ({"frozen": True, "points": False}, "encoder."),
    ],
)  # fmt: skip
def test_what_is_not_taught_is_in_no_optimiser(settings, untaught):
    section, model = network(**settings)
    (sum(out.square().sum() for out in model(*images()))).backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    assert without == {name for name, _ in model.named_parameters() if name.startswith(untaught)}
    taught = {id(p) for group in optim.make(section, model).param_groups for p in group["params"]}
    assert {name for name, value in model.named_parameters() if id(value) not in taught} == without


def test_points_of_the_representation_reach_the_answer():
    image, background = images()
    _, model = network()
    with torch.no_grad():
        before = model.eval()(image, background)[0]
        model.encoder.latent.bias[: 3 * 6] += 1
        assert not torch.allclose(model(image, background)[0], before)
        _, other = network(points=False)
        before = other.eval()(image, background)[0]
        other.encoder.latent.bias += 1
        assert torch.equal(other(image, background)[0], before)


def test_a_checkpoint_says_what_its_encoder_is():
    section, model = network()
    model.standardise_points(torch.randn(9, 6, 3))
    config = json.loads(section.model_dump_json())
    assert config["encoder"]["points"] == 6
    assert config["encoder"]["palette"] == 0
    back = restore(config, model.state_dict(), SIZE)
    with torch.no_grad():
        assert torch.equal(back(*images())[0], model.eval()(*images())[0])
    other, _ = network(ENC_DEC.model_copy(update={"points": 7}))
    for wrong in (
        json.loads(other.model_dump_json()),
        {key: value for key, value in config.items() if key != "encoder"},
    ):
        with pytest.raises(DataError, match="does not fit HMR"):
            restore(wrong, model.state_dict(), SIZE)
    with pytest.raises(DataError, match="square crops"):
        restore(config, model.state_dict(), (SIZE, 8))


def test_weights_of_another_encoder_are_refused():
    _, model = network()
    other = trained(ENC_DEC.model_copy(update={"points": 7}))
    with pytest.raises(DataError, match="does not fit the encoder of the config"):
        start_from_enc_dec(model, other.encoder.state_dict(), of="")


def test_encoders_of_the_papers_have_no_stages():
    with pytest.raises(ConfigError, match=r"enc_dec\.network is gaggi2019"):
        hmr_network(HmrConfig(start="enc_dec"), EncDecConfig(network="gaggi2019"))
    assert hmr_network(HmrConfig(), EncDecConfig(network="gaggi2019")) == HmrConfig()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"backbone": "resnet18"}, "to scratch"), ({"enlarge": 2}, "takes over"), ({"regressor": "attention"}, "points")],
)
def test_what_does_not_go_with_such_an_encoder(settings, message):
    with pytest.raises(ValueError, match=message):
        HmrConfig.model_validate({"start": "enc_dec"} | settings)


def test_the_attention_regressor_reads_its_stages():
    _, model = network(regressor="attention", points=False)
    with torch.no_grad():
        assert model.eval()(*images())[0].shape == (3, 4, 154)


def test_another_schedule_of_enc_dec_is_no_reason_to_train_again():
    def digest(start: str, **enc_dec: object) -> str:
        config = Config.model_validate({"name": "some", "hmr": {"start": start}, "enc_dec": enc_dec})
        return stage_digest(config, "train_hmr")

    assert digest("enc_dec") == digest("enc_dec", steps=3, learning_rate=0.5, palette=3, colour_spots=1)
    assert digest("enc_dec") != digest("enc_dec", points=3)
    assert digest("scratch") == digest("scratch", points=3)
    assert digest("scratch") != digest("enc_dec")


# --- what is taught


def batch_of(count: int = 6) -> dict[str, Tensor]:
    """People of noise in their middle, before rooms of noise; the last has no mask."""
    generator = torch.Generator().manual_seed(2)
    image, background = (
        torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator) for _ in range(2)
    )
    mask = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
    mask[:-1, 6:10, 6:10] = 255
    return {
        "image": torch.where(mask[..., None] > 0, image, background), "background": background, "mask": mask,
        "has_mask": (mask > 0).flatten(1).any(dim=1),
        "joints_im_mm": 300 * torch.randn(count, 17, 3, generator=generator),
        "has_body": torch.ones(count, dtype=torch.bool), "betas": torch.zeros(count, 10),
        "rotmats": torch.eye(3).repeat(count, 24, 1, 1),
    }  # fmt: skip


def prepared(section: HmrConfig, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(5)
    return hmr_lesson.prepare_images(section, batch)


CHANGES = {
    "nothing": {"flip": 0, "turn_rad": 0, "colour": 0, "background": 0},
    "flip": {"flip": 0.5, "turn_rad": 0, "colour": 0, "background": 0},
    "roll and scale": {"flip": 0, "turn_rad": 0.5, "scale": 0.2, "colour": 0, "background": 0},
    "colours": {"flip": 0, "turn_rad": 0, "colour": 0.7, "background": 0},
    "walls": {"flip": 0, "turn_rad": 0, "colour": 0, "background": 0.5},
    "all": {"scale": 0.1, "colour_spots": 3},
}


@pytest.mark.parametrize("changes", list(CHANGES.values()), ids=list(CHANGES))
def test_image_and_background_are_changed_alike(changes):
    """Where nobody stands, the image is its background, whatever is done; and the image is what it always was."""
    section, _ = network(**changes)
    whole = batch_of()
    empty = whole | {"image": whole["background"], "mask": torch.zeros_like(whole["mask"])}
    seen = prepared(section, empty)
    assert (seen["image"] - seen["background"]).abs().max() < 1e-6
    seen = prepared(section, whole)
    changed = any(changes.get(key) for key in ("flip", "turn_rad", "colour", "background")) or len(changes) == 2
    plain = whole["background"].permute(0, 3, 1, 2).float() / 255
    assert torch.allclose(seen["background"], plain, atol=1e-6) != changed
    alone = prepared(HmrConfig.model_validate(changes), whole)
    assert "background" not in alone
    assert torch.equal(alone["image"], seen["image"])
    assert torch.equal(alone["joints_m"], seen["joints_m"])


def test_what_hides_a_person_stands_in_the_image_alone():
    section, _ = network(**CHANGES["nothing"], occlusion=1.0)
    whole = batch_of()
    seen, plain = prepared(section, whole), whole["background"].permute(0, 3, 1, 2).float() / 255
    assert torch.allclose(seen["background"], plain)
    outside = (whole["mask"] == 0)[:, None].expand_as(plain)
    assert not torch.allclose(seen["image"][outside], plain[outside])


def test_spots_change_the_person_alone():
    spots, none = (network(**CHANGES["nothing"], colour_spots=count)[0] for count in (6, 0))
    whole = batch_of()
    with_spots, without = prepared(spots, whole), prepared(none, whole)
    off = (with_spots["image"] - without["image"]).abs().amax(dim=1)
    assert off[whole["mask"] > 0].max() > 0.05
    assert off[whole["mask"] == 0].max() < 1e-6
    assert torch.equal(with_spots["background"], without["background"])


def test_course_data_has_no_empty_scenes(tmp_path: Path):
    refused = write_yaml(tmp_path / "a.yaml", tmp_path, preset="v2")
    with pytest.raises(ConfigError, match=r"no empty scenes[\s\S]*preset v2[\s\S]*start: scratch"):
        read_course_config(refused)
    mended = write_yaml(tmp_path / "b.yaml", tmp_path, preset="v2", hmr={"start": "scratch", "encoder_rate": 1.0})
    assert read_course_config(mended).section(10).start == "scratch"


def test_statistics_stay_in_a_team(monkeypatch: pytest.MonkeyPatch):
    """The layers that look at the whole batch begin in the mode of those whose place they take."""
    _, model = network()
    start_from_enc_dec(model, trained().encoder.state_dict(), of="")
    with monkeypatch.context() as patch:
        patch.setattr(global_norm, "team", lambda: SimpleNamespace(size=2))
        global_norm.whole_batch_norms(model)
    norms = [part for part in model.encoder.modules() if isinstance(part, global_norm.GlobalBatchNorm2d)]
    before = [part.running_mean.clone() for part in norms]
    model(*images())
    assert before
    assert all(torch.equal(part.running_mean, value) for part, value in zip(norms, before, strict=True))
