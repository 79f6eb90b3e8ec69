"""Losses of images beyond pixels: against direct formulas, zero for equal images, and weighed by the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from codebase.config import EncDecConfig
from codebase.models.perceptual import PerceptualLoss
from codebase.training.image_losses import C1, C2, dissimilarity, edges, image_losses, over, scales, ssim

NAMES = ("ssim", "edges", "scales")


def images(seed: int, size: int = 32, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(count, 3, size, size, generator=generator) for _ in range(2))


def everywhere(size: int = 32, count: int = 2) -> torch.Tensor:
    return torch.ones(count, 1, size, size)


def only(name: str, **changes: float) -> EncDecConfig:
    return EncDecConfig(**{f"{name}_weight": 1.0} | changes)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), size=st.integers(12, 40))
def test_ssim_is_the_papers_formula(seed, size):
    """Computed with scipy's Gaussian in double precision."""
    first, second = (image.double() for image in images(seed, size))
    second = 0.7 * first + 0.3 * second

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, sigma=(0, 0, 1.5, 1.5), truncate=3.5, mode="mirror")

    a, b = first.numpy(), second.numpy()
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, both = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    expected = (2 * mean_a * mean_b + C1) * (2 * both + C2) / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))
    np.testing.assert_allclose(ssim(first, second).numpy(), expected, rtol=1e-9)


def test_ssim_knows_structure():
    first, second = images(0)
    assert torch.allclose(ssim(first, first), torch.ones_like(first), atol=1e-4)
    assert ssim(first, 1 - first).mean() < -0.5
    assert abs(ssim(first, second).mean()) < 0.1
    assert ssim(first, second).max() <= 1


def test_edges_and_scales_are_means_of_absolute_errors():
    painted, seen = images(1, size=16)
    error = (painted - seen).numpy()
    across, down = (np.abs(np.diff(error, axis=axis)).mean(axis=1) for axis in (3, 2))
    weight = everywhere(16)
    assert over(edges(painted, seen), weight) == pytest.approx((across.mean() + down.mean()) / 2, rel=1e-5)
    coarse = [error.reshape(2, 3, 16 // n, n, 16 // n, n).mean(axis=(3, 5)) for n in (2, 4, 8)]
    assert over(scales(painted, seen), weight) == pytest.approx(np.mean([np.abs(x).mean() for x in coarse]), rel=1e-5)


def test_edges_see_no_change_of_brightness_and_scales_no_fine_noise():
    seen = images(2)[0]
    assert over(edges(seen + 0.1, seen), everywhere()) < 1e-6
    checks = 0.1 * (-1.0) ** (torch.arange(32)[:, None] + torch.arange(32))
    assert over(scales(seen + checks, seen), everywhere()) < 1e-6
    assert over(edges(seen + checks, seen), everywhere()) == pytest.approx(0.2, rel=1e-4)
    assert over(scales(seen + 0.1, seen), everywhere()) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_zero_for_equal_images_and_teach_others(name):
    painted, seen = images(3)
    found = image_losses(seen, seen, everywhere(), only(name), None)
    assert list(found) == [name]
    assert abs(found[name]) < 1e-4
    painted.requires_grad_()
    optimizer = torch.optim.Adam([painted], lr=0.02)
    course = []
    for _ in range(60):
        loss = image_losses(painted, seen, everywhere(), only(name), None)[name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert course[-1] < 0.3 * course[0]


@pytest.mark.parametrize("name", NAMES)
def test_person_and_rest_are_weighed_each_over_its_own_size(name):
    """A painting that is wrong on the right half alone: who looks at the left half alone sees nothing."""
    seen = images(4, size=64)[0]
    painted = seen.clone()
    painted[..., 32:] = images(5, size=64)[0][..., 32:]
    left = torch.zeros(2, 1, 64, 64)
    left[..., :24] = 1  # apart by more than SSIM's window
    person, rest = ({"foreground_weight": a, "background_weight": b} for a, b in ((1.0, 0.0), (0.0, 1.0)))
    assert abs(image_losses(painted, seen, left, only(name, **person), None)[name]) < 1e-4
    outside = image_losses(painted, seen, left, only(name, **rest), None)[name]
    small = left.clone()
    small[..., :12] = 0  # most pixels are others', and right ones: their mean error falls
    assert 0 < image_losses(painted, seen, small, only(name, **rest), None)[name] < outside
    both = image_losses(painted, seen, left, only(name, foreground_weight=1.0, background_weight=0.5), None)[name]
    assert both == pytest.approx(0.5 * float(outside), rel=1e-4, abs=1e-4)


def test_nothing_is_asked_by_default_and_weights_scale():
    painted, seen = images(6)
    assert image_losses(painted, seen, everywhere(), EncDecConfig(), None) == {}
    once, thrice = (
        image_losses(painted, seen, everywhere(), EncDecConfig(ssim_weight=w), None)["ssim"] for w in (1.0, 3.0)
    )
    assert thrice == pytest.approx(3 * float(once), rel=1e-5)


def test_the_network_gets_its_weight():
    class Pixels(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [image]

    painted, seen = images(7)
    section = EncDecConfig(perceptual_weight=2.0, precision="fp32")
    found = image_losses(painted, seen, everywhere(), section, PerceptualLoss(Pixels(), "l1", "pixels"))
    assert list(found) == ["perceptual"]
    assert found["perceptual"] == pytest.approx(2 * float((painted - seen).abs().mean()), rel=1e-5)


def test_dissimilarity_is_one_minus_ssim():
    painted, seen = images(8)
    torch.testing.assert_close(dissimilarity(painted, seen)[0][:, 0], 1 - ssim(painted, seen).mean(dim=1))
