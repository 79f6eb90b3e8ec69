"""Embeddings of a subject: a pickle of a dict of plain arrays, read by an unpickler that admits no more; or HDF5."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from codebase.data import embeddings_h5
from codebase.data.index import frame_key
from codebase.errors import DataError
from codebase.files import atomic_path, missing

FORMAT, VERSION = "posemill.embeddings", 3
H5 = ".h5"
_PLAIN = frozenset("biuf")


@dataclass(frozen=True)
class Embeddings:
    """What the encoder made of a subject's crops; rows are those of `crops/S{S}.h5`.

    Attributes:
        L_3d: the latent points, which turn with the camera.
        L_3d_mirrored: the same of the mirrored images; of no points where embed.mirrored is off.
        L_app: the appearance.
        has_joints: where False, joints_im_mm is NaN.
        checkpoint_digest, crops_digest: of the files that this was made from.
    """

    subject: int
    L_3d: Float32[ndarray, "rows points 3"]
    L_3d_mirrored: Float32[ndarray, "rows mirrored 3"]
    L_app: Float32[ndarray, "rows features"]
    action: Int32[ndarray, " rows"]
    subaction: Int32[ndarray, " rows"]
    camera: Int32[ndarray, " rows"]
    frame: Int32[ndarray, " rows"]
    has_joints: Bool[ndarray, " rows"]
    joints_im_mm: Float32[ndarray, "rows 17 3"]
    R_world_im: Float64[ndarray, "rows 3 3"]
    checkpoint_digest: str
    crops_digest: str

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def key(self) -> Int64[ndarray, " rows"]:
        """`frame_key` of the rows, rising."""
        return frame_key(self.subject, self.action, self.subaction, self.camera, self.frame)


# Name of an array: its type and the shape of a row (None: any).
_ARRAYS: dict[str, tuple[type[np.generic], tuple[int | None, ...]]] = {
    "L_3d": (np.float32, (None, 3)),
    "L_3d_mirrored": (np.float32, (None, 3)),
    "L_app": (np.float32, (None,)),
    "action": (np.int32, ()),
    "subaction": (np.int32, ()),
    "camera": (np.int32, ()),
    "frame": (np.int32, ()),
    "has_joints": (np.bool_, ()),
    "joints_im_mm": (np.float32, (17, 3)),
    "R_world_im": (np.float64, (3, 3)),
}


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write a pickle of protocol 5, or HDF5 where the name ends in .h5, atomically."""
    content: dict[str, Any] = {}
    for field in fields(Embeddings):
        value = getattr(embeddings, field.name)
        content[field.name] = np.ascontiguousarray(value, _ARRAYS[field.name][0]) if field.name in _ARRAYS else value
    if path.suffix == H5:
        embeddings_h5.save(path, content, format_name=FORMAT, version=VERSION)
        return
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        pickle.dump({"format": FORMAT, "version": VERSION} | content, handle, protocol=5)


def read_embeddings(path: Path) -> Embeddings:
    """Read embeddings, by the name's end as pickle or HDF5 (whose codes are mapped into memory); nothing in it is run.

    Raises:
        DataError: the file is missing, no pickle or HDF5, holds anything but plain arrays, numbers and strings, or has
            another format or wrong shapes.
    """
    content = _load_h5(path) if path.suffix == H5 else _load_pickle(path)
    names = {field.name for field in fields(Embeddings)}
    if set(content) != names:
        raise _refused(path, f"Keys are missing or unknown: {', '.join(sorted(map(str, set(content) ^ names)))}.")
    rows = len(content["frame"]) if isinstance(content["frame"], np.ndarray) and content["frame"].ndim else -1
    for name, (kind, shape) in _ARRAYS.items():
        array = content[name]
        fits = (
            isinstance(array, np.ndarray)
            and array.dtype == kind
            and array.ndim == len(shape) + 1
            and all(want in (None, have) for want, have in zip((rows, *shape), array.shape, strict=True))
        )
        if not fits:
            raise _refused(path, f"{name} is no array of type {kind.__name__} with the shape that the format asks for.")
    strings = isinstance(content["checkpoint_digest"], str) and isinstance(content["crops_digest"], str)
    if not strings or type(content["subject"]) is not int:
        raise _refused(path, "subject or a digest has a wrong type.")
    return Embeddings(**content)


def _refused(path: Path, what: str) -> DataError:
    return DataError(
        what,
        where=path,
        expected=f"{FORMAT} version {VERSION}: plain arrays, numbers and strings (docs/conventions.md)",
        mend="delete it and run the stage embed again; if it came from elsewhere, do not trust it",
    )


def _load_h5(path: Path) -> dict[str, Any]:
    types = {name: kind for name, (kind, _) in _ARRAYS.items()}
    try:
        return embeddings_h5.load(path, types, format_name=FORMAT, version=VERSION)
    except DataError:
        raise
    except Exception as error:  # h5py raises much on a damaged file
        raise _refused(path, f"The file is no readable HDF5 of embeddings: {type(error).__name__}: {error}") from None


def _load_pickle(path: Path) -> dict[str, Any]:
    content = _unpickle(path)
    found = (content.pop("format", None), content.pop("version", None)) if isinstance(content, dict) else (None, None)
    if found != (FORMAT, VERSION):
        raise _refused(path, f"The file has format {found[0]!r} version {found[1]!r}.")
    return content


def _unpickle(path: Path) -> Any:  # noqa: ANN401 - whatever it holds is checked by the callers
    if not path.is_file():
        raise missing(path)
    try:
        with path.open("rb") as handle:
            return _PlainUnpickler(handle).load()
    except DataError as error:
        raise _refused(path, error.what) from None
    except Exception as error:  # a hostile pickle can raise anything
        raise _refused(path, f"The file is no readable pickle: {type(error).__name__}: {error}") from None


class _PlainUnpickler(pickle.Unpickler):
    """Admits two names, which numpy writes for an array, and gives harmless things of our own for both."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a pickle's callable
        if (module, name) == ("numpy", "dtype"):
            return _type_stand_in()
        if module in ("numpy._core.numeric", "numpy.core.numeric") and name == "_frombuffer":
            return _array_maker()
        raise DataError(f"The file asks for {module}.{name}, which is refused; nothing of it was run.")


# Both are made anew for each use: a pickle may set attributes on what it got, and must not reach the next reader.
def _type_stand_in() -> type:
    class _Type:
        """Takes the place of numpy.dtype while a pickle builds one; knows plain numbers only."""

        def __init__(self, text: str, *_: object) -> None:
            dtype = np.dtype(text) if isinstance(text, str) and len(text) <= 3 else None
            if dtype is None or dtype.kind not in _PLAIN:
                raise DataError(f"The file holds an array of type {text!r}, which is refused.")
            self.dtype: np.dtype = dtype

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            if state[1] not in ("<", ">", "|", "=") or any(item is not None for item in state[2:5]):
                raise DataError("The file holds an array of a composed type, which is refused.")
            self.dtype = self.dtype.newbyteorder(state[1]) if state[1] in "<>" else self.dtype

    return _Type


def _array_maker() -> Callable[..., np.ndarray]:
    def make(buffer: Any, kind: Any, shape: tuple[int, ...], order: str) -> np.ndarray:  # noqa: ANN401
        dtype = getattr(kind, "dtype", None)
        if not isinstance(buffer, bytes | bytearray) or not isinstance(dtype, np.dtype) or dtype.kind not in _PLAIN:
            raise DataError("The file holds an array that is none of plain numbers, which is refused.")
        # bytes would give a read-only array, at which torch complains
        own = buffer if isinstance(buffer, bytearray) else bytearray(buffer)
        flat = np.frombuffer(own, dtype) if own else np.empty(math.prod(shape), dtype)
        return flat.reshape(shape, order="F" if order == "F" else "C")

    return make
