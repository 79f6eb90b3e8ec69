"""The index: one row per usable image of a split, its camera, its pose, and what was left out and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from codebase.config import Config, Selection
from codebase.data.flaws import drifting, explained, without_copies, without_flaws
from codebase.data.human36m import FRAME_SUFFIX, MASK_SUFFIX, Folder, damage, parse_folder
from codebase.data.parallel import in_order
from codebase.data.scan import Exclusion, Scan, View, labelled, ranges, select_frames
from codebase.errors import DataError
from codebase.files import create_h5, open_h5
from codebase.logs import log

FORMAT, VERSION = "posemill.index", 2
# A JPEG's size is checked to 8 px (see human36m.damage); 2 more for videos with rows that the meta file leaves out.
SIZE_TOLERANCE_PX = 10
POSE_TOLERANCE_MM = 1.0
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


_ROWS = ("subject", "action", "subaction", "camera", "frame", "instant", "view", "has_mask", "has_joints")


def build(found: Scan, config: Config, root: Path, masks_root: Path, *, split: str, workers: int = 1) -> Index:
    """Choose the frames of a split, prove that they decode, and lay out the index.

    Every chosen image is opened and decoded at an eighth, so that whatever reads the rows later finds an image in
    each: a row of the index is a row of the crops.

    Args:
        found: what the tree holds.
        config: the selection of the split, and what of the dataset is known to be wrong.
        root, masks_root: the dataset tree, and that of the masks.
        split: train, val or test.

    Raises:
        DataError: no frame of the split is usable.
    """
    selection: Selection = getattr(config.split, split)
    acts, subacts = selection.acts or config.dataset.acts, selection.subacts or config.dataset.subacts

    def chosen(folder: Folder) -> bool:
        return folder.subject in selection.subjects and folder.action in acts and folder.subaction in subacts

    exclusions = [
        explained(item, folder, config)
        for item in found.exclusions
        if (folder := parse_folder(item.name)) is not None and chosen(folder)
    ]
    views, flawed = without_flaws([view for view in found.views if chosen(view.folder)], drifting(config, split))
    views, copies = without_copies(views)
    exclusions += flawed + copies
    tasks = []
    for view in views:
        frames, left_out = select_frames(view, selection.every)
        exclusions += left_out
        tasks.append((view, frames, root, masks_root))
    kept = []
    results = in_order(_check_images, tasks, workers=workers, what=f"{split}: images checked")
    for view, checked in zip(views, results, strict=True):
        exclusions += checked[2]
        if len(checked[0]):
            kept.append((view, checked[0], checked[1]))
    if not kept:
        raise DataError(
            f"split.{split} holds no usable frame.",
            where=root,
            expected=f"frames of subjects {list(selection.subjects)}, acts {list(acts)}, subactions {list(subacts)}",
            mend="left out: " + ("; ".join(f"{e.name}: {e.reason}" for e in exclusions[:3]) or "nothing was there"),
        )
    return _lay_out(kept, exclusions)


def _check_images(
    task: tuple[View, np.ndarray, Path, Path],
) -> tuple[np.ndarray, np.ndarray, list[Exclusion]]:
    """Frames of a view that decode, whether each has a mask that does, and the others."""
    view, frames, root, masks_root = task
    folder, size = view.folder, (view.meta.width, view.meta.height)
    with_mask = np.isin(frames, view.masks)
    good = np.ones(len(frames), bool)
    exclusions = []
    for row, frame in enumerate(frames.tolist()):
        path = folder.file(root, frame, FRAME_SUFFIX)
        reason = _damage(path, size)
        if reason:
            good[row] = False
            exclusions.append(Exclusion(f"{folder.name}/{path.name}", reason, folder.subject, "frame"))
            continue
        if with_mask[row]:
            path = folder.file(masks_root, frame, MASK_SUFFIX)
            reason = _damage(path, size)
            if reason:
                with_mask[row] = False
                exclusions.append(Exclusion(f"{folder.name}/{path.name}", reason, folder.subject, "mask"))
    return frames[good], with_mask[good], exclusions


def _damage(path: Path, size: tuple[int, int]) -> str:
    reason, found = damage(path)
    if not reason and max(abs(found[0] - size[0]), abs(found[1] - size[1])) > SIZE_TOLERANCE_PX:
        return f"the image has about {found[0]} x {found[1]} pixels, the meta file says {size[0]} x {size[1]}"
    return reason


def _lay_out(kept: Sequence[tuple[View, np.ndarray, np.ndarray]], exclusions: list[Exclusion]) -> Index:
    metas = [view.meta for view, _, _ in kept]
    folders = [view.folder for view, _, _ in kept]
    lengths = [len(frames) for _, frames, _ in kept]
    view_row = np.repeat(np.arange(len(kept), dtype=np.int32), lengths)
    numbers = {
        name: np.array([getattr(f, name) for f in folders], np.int32)
        for name in ("subject", "action", "subaction", "camera")
    }
    rows = {name: values[view_row] for name, values in numbers.items()}
    rows |= {"view": view_row, "frame": np.concatenate([frames for _, frames, _ in kept]).astype(np.int32)}
    rows["has_mask"] = np.concatenate([masks for _, _, masks in kept])
    poses = np.concatenate([view.meta.pose3d_world_mm[frames - 1] for view, frames, _ in kept])
    key = frame_key(*(rows[name] for name in ("subject", "action", "subaction", "camera", "frame")))
    order = np.argsort(key)
    rows, poses, key = {name: values[order] for name, values in rows.items()}, poses[order], key[order]
    _, first, instant = np.unique(key // KEYS_PER_INSTANT, return_index=True, return_inverse=True)
    rows["instant"] = instant.astype(np.int32)
    middle = _median_poses(poses, instant, len(first))
    rows["has_joints"] = labelled(middle)[instant]
    with np.errstate(invalid="ignore"):
        # where a camera knows the root alone, the root is compared alone
        agrees = ~(np.abs(poses - middle[instant]) > POSE_TOLERANCE_MM).any(axis=(1, 2))
    exclusions = exclusions + _disagreeing(folders, rows, agrees)
    views = Views(
        **numbers,
        R=np.stack([m.R for m in metas]),
        T_mm=np.stack([m.T_mm for m in metas]),
        f_px=np.stack([m.f_px for m in metas]),
        c_px=np.stack([m.c_px for m in metas]),
        width=np.array([m.width for m in metas], np.int32),
        height=np.array([m.height for m in metas], np.int32),
        distortion=np.stack([m.distortion for m in metas]),
    )
    rows = {name: values[agrees] for name, values in rows.items()}
    return Index(
        **rows,
        joints_world_mm=middle.astype(np.float32),
        views=views,
        exclusions=tuple(exclusions),
        counts=_counts(rows["subject"], exclusions),
    )


def _median_poses(poses: np.ndarray, instant: np.ndarray, count: int) -> np.ndarray:
    """Median over the cameras of each instant, coordinate by coordinate, of the poses that are known.

    One camera in error does not make the others wrong, as it would if all were compared with the first.
    """
    out = np.empty((count, *poses.shape[1:]))
    cameras = np.bincount(instant, minlength=count)
    start = np.concatenate([[0], np.cumsum(cameras)[:-1]])
    for number in np.unique(cameras):
        mine = np.flatnonzero(cameras == number)
        stack = poses[start[mine, None] + np.arange(number)]
        full = labelled(stack.reshape(-1, *poses.shape[1:])).reshape(stack.shape[:2])
        mixed = full.any(axis=1) & ~full.all(axis=1)
        out[mine] = np.median(stack, axis=1)
        for row in np.flatnonzero(mixed):
            out[mine[row]] = np.median(stack[row][full[row]], axis=0)
    return out


def _disagreeing(folders: list[Folder], rows: dict[str, np.ndarray], agrees: np.ndarray) -> list[Exclusion]:
    """Rows whose pose is not that of the instant's cameras together: they are not synchronous there."""
    out = []
    for view in np.unique(rows["view"][~agrees]):
        frames = rows["frame"][~agrees & (rows["view"] == view)]
        reason = f"the pose differs from the median over the cameras of the instant: {ranges(frames)}"
        out.append(Exclusion(folders[view].name, reason, folders[view].subject, "frame", len(frames)))
    return out


def _counts(subject: np.ndarray, exclusions: Sequence[Exclusion]) -> dict[str, dict[str, int]]:
    subjects = sorted({*subject.tolist(), *(item.subject for item in exclusions)})
    counts = {}
    for number in subjects:
        counts[str(number)] = {"rows": int((subject == number).sum())} | {
            f"excluded_{kind}s": sum(e.count for e in exclusions if e.subject == number and e.kind == kind)
            for kind in ("folder", "frame", "mask")
        }
    return counts


def write_index(path: Path, index: Index) -> None:
    """Write an index file, format posemill.index, atomically."""
    with create_h5(path, format_name=FORMAT, version=VERSION) as file:
        for name in _ROWS:
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
            rows = {name: file[f"frames/{name}"][:] for name in _ROWS}
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
