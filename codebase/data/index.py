"""The index: one row per usable image of a split, its camera, its pose, and what was left out and why."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from codebase.data.human36m import Folder
from codebase.data.scan import Exclusion
from codebase.errors import DataError
from codebase.files import create_h5, open_h5
from codebase.logs import log

FORMAT, VERSION = "posemill.index", 2
KEYS_PER_INSTANT = 100  # the cameras of an instant differ in the last two digits of their keys


def frame_key(subject: Any, action: Any, subaction: Any, camera: Any, frame: Any) -> Any:  # noqa: ANN401
    """A number (int64) that identifies an image; elementwise on arrays; orders images as the index does."""
    parts = (np.asarray(part, np.int64) for part in (subject, action, subaction, frame, camera))
    s, a, b, f, c = parts
    return (((s * 100 + a) * 100 + b) * 1_000_000 + f) * KEYS_PER_INSTANT + c


@dataclass(frozen=True)
class Views:
    """Folders and their cameras, one row each."""

    subject: Int32[ndarray, " views"]
    action: Int32[ndarray, " views"]
    subaction: Int32[ndarray, " views"]
    camera: Int32[ndarray, " views"]
    R: Float64[ndarray, "views 3 3"]
    T_mm: Float64[ndarray, "views 3"]
    f_px: Float64[ndarray, "views 2"]
    c_px: Float64[ndarray, "views 2"]
    width: Int32[ndarray, " views"]
    height: Int32[ndarray, " views"]
    distortion: Float64[ndarray, "views 5"]

    def folder(self, row: int) -> Folder:
        """The folder of a row."""
        return Folder(int(self.subject[row]), int(self.action[row]), int(self.subaction[row]), int(self.camera[row]))


@dataclass(frozen=True)
class Index:
    """The index of a split; rows sorted by subject, action, subaction, frame, camera.

    Attributes:
        instant: row of `joints_world_mm`; the cameras of one instant share it.
        view: row of `views`.
        has_joints: whether the pose is known; if not, the root is, and the other joints are NaN.
        joints_world_mm: poses of the instants.
        counts: per subject ("1"): rows, excluded_folders, excluded_frames, excluded_masks.
    """

    subject: Int32[ndarray, " rows"]
    action: Int32[ndarray, " rows"]
    subaction: Int32[ndarray, " rows"]
    camera: Int32[ndarray, " rows"]
    frame: Int32[ndarray, " rows"]
    instant: Int32[ndarray, " rows"]
    view: Int32[ndarray, " rows"]
    has_mask: Bool[ndarray, " rows"]
    has_joints: Bool[ndarray, " rows"]
    joints_world_mm: Float32[ndarray, "instants 17 3"]
    views: Views
    exclusions: tuple[Exclusion, ...]
    counts: dict[str, dict[str, int]]

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def key(self) -> Int64[ndarray, " rows"]:
        """`frame_key` of the rows, rising."""
        return frame_key(self.subject, self.action, self.subaction, self.camera, self.frame)


ROWS = ("subject", "action", "subaction", "camera", "frame", "instant", "view", "has_mask", "has_joints")


def write_index(path: Path, index: Index) -> None:
    """Write an index file, format posemill.index, atomically."""
    with create_h5(path, format_name=FORMAT, version=VERSION) as file:
        for name in ROWS:
            file[f"frames/{name}"] = getattr(index, name)
        file["instants/joints_world_mm"] = index.joints_world_mm
        for field in fields(Views):
            file[f"views/{field.name}"] = getattr(index.views, field.name)
        text = h5py.string_dtype()
        for name, attribute in (("folder", "name"), ("reason", "reason"), ("kind", "kind")):
            values = [getattr(item, attribute) for item in index.exclusions]
            file.create_dataset(f"exclusions/{name}", data=np.array(values, dtype=object), dtype=text)
        for name in ("subject", "count"):
            file[f"exclusions/{name}"] = np.array([getattr(item, name) for item in index.exclusions], np.int32)
        file.attrs["counts"] = json.dumps(index.counts)


def read_index(path: Path) -> Index:
    """Read an index file.

    Raises:
        DataError: the file is missing, no HDF5, of another format or version, or lacks a dataset.
    """
    with open_h5(path, format_name=FORMAT, version=VERSION) as file:
        try:
            rows = {name: file[f"frames/{name}"][:] for name in ROWS}
            views = {field.name: file[f"views/{field.name}"][:] for field in fields(Views)}
            joints = file["instants/joints_world_mm"][:]
            left_out = {name: file[f"exclusions/{name}"][:].tolist() for name in ("subject", "count")}
            left_out |= {n: file[f"exclusions/{n}"].asstr()[:].tolist() for n in ("folder", "reason", "kind")}
            counts = json.loads(file.attrs["counts"])
        except KeyError as error:
            raise DataError(f"The index lacks a dataset: {error}", where=path, mend="make it again") from None
    exclusions = tuple(
        Exclusion(*item)
        for item in zip(*(left_out[n] for n in ("folder", "reason", "subject", "kind", "count")), strict=True)
    )
    return Index(**rows, joints_world_mm=joints, views=Views(**views), exclusions=exclusions, counts=counts)


def log_exclusions(index: Index, split: str) -> None:
    """One line on what is in, and one per excluded thing, up to a few."""
    log.info("%s: %d images of %d instants", split, len(index), len(np.unique(index.instant)))
    for item in index.exclusions[:20]:
        log.warning("%s: left out %s %s: %s", split, item.kind, item.name, item.reason)
    if len(index.exclusions) > 20:
        log.warning("%s: and %d more exclusions, see exclusions/ in the index", split, len(index.exclusions) - 20)
