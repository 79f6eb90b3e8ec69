"""Human3.6M's masks: MATLAB v7.3 files with a cell array `Masks`, one logical image a frame.

In HDF5 a cell array is a list of references, and MATLAB's columns come as rows, so that each image is transposed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from codebase.errors import DataError
from codebase.files import missing


class Masks:
    """The open file; `len()` is the number of frames that have a mask."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self._path = file, path
        item = file.get("Masks")
        if not isinstance(item, h5py.Dataset) or h5py.check_ref_dtype(item.dtype) is not h5py.Reference:
            raise DataError("The file holds no cell array `Masks`.", where=path, mend="download it again")
        self._cells = np.asarray(item).reshape(-1)

    def __len__(self) -> int:
        return len(self._cells)

    def read(self, frame: int) -> Bool[ndarray, "height width"]:
        """The mask of a frame (from 1).

        Raises:
            DataError: it cannot be read, or is no image of 0 and 1.
        """
        try:
            image = np.asarray(self._file[self._cells[frame - 1]])
        except Exception as error:  # h5py raises several kinds for broken references and data
            text = str(error) or type(error).__name__
            raise DataError(f"The mask of frame {frame} is unreadable: {text}", where=self._path) from None
        if image.ndim != 2 or image.dtype.kind not in "uib" or (image.size and image.max() > 1):
            what = f"The mask of frame {frame} has shape {image.shape} and type {image.dtype}."
            raise DataError(what, where=self._path, expected="an image of 0 and 1")
        return image.T.astype(bool)


@contextmanager
def open_masks(path: Path) -> Iterator[Masks]:
    """Open a file of masks.

    Raises:
        DataError: the file is missing, no readable MATLAB v7.3 file, or holds no masks.
    """
    if not path.is_file():
        raise missing(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"The file is no readable MATLAB v7.3 file: {error}", where=path) from None
    with file:
        yield Masks(file, path)


def fit(mask: Bool[ndarray, "rows columns"], height: int, width: int) -> Bool[ndarray, "height width"] | None:
    """The mask on the frame's pixels, top left on top left: frames of 1002 rows have masks of 1000 here and there.

    None where more than SLACK_PX differ: such a mask belongs to another video.
    """
    if abs(mask.shape[0] - height) > SLACK_PX or abs(mask.shape[1] - width) > SLACK_PX:
        return None
    fitted = np.zeros((height, width), bool)
    part = mask[:height, :width]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted


SLACK_PX = 4
