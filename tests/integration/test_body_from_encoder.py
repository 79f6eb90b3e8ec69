"""From the representation's encoder to bodies: the image network that begins with it, predictions, figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from codebase import by_hand
from codebase.config import EncDecConfig
from codebase.errors import ConfigError, DataError, OutOfTimeError
from codebase.files import read_json
from codebase.models import pose, smpl
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.hmr import restore
from codebase.stages import evaluate, predict, train_enc_dec, train_hmr
from codebase.training.novel_views import as_image
from codebase.training.state import Checkpoint, load_checkpoint, save_checkpoint
from tests.people import APPEARANCE, BODY, POINTS, People, make_people

STEPS = 4
LOG = {"log_every": 1, "validate_every": 2, "save_every": 2, "warmup_steps": 1}
SECTIONS = {
    "enc_dec": LOG
    | {
        "steps": 2, "batch_size": 4, "points": POINTS, "appearance": APPEARANCE, "palette": 2, "precision": "fp32",
        "encoder_widths": [8, 8, 8], "encoder_blocks": [1] * 3, "decoder_widths": [8, 8, 8], "validation_pairs": 4,
    },
    "hmr": LOG
    | {
        "steps": STEPS, "batch_size": 4, "start": "enc_dec", "width": 16, "vertices": 50, "precision": "fp32",
        "encoder_rate": 0.5, "colour_spots": 2, "occlusion": 0.5, "scale": 0.1,
    },
    "pose": {"hidden": 16, "layers": 1, "members": 1},
    "smpl": {"width": 16, "blocks": 1},
    "predict": {"batch_size": 5, "meshes": 1, "examples": 2},
    "evaluate": {"colour_rows": 0},
}  # fmt: skip


@dataclass(frozen=True)
class House:
    """A run up to the image network."""

    people: People
    enc_dec: Path
    hmr: Path

    def train(
        self, output: Path, *, enc_dec: Path | None, budget_s: float | None = None, **changes: object
    ) -> Checkpoint:
        config = self.people.config
        config = config.model_copy(update={"hmr": config.hmr.model_copy(update=changes)})
        paths = self.people.paths
        train_hmr.run(
            config, index_train=paths.index("train"), index_val=paths.index("val"), crops=self.people.crops(1, 8),
            bodies=self.people.truth(1, 8), body=BODY, output=output, enc_dec=enc_dec, budget_s=budget_s,
        )  # fmt: skip
        return load_checkpoint(output)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    people = make_people(tmp_path_factory.mktemp("people"), acts=(2,), frames=2, cameras=(1, 2, 3), sections=SECTIONS)
    paths = people.paths
    made = House(people, paths.checkpoint("enc_dec"), paths.checkpoint("hmr"))
    with pytest.raises(DataError, match=r"runs/enc_dec/model_2\.pt"):
        by_hand.train(people.config)
    train_enc_dec.run(
        people.config, index_train=paths.index("train"), index_val=paths.index("val"), crops=people.crops(1, 8),
        output=made.enc_dec,
    )  # fmt: skip
    by_hand.train(people.config)
    return made


def test_it_was_taught_on_from_the_encoder(house: House) -> None:
    """At half of the rate, and its statistics stay."""
    begun, found = load_checkpoint(house.enc_dec).part("encoder"), load_checkpoint(house.hmr).part("hmr")
    for name, value in begun.items():
        if name.startswith("look."):
            assert f"encoder.{name}" not in found
        elif "running" in name or "num_batches" in name:
            assert torch.equal(found[f"encoder.{name}"], value), name
        elif value.ndim > 1:
            assert 0 < (found[f"encoder.{name}"] - value).abs().max() < 0.1, name
    assert found["encoder.spread"].min() > 0
    assert found["encoder.mean"].abs().max() > 0


def test_a_run_in_pieces_ends_on_the_same_bits(house: House, tmp_path: Path) -> None:
    pieces = 1
    while True:
        try:
            found = house.train(tmp_path / f"model_{STEPS}.pt", enc_dec=house.enc_dec, budget_s=1e-6)
            break
        except OutOfTimeError:
            pieces += 1
    assert pieces == STEPS
    straight = load_checkpoint(house.hmr)
    assert found.digest == straight.digest
    assert found.history == straight.history
    assert all(torch.equal(value, found.model[name]) for name, value in straight.model.items())


def test_a_frozen_encoder_stays_as_it_is(house: House, tmp_path: Path) -> None:
    found = house.train(tmp_path / "model_2.pt", enc_dec=house.enc_dec, frozen=True, steps=2).part("hmr")
    begun = load_checkpoint(house.enc_dec).part("encoder")
    kept = {name: value for name, value in begun.items() if not name.startswith("look.")}
    assert all(torch.equal(found[f"encoder.{name}"], value) for name, value in kept.items())


def test_predictions_are_those_of_the_network_shown_both_pictures(house: House, tmp_path: Path) -> None:
    people, config = house.people, house.people.config
    mean = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
    others = {
        "pose": (pose.PoseNet(config.pose, POINTS), {"mean_joints_im_mm": torch.zeros(17, 3)}),
        "smpl": (smpl.build(config.smpl, POINTS, APPEARANCE, mean["mean_rotmats"]), mean),
    }
    for name, (network, extra) in others.items():
        save_checkpoint(
            people.paths.checkpoint(name), modules={name: network}, step=1, config=getattr(config, name), history=[],
            extra=extra,
        )  # fmt: skip
    inputs = {name: people.paths.checkpoint(name) for name in ("enc_dec", "pose", "smpl", "hmr")}
    output = tmp_path / "p.h5"
    predict.run(
        config, index_test=people.paths.index("test"), crops=people.crops(9), embeddings=people.embeddings(9),
        **inputs, body=BODY, output=output, csv=tmp_path / "r.csv", meshes=tmp_path / "meshes",
    )  # fmt: skip
    found = load_checkpoint(house.hmr)
    model = restore(found.config, found.part("hmr"), int(found.extra["size"]))
    judged = train_hmr.Samples.load(people.crops(9), people.paths.index("test"), [])
    seen = judged.store.gather(np.arange(len(judged.store)), ("image", "background"))
    image, background = map(as_image, seen.values())
    with torch.no_grad():
        right, wrong = (train_hmr.bodies_of(model(image, there)[0][-1])[1] for there in (background, 1 - background))
    with h5py.File(output) as file:
        betas = torch.from_numpy(file["hmr/betas"][:])
    assert torch.allclose(betas, right, atol=1e-5)
    assert not torch.allclose(betas, wrong, atol=1e-5)
    evaluate.run(config, predictions=output, bodies=people.truth(9), body=BODY, output=tmp_path / "m.json")
    said = read_json(tmp_path / "m.json")
    assert said["hmr/encoder_begins_with"].startswith("the encoder of enc_dec, model_2.pt (sha256 ")
    assert said["hmr/pve_mm"] > 0


def test_checkpoints_that_do_not_belong_are_refused(house: House, tmp_path: Path) -> None:
    output, size = tmp_path / "model_4.pt", house.people.config.crops.size
    with pytest.raises(ConfigError, match="no checkpoint of it is given"):
        house.train(output, enc_dec=None)
    section = EncDecConfig.model_validate(house.people.config.enc_dec.model_dump() | {"points": 5})
    for trained, said in ((size, "another encoder-decoder than the config's"), (2 * size, "crops of 64 px")):
        other = section if trained == size else house.people.config.enc_dec
        save_checkpoint(
            tmp_path / "model_1.pt", modules=dict(EncoderDecoder(other, size).named_children()), step=1, config=other,
            history=[], extra={"crop_size": torch.tensor(trained)},
        )  # fmt: skip
        with pytest.raises(DataError, match=said):
            house.train(output, enc_dec=tmp_path / "model_1.pt")
    with pytest.raises(DataError, match="holds no encoder-decoder"):
        house.train(output, enc_dec=house.hmr)
