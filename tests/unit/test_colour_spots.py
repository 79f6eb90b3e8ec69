"""Spots: some colours of a person change, alike in all views, and nothing else does."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.config import EncDecConfig
from codebase.training.colour import random_spots, recolour_spots
from codebase.training.novel_views import make_pairs
from tests.unit.test_encoder_decoder_training import NET, batch

HAIR, SHIRT, WALL = torch.tensor([0.1, 0.1, 0.1]), torch.tensor([0.2, 0.4, 0.8]), torch.tensor([0.7, 0.7, 0.6])


def person(count=1, size=16):
    """A person of two colours before a wall: one row of hair above three of shirt."""
    image = WALL.expand(count, size, size, 3).clone()
    image[:, 4, 6:10], image[:, 5:8, 6:10] = HAIR, SHIRT
    mask = torch.zeros(count, size, size)
    mask[:, 4:8, 6:10] = 1
    return image, mask


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), spots=st.integers(1, 6))
def test_centres_are_colours_of_the_person(seed, spots):
    image, mask = person(3)
    drawn = torch.rand(3, spots, 7, generator=torch.Generator().manual_seed(seed))
    centre, shift, width = random_spots(image, mask, drawn).split([3, 3, 1], dim=2)
    own = torch.stack([HAIR, SHIRT])
    assert (centre[:, :, None] - own).abs().amax(dim=3).amin(dim=2).max() < 1e-6
    assert torch.equal(shift.abs().amax(dim=2) > 0, drawn[..., 1] < 0.5)
    assert ((centre + shift >= 0) & (centre + shift <= 1)).all()
    assert (width > 0.05).all()


def test_every_row_of_the_person_is_picked_alike():
    image, mask = person(4000)
    centre = random_spots(image, mask, torch.rand(4000, 1, 7, generator=torch.Generator().manual_seed(0)))[:, 0, :3]
    share = (centre - HAIR).abs().amax(dim=1).lt(1e-6).float().mean()
    assert abs(share - 0.25) < 0.03, "hair is a quarter of the rows"


def test_a_spot_moves_its_colour_and_no_other_and_never_the_room():
    image, mask = person()
    to = torch.tensor([0.6, 0.3, 0.2])
    spots = torch.cat([HAIR, to - HAIR, torch.tensor([0.08])])[None, None]
    found = recolour_spots(image[:, None], mask[:, None], spots)[0, 0]
    torch.testing.assert_close(found[4, 7], to)
    torch.testing.assert_close(found[6, 7], SHIRT, atol=0.01, rtol=0)
    outside = mask[0] == 0
    assert torch.equal(found[outside], image[0][outside])


def test_a_sample_without_a_mask_stays():
    image, mask = person(2)
    mask[1] = 0
    spots = random_spots(image, mask, torch.full((2, 3, 7), 0.4))
    found = recolour_spots(image[:, None], mask[:, None], spots)[:, 0]
    assert not torch.equal(found[0], image[0])
    assert torch.equal(found[1], image[1])


def test_all_views_of_a_sample_change_alike_and_backgrounds_stay():
    torch.manual_seed(0)
    raw = batch(4, 16)
    for view in ("", "target_", "partner_"):
        raw[view + "image"] = (raw["image"] * 1).clone()
        raw[view + "mask"], raw[view + "has_mask"] = raw["mask"].clone(), torch.ones(4, dtype=torch.bool)
    plain, changed = make_pairs(raw, 0.0), make_pairs(raw, 0.0, colour_spots=4)
    assert not torch.equal(changed.partner, plain.partner)
    assert torch.equal(changed.image[:4], changed.image[4:])
    assert torch.equal(changed.image[:4], changed.partner)
    assert torch.equal(changed.background, plain.background)
    assert torch.equal(changed.partner_background, plain.partner_background)


def test_who_lacks_a_mask_in_one_view_changes_in_none():
    """In the view without a mask nothing can change, and the others must stay like it."""
    torch.manual_seed(0)
    raw = batch(4, 16)
    for view in ("", "target_", "partner_"):
        raw[view + "has_mask"] = torch.ones(4, dtype=torch.bool)
    raw["target_has_mask"][1], raw["target_mask"][1] = False, 0
    plain, changed = make_pairs(raw, 0.0), make_pairs(raw, 0.0, colour_spots=4)
    stays = [torch.equal(changed.image[row], plain.image[row]) for row in range(4)]
    assert stays == [False, True, False, False]
    assert torch.equal(changed.partner[1], plain.partner[1])


def test_they_are_off_where_nobody_asks():
    assert EncDecConfig(**NET).colour_spots == 0
