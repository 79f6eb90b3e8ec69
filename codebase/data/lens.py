"""Cutting crops through a lens' distortion, so that what comes out is what an ideal pinhole would have seen.

The part of the frame that a crop needs is first straightened at its own resolution (cv2.remap: pixel of the pinhole
image -> ray -> distorted pixel of the frame), then cut as any other image; so antialiasing is the same for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy import ndarray

from codebase.data.resample import Affine, cut
from codebase.geometry import distort, undistort

# The pinhole image reaches beyond the frame's edges where the lens pulls corners in; by at most this share of a side.
_WIDEST_MARGIN = 0.25
_MAP_ROWS = 64


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a camera with distortion, as plain numbers, so that maps can be kept by it.

    Attributes:
        f_px, c_px: x, y.
        distortion: k1, k2, p1, p2, k3 (`geometry.distort`).
    """

    f_px: tuple[float, ...]
    c_px: tuple[float, ...]
    distortion: tuple[float, ...]

    @property
    def bends(self) -> bool:
        """Whether there is any distortion."""
        return any(self.distortion)

    def recorded(self, pinhole_px: Float64[ndarray, "*points 2"]) -> Float64[ndarray, "*points 2"]:
        """Where the frame shows what the pinhole would show at `pinhole_px`."""
        return self._through(pinhole_px, distort)

    def straight(self, recorded_px: Float64[ndarray, "*points 2"]) -> Float64[ndarray, "*points 2"]:
        """Where the pinhole would show what the frame shows at `recorded_px`; not finite or far off if nowhere."""
        return self._through(recorded_px, undistort)

    def _through(self, points_px: np.ndarray, change: object) -> np.ndarray:
        rays = (points_px - self.c_px) / self.f_px
        turned = change(rays.reshape(-1, 2), np.array(self.distortion))  # type: ignore[operator]
        return np.asarray(turned.reshape(rays.shape) * self.f_px + self.c_px)


def cut_straight(
    image: Float32[ndarray, "height width *channels"] | UInt8[ndarray, "height width *channels"],
    crop_from_image: Affine,
    size: int,
    lens: Lens,
    factor: int,
    *,
    repeat_border: bool,
) -> UInt8[ndarray, "size size *channels"]:
    """`resample.cut` from the pinhole image of a frame that a lens has bent.

    Args:
        image: the frame, shrunk by `factor` (pixel k averages the pixels from k * factor on).
        crop_from_image: from pixels of the shrunk pinhole image to pixels of the crop.
        lens: of the frame as it was before it was shrunk.
    """
    if not lens.bends:
        return cut(image, crop_from_image, size, repeat_border=repeat_border)
    places, margin = _map(lens, image.shape[0], image.shape[1], factor)
    own = crop_from_image.copy()
    own[:, 2] -= own[:, :2] @ margin
    (left, right), (top, bottom) = (
        _span(own[axis, axis], own[axis, 2], size, places.shape[1 - axis]) for axis in (0, 1)
    )
    border = cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT
    # of bytes OpenCV rounds the places to 1/32 px and the values to whole levels, which moves spots by hundredths
    exact = image.astype(np.float32, copy=False)
    straight = cv2.remap(exact, places[top:bottom, left:right], None, cv2.INTER_LINEAR, borderMode=border)
    own[:, 2] += own[:, :2] @ np.array([left, top])
    return cut(straight, own, size, repeat_border=repeat_border)


def straighten(
    image: Float32[ndarray, "height width *channels"] | UInt8[ndarray, "height width *channels"],
    lens: Lens,
    factor: int,
) -> tuple[Float32[ndarray, "rows columns *channels"] | UInt8[ndarray, "rows columns *channels"], Int64[ndarray, "2"]]:
    """The pinhole image of a whole frame that is shrunk by `factor`, and the place (x, y) px of its first pixel."""
    if not lens.bends:
        return image, np.zeros(2, np.int64)
    places, margin = _map(lens, image.shape[0], image.shape[1], factor)
    return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), -margin


def _span(scale: float, shift: float, size: int, length: int) -> tuple[int, int]:
    """First and last + 1 of the pixels of an image line that crop pixels 0 ... size - 1 can reach."""
    reach = max(1.0, 1 / scale) / 2 + 1
    first = int(np.clip(np.floor(-shift / scale - reach), 0, length - 1))
    return first, int(np.clip(np.ceil((size - 1 - shift) / scale + reach) + 1, first + 1, length))


@lru_cache(maxsize=32)
def _map(lens: Lens, height: int, width: int, factor: int) -> tuple[Float32[ndarray, "rows columns 2"], ndarray]:
    """For each pixel of the shrunk pinhole image its place in the shrunk frame; starts (x, y) px before it."""
    whole = np.array([width, height]) * factor
    u, v = np.linspace(0, whole[0] - 1, 33), np.linspace(0, whole[1] - 1, 33)
    edges = [np.stack(np.broadcast_arrays(u, y), -1) for y in (0, whole[1] - 1)]
    edges += [np.stack(np.broadcast_arrays(x, v), -1) for x in (0, whole[0] - 1)]
    outside = lens.straight(np.concatenate(edges))
    beyond = np.maximum(-outside, outside - (whole - 1))
    beyond = np.where(np.isfinite(beyond), beyond, 0).max(axis=0)
    margin = np.ceil(np.clip(beyond, 0, _WIDEST_MARGIN * whole) / factor).astype(int)
    half = (factor - 1) / 2
    columns = (np.arange(-margin[0], width + margin[0]) * factor + half)[None, :]
    out = np.empty((height + 2 * margin[1], columns.shape[1], 2), np.float32)
    for start in range(0, len(out), _MAP_ROWS):
        rows = (np.arange(start, min(start + _MAP_ROWS, len(out))) - margin[1]) * factor + half
        places = lens.recorded(np.stack(np.broadcast_arrays(columns, rows[:, None]), axis=-1))
        out[start : start + _MAP_ROWS] = (places - half) / factor
    return out, margin
