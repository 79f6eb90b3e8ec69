"""`novel-view`: its film and strip are there, meet the real cameras, and wrong input is told in words."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
import torch

from codebase import novel_view
from codebase.cli import main
from codebase.errors import DataError, UserError
from codebase.models import encoder_decoder
from codebase.novel_view import Orbit, Painter
from codebase.orbit import latent_rotation
from codebase.report.film import write_film
from codebase.report.pictures import enlarge
from codebase.training.novel_views import make_pairs
from codebase.training.state import save_checkpoint
from codebase.training.view_errors import paint
from tests.people import People, make_people

ENC_DEC = {
    "points": 10, "appearance": 6, "palette": 2, "encoder_widths": [8] * 3, "encoder_blocks": [1] * 3, "steps": 10,
    "decoder_widths": [8, 8, 8], "precision": "fp32",
}  # fmt: skip
AT = "S9/act_02_subact_01/ca_02/1"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    folder = tmp_path_factory.mktemp("people")
    made = make_people(folder, test=(9, 11), cameras=(1, 2, 3), frames=2, sections={"enc_dec": ENC_DEC})
    torch.manual_seed(0)
    net = encoder_decoder.build(made.config.enc_dec, made.config.crops.size)
    write_checkpoint(made, net, made.config.crops.size)
    return made


def write_checkpoint(people, net, size, path=None):
    save_checkpoint(
        path or people.paths.checkpoint("enc_dec"), modules={"encoder": net.encoder, "decoder": net.decoder}, step=10,
        config=people.config.enc_dec, history=[], extra={"crop_size": torch.tensor(size)},
    )  # fmt: skip


def draw(people, tmp_path, **options):
    said = []
    out = options.pop("output", tmp_path / "view.gif")
    novel_view.novel_view(people.config, at=options.pop("at", AT), say=said.append, output=out, **options)
    return out, said


def film_of(path):
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_film_holds_the_pictures_in_their_order(tmp_path, suffix):
    images = [np.full((64, 96, 3), 20 * number, np.uint8) for number in range(10)]
    for number, image in enumerate(images):
        image[8:24, 4 + 8 * number : 20 + 8 * number, 0] = 250
    write_film(tmp_path / f"film{suffix}", images, fps=10)
    found = film_of(tmp_path / f"film{suffix}")
    assert found.shape == (10, 64, 96, 3)
    assert np.abs(found.astype(int) - np.stack(images)).mean() < 6


def test_film_and_strip_are_written(people, tmp_path):
    out, said = draw(people, tmp_path, orbit=Orbit(frames=7))
    assert film_of(out).shape == (7, 320, 320, 3)
    sheet = cv2.imread(str(out.with_suffix(".png")))
    assert sheet.shape[1] == 6 * 156 + 6
    assert said == [f"wrote {out} (7 views) and {out.with_suffix('.png')}"]


def test_a_turn_to_a_real_camera_is_what_the_decoder_gets_for_the_real_pair(people):
    store = novel_view._store(people.config, AT, "--at")
    row = novel_view.row_of(store, AT)
    cameras = novel_view._cameras(store, row)
    assert cameras[0] == row
    assert sorted(store.camera[cameras].tolist()) == [1, 2, 3]
    path, stops = novel_view._path(store.R_world_im[cameras], Orbit(frames=11, through_cameras=True))
    painter = Painter.of(people.config, store, people.paths.checkpoint("enc_dec"))
    points, appearance = painter.encode(row), painter.appearance(store, row)
    turns = latent_rotation(path, store.R_world_im[row])
    for target, stop in zip(cameras, stops, strict=True):
        names = ("image", "background", "mask", "has_mask", "R_world_im")
        pair, there = (store.gather(np.array([place]), names) for place in (row, target))
        both = pair | {f"target_{n}": v for n, v in there.items()} | {f"partner_{n}": v for n, v in pair.items()}
        np.testing.assert_allclose(turns[stop], make_pairs(both, 0.0).rotation[0].numpy(), atol=1e-6)
        mine = painter.paint(points, appearance, turns[[stop]], painter.empty(np.array([target])))
        theirs = paint(painter.net, store, np.array([row]), np.array([target]), precision="fp32")
        assert np.abs(mine / 255 - theirs).max() <= 0.51 / 255


def test_clothes_may_be_anothers(people, tmp_path):
    """30 levels away in another person's, 2 in those of the same person at another instant."""
    films = {}
    for name, worn in (("own", None), ("later", "S9/act_02_subact_01/2"), ("other", "S11/act_14_subact_01/2")):
        out, _ = draw(
            people, tmp_path, orbit=Orbit(frames=3), background="black", output=tmp_path / f"{name}.gif",
            appearance_of=worn,
        )  # fmt: skip
        films[name] = film_of(out).astype(int)
    assert np.abs(films["own"] - films["other"]).mean() > 10
    assert np.abs(films["own"] - films["later"]).mean() < 5


def test_the_first_view_is_the_source_and_half_way_the_camera_has_risen(people, tmp_path, monkeypatch):
    """Pictures before they are a film, of a network that paints by L_3d more than a new one does."""
    torch.manual_seed(0)
    net = encoder_decoder.build(people.config.enc_dec, people.config.crops.size)
    net.decoder.unfold.weight.data *= 100
    write_checkpoint(people, net, people.config.crops.size, tmp_path / "turning.pt")
    films = []
    monkeypatch.setattr(novel_view, "write_film", lambda path, images, fps: films.append(np.stack(images).astype(int)))
    for rise in (0.0, 40.0):
        draw(people, tmp_path, orbit=Orbit(frames=4, elevation_deg=rise), checkpoint=tmp_path / "turning.pt")
    level, rising = films
    store = novel_view._store(people.config, AT, "--at")
    row, painter = novel_view.row_of(store, AT), Painter.of(people.config, store, tmp_path / "turning.pt")
    unturned = painter.paint(
        painter.encode(row), painter.appearance(store, row), np.eye(3)[None], painter.behind(row, "grey")
    )
    assert np.abs(level[0] - enlarge(unturned[0], level.shape[1])).max() <= 1
    first, quarter, half, _ = np.abs(rising - level).mean(axis=(1, 2, 3))
    assert first < 0.1
    assert half > 3  # of 255; 8 here
    assert half > quarter
    path, _ = novel_view._path(store.R_world_im[[row]], Orbit(frames=4, elevation_deg=40.0))
    elevation_deg = np.degrees(np.arcsin(-path[:, 2, 2]))  # the camera looks along its third axis, at the root
    np.testing.assert_allclose(elevation_deg - elevation_deg[0], [0, 20, 40, 20], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"at": "S9/act_02_subact_01/ca_02/7"}, "near: S9/act_02_subact_01/ca_02/2"),
        ({"at": "act_02_subact_01/2"}, "names no subject"),
        ({"at": "S4/act_02_subact_01/2"}, "one of S1, S8, S9, S11"),
        ({"at": "nonsense"}, "names no frame"),
        ({"at": "S9/act_02_subact_01/ca_02/99999999999999999999"}, "names no frame"),
        ({"appearance_of": "S11/act_05_subact_01/2"}, "no crop of the frame S11/act_05"),
        ({"orbit": Orbit(frames=1)}, "at least 2"),
        ({"orbit": Orbit(frames=2, through_cameras=True)}, "cannot meet 3 cameras"),
        ({"orbit": Orbit(axis="view", elevation_deg=10.0)}, "--axis vertical"),
        ({"output": "view.avi"}, "a name in .gif or .mp4"),
    ],
)
def test_wrong_input_is_an_error_in_words(people, tmp_path, options, expected):
    if "output" in options:
        options = options | {"output": tmp_path / options["output"]}
    with pytest.raises(UserError) as error:
        draw(people, tmp_path, **options)
    assert expected in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_crop_size_or_network_is_refused(people, tmp_path):
    net = encoder_decoder.build(people.config.enc_dec, 64)
    write_checkpoint(people, net, 64, tmp_path / "large.pt")
    with pytest.raises(DataError, match="trained on crops of 64 px, these have 32 px"):
        draw(people, tmp_path, checkpoint=tmp_path / "large.pt")
    own = people.config.enc_dec.model_copy(update={"points": 12})
    other = People(people.config.model_copy(update={"enc_dec": own}), people.paths)
    write_checkpoint(other, encoder_decoder.build(own, 32), 32, tmp_path / "other.pt")
    with pytest.raises(DataError, match="points 12, not 10"):
        draw(people, tmp_path, checkpoint=tmp_path / "other.pt")
    with pytest.raises(DataError, match="does not exist"):
        draw(people, tmp_path, checkpoint=tmp_path / "none.pt")


@pytest.mark.parametrize("network", ["gaggi2019", "rhodin2018_unet"])
def test_every_network_can_be_gone_round(people, tmp_path, network):
    own = people.config.enc_dec.model_copy(update={"network": network, "palette": 0})
    theirs = People(people.config.model_copy(update={"enc_dec": own}), people.paths)
    size = people.config.crops.size
    write_checkpoint(theirs, encoder_decoder.build(own, size), size, tmp_path / "theirs.pt")
    out, _ = draw(theirs, tmp_path, checkpoint=tmp_path / "theirs.pt", orbit=Orbit(frames=2))
    assert len(film_of(out)) == 2
    with pytest.raises(DataError, match=f"network {network}, not ours"):
        draw(people, tmp_path, checkpoint=tmp_path / "theirs.pt")


def test_the_command_line_tells_bad_input_with_exit_code_2(tmp_path, capsys):
    assert main(["novel-view", "configs/mini.yaml", "--at", AT, f"results={tmp_path}"]) == 2
    assert "S9.h5" in capsys.readouterr().err
