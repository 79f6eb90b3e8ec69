"""Any readable body file to an npz that loads fast and holds plain arrays: `body convert`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from codebase.body.arrays import BodyArrays, load_body
from codebase.body.raw import read_arrays
from codebase.body_sources import known
from codebase.errors import DataError
from codebase.files import atomic_path


def convert(source: Path, target: Path) -> BodyArrays:
    """Write what PoseMill uses of a body: ten shape components, SMPL's 24 joints, the 17 joints' regressor, in float32.

    The same input gives the same bytes. The licence of the body stays what it is.

    Raises:
        DataError: the source is missing or no body; the target is no npz or the source itself.
    """
    if target.suffix != ".npz":
        raise DataError("A body is converted to npz alone.", where=target, expected="a name that ends in .npz")
    raw, body = read_arrays(source), load_body(source)
    if target.exists() and target.samefile(source):
        raise DataError("The body would be written over itself.", where=target, mend="choose another name")
    arrays: dict[str, np.ndarray] = body.linear | {
        "J17_regressor": body.J17_regressor,
        "kintree_table": np.stack([body.parents, np.arange(len(body.parents))]),
        "f": body.faces,
    }
    if len(body.part):
        arrays |= {"part": body.part, "part_names": np.array(body.part_names)}
    if body.landmarks:
        arrays |= {
            "landmarks": np.stack(list(body.landmarks.values())),
            "landmark_names": np.array(list(body.landmarks)),
            "landmark_vertices": np.array(list(body.landmark_vertices.values())),
        }
    found = known(source)
    if found is not None:
        arrays |= {"source": np.array(f"{found.source.model} (licence: non-commercial research), from {source.name}")}
        arrays |= {"gender": np.array(found.gender)}
    arrays |= {key: np.asarray(raw[key]) for key in ("source", "gender") if key in raw}
    _write(target, arrays)
    return load_body(target)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    # not numpy.savez, whose entries carry the time
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0)), buffer.getvalue(),
                             compress_type=zipfile.ZIP_DEFLATED)  # fmt: skip
