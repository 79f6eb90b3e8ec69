"""Pictures as files: whole or not at all, and with a reason if they cannot be written, which OpenCV does not give."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from codebase.files import atomic_path


def write_picture(path: Path, image: UInt8[ndarray, "height width 3"], *, quality: int = 95) -> None:
    """Write an RGB image in the format of the path's suffix, atomically.

    Args:
        path: ends in .png, .jpg or .jpeg.
        image: RGB.
        quality: of a JPEG.

    Raises:
        UserError: the disk is full.
    """
    options = [] if path.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, content = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]), options)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())
