"""Official SMPL pickles without chumpy, and without letting the pickle run anything.

A pickle is a program. This unpickler admits exact (module, name) pairs only, and each of those stands for something of
ours or for numpy's plain array construction; anything else ends the reading before it is looked up.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from scipy import sparse

from codebase.errors import DataError


class _Recorded:
    """Stands for an instance of a foreign class: keeps its state, runs none of its code."""

    state: dict[str, Any]

    def __init__(self, *_: object) -> None:
        self.state = {}

    def __setstate__(self, state: object) -> None:
        self.state = dict(state) if isinstance(state, dict) else {}


class _Chumpy(_Recorded):
    """chumpy.ch.Ch: an array in `x`."""


class _Select(_Recorded):
    """chumpy.reordering.Select: `a.x.ravel()[idxs].reshape(preferred_shape)`."""


class _Csc(_Recorded):
    """A compressed sparse column matrix."""


class _MakeRecorded:
    """What copyreg._reconstructor may do here: an empty instance of one of ours.

    Callables are instances without attributes: a pickle's BUILD sets attributes, a function's too, and finds none here.
    """

    __slots__ = ()

    def __call__(self, kind: type, base: object, state: object) -> object:
        if not (isinstance(kind, type) and issubclass(kind, _Recorded)) or base is not object or state is not None:
            raise pickle.UnpicklingError("an object of a class that is not admitted")
        return kind()


class _EncodeLatin1:
    """_codecs.encode, by which Python 3 writes bytes in old protocols."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes in encoding {encoding}")
        return text.encode("latin1")


class _EmptyArray:
    """What numpy's _reconstruct does for a plain array; its state follows."""

    __slots__ = ()

    def __call__(self, kind: object, shape: tuple[int, ...], code: Any) -> np.ndarray:  # noqa: ANN401 - bytes or text
        if kind is not np.ndarray:
            raise pickle.UnpicklingError("an array subclass")
        return np.empty(shape, code)


class _Scalar:
    """numpy's scalar: a type and its bytes."""

    __slots__ = ()

    def __call__(self, dtype: np.dtype, data: bytes | str) -> object:
        if dtype.hasobject:
            raise pickle.UnpicklingError("a scalar that holds an object")
        return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype)[0]


ADMITTED: dict[tuple[str, str], Callable[..., object]] = {
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _Select,
    ("scipy.sparse.csc", "csc_matrix"): _Csc,
    ("scipy.sparse._csc", "csc_matrix"): _Csc,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _EmptyArray(),
    ("numpy._core.multiarray", "_reconstruct"): _EmptyArray(),
    ("numpy.core.multiarray", "scalar"): _Scalar(),
    ("numpy._core.multiarray", "scalar"): _Scalar(),
    ("copy_reg", "_reconstructor"): _MakeRecorded(),
    ("copyreg", "_reconstructor"): _MakeRecorded(),
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("_codecs", "encode"): _EncodeLatin1(),
}


class RestrictedUnpickler(pickle.Unpickler):
    """Looks up nothing but ADMITTED."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """The stand-in for an admitted (module, name) pair; anything else is refused."""
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: object) -> NoReturn:
        """No pickle of a body refers to anything outside itself."""
        raise pickle.UnpicklingError("it refers to something outside the file")


def read_official_pickle(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an official SMPL file (any of the known versions, python 2 or 3).

    Raises:
        DataError: the pickle holds anything but arrays in the known containers; nothing of it was executed.
    """
    try:
        with path.open("rb") as handle:
            content = RestrictedUnpickler(handle, encoding="latin1").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
        ImportError,
    ) as error:
        raise _refused(path, str(error)) from None
    if not isinstance(content, dict):
        raise _refused(path, f"it holds a {type(content).__name__}, not a dict")
    try:
        arrays = {str(key): _plain(value) for key, value in content.items()}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise _refused(path, f"an array is damaged ({error})") from None
    return {key: value for key, value in arrays.items() if value is not None}


def _refused(path: Path, why: str) -> DataError:
    return DataError(
        f"The pickle is not read: {why}. Nothing in it was executed.",
        where=path,
        expected="an official SMPL model file: a dict of arrays (numpy, scipy.sparse.csc_matrix, chumpy)",
        mend="download the model again from its own site, or convert it to npz where it loads",
    )


def _plain(value: object) -> np.ndarray | None:
    """A plain numeric array, or None for what a body does not need (strings and the like)."""
    if isinstance(value, _Select):
        state = value.state
        source = _plain(state["a"])
        if source is None:
            raise ValueError("chumpy Select of no array")
        return source.ravel()[np.asarray(state["idxs"])].reshape(state["preferred_shape"])
    if isinstance(value, _Chumpy):
        return _plain(value.state["x"])
    if isinstance(value, _Csc):
        state = value.state
        shape = state.get("_shape", state.get("shape"))
        return sparse.csc_matrix((state["data"], state["indices"], state["indptr"]), shape=shape).toarray()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return value
    return None
