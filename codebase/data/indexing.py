"""Building an index: which frames are chosen, which of them decode, and the columns that are made of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codebase.config import Config, Selection
from codebase.data.flaws import drifting, explained, without_copies, without_flaws
from codebase.data.human36m import FRAME_SUFFIX, MASK_SUFFIX, Folder, damage, parse_folder
from codebase.data.index import ROWS, Index, Views
from codebase.data.parallel import in_order
from codebase.data.scan import Exclusion, Scan, View, labelled, ranges, select_frames, sequence_of
from codebase.errors import DataError

# A JPEG's size is checked to 8 px (see human36m.damage); 2 more for videos with rows that the meta file leaves out.
SIZE_TOLERANCE_PX = 10
POSE_TOLERANCE_MM = 1.0


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
        if (folder := parse_folder(item.name.partition("/")[0])) is not None and chosen(folder)
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


Kept = tuple[View, np.ndarray, np.ndarray]


def _lay_out(kept: Sequence[Kept], exclusions: list[Exclusion]) -> Index:
    """Rows, instants and views of what is kept, sequence by sequence: the poses of all rows at once are large."""
    parts: list[dict[str, np.ndarray]] = []
    view = instants = 0
    for _, group in itertools.groupby(kept, key=lambda item: sequence_of(item[0].folder)):
        cameras = list(group)
        part, left_out = _lay_out_sequence(cameras)
        part["view"] += np.int32(view)
        part["instant"] += np.int32(instants)
        parts.append(part)
        exclusions = exclusions + left_out
        view, instants = view + len(cameras), instants + len(part["joints_world_mm"])
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in (*ROWS, "joints_world_mm")}
    return Index(
        **columns,
        views=_views([view for view, _, _ in kept]),
        exclusions=tuple(exclusions),
        counts=_counts(columns["subject"], exclusions),
    )


def _lay_out_sequence(cameras: Sequence[Kept]) -> tuple[dict[str, np.ndarray], list[Exclusion]]:
    """Columns of one sequence, `view` and `instant` counted from its own first, and the rows that do not agree."""
    frame = np.concatenate([frames for _, frames, _ in cameras])
    view = np.repeat(np.arange(len(cameras)), [len(frames) for _, frames, _ in cameras])
    mask = np.concatenate([masks for _, _, masks in cameras])
    poses = np.concatenate([view.meta.pose3d_world_mm[frames - 1] for view, frames, _ in cameras])
    order = np.lexsort((view, frame))
    frame, view, mask, poses = frame[order], view[order], mask[order], poses[order]
    _, instant = np.unique(frame, return_inverse=True)
    middle = _median_poses(poses, instant, int(instant.max()) + 1)
    with np.errstate(invalid="ignore"):
        # where a camera knows the root alone, the root is compared alone
        agrees = ~(np.abs(poses - middle[instant]) > POSE_TOLERANCE_MM).any(axis=(1, 2))
    folders = [item.folder for item, _, _ in cameras]
    rows = {name: np.array([getattr(f, name) for f in folders], np.int32)[view]
            for name in ("subject", "action", "subaction", "camera")}  # fmt: skip
    rows |= {name: values.astype(np.int32) for name, values in (("frame", frame), ("view", view), ("instant", instant))}
    rows |= {"has_mask": mask, "has_joints": labelled(middle)[instant]}
    left_out = _disagreeing(folders, rows, agrees)
    rows = {name: values[agrees] for name, values in rows.items()}
    return rows | {"joints_world_mm": middle.astype(np.float32)}, left_out


def _views(views: Sequence[View]) -> Views:
    numbers = {
        name: np.array([getattr(view.folder, name) for view in views], np.int32)
        for name in ("subject", "action", "subaction", "camera")
    }
    metas = [view.meta for view in views]
    cameras = {
        name: np.stack([getattr(meta, name) for meta in metas]) for name in ("R", "T_mm", "f_px", "c_px", "distortion")
    }
    sizes = {name: np.array([getattr(meta, name) for meta in metas], np.int32) for name in ("width", "height")}
    return Views(**numbers, **cameras, **sizes)


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
