"""What may be added to the lesson of novel views: each does what its key says, and nothing while it is off."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from codebase.config import EncDecConfig
from codebase.data.batches import CropStore, ViewPairs
from codebase.models.encoder_decoder import EncoderDecoder, Latent, Rendering, fuse, rotate
from codebase.training import losses, team
from codebase.training.novel_views import learn_step, make_pairs, mirrored, paint_pairs
from codebase.training.sources import GRID, HIDDEN, blocks, draw_sources, spread
from codebase.training.team import Team
from tests.unit.test_batches import write
from tests.unit.test_encoder_decoder_training import NET, batch, rotations


def sources(config, count=3, size=16, known=True):
    torch.manual_seed(1)
    image, background = torch.rand(2 * count, 3, size, size), torch.rand(2 * count, 3, size, size)
    mask = torch.zeros(2 * count, 1, size, size)
    mask[..., 4:12, 4:12] = 1
    rows = torch.full((2 * count,), known)
    return image, background, mask, draw_sources(image, background, mask, rows, EncDecConfig(**NET, **config))


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0, 0.99), count=st.integers(1, 9), groups=st.integers(1, 2), size=st.sampled_from([16, 64]))
def test_every_image_loses_exactly_the_share_that_was_asked(share, count, groups, size):
    hidden = spread(blocks(count, share, groups=groups), size)
    assert hidden.shape == (groups * count, size, size)
    lost = hidden.float().mean(dim=(1, 2))
    torch.testing.assert_close(lost, torch.full_like(lost, round(share * GRID**2) / GRID**2))


def test_blocks_differ_between_images_and_lie_anywhere():
    hidden = blocks(400, 0.25).float()
    assert not torch.equal(hidden[0], hidden[1])
    assert (hidden.mean(dim=0) - 0.25).abs().max() < 0.1


def test_sources_are_what_was_seen_while_nothing_is_asked():
    image, background, _, found = sources({"swap_appearance": 1.0})
    assert found.image is image
    assert found.background is background
    assert found.swapped.all()
    assert not sources({"swap_appearance": 0.0})[-1].swapped.any()


@pytest.mark.parametrize("change", [{"pose_colours": 1.0}, {"erase": 0.25}])
def test_only_sources_whose_appearance_is_not_used_are_changed(change):
    image, background, _, found = sources({"swap_appearance": 0.5, **change}, count=20)
    for now, was in ((found.image, image), (found.background, background)):
        moved = (now - was).abs().amax(dim=(1, 2, 3)) > 0.01
        assert torch.equal(moved, found.swapped)
    assert 0 < found.swapped.sum() < 40


def test_hidden_blocks_show_neither_person_nor_room():
    image, background, _, found = sources({"swap_appearance": 1.0, "erase": 0.25})
    hidden = (found.image == HIDDEN).all(dim=1)
    assert hidden.float().mean() == 0.25
    assert (found.background.permute(0, 2, 3, 1)[hidden] == HIDDEN).all()
    for now, was in ((found.image, image), (found.background, background)):
        torch.testing.assert_close(now.permute(0, 2, 3, 1)[~hidden], was.permute(0, 2, 3, 1)[~hidden])


def test_colours_of_a_source_change_in_image_and_background_alike_where_the_room_is():
    torch.manual_seed(0)
    room = torch.rand(4, 3, 1, 1).expand(4, 3, 16, 16) * 0.4 + 0.3
    mask = torch.zeros(4, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    image = torch.where(mask > 0, 0.4, room)
    config = EncDecConfig(**NET, swap_appearance=1.0, pose_colours=1.0)
    found = draw_sources(image, room, mask, torch.ones(4, dtype=torch.bool), config)
    outside = (mask == 0).expand_as(image)
    torch.testing.assert_close(found.image[outside], found.background[outside])
    grey = found.image[:, :, 8, 8]
    assert (grey[0] - grey[1]).abs().max() > 0.01, "each view has colours of its own"
    unmasked = draw_sources(room, room, torch.zeros_like(mask), torch.zeros(4, dtype=torch.bool), config)
    torch.testing.assert_close(unmasked.image, unmasked.background)


def test_processes_change_their_shares_as_one_would(monkeypatch):
    torch.manual_seed(0)
    image, background, mask = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16), torch.rand(8, 1, 16, 16)
    config = EncDecConfig(**NET, swap_appearance=0.7, pose_colours=1.0, erase=0.3)

    def drawn(rank, size):
        crew = Team(rank, size)
        crew.generator = torch.Generator().manual_seed(5)
        monkeypatch.setattr(team, "_team", crew)
        half = 4 // size
        rows = torch.cat([torch.arange(half) + rank * half, torch.arange(half) + rank * half + 4])
        found = draw_sources(image[rows], background[rows], mask[rows], torch.ones(len(rows), dtype=torch.bool), config)
        return rows, found

    _, whole = drawn(0, 1)
    for rank in range(2):
        rows, share = drawn(rank, 2)
        assert torch.equal(share.swapped, whole.swapped[rows])
        torch.testing.assert_close(share.image, whole.image[rows])
        torch.testing.assert_close(share.background, whole.background[rows])


def test_what_is_to_be_painted_stays_whole_and_keeps_its_colours():
    shown = {}

    def painter(pairs, sources):
        shown.update(pairs=pairs, sources=sources)
        return paint_pairs(EncoderDecoder(config, 16), pairs, sources)

    config = EncDecConfig(**NET, colour_augmentation=0.0, swap_appearance=1.0, pose_colours=1.0, erase=0.5)
    rows = batch()
    learn_step(painter, rows, config)
    plain = make_pairs(rows, 0.0)
    torch.testing.assert_close(shown["pairs"].image, plain.image)
    torch.testing.assert_close(shown["pairs"].partner, plain.partner)
    assert (shown["sources"].image - plain.image).abs().mean() > 0.02


def test_one_view_alone_is_its_own_fusion():
    points = torch.randn(2, 5, 7, 3)
    counts = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(fuse(points[:1], counts[:1]), points[0])
    counts[1, 2] = False
    found = fuse(points, counts)
    torch.testing.assert_close(found[2], points[0, 2])
    torch.testing.assert_close(found[3], points[:, 3].mean(dim=0))


class Truth(nn.Module):
    """An encoder whose L_3d is given, row by row; of other images it knows nothing."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, image, background):
        nothing = torch.zeros(len(image) - len(self.seen), *self.seen.shape[1:])
        return Latent(torch.cat([self.seen, nothing]), torch.arange(len(image)).float()[:, None])


class Canvas(nn.Module):
    """A decoder that remembers what it was to paint."""

    def forward(self, points, appearance, background):
        self.given = points, appearance, background
        return Rendering(background, background, background[:, :1], background[:, :1])


def test_the_third_view_is_painted_from_both_others_turned_into_it():
    torch.manual_seed(2)
    rows = batch() | {"third_" + name: value for name, value in batch(seed=5).items() if "_" not in name}
    rows |= {"third_has_mask": torch.ones(3, dtype=torch.bool), "third_R_world_im": rotations(3)}
    rows["third_apart"] = torch.tensor([True, True, False])
    pairs = make_pairs(rows, 0.0)
    assert len(pairs.image) == len(pairs.other) == 9
    torch.testing.assert_close(pairs.image[pairs.other][6:].permute(0, 2, 3, 1), rows["third_image"] / 255)
    world = torch.randn(3, 6, 3)
    seen = torch.cat([rotate(world, rows["R_world_im"]), rotate(world, rows["target_R_world_im"])])
    seen[3 + 2] = 99  # the target is the third itself here: its own latent may not help
    config = EncDecConfig(**NET, swap_appearance=0.0)
    net = EncoderDecoder(config, 16)
    net.encoder, net.decoder = Truth(seen), Canvas()
    views = (each[:6] for each in (pairs.image, pairs.background, pairs.mask, pairs.has_mask))
    paint_pairs(net, pairs, draw_sources(*views, config))
    points, appearance, background = net.decoder.given
    there = rotate(world, rows["third_R_world_im"])
    torch.testing.assert_close(points[6:], there, atol=1e-4, rtol=1e-4)
    assert appearance[6:, 0].tolist() == [0, 1, 2]
    torch.testing.assert_close(background[6:].permute(0, 2, 3, 1), rows["third_background"] / 255)


def test_a_third_view_is_another_camera_of_the_instant(tmp_path):
    store = CropStore([write(tmp_path, 1, cameras=(1, 2, 3, 4)), write(tmp_path, 5, cameras=(1, 2))])
    seen = set()
    for step in range(20):
        stream = ViewPairs(store, batch_size=6, seed=0, views=3)
        source, target, partner = stream.rows(step)
        third = stream.thirds(step)
        assert (store.instant[third] == store.instant[source]).all()
        assert (third != source).all()
        apart = third != target
        assert (apart == (store.subject[source] == 1)).all()
        seen |= set(zip(store.camera[source][apart].tolist(), store.camera[third][apart].tolist(), strict=True))
        two = ViewPairs(store, batch_size=6, seed=0)
        assert [part.tolist() for part in two.rows(step)] == [source.tolist(), target.tolist(), partner.tolist()]
    assert len(seen) == 12
    found = stream.batch(step)
    assert torch.equal(found["third_apart"], torch.from_numpy(apart))
    assert torch.equal(found["third_image"], store.gather(third, ["image"])["image"])
    halves = [ViewPairs(store, batch_size=6, seed=0, views=3, share=(rank, 2)).thirds(step) for rank in range(2)]
    assert np.concatenate(halves).tolist() == third.tolist()


def test_a_mirrored_sample_is_a_mirrored_world_before_mirrored_cameras():
    rows, world = batch(), torch.randn(3, 5, 3)
    plain, flipped = make_pairs(rows, 0.0), make_pairs(mirrored(rows, 1.0), 0.0)
    for name in ("image", "background", "mask", "partner", "partner_background"):
        torch.testing.assert_close(getattr(flipped, name), getattr(plain, name).flip(-1))
    mirror = torch.tensor([-1.0, 1, 1])
    seen = rotate(world, rows["R_world_im"])
    there = rotate(world, rows["target_R_world_im"])
    torch.testing.assert_close(rotate(seen * mirror, flipped.rotation[:3]), there * mirror, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.linalg.det(flipped.rotation), torch.ones(6))
    same = mirrored(rows, 0.0)
    assert all(torch.equal(same[name], rows[name]) for name in rows)


def test_contrast_is_lower_for_true_counterparts_and_falls_as_codes_come_together():
    torch.manual_seed(0)
    target, apart = torch.randn(16, 8, 3), torch.randn(16, 8, 3)
    near = target + 0.3 * torch.randn_like(target)
    assert losses.contrast(near, target) < 0.2 * losses.contrast(apart, target)
    assert losses.contrast(near, target) < 0.2 * losses.contrast(near.roll(1, 0), target)
    torch.testing.assert_close(losses.contrast(near, target), losses.contrast(5 * near, 5 * target))
    torch.testing.assert_close(losses.contrast(near, target), losses.contrast(near + 3, target + 3))
    codes, before = apart.clone().requires_grad_(), losses.contrast(apart, target)
    (gradient,) = torch.autograd.grad(losses.contrast(codes, target), codes)
    assert losses.contrast(apart - 0.5 * gradient / gradient.norm(), target) < before
    away = (apart - target).flatten()
    closer = apart - 2 * gradient / gradient.norm()
    assert (closer - target).flatten().norm() < away.norm(), "the gradient leads towards the counterpart"


def test_latents_of_2019_are_not_negative():
    net = EncoderDecoder(EncDecConfig(**NET, latent_relu=True), 16).eval()
    image = torch.rand(4, 3, 16, 16)
    assert net.encoder(image, image.flip(0)).points.min() >= 0
    plain = EncoderDecoder(EncDecConfig(**NET), 16).eval()
    assert plain.encoder(image, image.flip(0)).points.min() < 0


def test_contrast_is_of_one_process():
    with pytest.raises(ValueError, match="one process"):
        EncDecConfig(contrastive_weight=0.1, gpus=2)
