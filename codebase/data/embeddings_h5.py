"""Embeddings as HDF5: a contiguous dataset an array, the codes mapped into memory rather than read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from codebase.files import create_h5, open_h5

_MAPPED = ("L_3d", "L_3d_mirrored", "L_app")


def save(path: Path, content: Mapping[str, Any], *, format_name: str, version: int) -> None:
    """Write arrays as contiguous datasets, all else as attributes, atomically."""
    with create_h5(path, format_name=format_name, version=version) as file:
        for name, value in content.items():
            if isinstance(value, np.ndarray):
                file.create_dataset(name, data=value)
            else:
                file.attrs[name] = value


def load(path: Path, types: Mapping[str, type[np.generic]], *, format_name: str, version: int) -> dict[str, Any]:
    """All datasets and attributes of a file, without anything that lies outside of it.

    Codes are mapped, copy on write: a change stays in memory.

    Args:
        types: the datasets that are wanted, and of what they must be.

    Raises:
        DataError: the file is missing, no HDF5, or of another format or version.
        ValueError: a dataset is of another type, or does not lie in the file as plain numbers.
    """
    with open_h5(path, format_name=format_name, version=version) as file:
        content = {name: _plain(value) for name, value in file.attrs.items() if name not in ("format", "version")}
        for name in file:
            content[name] = _array(path, file, name, types.get(name))
    return content


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever an attribute holds; the caller looks at it
    return int(value) if isinstance(value, np.integer) else value


def _array(path: Path, file: h5py.File, name: str, kind: type[np.generic] | None) -> np.ndarray:
    # links, external storage and virtual datasets lead to other files, which nobody asked for
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    dataset = file[name]
    if kind is None or not isinstance(dataset, h5py.Dataset) or dataset.dtype != kind:
        raise ValueError(f"{name} is no dataset that belongs there")
    if dataset.is_virtual or dataset.external or dataset.chunks is not None:
        raise ValueError(f"{name} does not lie in the file as plain numbers")
    offset = dataset.id.get_offset()
    if dataset.size == 0:
        return np.zeros(dataset.shape, dataset.dtype)
    if offset is None:
        raise ValueError(f"{name} was never written")
    if name in _MAPPED:
        return np.memmap(path, mode="c", dtype=dataset.dtype, shape=dataset.shape, offset=offset)
    return dataset[:]
