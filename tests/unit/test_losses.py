"""Losses, shared changes of colour, and foreground errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.metrics import masked_mse
from codebase.training import losses
from codebase.training.colour import random_maps, recolour


def test_pixels_weigh_each_sample_by_its_own_mask():
    painted, seen = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    seen[:, :, 0, 0] = 0.5
    weight = torch.zeros(2, 1, 4, 4)
    weight[0, :, 0, 0] = 1  # a small person, all wrong
    weight[1] = 1
    squared = losses.pixels(painted, seen, weight, l1_share=0.0).item()
    assert squared == pytest.approx((0.25 + 0.25 / 16) / 2)
    absolute = losses.pixels(painted, seen, weight, l1_share=1.0).item()
    assert absolute == pytest.approx((0.5 + 0.5 / 16) / 2)
    assert losses.pixels(painted, seen, torch.zeros_like(weight)).item() == 0


def test_the_mask_loss_ignores_samples_without_a_mask():
    logit, target = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    logit[1] = -100
    assert losses.mask(logit, target, torch.tensor([True, False])).item() == pytest.approx(math.log(2))
    assert losses.mask(logit, target, torch.tensor([False, False])).item() == 0


def test_mean_distance_is_mpjpe():
    assert losses.mean_distance(torch.zeros(2, 3, 3), torch.tensor([3.0, 4.0, 0.0]).expand(2, 3, 3)).item() == 5


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), strength=st.floats(0.1, 1.0))
def test_maps_keep_grey_near_grey_and_can_be_inverted(seed, strength):
    matrix, offset = random_maps(16, strength, torch.Generator().manual_seed(seed))
    assert matrix.shape == (16, 3, 3)
    assert offset.shape == (16, 3)
    grey = (matrix @ torch.ones(3, 1))[..., 0]
    assert (grey.std(dim=1) < 0.3 * strength + 1e-5).all()
    assert (torch.linalg.svdvals(matrix).amin(dim=1) > 0.3).all()


def test_no_strength_changes_nothing():
    matrix, offset = random_maps(8, 0.0)
    torch.testing.assert_close(matrix, torch.eye(3).expand(8, 3, 3))
    assert offset.abs().max() == 0


def test_person_and_room_get_their_own_map():
    images = torch.full((1, 2, 4, 4, 3), 0.6)
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 0, :2] = 1
    identity = (torch.eye(3)[None], torch.zeros(1, 3))
    darker = (torch.eye(3)[None], torch.full((1, 3), -0.3))
    found = recolour(images, masks, darker, identity)
    torch.testing.assert_close(found[0, 0, :2], torch.full((2, 4, 3), 0.3))
    torch.testing.assert_close(found[0, 0, 2:], images[0, 0, 2:])
    torch.testing.assert_close(found[0, 1], images[0, 1])


def test_maps_of_colour_turn_hue():
    matrix, _ = random_maps(400, 1.0, torch.Generator().manual_seed(0))
    red = matrix @ torch.tensor([0.5, 0.0, 0.0])
    strongest = red.argmax(dim=1)
    assert all((strongest == channel).float().mean() > 0.1 for channel in range(3))


def test_foreground_errors_see_the_mask_only():
    rng = np.random.default_rng(0)
    image, target = rng.random((3, 5, 6, 3)), rng.random((3, 5, 6, 3))
    mask = rng.random((3, 5, 6)) < 0.5
    mask[2] = False
    found = masked_mse(image, target, mask)
    assert found[0] == pytest.approx(((image[0] - target[0])[mask[0]] ** 2).mean())
    assert np.isnan(found[2])
