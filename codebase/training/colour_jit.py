"""Changes of colour on the CPU, pixel by pixel: a dozen passes of whole tensors become one (see colour.py)."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from codebase.render.jit import kernel


def takes(*tensors: Tensor) -> bool:
    """Whether these are what the kernels know: 32 bits on the CPU, and no gradient is asked for."""
    return all(each.device.type == "cpu" and each.dtype is torch.float32 and not each.requires_grad for each in tensors)


def recolour(
    images: Float[Tensor, "b images h w 3"],
    masks: Float[Tensor, "b images h w"],
    person: tuple[Float[Tensor, "b 3 3"], Float[Tensor, "b 3"]],
    room: tuple[Float[Tensor, "b 3 3"], Float[Tensor, "b 3"]],
) -> Float[Tensor, "b images h w 3"]:
    """As `colour.recolour`."""
    found = torch.empty(images.shape)
    _map_colours(*_pixels(images, masks, *person, *room), found.flatten(1, 3).numpy())
    return found


def recolour_spots(
    images: Float[Tensor, "b images h w 3"], masks: Float[Tensor, "b images h w"], spots: Float[Tensor, "b spots 7"]
) -> Float[Tensor, "b images h w 3"]:
    """As `colour.recolour_spots`."""
    found = torch.empty(images.shape)
    _shift_colours(*_pixels(images, masks, spots), found.flatten(1, 3).numpy())
    return found


def _pixels(images: Tensor, masks: Tensor, *others: Tensor) -> list[ndarray]:
    each = (images.flatten(1, 3), masks.flatten(1), *others)
    return [np.ascontiguousarray(one.numpy()) for one in each]


@kernel
def _map_colours(  # pragma: no cover
    pixels: ndarray,
    mask: ndarray,
    matrix: ndarray,
    offset: ndarray,
    room_matrix: ndarray,
    room_offset: ndarray,
    out: ndarray,
) -> None:
    for b in range(pixels.shape[0]):
        for p in range(pixels.shape[1]):
            share = mask[b, p]
            red, green, blue = (
                pixels[b, p, 0] - np.float32(0.5), pixels[b, p, 1] - np.float32(0.5), pixels[b, p, 2] - np.float32(0.5),
            )  # fmt: skip
            for c in range(3):
                value = np.float32(0.0)
                if share < 1:
                    m = room_matrix[b, c]
                    mapped = m[0] * red + m[1] * green + m[2] * blue + room_offset[b, c] + np.float32(0.5)
                    value += (1 - share) * min(max(mapped, np.float32(0.0)), np.float32(1.0))
                if share > 0:
                    m = matrix[b, c]
                    mapped = m[0] * red + m[1] * green + m[2] * blue + offset[b, c] + np.float32(0.5)
                    value += share * min(max(mapped, np.float32(0.0)), np.float32(1.0))
                out[b, p, c] = value


@kernel
def _shift_colours(pixels: ndarray, mask: ndarray, spots: ndarray, out: ndarray) -> None:  # pragma: no cover
    none = np.float32(0.0)
    for b in range(pixels.shape[0]):
        for p in range(pixels.shape[1]):
            red, green, blue = pixels[b, p, 0], pixels[b, p, 1], pixels[b, p, 2]
            share = mask[b, p]
            if share > 0:
                for s in range(spots.shape[1]):
                    spot = spots[b, s]
                    if spot[3] == 0 and spot[4] == 0 and spot[5] == 0:
                        continue
                    r, g, d = pixels[b, p, 0] - spot[0], pixels[b, p, 1] - spot[1], pixels[b, p, 2] - spot[2]
                    grey = (r + g + d) / np.float32(6.0)
                    r, g, d = r - grey, g - grey, d - grey
                    near = share * math.exp(np.float32(-0.5) * (r * r + g * g + d * d) / (spot[6] * spot[6]))
                    red, green, blue = red + near * spot[3], green + near * spot[4], blue + near * spot[5]
            out[b, p, 0] = min(max(red, none), np.float32(1.0))
            out[b, p, 1] = min(max(green, none), np.float32(1.0))
            out[b, p, 2] = min(max(blue, none), np.float32(1.0))
