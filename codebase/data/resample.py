"""Antialiased cutting of crops: exact area averages at sub-pixel places.

The map of a crop is axis-parallel, so resampling is separable. A crop pixel averages the part of the image that it
covers; where the crop magnifies, the window stays one image pixel wide, which is linear interpolation. A bilinear
warp would alias: a 2 m box of Human3.6M covers some 500 pixels, and a crop has 64 or 128.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

Affine = Float[ndarray, "2 3"]


def reduction(crop_from_image: Affine) -> int:
    """How far a decoder may shrink the image (1, 2, 4 or 8) and still leave 1.5 pixels to each crop pixel."""
    pixels = 1 / np.abs(crop_from_image[[0, 1], [0, 1]]).max()
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or pixels >= 1.5 * factor)


def after_reduction(crop_from_image: Affine, factor: int) -> Affine:
    """The same map from pixels of the image shrunk by `factor`: pixel k averages the pixels from k * factor on."""
    changed = crop_from_image.copy()
    changed[:, :2] *= factor
    changed[:, 2] += crop_from_image[:, :2] @ np.full(2, (factor - 1) / 2)
    return changed


def cut(
    image: Float[ndarray, "height width *channels"] | UInt8[ndarray, "height width *channels"],
    crop_from_image: Affine,
    size: int,
    *,
    repeat_border: bool,
) -> UInt8[ndarray, "size size *channels"]:
    """Cut a crop of `size` x `size` pixels; beyond the image its border is repeated, or all is 0."""
    return cut_oblong(image, crop_from_image, (size, size), repeat_border=repeat_border)


def cut_oblong(
    image: Float[ndarray, "height width *channels"] | UInt8[ndarray, "height width *channels"],
    crop_from_image: Affine,
    size: tuple[int, int],
    *,
    repeat_border: bool,
) -> UInt8[ndarray, "rows columns *channels"]:
    """The same for `size` rows and columns."""
    rows, from_row = _weights(crop_from_image[1, 1], crop_from_image[1, 2], size[0], image.shape[0], repeat_border)
    columns, from_column = _weights(
        crop_from_image[0, 0], crop_from_image[0, 2], size[1], image.shape[1], repeat_border
    )
    part = image[from_row : from_row + rows.shape[1], from_column : from_column + columns.shape[1]]
    height, width = part.shape[:2]
    narrow = (rows @ part.reshape(height, -1).astype(np.float32)).reshape(size[0], width, -1)
    small = np.matmul(columns, narrow)  # batched over rows: (rows, columns, channels)
    return (np.clip(small, 0, 255) + 0.5).astype(np.uint8).reshape(*size, *image.shape[2:])


def _weights(scale: float, shift: float, size: int, length: int, repeat_border: bool) -> tuple[np.ndarray, int]:
    """Matrix (size, n) of the weights of image pixels first ... first + n - 1, and first."""
    window = max(1.0, 1.0 / scale)
    centres = (np.arange(size) - shift) / scale
    low, high = centres[:, None] - window / 2, centres[:, None] + window / 2
    first = int(np.clip(np.floor(low[0, 0] + 0.5), 0, length - 1))
    last = int(np.clip(np.ceil(high[-1, 0] - 0.5), 0, length - 1))
    edges = np.arange(first, last + 2) - 0.5
    if repeat_border:
        edges[0], edges[-1] = (-np.inf if first == 0 else edges[0]), (np.inf if last == length - 1 else edges[-1])
    overlap = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
    return (np.maximum(overlap, 0) / window).astype(np.float32), first
