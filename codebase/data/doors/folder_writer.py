"""One folder of a dataset tree while it is being written: frames, masks, the camera and poses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from codebase.data.human36m import FRAME_SUFFIX, MASK_SUFFIX, Folder, write_meta
from codebase.errors import DataError, UserError

_LAST_FRAME = 999_999


@dataclass
class FolderWriter:
    """One folder while it is being written; a context of `TreeWriter.folder` hands it out.

    Attributes:
        folder: which.
        path: where its files lie until it is complete.
        jpeg_quality: of frames that come as pixels.
    """

    folder: Folder
    path: Path
    jpeg_quality: int
    frames: int = 0
    masks: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def frame(self, number: int, image: UInt8[ndarray, "height width 3"] | bytes) -> None:
        """Write a frame (from 1): RGB pixels, or the bytes of a JPEG, which are kept as they are."""
        self.frames += self._write(number, FRAME_SUFFIX, image if isinstance(image, bytes) else self._jpeg(image))

    def mask(self, number: int, mask: UInt8[ndarray, "height width"] | Bool[ndarray, "height width"]) -> None:
        """Write the mask of a frame: 0 to 255, person >= 128; or booleans, which take a quarter of the time."""
        grey = mask.astype(np.uint8) * np.uint8(255) if mask.dtype == bool else mask
        # one bit a pixel holds 0 and 255 only
        how = [cv2.IMWRITE_PNG_BILEVEL, 1] if mask.dtype == bool else [cv2.IMWRITE_PNG_COMPRESSION, 1]
        _, png = cv2.imencode(MASK_SUFFIX, grey, how)
        self.masks += self._write(number, MASK_SUFFIX, png.tobytes())

    def meta(self, **values: Any) -> None:  # noqa: ANN401 - the arguments of write_meta
        """Write camera and poses; the arguments are those of `human36m.write_meta` after the folder."""
        write_meta(self.path, **values)

    def note(self, **values: object) -> None:
        """Keep plain values with the folder; `TreeWriter.notes` gives them back, also in a later run."""
        self.notes.update(values)

    def _jpeg(self, image: UInt8[ndarray, "height width 3"]) -> bytes:
        _, jpeg = cv2.imencode(FRAME_SUFFIX, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
        return bytes(jpeg.tobytes())

    def _write(self, number: int, suffix: str, content: bytes) -> int:
        if not 1 <= number <= _LAST_FRAME:
            raise DataError(f"Frame {number} has no name.", where=self.folder.name, expected=f"1 to {_LAST_FRAME}")
        target = self.path / f"{self.folder.name}_{number:06d}{suffix}"
        # no fsync: the folder's marker, written after all frames, says that they are complete
        try:
            new = not target.exists()
            target.write_bytes(content)
        except OSError as error:  # a full disk concerns every folder, so that nothing is left out for it
            raise UserError(
                f"The dataset's folder cannot be written: {error.strerror}",
                where=target,
                mend="make room there, or set dataset.root to another disk, and run again; what is finished stays",
            ) from None
        return int(new)
