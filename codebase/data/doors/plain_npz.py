"""Pickled dicts inside npz files, read without running them: numpy arrays and plain containers, nothing else."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from codebase.body.pickles import RestrictedUnpickler
from codebase.body.stand_ins import plain
from codebase.errors import DataError
from codebase.files import missing

_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs")


class _ArraysOnly(RestrictedUnpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a pickle's callable
        if module not in _MODULES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_pickled(path: Path, key: str) -> Any:  # noqa: ANN401 - whatever plain value it holds
    """The object that `numpy.savez` pickled under `key` (an array of one object); nothing in it is run.

    Raises:
        DataError: the file is missing, no npz, lacks the key, or holds anything but arrays and plain containers.
    """
    if not path.is_file():
        raise missing(path)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            value = _unpickled(member)  # type: ignore[arg-type]  # zipfile's own kind of file
    except KeyError:
        raise DataError(f"The file lacks {key!r}.", where=path, expected=f"an npz with {key}") from None
    except Exception as error:  # a hostile or broken file can raise anything
        raise DataError(
            f"The file is not read: {error}. Nothing in it was run.", where=path,
            expected="an npz whose pickled dict holds plain arrays", mend="make or download it again",
        ) from None  # fmt: skip
    return value


def _unpickled(member: zipfile.ZipExtFile) -> Any:  # noqa: ANN401 - as above
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.kind != "O" or shape != ():
        raise ValueError(f"it holds an array of {dtype} of shape {shape}, not one pickled object")
    found = _ArraysOnly(member).load()
    if not isinstance(found, np.ndarray) or found.shape != ():
        raise ValueError("it holds no array of one object")
    return plain(found.item())
