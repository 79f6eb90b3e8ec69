"""Rounding to grids so that a compressed npz of the body is about a megabyte, and writing it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from codebase.files import atomic_path, write_json

# Grid of each array in metres (or per unit of pose feature): below what a camera at 4 m could ever show.
GRID = {"v_template": 2.0**-16, "shapedirs": 2.0**-16, "posedirs": 2.0**-14, "landmarks": 2.0**-16}
_STORED = {
    "v_template": np.float32, "shapedirs": np.float32, "posedirs": np.float16, "J_regressor": np.float32,
    "J17_regressor": np.float32, "weights": np.float16, "kintree_table": np.int64, "f": np.uint16, "part": np.uint8,
    "landmarks": np.float32, "landmark_vertices": np.uint16,
}  # fmt: skip


def quantised(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Round each array to its grid and give it the smallest type that holds it."""
    result = {}
    for name, array in arrays.items():
        rounded = np.round(array / GRID[name]) * GRID[name] if name in GRID else array
        result[name] = rounded.astype(_STORED.get(name, array.dtype))
    return result


def write(path: Path, arrays: dict[str, np.ndarray], report: dict[str, object]) -> None:
    """A deterministic npz (fixed dates, strongest deflate) and the report beside it."""
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue(), compresslevel=9)
    write_json(path.with_suffix(".json"), json.loads(json.dumps(report)))
