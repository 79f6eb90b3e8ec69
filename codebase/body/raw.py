"""A body file's arrays, read and checked: sizes that agree, numbers that are finite."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from codebase.body.layouts import parents_of, to_smpl
from codebase.body.pickles import read_official_pickle
from codebase.body_sources import where_to_get
from codebase.errors import DataError
from codebase.skeleton import H36M, SMPL

SHAPES, POSE_FEATURES, JOINTS = 10, 207, len(SMPL)
REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_BROKEN_NPZ = (ValueError, TypeError, AttributeError, OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError,
               NotImplementedError, MemoryError, RuntimeError)  # fmt: skip


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.npz`, or of an official `.pkl`, as they stand in it.

    Raises:
        DataError: no such file, no such format, something else than arrays in it.
    """
    if not path.is_file():
        raise DataError(
            "The body file does not exist.", where=path, expected="an npz or pkl in SMPL layout",
            mend=where_to_get(path),
        )  # fmt: skip
    return _read_npz(path) if path.suffix.lower() == ".npz" else read_official_pickle(path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except _BROKEN_NPZ as error:
        raise DataError(
            f"The body file is no npz of plain arrays: {error}", where=path,
            expected=f"an npz with {', '.join(REQUIRED)}", mend="download or convert it again",
        ) from None  # fmt: skip


def checked_arrays(raw: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Arrays in SMPL's sizes: float32, faces int32, `parents`, ten shape components; optional ones where they are.

    Raises:
        DataError: arrays missing, sizes that disagree, numbers that are not finite, another skeleton.
    """
    missing = [key for key in REQUIRED if key not in raw]
    if missing:
        raise DataError(
            f"The body file lacks {', '.join(missing)}.", where=path, expected=f"arrays {', '.join(REQUIRED)}"
        )
    arrays = to_smpl(raw, path)
    template = np.asarray(arrays["v_template"])
    if template.ndim != 2 or template.shape[1] != 3 or not len(template):
        raise DataError(f"v_template has shape {template.shape}.", where=path, expected="vertices (V, 3)")
    count = len(template)
    shapes: dict[str, tuple[int, ...]] = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, SHAPES),
        "posedirs": (count, 3, POSE_FEATURES),
        "J_regressor": (JOINTS, count),
        "weights": (count, JOINTS),
    }
    if "J17_regressor" in arrays:
        shapes["J17_regressor"] = (len(H36M), count)
    result = {key: _numbers(key, np.asarray(arrays[key]), shape, path) for key, shape in shapes.items()}
    result["f"] = _faces(np.asarray(arrays["f"]), count, path)
    result["parents"] = parents_of(arrays["kintree_table"], path)
    if tuple(result["parents"].tolist()) != SMPL.parents:
        raise DataError("kintree_table is not SMPL's tree of 24 joints.", where=path, expected=str(SMPL.parents))
    return result | _labels(arrays, count, path)


def _numbers(key: str, array: np.ndarray, shape: tuple[int, ...], path: Path) -> np.ndarray:
    # versions with 300 shape components have the same first ten
    array = array[..., :SHAPES] if key == "shapedirs" else array
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise DataError(
            f"{key} has shape {array.shape} and type {array.dtype}.", where=path, expected=f"numbers of shape {shape}"
        )
    with np.errstate(over="ignore"):
        plain = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(plain).all():
        raise DataError(f"{key} holds numbers that are not finite.", where=path, expected="finite numbers, in metres")
    return plain


def _faces(faces: np.ndarray, count: int, path: Path) -> np.ndarray:
    expected = f"triangles (F, 3) of {count} vertices"
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or faces.dtype.kind not in "iu":
        raise DataError(f"f has shape {faces.shape} and type {faces.dtype}.", where=path, expected=expected)
    low, high = int(faces.min()), int(faces.max())
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        raise DataError(f"f names vertex {wrong}, which does not exist.", where=path, expected=expected)
    return faces.astype(np.int32)


def _labels(arrays: Mapping[str, np.ndarray], count: int, path: Path) -> dict[str, np.ndarray]:
    """Part labels and landmarks, empty where the file has none."""
    part = np.asarray(arrays.get("part", np.zeros(0, np.uint8)))
    part_names = np.asarray(arrays.get("part_names", np.zeros(0, "U1")))
    names = np.asarray(arrays.get("landmark_names", np.zeros(0, "U1")))
    points = np.asarray(arrays.get("landmarks", np.zeros((0, 3), np.float32)))
    vertices = np.asarray(arrays.get("landmark_vertices", np.zeros(0, np.int64)))
    right = (
        part.shape in ((0,), (count,)) and part.dtype.kind in "iu" and _within(part, len(part_names)),
        names.ndim == 1 and points.shape == (len(names), 3) and points.dtype.kind in "fiu",
        vertices.shape == (len(names),) and vertices.dtype.kind in "iu" and _within(vertices, count),
    )
    if not all(right):
        raise DataError(
            "The labels of parts or landmarks disagree in size with each other or the mesh.", where=path,
            expected=f"part ({count},) with part_names; landmarks (L, 3) with landmark_names, landmark_vertices (L,)",
        )  # fmt: skip
    found = {"part": part, "part_names": part_names, "landmark_names": names, "landmarks": points}
    return found | {"landmark_vertices": vertices}


def _within(numbers: np.ndarray, count: int) -> bool:
    return not len(numbers) or bool(numbers.min() >= 0 and numbers.max() < count)
