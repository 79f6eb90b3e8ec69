"""What else than its pixels may be asked of a painted image: structure, edges, coarse colours, what a network sees.

All of them off by default. The first three are means over the person and over the rest, each weighed as the errors of
pixels are (enc_dec.foreground_weight, background_weight); the last knows no mask.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codebase.config import EncDecConfig
from codebase.models.perceptual import PerceptualLoss
from codebase.training import losses
from codebase.training.precision import autocast

Image = Float[Tensor, "b 3 h w"]
Weight = Float[Tensor, "b 1 h w"]
Maps = list[Float[Tensor, "b 1 _ _"]]

# Wang, Bovik, Sheikh and Simoncelli (IEEE TIP 2004): window and constants, for images in [0, 1].
WINDOW, SIGMA, C1, C2 = 11, 1.5, 0.01**2, 0.03**2
SCALES = 3


def image_losses(
    painted: Image, seen: Image, person: Weight, section: EncDecConfig, network: PerceptualLoss | None
) -> dict[str, Float[Tensor, ""]]:
    """The losses that the section asks for, by name, already weighted.

    Args:
        painted, seen: RGB in [0, 1].
        person: how far a pixel shows the person, [0, 1].
        section: their weights and enc_dec.precision; what has no weight is not computed.
        network: of enc_dec.perceptual.
    """
    asked: dict[str, tuple[float, Callable[[Image, Image], Maps]]] = {
        "ssim": (section.ssim_weight, dissimilarity),
        "edges": (section.edges_weight, edges),
        "scales": (section.scales_weight, scales),
    }
    found = {}
    for name, (weight, errors) in asked.items():
        if weight > 0:
            maps = errors(painted, seen)
            inside, outside = over(maps, person), over(maps, 1 - person)
            found[name] = weight * (section.foreground_weight * inside + section.background_weight * outside)
    if network is not None and section.perceptual_weight > 0:
        with autocast(section.precision, painted.device):
            found["perceptual"] = section.perceptual_weight * network(painted, seen)
    return found


def over(maps: Maps, weight: Weight) -> Float[Tensor, ""]:
    """Mean of maps of errors, each sample over its own weights (as `losses.pixels`), brought to each map's size."""
    return torch.stack(
        [losses.weighted(error, F.adaptive_avg_pool2d(weight, (error.shape[2], error.shape[3]))) for error in maps]
    ).mean()  # fmt: skip


def dissimilarity(painted: Image, seen: Image) -> Maps:
    """1 - SSIM about every pixel, the mean of the colours (Wang et al., IEEE TIP 2004); images in [0, 1]."""
    return [1 - ssim(painted, seen).mean(dim=1, keepdim=True)]


def ssim(first: Image, second: Image) -> Image:
    """SSIM about every pixel, colour by colour, at most 1; moments under a Gaussian, images mirrored at borders."""
    moments = torch.stack([first, second, first * first, second * second, first * second])
    mean1, mean2, square1, square2, product = _blur(moments.flatten(0, 1)).unflatten(0, (5, -1))
    variances, covariance = square1 - mean1**2 + square2 - mean2**2, product - mean1 * mean2
    brightness = (2 * mean1 * mean2 + C1) / (mean1**2 + mean2**2 + C1)
    return brightness * (2 * covariance + C2) / (variances + C2)


def _blur(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Under the window: two products with band matrices, on a CPU much faster than convolutions of one channel."""
    height, width = (_window(size, images) for size in images.shape[2:])
    return height @ images @ width.T


def _window(size: int, like: Tensor) -> Float[Tensor, "size size"]:
    """A row for each place, of what its neighbours weigh; beyond the borders stand mirror images."""
    steps = torch.arange(-(WINDOW // 2), WINDOW // 2 + 1, device=like.device)
    bell = torch.exp(-0.5 * (steps.to(like) / SIGMA) ** 2)
    places = (torch.arange(size, device=like.device)[:, None] + steps).abs()
    mirrored = size - 1 - (size - 1 - places).abs()
    matrix = torch.zeros(size, size, device=like.device, dtype=like.dtype)
    return matrix.scatter_add_(1, mirrored, (bell / bell.sum()).expand(size, -1))


def edges(painted: Image, seen: Image) -> Maps:
    """Absolute errors of the differences of neighbouring pixels: one below the other, and side by side."""
    error = painted - seen
    return [error.diff(dim=axis).abs().mean(dim=1, keepdim=True) for axis in (2, 3)]


def scales(painted: Image, seen: Image) -> Maps:
    """Absolute errors at a half, a quarter and an eighth of the resolution."""
    error, maps = painted - seen, []
    for _ in range(SCALES):
        error = F.avg_pool2d(error, 2)
        maps.append(error.abs().mean(dim=1, keepdim=True))
    return maps
