"""Batches as the papers composed them, crops turned in their plane, and what is painted from what."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from codebase.config import EncDecConfig
from codebase.data.index import frame_key
from codebase.data.paper_batches import CameraGroups, MainsAndPartners
from codebase.data.store import CropStore
from codebase.models.augment import roll_image, roll_matrix
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.views import Latent, whole
from codebase.training.in_plane import turned_in_plane
from codebase.training.paper_lesson import learn_views, make_views, paint_views

# subject, act, subaction, camera, frame: S1 has three acts, S5 one with two sequences; an instant has one camera,
# one two, the others three
ROWS = [
    (s, a, b, c, f)
    for s, a, b in [(1, 2, 1), (1, 2, 2), (1, 3, 1), (1, 4, 1), (5, 2, 1), (5, 2, 2)]
    for f in (1, 6, 11)
    for c in (1, 2, 4)
    if (s, a, b, f, c) not in {(1, 2, 1, 1, 2), (1, 3, 1, 6, 1), (1, 3, 1, 6, 2)}
]


class Store(CropStore):
    """Rows that tell their number, in place of files."""

    def __init__(self, rows=ROWS):
        columns = np.array(rows).T
        names = ("subject", "action", "subaction", "camera", "frame")
        self.columns = dict(zip(names, columns, strict=True)) | {"key": frame_key(*columns)}
        self._row = np.arange(len(rows))

    def gather(self, rows, names):
        return {name: torch.from_numpy(np.asarray(rows)) for name in names}


def told(store, rows, *names):
    return np.stack([store.columns[name][rows] for name in names], axis=-1).tolist()


def test_mains_come_once_an_epoch_with_a_partner_from_another_act():
    store = Store()
    stream = MainsAndPartners(store, batch_size=12, seed=3)
    assert stream.count == 16 * 6 + 1 * 2, "ordered pairs of cameras: three see 16 instants, two see one, one sees one"
    seen = []
    for step in range(stream.count // 6 + 1):
        source, target = stream.rows(step)
        assert (store.instant[source] == store.instant[target]).all()
        assert (store.camera[source] != store.camera[target]).all()
        main, partner = source[0::2], source[1::2]
        assert (store.subject[main] == store.subject[partner]).all()
        several = store.subject[main] == 1
        assert (store.action[main] != store.action[partner])[several].all()
        seen += [*zip(source[0::2].tolist(), target[0::2].tolist(), strict=True)]
    assert len(set(seen[: stream.count])) == stream.count


def test_a_partner_is_drawn_act_first():
    """The two other acts of S1 are as likely, though one has twice the frames."""
    store = Store()
    stream = MainsAndPartners(store, batch_size=4000, seed=0)
    source, _ = stream.rows(0)
    main, partner = source[0::2], source[1::2]
    of_third = store.action[partner][(store.subject[main] == 1) & (store.action[main] == 4)]
    assert sorted(set(of_third.tolist())) == [2, 3]
    assert (of_third == 2).mean() == pytest.approx(0.5, abs=0.08)
    pairs = store.camera[source][1::2]
    assert [(pairs == c).mean() for c in (1, 2, 4)] == pytest.approx([1 / 3] * 3, abs=0.06)


def test_main_and_partner_swap_their_appearance():
    batch = MainsAndPartners(Store(), batch_size=8, seed=0).batch(5)
    assert batch["target"].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]
    assert batch["dressed_by"].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert len(batch["image"]) == 16


def test_groups_are_two_cameras_of_two_instants_of_a_sequence():
    store = Store()
    stream = CameraGroups(store, batch_size=400, seed=1)
    rows, target, dressed_by = stream.rows(0)
    pairs = rows.reshape(-1, 2, 2)
    assert (store.instant[pairs[..., 0]] == store.instant[pairs[..., 1]]).all()
    assert (store.camera[pairs[..., 0]] != store.camera[pairs[..., 1]]).all()
    sequences = np.array(told(store, pairs[..., 0], "subject", "action", "subaction"))
    assert (sequences[:, 0] == sequences[:, 1]).all()
    assert (store.instant[pairs[:, 0, 0]] != store.instant[pairs[:, 1, 0]]).mean() == pytest.approx(2 / 3, abs=0.15)
    own = np.arange(len(rows))
    assert sorted(target.tolist()) == own.tolist()
    assert (target // 2 == own // 2).all(), "poses are shuffled inside a pair"
    assert (target == own).mean() == pytest.approx(0.5, abs=0.12)
    assert sorted(dressed_by.tolist()) == own.tolist()
    assert (dressed_by // 4 == own // 4).all()
    assert (dressed_by // 2 != own // 2).all(), "appearances come from the other pair of the group"
    assert (dressed_by % 2 == own % 2).mean() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("kind", [MainsAndPartners, CameraGroups])
def test_shares_are_parts_of_the_whole_and_a_resume_goes_on(kind):
    whole_stream, (first, second) = kind(Store(), batch_size=16, seed=2), [
        kind(Store(), batch_size=16, seed=2, share=(rank, 2)) for rank in (0, 1)
    ]  # fmt: skip
    for step in (0, 7):
        rows = whole_stream.rows(step)[0]
        assert rows.tolist() == [*first.rows(step)[0], *second.rows(step)[0]]
        groups = first.batch(step)
        assert groups["dressed_by"].max() == 7
    next(whole_stream)
    resumed = kind(Store(), batch_size=16, seed=2)
    resumed.load_state_dict(whole_stream.state_dict())
    assert torch.equal(next(resumed)["image"], next(whole_stream)["image"])


def test_a_subject_with_one_camera_teaches_nothing_but_hinders_nobody():
    store = Store([row for row in ROWS if row[0] == 1 or row[3] == 1])
    for stream in (MainsAndPartners(store, batch_size=64, seed=0), CameraGroups(store, batch_size=64, seed=0)):
        assert set(store.subject[stream.rows(0)[0]].tolist()) == {1}


@pytest.mark.parametrize("batches", ["gaggi2019", "rhodin2018"])
def test_what_these_batches_cannot_do_is_refused(batches):
    good = {"batches": batches, "batch_size": 8, "colour_augmentation": 0}
    assert EncDecConfig.model_validate(good)
    with pytest.raises(ValueError, match="make batch_size a multiple of"):
        EncDecConfig.model_validate(good | {"batch_size": 7})
    with pytest.raises(ValueError, match="know nothing of colour_augmentation, mirror, views"):
        EncDecConfig.model_validate(good | {"colour_augmentation": 0.5, "mirror": 0.1, "views": 3})


def disc(centre_px, size, radius=2.0):
    """A soft disc about a place (x, y), as a crop of one channel."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    away = ((x - centre_px[0]) ** 2 + (y - centre_px[1]) ** 2) / (2 * radius**2)
    return torch.exp(-away)[None, None]


def place_of(crop):
    y, x = torch.meshgrid(torch.arange(crop.shape[-2]), torch.arange(crop.shape[-1]), indexing="ij")
    return torch.stack([(crop[0, 0] * x).sum(), (crop[0, 0] * y).sum()]) / crop[0, 0].sum()


@given(angle_deg=st.floats(-20, 20), x_mm=st.floats(-500, 500), y_mm=st.floats(-500, 500), z_mm=st.floats(-500, 500))
def test_a_turned_crop_shows_a_point_where_the_turned_frame_projects_it(angle_deg, x_mm, y_mm, z_mm):
    """A camera that looks at the root from 5 m; 64 px show 2 m at the root."""
    size, depth, focal = 64, 5000.0, 64 * 5000 / 2000

    def projected(point):
        return (size - 1) / 2 + focal * point[:2] / (depth + point[2])

    point = torch.tensor([x_mm, y_mm, z_mm], dtype=torch.float32)
    angle = torch.tensor([angle_deg]).deg2rad()
    turned = roll_image(disc(projected(point), size), angle)
    assert (place_of(turned) - projected(roll_matrix(angle)[0] @ point)).abs().max() < 0.05


def test_angles_go_both_ways_and_R_world_im_with_them():
    torch.manual_seed(0)
    world = torch.linalg.qr(torch.randn(300, 3, 3))[0]
    image = torch.randint(0, 255, (300, 8, 8, 3), dtype=torch.uint8)
    batch = {"image": image, "background": image, "mask": image[..., 0], "R_world_im": world}
    turned = turned_in_plane(batch, 5.0)
    turn = turned["R_world_im"] @ world.transpose(1, 2)
    angle = torch.atan2(turn[:, 1, 0], turn[:, 0, 0]).rad2deg()
    torch.testing.assert_close(turn, roll_matrix(angle.deg2rad()), atol=1e-5, rtol=0)
    assert angle.std().item() == pytest.approx(5, rel=0.15)
    assert abs(angle.mean().item()) < 1
    assert angle.abs().max() <= 20
    torch.testing.assert_close(turned["image"], turned["background"])
    torch.testing.assert_close(turned["mask"], turned["image"][..., 0])
    assert (turned["image"].flatten(1).amax(dim=1) <= 255).all()
    torch.testing.assert_close(turned_in_plane(batch, 1e-6)["image"], image.float(), atol=1e-2, rtol=0)


def views_of(count, target, dressed_by, size=4):
    torch.manual_seed(1)
    colour = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, size, size, 3)
    q = torch.linalg.qr(torch.randn(count, 3, 3))[0]
    return {
        "image": colour, "background": 100 + colour, "mask": colour[..., 0], "has_mask": torch.ones(count) > 0,
        "R_world_im": q * torch.linalg.det(q)[:, None, None].sign(), "target": target, "dressed_by": dressed_by,
    }  # fmt: skip


class Telling(EncoderDecoder):
    """A network whose points are a fixed cloud seen by the camera, and whose picture tells what it was given."""

    def __init__(self, batch):
        nn.Module.__init__(self)
        self.cloud, self.world, self.given = torch.randn(5, 3), batch["R_world_im"], {}

    def encoder(self, image, background):
        number = (image[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(number + 100, (background[:, 0, 0, 0] * 255).round().long())
        return Latent(self.cloud @ self.world[number].transpose(1, 2), number[:, None].float())

    def decoder(self, points, appearance, background):
        self.given = {"points": points, "appearance": appearance, "background": background}
        return whole(background)


def test_each_view_is_painted_from_its_row_in_the_others_clothes():
    target, dressed_by = torch.tensor([5, 4, 7, 6]), torch.tensor([1, 0, 3, 2])
    batch = views_of(8, target, dressed_by)
    net = Telling(batch)
    paint_views(net, make_views(batch, 0.0))
    torch.testing.assert_close(net.given["points"], net.cloud @ batch["R_world_im"][target].transpose(1, 2))
    assert net.given["appearance"][:, 0].tolist() == dressed_by.tolist()
    assert ((net.given["background"][:, 0, 0, 0] * 255).round() == 100 + target).all()


@pytest.mark.parametrize(("l1_share", "power"), [(0.0, 2), (1.0, 1)])
def test_the_loss_is_the_mean_over_all_pixels(l1_share, power):
    target = torch.tensor([1, 0, 2, 3])
    batch = views_of(4, target, torch.tensor([2, 3, 0, 1]))
    config = EncDecConfig.model_validate({
        "batches": "rhodin2018", "batch_size": 4, "colour_augmentation": 0, "image_weight": 0.5, "l1_share": l1_share,
        "foreground_weight": 0, "background_weight": 0, "mask_weight": 0, "precision": "fp32",
    })  # fmt: skip
    painted = torch.rand(4, 3, 4, 4)
    found = learn_views(lambda _: whole(painted), batch, config)
    seen = batch["image"][target].permute(0, 3, 1, 2) / 255
    assert found["loss"].item() == pytest.approx(0.5 * (painted - seen).abs().pow(power).mean().item(), rel=1e-5)
    assert SimpleNamespace(**found).mask == 0
