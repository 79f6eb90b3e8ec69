"""Crops of several subjects: columns by name, whole batches of pixels at once, however the files store them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from codebase.data.crops import FORMAT, VERSION
from codebase.data.index import KEYS_PER_INSTANT, frame_key
from codebase.data.pixels import PIXELS, PixelReader, in_threads
from codebase.errors import DataError
from codebase.files import open_h5

Rows = Int64[ndarray, "*shape"]
COLUMNS = (
    "action", "subaction", "camera", "frame", "has_mask", "has_joints", "joints_im_mm", "root_world_mm", "R_world_im",
    "R", "T_mm", "f_px", "c_px", "crop_from_image",
)  # fmt: skip


class CropStore:
    """Crops of several subjects, restricted to the rows with given keys; rows sorted as in the index.

    Args:
        files: crops of the subjects, any order.
        keys: `Index.key` of a split; None takes every row of the files.

    Attributes:
        size, box_mm: of the crops.
        columns: by name (COLUMNS, `subject`, `key`) one array a column, the selected rows of all files.
        digests: by subject, the digest of its file.

    Raises:
        DataError: a file is missing, of another format or another crop size, or lacks a row of the index.
    """

    def __init__(self, files: Sequence[Path], keys: Int64[ndarray, " keys"] | None = None) -> None:
        self.digests: dict[int, str] = {}
        self._pixels: list[PixelReader] = []
        tables = [self._open(path) for path in files]
        if not tables:
            raise DataError("No file of crops is given.", expected="crops/S{n}.h5 of at least one subject")
        self.size, self.box_mm = self._common(files, tables)
        joined = {name: np.concatenate([table[name] for table in tables]) for name in (*COLUMNS, "subject", "key")}
        file = np.repeat(np.arange(len(tables)), [len(table["key"]) for table in tables])
        row = np.concatenate([np.arange(len(table["key"])) for table in tables])
        order = np.argsort(joined["key"])
        if keys is not None:
            order = order[np.isin(joined["key"][order], keys)]
            if len(order) != len(np.unique(keys)):
                raise DataError(
                    f"The crops lack {len(np.unique(keys)) - len(order)} of the {len(keys)} rows of the index.",
                    where=", ".join(map(str, files)),
                    expected="crops cut from this very index, of all its subjects",
                    mend="run the stage crops again",
                )
        self.columns = {name: values[order] for name, values in joined.items()}
        self._file, self._row = file[order], row[order]

    def __len__(self) -> int:
        return len(self._row)

    def __getattr__(self, name: str) -> np.ndarray:
        """A column by its name: `store.joints_im_mm`."""
        columns = self.__dict__.get("columns", {})
        if name not in columns:
            raise AttributeError(f"no column {name!r}; columns are {', '.join(columns)}")
        return columns[name]

    @property
    def instant(self) -> Int64[ndarray, " rows"]:
        """A number that the cameras of one instant share, rising."""
        return self.columns["key"] // KEYS_PER_INSTANT

    def gather(self, rows: Rows, names: Sequence[str]) -> dict[str, Tensor]:
        """Columns and pixels of `rows` (any shape, which leads the tensors' shapes); float64 becomes float32."""
        return {name: torch.from_numpy(self._take(name, np.asarray(rows))) for name in names}

    def _take(self, name: str, rows: np.ndarray) -> np.ndarray:
        if name not in PIXELS:
            values = np.take(self.columns[name], rows, axis=0)
            return values.astype(np.float32) if values.dtype == np.float64 else values
        flat = rows.ravel()
        file, row = self._file[flat], self._row[flat]
        out = np.empty((len(flat), self.size, self.size, *(() if name == "mask" else (3,))), np.uint8)

        def read(places: np.ndarray) -> None:
            for number in np.unique(file[places]):
                mine = places[file[places] == number]
                self._pixels[number].read(name, row[mine], out, mine)

        in_threads(read, len(flat), torch.get_num_threads())
        return out.reshape(*rows.shape, *out.shape[1:])

    def _open(self, path: Path) -> dict[str, Any]:
        with open_h5(path, format_name=FORMAT, version=VERSION) as file:
            try:
                table: dict[str, Any] = {name: file[name][:] for name in COLUMNS}
                self._pixels.append(PixelReader(path, file))
                subject = int(file.attrs["subject"])
                self.digests[subject] = str(file.attrs["digest"])
                table["size"], table["box_mm"] = int(file.attrs["size"]), float(file.attrs["box_mm"])
            except KeyError as error:
                raise DataError(f"The crops lack a dataset: {error}", where=path, mend="make them again") from None
        table["subject"] = np.full(len(table["frame"]), subject, np.int32)
        table["key"] = frame_key(*(table[name] for name in ("subject", "action", "subaction", "camera", "frame")))
        return table

    @staticmethod
    def _common(files: Sequence[Path], tables: Sequence[dict[str, Any]]) -> tuple[int, float]:
        found = {(table["size"], table["box_mm"]) for table in tables}
        if len(found) > 1:
            raise DataError(
                f"The crops differ in size and box: {sorted(found)}.",
                where=", ".join(map(str, files)),
                expected="one size and box_mm for all subjects",
                mend="run the stage crops again for all subjects",
            )
        return found.pop()
