"""How pairs of views become samples, and how novel views are measured."""

from functools import partial

import numpy as np
import pytest
import torch

from codebase.config import EncDecConfig
from codebase.data.store import CropStore
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.training import losses, optim
from codebase.training.novel_views import as_image, learn_step, make_pairs, paint_pairs
from codebase.training.view_errors import measure, ordered_pairs, paint

NET = {
    "encoder_blocks": (1, 1, 1), "encoder_widths": (8, 16, 16), "decoder_widths": (16, 8, 8), "points": 8,
    "appearance": 4, "palette": 4, "precision": "fp32",
}  # fmt: skip


def rotations(count):
    q = torch.linalg.qr(torch.randn(count, 3, 3))[0]
    return q * torch.linalg.det(q)[:, None, None].sign()


def batch(count=3, size=16, seed=0):
    torch.manual_seed(seed)
    found = {"subject": torch.ones(count)}
    for view in ("", "target_", "partner_"):
        for name in ("image", "background"):
            found[view + name] = torch.randint(60, 190, (count, size, size, 3), dtype=torch.uint8)
        mask = torch.zeros(count, size, size, dtype=torch.uint8)
        mask[:, 4:12, 4:12] = 255
        found[view + "mask"], found[view + "has_mask"] = mask, torch.ones(count, dtype=torch.bool)
        found[view + "R_world_im"], found[view + "key"] = rotations(count), torch.arange(count)
    return found


class Store(CropStore):
    """Rows in memory in place of files."""

    def __init__(self, rows, instants):
        self.rows, self.columns = rows, {"key": 100 * np.asarray(instants)}

    def gather(self, rows, names):
        return {name: self.rows[name][torch.from_numpy(np.asarray(rows))] for name in names}


def test_pairs_are_painted_both_ways():
    rows = batch()
    pairs = make_pairs(rows, 0.0)
    assert pairs.image.shape == (6, 3, 16, 16)
    torch.testing.assert_close(pairs.image[:3], as_image(rows["image"]))
    torch.testing.assert_close(pairs.image[pairs.other][:3], as_image(rows["target_image"]))
    torch.testing.assert_close(pairs.background[pairs.other][3:], as_image(rows["background"]))
    torch.testing.assert_close(pairs.partner, as_image(rows["partner_image"]))
    world = torch.randn(3, 5, 3)
    seen = world @ rows["R_world_im"].transpose(1, 2)
    there = world @ rows["target_R_world_im"].transpose(1, 2)
    torch.testing.assert_close(seen @ pairs.rotation[:3].transpose(1, 2), there, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(there @ pairs.rotation[3:].transpose(1, 2), seen, atol=1e-4, rtol=1e-4)


def test_all_images_of_a_sample_change_colour_alike():
    rows = batch()
    for view in ("", "target_", "partner_"):  # the same grey-ish person and room in all views
        rows[view + "image"] = torch.tensor([120, 130, 140], dtype=torch.uint8).expand(3, 16, 16, 3)
        rows[view + "background"] = torch.tensor([140, 130, 120], dtype=torch.uint8).expand(3, 16, 16, 3)
    pairs = make_pairs(rows, 1.0)
    torch.testing.assert_close(pairs.image[:3], pairs.image[3:])
    torch.testing.assert_close(pairs.image[:3], pairs.partner)
    torch.testing.assert_close(pairs.background[:3], pairs.background[3:])
    assert (pairs.image[:, :, 8, 8] - as_image(rows["image"])[0, :, 8, 8]).abs().max() > 0.01
    assert (pairs.image[0, :, 8, 8] - pairs.image[1, :, 8, 8]).abs().max() > 0.01, "each sample has colours of its own"


def test_without_masks_person_and_room_change_alike():
    rows = batch()
    for view in ("", "target_", "partner_"):
        rows[view + "has_mask"] = torch.zeros(3, dtype=torch.bool)
        rows[view + "background"] = rows[view + "image"]
        rows[view + "mask"] = torch.zeros_like(rows[view + "mask"])
    pairs = make_pairs(rows, 1.0)
    torch.testing.assert_close(pairs.image, pairs.background)


def test_it_overfits_one_batch_and_wrong_rotations_hurt():
    config = EncDecConfig(**NET, colour_augmentation=0.0, swap_appearance=0.0, learning_rate=3e-3)
    rows = batch(2)
    ramp = torch.linspace(60, 200, 16).to(torch.uint8)
    for view, image in (("", ramp.expand(16, 16)), ("target_", ramp[:, None].expand(16, 16))):
        rows[view + "image"] = image[None, :, :, None].expand(2, 16, 16, 3).clone()
    net = EncoderDecoder(config, 16)
    painter = partial(paint_pairs, net)
    optimizer = optim.adam(config, net)
    first = learn_step(painter, rows, config)["foreground"].item()
    for _ in range(80):
        optim.step(learn_step(painter, rows, config)["loss"], optimizer, 1.0)
    last = learn_step(painter, rows, config)["foreground"].item()
    assert last < 0.5 * first
    wrong = rows | {"target_R_world_im": rotations(2)}
    assert learn_step(painter, wrong, config)["foreground"].item() > 1.05 * last


def test_ordered_pairs_of_an_instant():
    source, target = ordered_pairs(Store({}, [1, 1, 1, 4, 5, 5]))
    found = set(zip(source.tolist(), target.tolist(), strict=True))
    assert found == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (4, 5), (5, 4)}
    assert len(ordered_pairs(Store({}, [1, 1, 1, 4, 5, 5]), 3)[0]) == 3
    assert len(ordered_pairs(Store({}, [1, 2, 3]))[0]) == 0


def test_errors_of_novel_views():
    rows = {name: value for name, value in batch(4).items() if not name.startswith(("target_", "partner_"))}
    store = Store(rows, [0, 0, 1, 1])
    net = EncoderDecoder(EncDecConfig(**NET), 16).eval()
    pairs = ordered_pairs(store)
    found = measure(net, store, *pairs, precision="fp32", batch_size=3)
    assert found.foreground.shape == (4,)
    image, background = rows["image"][1].numpy() / 255.0, rows["background"][1].numpy() / 255.0
    inside = rows["mask"][1].numpy() >= 128
    assert found.background_only[0] == pytest.approx(((image - background) ** 2)[inside].mean(), rel=1e-4)
    assert found.summary()["psnr_background_only_db"] == pytest.approx(
        -10 * np.log10(found.background_only).mean(), rel=1e-4
    )


def test_a_view_has_the_looks_of_the_rows_asked_for():
    rows = {name: value for name, value in batch(4).items() if not name.startswith(("target_", "partner_"))}
    store, net = Store(rows, [0, 0, 1, 1]), EncoderDecoder(EncDecConfig(**NET), 16).eval()
    source, target, looks = np.array([0, 2]), np.array([1, 3]), np.array([2, 1])
    own, dressed, same = (paint(net, store, source, target, precision="fp32", looks=r) for r in (None, looks, source))
    np.testing.assert_array_equal(own, same)
    assert np.abs(own - dressed).max() > 1e-3
    image, background = (as_image(rows[name]) for name in ("image", "background"))
    with torch.no_grad():
        L_3d, L_app = net.encoder(image[:1], background[:1]).points, net.encoder(image[2:3], background[2:3]).appearance
        turned = L_3d @ (rows["R_world_im"][1] @ rows["R_world_im"][0].T).T
        wanted = net.decoder(turned, L_app, background[1:2]).image[0].permute(1, 2, 0).clamp(0, 1)
    np.testing.assert_allclose(dressed[0], wanted, atol=1e-5)
    found = measure(net, store, source, target, looks=looks, precision="fp32", batch_size=1)
    assert found.everywhere[0] == pytest.approx(np.square(wanted.numpy() - image[1].permute(1, 2, 0).numpy()).mean())


def test_disagreement_is_blind_to_scale():
    a, b = torch.randn(8, 5, 3), torch.randn(8, 5, 3)
    torch.testing.assert_close(losses.disagreement(a, b), losses.disagreement(0.01 * a, 0.01 * b))
    assert losses.disagreement(b, b) == 0
