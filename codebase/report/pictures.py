"""Pictures for the page: frames cut about the person at any size, and their encoding into the HTML."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from codebase.data.human36m import read_frame
from codebase.data.lens import straighten
from codebase.geometry import crop_from_image, crop_intrinsics, world_to_camera
from codebase.paths import Paths
from codebase.report.material import Material

Image = UInt8[ndarray, "height width 3"]
Square = UInt8[ndarray, "side side 3"]
Camera = tuple[Float[ndarray, "2"], Float[ndarray, "2"]]


def data_uri(image: Image, *, lossless: bool = False, quality: int = 88) -> str:
    """An RGB image as a data URI: JPEG, or PNG where `lossless`."""
    suffix, kind = (".png", "png") if lossless else (".jpg", "jpeg")
    options = [] if lossless else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, content = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), options)
    return f"data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode()}"


def png(image: Image) -> bytes:
    """An RGB image as the bytes of a PNG file."""
    return cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()


def enlarge(image: Image, size: int) -> Square:
    """A square image at `size` pixels; smooth, because a network's output has no sharp pixels to keep."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC if size > image.shape[0] else cv2.INTER_AREA)


def person(material: Material, row: int, *, size: int, box_mm: float = 2200.0) -> tuple[Square, Camera]:
    """The frame of `row` cut about the root, size x size, and (f_px, c_px) that project straight into the cut.

    A lens' distortion is taken out, so that what is drawn over the cut lies where the person is.

    Raises:
        DataError: the frame is missing or no image.
    """
    views, folder = material.views, material.predictions.folder(row)
    path = folder.file(Paths(material.config).dataset, int(material.predictions.frames["frame"][row]))
    root_cam = world_to_camera(views.root_world_mm[row][None], views.R[row], views.T_mm[row])[0]
    affine = crop_from_image(root_cam, views.f_px[row], views.c_px[row], box_mm=box_mm, size_px=size)
    # Pixels beyond the frame repeat its border: a black bar would be read as part of the picture.
    frame, origin = straighten(read_frame(path), views.lens(row), 1)
    shifted = np.hstack([affine[:, :2], affine[:, 2:] + affine[:, :2] @ origin[:, None]])
    cut = resample(frame, shifted, size)
    return cut, crop_intrinsics(affine, views.f_px[row], views.c_px[row])


def resample(image: Image, affine: Float[ndarray, "2 3"], size: int) -> Square:
    """A square cut of side `size`; a frame that shrinks is averaged first, since a warp reads only a few neighbours."""
    while affine[0, 0] < 0.5:
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        # centre of the new pixel i lies at 2 i + 0.5 of the old ones
        affine = np.hstack([affine[:, :2] * 2, affine[:, 2:] + affine[:, :2].sum(axis=1, keepdims=True) * 0.5])
    return cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
