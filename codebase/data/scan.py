"""What a dataset tree holds: usable folders, and the reasons why others are left out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int32
from numpy import ndarray

from codebase.config import DatasetConfig
from codebase.data.extracted import read_extracted
from codebase.data.human36m import MASK_SUFFIX as MASK
from codebase.data.human36m import META, Folder, Meta, list_frames, parse_folder, read_meta
from codebase.errors import DataError, UserError
from codebase.geometry import world_to_camera
from codebase.skeleton import H36M

NEAR_MM = 100.0


@dataclass(frozen=True)
class Exclusion:
    """Something left out.

    Attributes:
        name: the folder's name, or folder/file.
        reason: one line.
        subject: whose.
        kind: a whole folder, frames of one, or a mask (its frame stays, without a mask).
        count: how many folders, frames or masks.
    """

    name: str
    reason: str
    subject: int
    kind: Literal["folder", "frame", "mask"]
    count: int = 1


@dataclass(frozen=True)
class View:
    """A usable folder.

    Attributes:
        frames: numbers of the frames that have a file, sorted.
        masks: numbers of the masks that have a file, sorted.
    """

    folder: Folder
    meta: Meta
    frames: Int32[ndarray, " frames"]
    masks: Int32[ndarray, " masks"]


@dataclass(frozen=True)
class Scan:
    """Usable folders in the order of their numbers, and excluded ones."""

    views: tuple[View, ...]
    exclusions: tuple[Exclusion, ...]


def scan(
    config: DatasetConfig,
    root: Path,
    masks_root: Path,
    *,
    subjects: Iterable[int] | None = None,
    required: bool = True,
) -> Scan:
    """Look for the folders that `config` asks for; frames come from the folders' listings, never assumed.

    Args:
        config: subjects, acts, subactions and cameras to look for.
        root: the tree's folder.
        masks_root: the tree of the masks, may be `root`.
        subjects: only these (default: all of `config`).
        required: whether it is an error if no folder is usable.

    Raises:
        UserError: no folder at all is usable; says what was expected and what is there.
    """
    chosen = config.subjects if subjects is None else subjects
    wanted = [Folder(*key) for key in sorted(itertools.product(chosen, config.acts, config.subacts, config.cameras))]
    views: list[View] = []
    exclusions: list[Exclusion] = []
    try:
        told = left_out_by_extract(root, sorted(set(chosen)))
    except PermissionError:
        told = []  # if the folders cannot be read either, that is the error to tell
    reasons = {item.name: item.reason for item in told if item.kind == "folder"}
    for folder in wanted:
        try:
            view, blind = _view(folder, root, masks_root)
            views.append(_sharing_poses(view, views[-1]) if views else view)
            if blind:
                exclusions.append(Exclusion(folder.name, blind, folder.subject, "mask", len(view.frames)))
        except DataError as error:
            file = f"{error.where.name}: " if isinstance(error.where, Path) else ""
            reason = file + error.what + (f" Expected: {error.expected}" if error.expected else "")
            known = reasons.get(folder.name) if not os.path.exists(root / folder.name) else None
            exclusions.append(Exclusion(folder.name, known or reason, folder.subject, "folder"))
    usable = {view.folder.name for view in views}
    exclusions += [item for item in told if item.kind != "folder" and item.name.partition("/")[0] in usable]
    if not views and required:
        raise _nothing_usable(root, wanted, exclusions)
    return Scan(tuple(views), tuple(exclusions))


def left_out_by_extract(root: Path, subjects: Iterable[int]) -> list[Exclusion]:
    """What the stage extract left out of the tree and why, in its own words; nothing for trees that it did not make."""
    return [
        Exclusion(item["name"], item["reason"], subject, item["kind"], item["count"])
        for subject in subjects
        for item in (read_extracted(root, subject) or {}).get("left_out", ())
    ]


def _view(folder: Folder, root: Path, masks_root: Path) -> tuple[View, str]:
    """The folder, and why its masks cannot be listed ("" if they can)."""
    path = root / folder.name
    try:
        there = path.is_dir()
    except OSError as error:
        raise DataError(f"the folder cannot be read: {error.strerror}") from None
    if not there:
        raise DataError("the folder does not exist")
    frames = list_frames(path, folder.name)
    if not len(frames):
        raise DataError("the folder holds no frame")
    meta = read_meta(path)
    if not len(meta.pose3d_world_mm):
        raise DataError(f"{META} holds no pose")
    try:
        masks, blind = list_frames(masks_root / folder.name, folder.name, MASK), ""
    except DataError as error:
        masks, blind = np.zeros(0, np.int32), error.what
    return View(folder, meta, frames, masks), blind


def sequence_of(folder: Folder) -> tuple[int, int, int]:
    """Subject, action and subaction: what the cameras of one performance share."""
    return folder.subject, folder.action, folder.subaction


def _sharing_poses(view: View, before: View) -> View:
    """The view, whose poses are those of the view before in memory if they are equal: cameras repeat them."""
    mine, theirs = view.meta.pose3d_world_mm, before.meta.pose3d_world_mm
    if sequence_of(view.folder) != sequence_of(before.folder) or not np.array_equal(mine, theirs, equal_nan=True):
        return view
    return replace(view, meta=replace(view.meta, pose3d_world_mm=theirs))


def labelled(poses_mm: Float[ndarray, "frames 17 3"]) -> Bool[ndarray, " frames"]:
    """Whether every joint of a pose is finite."""
    return np.asarray(np.isfinite(poses_mm).all(axis=(1, 2)))


def root_only(poses_mm: Float[ndarray, "frames 17 3"]) -> Bool[ndarray, " frames"]:
    """Whether a pose says where the root is and nothing else: an unlabelled person of known place."""
    root = H36M.index("root")
    others = np.delete(poses_mm, root, axis=1)
    return np.asarray(np.isfinite(poses_mm[:, root]).all(axis=1) & np.isnan(others).all(axis=(1, 2)))


def poses_in_front(meta: Meta) -> Bool[ndarray, " frames"]:
    """Whether all known joints of a pose lie in front of the camera, at least NEAR_MM away; False if none is known."""
    joints_mm = meta.pose3d_world_mm.reshape(-1, 3)
    with np.errstate(invalid="ignore"):
        in_front = world_to_camera(joints_mm, meta.R, meta.T_mm)[:, 2] > NEAR_MM
    known = np.isfinite(joints_mm).all(axis=1)
    by_pose = (len(meta.pose3d_world_mm), -1)
    return np.asarray((in_front | ~known).reshape(by_pose).all(axis=1) & known.reshape(by_pose).any(axis=1))


def select_frames(view: View, every: int) -> tuple[Int32[ndarray, " frames"], list[Exclusion]]:
    """Frames of a view with (frame - 1) % every == 0 that have a file and a usable pose, and what is left out."""
    poses = view.meta.pose3d_world_mm
    listed = view.frames[(view.frames - 1) % every == 0]
    posed = listed[listed <= len(poses)]
    usable = (labelled(poses) | root_only(poses))[posed - 1]
    in_front = poses_in_front(view.meta)[posed - 1]
    # a row of NaN alone is no damage: a frame of which the source says nothing
    expected = np.arange(1, len(poses) + 1, every, dtype=np.int32)
    # sources that keep few frames of a video fill the rows between with NaN: there, no file is missed
    expected = expected[np.isfinite(poses[expected - 1]).any(axis=(1, 2))]
    expected = expected[~np.isnan(poses[expected - 1]).all(axis=(1, 2))]
    left_out = {
        "no file for these frames": np.setdiff1d(expected, posed),
        f"no pose for these frames ({META} holds {len(poses)})": listed[listed > len(poses)],
        "the pose is not finite": posed[~usable],
        "a joint lies behind the camera": posed[usable & ~in_front],
    }
    exclusions = [
        Exclusion(view.folder.name, f"{reason}: {ranges(frames)}", view.folder.subject, "frame", len(frames))
        for reason, frames in left_out.items()
        if len(frames)
    ]
    return posed[usable & in_front], exclusions


def ranges(frames: Int32[ndarray, " frames"], *, most: int = 5) -> str:
    """The first few frame numbers and how many there are: `1, 6, 11 ... (40 frames)`."""
    shown = ", ".join(map(str, frames[:most].tolist()))
    return shown if len(frames) <= most else f"{shown} ... ({len(frames)} frames)"


def _nothing_usable(root: Path, wanted: list[Folder], exclusions: list[Exclusion]) -> UserError:
    try:
        there = sorted(entry.name for entry in root.iterdir())
    except PermissionError as error:
        return DataError(f"The dataset's folder cannot be read: {error.strerror}", where=root, mend="ask its owner")
    except OSError:
        return DataError(
            "The dataset's folder does not exist.",
            where=root,
            expected=f"a folder with {wanted[0].name} and others like it",
            mend="set dataset.root, or dataset.kind=synthetic to have a miniature dataset made",
        )
    shown = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    known = sum(parse_folder(name) is not None for name in there)
    return DataError(
        f"No folder of the dataset is usable. The first of {len(wanted)}: {exclusions[0].reason}",
        where=root,
        expected=f"{wanted[0].name}/{wanted[0].name}_000001.jpg and {wanted[0].name}/{META}, and so on",
        mend=f"correct dataset.root, or dataset.subjects, acts, subacts and cameras; in the folder there are "
        f"{len(there)} entries, {known} of them named like that: {shown or 'none'}",
    )
