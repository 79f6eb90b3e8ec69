"""Official SMPL pickles without chumpy, and without letting the pickle run anything.

A pickle is a program. This unpickler admits exact (module, name) pairs only: those that scans of the official files
list (SMPL 1.0.0 and 1.1.0, SMPLify, SMPL+H), and numpy's own of other versions. Each stands for something of ours;
anything else ends the reading before it is looked up. What arrays there are is built from checked parts, because
numpy and scipy trust a pickle's types, sizes and indices.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from codebase.body.stand_ins import (
    NDARRAY,
    OBJECT,
    ArrayOfBuffer,
    Chumpy,
    EmptyArray,
    EncodeLatin1,
    Ignored,
    MakeRecorded,
    MakeType,
    Scalar,
    Select,
    SparseColumns,
    SparseTriplets,
    numbers,
)
from codebase.errors import DataError

ADMITTED: dict[tuple[str, str], object] = {
    ("chumpy.ch", "Ch"): Chumpy,
    ("chumpy", "Ch"): Chumpy,
    ("chumpy.reordering", "Select"): Select,
    ("scipy.sparse.csc", "csc_matrix"): SparseColumns,
    ("scipy.sparse._csc", "csc_matrix"): SparseColumns,
    ("scipy.sparse.coo", "coo_matrix"): SparseTriplets,
    ("scipy.sparse._coo", "coo_matrix"): SparseTriplets,
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): MakeType(),
    ("numpy.core.multiarray", "_reconstruct"): EmptyArray(),
    ("numpy._core.multiarray", "_reconstruct"): EmptyArray(),
    ("numpy.core.multiarray", "scalar"): Scalar(),
    ("numpy._core.multiarray", "scalar"): Scalar(),
    ("numpy.core.numeric", "_frombuffer"): ArrayOfBuffer(),
    ("numpy._core.numeric", "_frombuffer"): ArrayOfBuffer(),
    ("copy_reg", "_reconstructor"): MakeRecorded(),
    ("copyreg", "_reconstructor"): MakeRecorded(),
    ("__builtin__", "object"): OBJECT,
    ("builtins", "object"): OBJECT,
    ("__builtin__", "set"): Ignored,  # every chumpy array keeps one, of names
    ("builtins", "set"): Ignored,
    ("_codecs", "encode"): EncodeLatin1(),
}
# what reading a broken or hostile pickle may end in; none of it is a fault of ours
_BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, ImportError,
    OverflowError, MemoryError, RecursionError, UnicodeError,
)  # fmt: skip


class RestrictedUnpickler(pickle.Unpickler):
    """Looks up nothing but ADMITTED."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a stand-in of any kind
        """The stand-in for an admitted (module, name) pair; anything else is refused."""
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: object) -> NoReturn:
        """No pickle of a body refers to anything outside itself."""
        raise pickle.UnpicklingError("it refers to something outside the file")


def read_official_pickle(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an official SMPL file (any of the known versions, python 2 or 3); strings and the like are left out.

    Raises:
        DataError: the pickle holds anything but arrays in the known containers; nothing of it was executed.
    """
    try:
        with path.open("rb") as handle:
            content = RestrictedUnpickler(handle, encoding="latin1").load()
    except _BROKEN as error:
        raise _refused(path, str(error) or type(error).__name__) from None
    if not isinstance(content, dict):
        raise _refused(path, f"it holds a {type(content).__name__}, not a dict")
    arrays = {}
    for key, value in content.items():
        try:
            array = numbers(value)
        except _BROKEN as error:
            raise _refused(path, f"the array {key!r} is damaged ({error or type(error).__name__})") from None
        if array is not None:
            arrays[str(key)] = array
    return arrays


def _refused(path: Path, why: str) -> DataError:
    return DataError(
        f"The pickle is not read: {why}. Nothing in it was executed.",
        where=path,
        expected="an official SMPL model file: a dict of arrays (numpy, scipy.sparse.csc_matrix, chumpy)",
        mend="download the model again from its own site, or convert it to npz where it loads",
    )
