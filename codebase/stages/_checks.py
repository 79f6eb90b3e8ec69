"""What the checks share, and those that look for files that a full disk or a lost host left half written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from codebase.config import Config
from codebase.data.bodies import FORMAT as BODIES
from codebase.data.crops import FORMAT as CROPS
from codebase.data.crops import VERSION as CROPS_VERSION
from codebase.data.crops import check_background
from codebase.data.index import Index, read_index
from codebase.errors import DataError
from codebase.files import open_h5
from codebase.provenance import file_digest
from codebase.skeleton import H36M

# Left and right bones of a person differ by a few millimetres; swapped joints or a wrong order by far more.
LARGEST_ASYMMETRY = 0.15
# From pelvis to head top, mm: catches metres, and a wrong order of joints.
TRUNK_MM = (350.0, 1100.0)
Figures = dict[str, float | int]
Against = Sequence[Path]


def require(condition: bool | np.bool_, path: Path, what: str) -> None:
    """Raise a DataError that names the file, unless the condition holds."""
    if not condition:
        raise DataError(what, where=path, expected="see docs/conventions.md", mend="delete it and make it again")


def finite(values: np.ndarray, path: Path, name: str) -> None:
    """Refuse NaN and infinities."""
    bad = int((~np.isfinite(values)).sum())
    require(not bad, path, f"{name} holds {bad} numbers that are not finite.")


def no_empty_row(values: np.ndarray, path: Path, name: str) -> None:
    """Refuse rows of nothing but zeros, which no stage writes and holes of a file system read as."""
    empty = np.flatnonzero(~values.reshape(len(values), -1).any(axis=1)) if values.size else np.zeros(0, int)
    require(not len(empty), path, f"{name}: {len(empty)} rows are all zero, the first is {empty[:1].sum()}.")


def indices(against: Against) -> list[Index]:
    """Those of the artefacts that are indices."""
    return [read_index(path) for path in against if path.name.startswith("index_")]


def check_backgrounds(config: Config, path: Path, against: Against) -> Figures:
    """Of the right shape, and something to be seen by each camera of which the index lists frames."""
    check_background(path, len(config.dataset.cameras))
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    subject = int(path.stem.removeprefix("background_subject"))
    seen = {int(camera) for index in indices(against) for camera in np.unique(index.camera[index.subject == subject])}
    for row, camera in enumerate(config.dataset.cameras):
        black = not bool(images[row].any())
        require(
            not black or camera not in seen, path, f"Camera {camera} is all black, and the index lists frames of it."
        )
    return {"cameras": len(seen), "height": images.shape[1], "width": images.shape[2]}


def check_bodies(config: Config, path: Path, against: Against) -> Figures:
    """Shape, poses and places finite (or a whole frame NaN: no body), a frame each, and not all zero."""
    frames = sequences = 0
    with open_h5(path, format_name=BODIES) as file:
        fitted = bool(file.attrs.get("fitted", False))
        require("betas" in file and file["betas"].shape == (10,), path, "betas of shape (10,) are missing.")
        finite(file["betas"][:], path, "betas")
        for name, group in file.items():
            if isinstance(group, h5py.Group):
                sequences += 1
                frames += _check_sequence(group, path, name)
    # test subjects of some sources have frames and no body; to an unlabelled subject none can be fitted
    require(sequences > 0 or fitted or config.dataset.kind == "extract", path, "There is no sequence.")
    return {"sequences": sequences, "frames": frames}


def _check_sequence(group: h5py.Group, path: Path, name: str) -> int:
    for key, shape in (("pose_rad", (24, 3)), ("transl_m", (3,))):
        require(key in group and group[key].shape[1:] == shape, path, f"{name}/{key} of shape (N, {shape}) is missing.")
    pose, place = group["pose_rad"][:], group["transl_m"][:]
    require(len(pose) == len(place), path, f"{name} has {len(pose)} poses and {len(place)} places.")
    whole = np.concatenate([pose.reshape(len(pose), -1), place], axis=1)
    known = ~np.isnan(whole).all(axis=1)
    finite(pose[known], path, f"{name}/pose_rad")
    finite(place[known], path, f"{name}/transl_m")
    require(bool(known.any()), path, f"{name} has no frame with a body.")
    no_empty_row(whole[known], path, name)
    if "kept" in group:
        _check_fit(group, known, path, name)
    return int(known.sum())


def _check_fit(group: h5py.Group, known: Bool[ndarray, " frames"], path: Path, name: str) -> None:
    """How well fitted bodies explain their frames: a number for each body, and no frame kept without one."""
    for key in ("joint_error_mm", "mask_iou", "kept", "joints_only_pose_rad", "joints_only_transl_m"):
        require(key in group and len(group[key]) == len(known), path, f"{name}/{key} is missing, or of another length.")
    require(not (group["kept"][:] & ~known).any(), path, f"{name}/kept names frames without a body.")
    finite(group["joint_error_mm"][:][known], path, f"{name}/joint_error_mm")
    finite(group["joints_only_pose_rad"][:][known], path, f"{name}/joints_only_pose_rad")
    iou = group["mask_iou"][:]
    require(not ((iou < 0) | (iou > 1)).any(), path, f"{name}/mask_iou is no share.")


def check_digest(path: Path, what: str, says: str, source: Path) -> None:
    """Refuse an artefact that was made from another file than the one that lies at `source` now."""
    now = _digest(source)
    require(says == now, path, f"It was made from another {what}: the digest is {says}, that of {source} is {now}.")


def _digest(path: Path) -> str:
    if path.suffix == ".pt":
        return file_digest(path)
    with open_h5(path, format_name=CROPS, version=CROPS_VERSION) as file:
        return str(file.attrs["digest"])


def check_networks(path: Path, says: str, against: Against, runs: Mapping[str, str]) -> None:
    """The digests that predictions carry (JSON, by network) against the checkpoints; `runs`: networks by run name."""
    stored = json.loads(says)
    for source in against:
        if source.suffix == ".pt":
            network = runs.get(source.parent.name, source.parent.name)
            check_digest(path, f"checkpoint of {network}", str(stored.get(network, "missing")), source)


def check_poses(joints_mm: Float[ndarray, "poses 17 3"], path: Path, name: str) -> float:
    """Refuse poses that are not finite, not in mm, or not a person's; returns the largest left-right asymmetry."""
    if not len(joints_mm):
        return 0.0
    finite(joints_mm, path, name)
    trunk = np.linalg.norm(joints_mm[:, H36M.index("head_top")] - joints_mm[:, H36M.index("root")], axis=-1)
    low, high = TRUNK_MM
    middle = float(np.median(trunk))
    require(low < middle < high, path, f"{name}: from root to head top are {middle:.4g} mm, not {low:g} to {high:g}.")
    lengths = {c: np.linalg.norm(joints_mm[:, c] - joints_mm[:, p], axis=-1) for p, c in H36M.bones}
    worst = 0.0
    for child, length in lengths.items():
        other = lengths[H36M.mirrored[child]]
        differs = float(np.median(np.abs(length - other) / np.maximum(length + other, 1e-9) * 2))
        worst = max(worst, differs)
        bone = f"{name}: the bone to {H36M.names[child]} and its mirror image"
        require(differs < LARGEST_ASYMMETRY, path, f"{bone} differ by {100 * differs:.0f} %.")
    return worst
