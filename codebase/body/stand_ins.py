"""What a pickled body may be made of: our stand-ins for numpy's, scipy's and chumpy's constructors.

They keep what they are given and check it. Callables are instances without attributes: a pickle's BUILD sets
attributes, a function's too, and finds none here.
"""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np

MOST_ENTRIES = 10**8  # of a sparse matrix made dense: 800 MB; the largest of an official file has 165 360
_CODE = re.compile(r"b1|[iu][1248]|f[248]|[SU]\d{1,6}|O8?|[?bBhHiIlLqQefdO]")


class _Token:
    """Something that a pickle may name, but neither call nor change."""

    __slots__ = ()


NDARRAY, OBJECT = _Token(), _Token()


class Recorded:
    """Stands for an instance of a foreign class: keeps its state, runs none of its code."""

    __slots__ = ("state",)
    state: dict[str, Any]

    def __new__(cls, *_: object) -> Recorded:
        """An instance without state, whatever the pickle passes."""
        self = super().__new__(cls)
        self.state = {}
        return self

    def __setstate__(self, state: object) -> None:
        self.state = dict(state) if isinstance(state, dict) else {}


class Chumpy(Recorded):
    """chumpy.ch.Ch: an array in `x`."""


class Select(Recorded):
    """chumpy.reordering.Select: `a.x.ravel()[idxs].reshape(preferred_shape)`."""


class SparseColumns(Recorded):
    """A compressed sparse column matrix."""


class SparseTriplets(Recorded):
    """A sparse matrix of (row, column, value)."""


class Ignored(Recorded):
    """Something that no array is made of."""


class MakeRecorded:
    """What copyreg._reconstructor may do here: an empty instance of one of ours."""

    __slots__ = ()

    def __call__(self, kind: object, base: object, state: object) -> Recorded:
        """Make it."""
        if not (isinstance(kind, type) and issubclass(kind, Recorded)) or base is not OBJECT or state is not None:
            raise pickle.UnpicklingError("an object of a class that is not admitted")
        return kind()


class EncodeLatin1:
    """_codecs.encode, by which Python 3 writes bytes in old protocols."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        """The bytes."""
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes in encoding {encoding}")
        return text.encode("latin1")


class ElementType:
    """numpy.dtype of plain numbers, strings or objects.

    numpy's own restores flags, sizes and fields as a pickle wants them, with which an array's bytes become pointers.
    """

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the pickle holds
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of compound elements")
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array of unknown byte order")
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype:
        """The type."""
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]  # one of four characters


class MakeType:
    """numpy.dtype(code, align, copy)."""

    __slots__ = ()

    def __call__(self, code: Any, *_: object) -> ElementType:  # noqa: ANN401 - bytes or text
        """An element type of a plain code such as f8."""
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not _CODE.fullmatch(text):
            raise pickle.UnpicklingError(f"an array of type {text!r}")
        return ElementType(text)


class Array(np.ndarray):
    """An array whose state is checked before numpy sees it."""

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the pickle holds
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise pickle.UnpicklingError("an array of unknown state")
        shape, kind, fortran, content = state[-4:]
        if not isinstance(kind, ElementType) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("an array of unknown type")
        if len(shape) > 8 or not all(isinstance(size, int) and 0 <= size < 2**40 for size in shape):
            raise pickle.UnpicklingError("an array of impossible shape")
        raw = content.encode("latin1") if isinstance(content, str) else content
        expected = list if kind.dtype.hasobject else bytes
        if not isinstance(raw, expected):
            raise pickle.UnpicklingError("an array whose content is not its type's")
        super().__setstate__((1, shape, kind.dtype, bool(fortran), raw))  # type: ignore[arg-type]  # a bool of Python


class EmptyArray:
    """What numpy's _reconstruct does for a plain array; its state follows."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> Array:
        """An array without elements, whatever its pickle says until then."""
        if kind is not NDARRAY:
            raise pickle.UnpicklingError("an array subclass")
        return np.empty(0, np.int8).view(Array)


class ArrayOfBuffer:
    """numpy's _frombuffer: how protocol 5 keeps an array."""

    __slots__ = ()

    def __call__(self, content: Any, kind: Any, shape: Any, order: str) -> np.ndarray:  # noqa: ANN401 - as above
        """The array."""
        if not isinstance(kind, ElementType) or kind.dtype.hasobject or not isinstance(content, bytes | bytearray):
            raise pickle.UnpicklingError("an array of unknown type")
        return np.frombuffer(bytes(content), kind.dtype).reshape(shape, order="F" if order == "F" else "C")


class Scalar:
    """numpy's scalar: a type and its bytes."""

    __slots__ = ()

    def __call__(self, kind: Any, data: bytes | str) -> object:  # noqa: ANN401 - as above
        """The number."""
        if not isinstance(kind, ElementType) or kind.dtype.hasobject:
            raise pickle.UnpicklingError("a scalar that holds an object")
        return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, kind.dtype)[0]


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a pickle holds
    """The same with numpy's own arrays, in dicts, lists and tuples of any depth."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(part) for part in value)
    return np.asarray(value) if isinstance(value, Array) else value


def numbers(value: object) -> np.ndarray | None:
    """A plain numeric array, or None for what a body does not need (strings and the like)."""
    if isinstance(value, Select):
        state = value.state
        source = numbers(state["a"])
        if source is None:
            raise ValueError("chumpy Select of no array")
        return source.ravel()[_integers(state["idxs"])].reshape(state["preferred_shape"])
    if isinstance(value, Chumpy):
        return numbers(value.state["x"])
    if isinstance(value, SparseColumns):
        starts = _integers(value.state["indptr"])
        columns = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        return _dense(value.state, _integers(value.state["indices"]), columns)
    if isinstance(value, SparseTriplets):
        rows, columns = value.state.get("coords") or (value.state["row"], value.state["col"])
        return _dense(value.state, _integers(rows), _integers(columns))
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return np.asarray(value)
    return None


def _integers(value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iu":
        raise ValueError("indices that are no row of integers")
    return np.asarray(value).astype(np.int64)


def _dense(state: dict[str, Any], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """By numpy, which checks indices; scipy's compiled code writes wherever a file says."""
    shape = tuple(state.get("_shape", state.get("shape", ())))
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] > MOST_ENTRIES:
        raise ValueError(f"a sparse matrix of shape {shape}")
    if len(rows) and (min(rows.min(), columns.min()) < 0):
        raise ValueError("a sparse matrix with indices below zero")
    dense = np.zeros(shape)
    np.add.at(dense, (rows, columns), np.asarray(state["data"], np.float64))
    return dense
