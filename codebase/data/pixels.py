"""The pixels of a file of crops, written row by row and read back in whole batches.

Images are raw (contiguous, so that a batch costs what a plain memory map costs) or JPEG; masks are packed without
loss; backgrounds are raw, or cut out of the rooms. The bytes of packed rows lie one after another in `{name}_bytes`;
those of row i are `{name}_bytes[{name}_start[i] : {name}_start[i + 1]]`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType

import cv2
import h5py
import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from codebase.data.packbits import unpack
from codebase.data.rooms import cut_room
from codebase.errors import DataError
from codebase.render.jit import kernel

PIXELS = ("image", "background", "mask")
_COPY_BYTES = 1 << 24
_LEAST_A_THREAD = 8


def encode_jpeg(image: UInt8[ndarray, "height width 3"], quality: int) -> bytes:
    """A JPEG of an RGB image, colours at full resolution (4:4:4): a crop is small already."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling])[1])


class PixelWriter:
    """Writes the images and masks of `total` rows, in order, into a new file of crops.

    Args:
        compressed: whether images come as JPEG.
        scratch: a folder for the packed bytes until their number is known.
    """

    def __init__(self, file: h5py.File, total: int, size: int, *, compressed: bool, scratch: Path) -> None:
        self._file, self._row = file, 0
        self._image = None if compressed else file.create_dataset("image", (total, size, size, 3), np.uint8)
        names = ("image", "mask") if compressed else ("mask",)
        self._packed = {name: _Packed(scratch) for name in names}
        file.attrs["storage"] = "jpeg" if compressed else "raw"

    def __enter__(self) -> PixelWriter:
        return self

    def add(self, images: Sequence[UInt8[ndarray, "size size 3"] | bytes], masks: Sequence[bytes]) -> None:
        """The next rows: images as they are, or each as a JPEG."""
        if self._image is None:
            self._packed["image"].add(images)
        elif len(images):
            self._image[self._row : self._row + len(images)] = np.stack([np.asarray(image) for image in images])
        self._packed["mask"].add(masks)
        self._row += len(masks)

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        for name, packed in self._packed.items():
            if kind is None:
                packed.write(self._file, name)
            packed.close()


class _Packed:
    def __init__(self, scratch: Path) -> None:
        self._bytes = tempfile.TemporaryFile(prefix=".crops", dir=scratch)  # noqa: SIM115 - closed by the writer
        self._start = [0]

    def add(self, rows: Sequence[np.ndarray | bytes]) -> None:
        for row in rows:
            self._bytes.write(bytes(row))
            self._start.append(self._start[-1] + len(row))

    def write(self, file: h5py.File, name: str) -> None:
        packed = file.create_dataset(f"{name}_bytes", (self._start[-1],), np.uint8)
        self._bytes.seek(0)
        for start in range(0, self._start[-1], _COPY_BYTES):
            piece = np.frombuffer(self._bytes.read(_COPY_BYTES), np.uint8)
            packed[start : start + len(piece)] = piece
        file[f"{name}_start"] = np.array(self._start, np.int64)

    def close(self) -> None:
        self._bytes.close()


class PixelReader:
    """The pixels of one file of crops, mapped into memory.

    Raises:
        DataError: a dataset is chunked or compressed.
        KeyError: one is missing.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self.size = path, int(file.attrs["size"])
        self._compressed = str(file.attrs["storage"]) == "jpeg"
        packed = ("image", "mask") if self._compressed else ("mask",)
        self._image = None if self._compressed else map_dataset(path, file["image"])
        self._bytes = {name: map_dataset(path, file[f"{name}_bytes"]) for name in packed}
        self._start = {name: file[f"{name}_start"][:] for name in packed}
        self._background = map_dataset(path, file["background"]) if "background" in file else None
        self._rooms = [map_dataset(path, file[f"rooms/{number}"]) for number in range(len(file["rooms"]))]
        self._room, self._crop_from_room = file["room"][:], file["crop_from_room"][:]

    def read(self, name: str, rows: Int64[ndarray, " some"], out: ndarray, places: Int64[ndarray, " some"]) -> None:
        """Put the pixels `name` (of PIXELS) of some rows at out[places].

        Raises:
            DataError: a packed image or mask is damaged.
        """
        if name == "background" and self._background is not None:
            _copy(self._background.reshape(len(self._background), -1), rows, out.reshape(len(out), -1), places)
        elif name == "background":
            room = self._room[rows]
            for number in np.unique(room):
                mine = room == number
                cut_room(self._rooms[number], self._crop_from_room, rows[mine], out, places[mine])
        elif name == "mask":
            self._read_masks(rows, out, places)
        elif self._image is not None:
            _copy(self._image.reshape(len(self._image), -1), rows, out.reshape(len(out), -1), places)
        else:
            self._read_jpegs(rows, out, places)

    def _read_masks(self, rows: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        start = self._start["mask"]
        try:
            unpack(self._bytes["mask"], start[rows], start[rows + 1], out.reshape(len(out), -1), places)
        except ValueError as error:
            raise self._damaged(str(error)) from None

    def _read_jpegs(self, rows: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        packed, start = self._bytes["image"], self._start["image"]
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            image = cv2.imdecode(packed[start[row] : start[row + 1]], cv2.IMREAD_COLOR_RGB)
            if image is None or image.shape != out.shape[1:]:
                raise self._damaged(f"the image of row {row} is damaged")
            out[place] = image

    def _damaged(self, what: str) -> DataError:
        return DataError(f"The pixels cannot be read: {what}.", where=self.path, mend="run the stage crops again")


@kernel
def _copy(source: np.ndarray, rows: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:  # pragma: no cover
    for i in range(len(rows)):
        wanted, place = source[rows[i]], out[places[i]]
        for pixel in range(len(place)):  # a whole-array assignment checks for overlaps and takes seven times as long
            place[pixel] = wanted[pixel]


def map_dataset(path: Path, dataset: h5py.Dataset) -> np.ndarray:
    """A read-only memory map of a contiguous dataset, as fast as that of a plain file of raw numbers.

    Raises:
        DataError: the dataset is chunked or compressed.
    """
    if dataset.size == 0:
        return np.zeros(dataset.shape, dataset.dtype)
    offset = dataset.id.get_offset()
    if offset is None:
        raise DataError(
            f"The dataset {dataset.name} is not contiguous.", where=path, expected="an uncompressed, unchunked dataset"
        )
    return np.memmap(path, mode="r", dtype=dataset.dtype, shape=dataset.shape, offset=offset)


def in_threads(function: Callable[[np.ndarray], None], count: int, threads: int) -> None:
    """Call `function(numbers)` on pieces of 0 ... count - 1, side by side: kernels and decoders let go of the lock."""
    pieces = np.array_split(np.arange(count), min(threads, max(1, count // _LEAST_A_THREAD)))
    if len(pieces) == 1:
        function(pieces[0])
        return
    for done in [_pool(threads).submit(function, piece) for piece in pieces]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="crops")
