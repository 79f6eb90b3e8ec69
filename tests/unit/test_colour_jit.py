"""The kernels of the CPU change colours as the tensors' own operations do."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.training import colour, colour_jit


def sample(seed, count=3, images=2, size=7):
    """Images, masks of nothing, of everything and between, and maps."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, images, size, size, 3, generator=generator)
    masks = (3 * torch.rand(count, images, size, size, generator=generator) - 1).clamp(0, 1)
    return pixels, masks, generator


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), strength=st.floats(0.0, 1.0))
def test_maps(seed, strength):
    images, masks, generator = sample(seed)
    maps = [colour.random_maps(3, strength, generator) for _ in range(2)]
    assert colour_jit.takes(images, masks, *maps[0], *maps[1])
    found = colour.recolour(images, masks, *maps)
    torch.testing.assert_close(found, tensors(colour.recolour, images, masks, *maps), atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), spots=st.integers(1, 8))
def test_spots(seed, spots):
    images, masks, generator = sample(seed)
    drawn = colour.random_spots(images[:, 0], masks[:, 0], torch.rand(3, spots, 7, generator=generator))
    assert colour_jit.takes(images, masks, drawn)
    found = colour.recolour_spots(images, masks, drawn)
    torch.testing.assert_close(found, tensors(colour.recolour_spots, images, masks, drawn), atol=5e-5, rtol=0)
    assert torch.equal(found, images) == bool((drawn[..., 3:6] == 0).all())


def tensors(function, images, *others):
    """What the operations of tensors make of it, which alone know gradients."""
    assert not colour_jit.takes(images.clone().requires_grad_())
    return function(images.clone().requires_grad_(), *others).detach()


def test_a_view_of_other_strides_is_read_right():
    images, masks, generator = sample(5)
    maps = [colour.random_maps(3, 1.0, generator) for _ in range(2)]
    turned = images.permute(0, 1, 3, 2, 4).contiguous().permute(0, 1, 3, 2, 4)
    spread = masks[:, :1].expand(-1, 2, -1, -1)
    assert torch.equal(colour.recolour(turned, spread, *maps), colour.recolour(images, spread.contiguous(), *maps))
