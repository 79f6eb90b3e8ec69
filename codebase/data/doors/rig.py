"""Door rig: any calibrated rig of cameras, as rig.json says (docs/datasets.md; the schema is `codebase/config/rig.py`).

Poses come from the file of joints. Where a sequence has none, or none for an instant, the root alone is known: from a
file of roots, from boxes, or from the visual hull of the masks.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from codebase.config import Config
from codebase.config.rig import RigSequence, RigView
from codebase.data.doors import hull
from codebase.data.doors.calibration import world_of
from codebase.data.doors.difference import room_from_picture
from codebase.data.doors.pictures import (
    Files,
    Picture,
    Source,
    build_room,
    difference_mask,
    encode_mask,
    load_room,
    mask_from,
    numbered,
    save_room,
    twice,
    write_view,
)
from codebase.data.doors.rig_source import Opened, open_rig, source_of, split
from codebase.data.doors.tracks import read_boxes, read_track
from codebase.data.doors.tree import TreeWriter, reason_of
from codebase.data.human36m import Folder, read_frame
from codebase.data.parallel import in_order
from codebase.errors import DataError
from codebase.skeleton import H36M

_ROOT = H36M.index("root")


def extract(subject: int, config: Config, tree: TreeWriter) -> None:
    """Write the subject's folders; see `codebase.data.doors`."""
    opened = open_rig(config, subject)
    wanted = set(tree.wanted)
    sequences = [
        one for one in opened.rig.sequences
        if one.subject == subject and any(folder in wanted for folder in _folders(one, opened).values())
    ]  # fmt: skip
    content = opened.path.read_bytes()
    tree.source(opened.path, size=len(content), digest=hashlib.sha256(content).hexdigest()[:16])
    tree.fact("world", "the rig's own, turned to z up, mm")
    tree.fact("cameras", {name: camera.number for name, camera in opened.cameras.items()})
    sequences = [one for one in sequences if not _is_there(opened, tree, one)]
    _build_rooms(opened, sequences, tree)
    for _ in in_order(
        partial(_sequence, opened, tree), sequences, workers=config.runtime.workers, what=f"S{subject}: sequences"
    ):
        pass


def _folders(one: RigSequence, opened: Opened) -> dict[str, Folder]:
    return {name: Folder(one.subject, one.act, one.subact, opened.cameras[name].number) for name in one.views}


def _room_path(tree: TreeWriter, name: str) -> Path:
    return tree.scratch / f"room_{hashlib.sha256(name.encode()).hexdigest()[:12]}.npz"


def _build_rooms(opened: Opened, sequences: list[RigSequence], tree: TreeWriter) -> None:
    """The empty room of each camera that has a view without masks, from all the subject's pictures."""
    for name, camera in opened.cameras.items():
        views = [(one, one.views[name]) for one in sequences if name in one.views and one.views[name].masks is None]
        if not views or not opened.rig.difference:
            continue
        given = opened.rig.backgrounds.get(name)
        if given is not None:
            save_room(_room_path(tree, name), room_from_picture(read_frame(opened.folder / given)))
            continue
        sources = []
        for one, view in views:
            try:
                sources.append(source_of(view, one, opened.folder))
            except DataError:
                continue  # its folder is left out with the reason when it is written
        save_room(_room_path(tree, name), build_room(sources, (camera.width, camera.height)))


@dataclass(frozen=True)
class _Plan:
    """What a sequence's folders are made of."""

    sources: dict[str, Source]
    instants: list[int]
    poses: Float[ndarray, "instants 17 3"]
    stamp: str


def _is_there(opened: Opened, tree: TreeWriter, one: RigSequence) -> bool:
    """Whether an earlier run has written all the sequence's folders from the same files."""
    folders = [folder for folder in _folders(one, opened).values() if folder in tree.wanted]
    try:
        sources = {name: source_of(view, one, opened.folder) for name, view in one.views.items()}
        plan = _plan(opened, one, sources)
    except DataError:
        return False
    return all(tree.has(folder, stamp=plan.stamp) for folder in folders)


def _sequence(opened: Opened, tree: TreeWriter, one: RigSequence) -> None:
    """Write the folders of one sequence."""
    folders = _folders(one, opened)
    sources: dict[str, Source] = {}
    for name, view in one.views.items():
        try:
            sources[name] = source_of(view, one, opened.folder)
        except DataError as error:
            tree.leave_out(folders[name].name, reason_of(error), "folder")
    try:
        _write_sequence(opened, tree, one, _plan(opened, one, sources))
    except DataError as error:
        for name in sources:
            tree.leave_out(folders[name].name, reason_of(error), "folder")


def _doubles(view: RigView, base: Path) -> dict[int, str]:
    """Pictures that share a number, of which none is taken."""
    found = twice(*split(view.images, base)) if view.images is not None else {}
    return {n: f"{' and '.join(path.name for path in paths)} are both picture {n}" for n, paths in found.items()}


def _plan(opened: Opened, one: RigSequence, sources: dict[str, Source]) -> _Plan:
    instants = sorted({n - one.views[name].first + 1 for name, source in sources.items() for n in source.numbers})
    instants = [instant for instant in instants if instant >= 1 and (instant - 1) % opened.every == 0]
    if not instants:
        raise DataError("no picture belongs to an instant that is wanted")
    poses = _known_poses(opened, one, instants)
    return _Plan(sources, instants, poses, _stamp(opened, one, sources, poses))


def _write_sequence(opened: Opened, tree: TreeWriter, one: RigSequence, plan: _Plan) -> None:
    folders, poses = _folders(one, opened), plan.poses
    masks = {name: _Masks(opened, tree, folders[name], one.views[name], name) for name in plan.sources}
    unplaced = [instant for instant in plan.instants if not np.isfinite(poses[instant - 1, _ROOT]).all()]
    if unplaced:
        _place_roots(opened, one, plan.sources, masks, poses, unplaced)
    placed = [instant for instant in plan.instants if np.isfinite(poses[instant - 1, _ROOT]).all()]
    lost = len(plan.instants) - len(placed)
    unknown = [("the root is unknown: no joints, and fewer than two cameras see the person", lost)] if lost else []
    for name, source in plan.sources.items():
        if folders[name] not in tree.wanted:
            continue
        if not placed:
            tree.leave_out(folders[name].name, "the root is unknown in all instants", "folder")
            continue
        doubled = _doubles(one.views[name], opened.folder)
        write_view(
            tree, folders[name], opened.cameras[name], poses, source,
            numbers={instant: instant - 1 + one.views[name].first for instant in placed},
            masks=masks[name] if opened.write_masks else None,
            stamp=plan.stamp,
            left_out=[*unknown, *((reason, 1) for reason in doubled.values())],
            told=doubled,
        )  # fmt: skip


def _known_poses(opened: Opened, one: RigSequence, instants: list[int]) -> Float[ndarray, "instants 17 3"]:
    """What files say: joints, and roots where joints are unknown; NaN elsewhere."""
    poses = np.full((instants[-1], len(H36M), 3), np.nan)
    world = world_of(opened.rig)
    for track in (one.joints, one.roots):
        if track is not None:
            found = read_track(track, opened.folder, world)[: len(poses)]
            lacking = ~np.isfinite(poses[: len(found)]).any(axis=(1, 2))
            poses[: len(found)][lacking] = found[lacking] if track is one.joints else _root_alone(found[lacking])
    return poses


def _root_alone(poses: Float[ndarray, "n 17 3"]) -> Float[ndarray, "n 17 3"]:
    out = np.full_like(poses, np.nan)
    out[:, _ROOT] = poses[:, _ROOT]
    return out


def _place_roots(
    opened: Opened,
    one: RigSequence,
    sources: dict[str, Source],
    masks: dict[str, _Masks],
    poses: Float[ndarray, "instants 17 3"],
    instants: list[int],
) -> None:
    """Fill in roots of instants from boxes where views have them, else from masks; NaN stays where that fails."""
    boxes = {name: read_boxes(opened.folder / path) for name in sources if (path := one.views[name].boxes) is not None}
    if not boxes:
        for name, source in sources.items():
            masks[name].make(source, instants)
    for instant in instants:
        seen = []
        for name in boxes or sources:
            camera = opened.cameras[name]
            if boxes and instant <= len(boxes[name]):
                seen.append(hull.seen_box(camera, boxes[name][instant - 1]))
            elif not boxes:
                mask = masks[name].at(instant)
                seen.append(None if isinstance(mask, str) else hull.seen_mask(camera, mask))
        poses[instant - 1] = np.nan
        poses[instant - 1, _ROOT] = hull.root_of(seen)


class _Masks:
    """Masks of a view: its files, or differences from the room, which are made once and kept in scratch files."""

    def __init__(self, opened: Opened, tree: TreeWriter, folder: Folder, view: RigView, name: str) -> None:
        self.size = (opened.cameras[name].width, opened.cameras[name].height)
        self.files = None if view.masks is None else numbered(*split(view.masks, opened.folder))
        self.shift, self.difference = view.first - 1, opened.rig.difference
        self.room, self.kept = _room_path(tree, name), tree.scratch / folder.name

    def __call__(self, instant: int, picture: Picture) -> Bool[ndarray, "height width"] | str | None:
        """The mask of an instant, why there is none, or None where none is asked for."""
        if self.files is None and not self.difference:
            return None
        if self.files is not None or self._path(instant).is_file():
            return self.at(instant)
        return difference_mask(load_room(self.room), picture)

    def make(self, source: Source, instants: list[int]) -> None:
        """Keep the differences of instants, of all of which a root may ask; nothing to do where there are files."""
        if self.files is not None or not self.difference:
            return
        room = load_room(self.room)
        self.kept.mkdir(parents=True, exist_ok=True)
        for number, picture in source.each([instant + self.shift for instant in instants]):
            if not picture.reason and picture.size() == self.size:
                mask = difference_mask(room, picture)
                if not isinstance(mask, str):
                    self._path(number - self.shift).write_bytes(encode_mask(mask))

    def at(self, instant: int) -> Bool[ndarray, "height width"] | str:
        """The mask of an instant out of a file, or why there is none."""
        if self.files is not None:
            return mask_from(self.files.get(instant + self.shift), self.size)
        path = self._path(instant)
        return mask_from(path, self.size) if path.is_file() else "nothing differs from the room"

    def _path(self, instant: int) -> Path:
        return self.kept / f"{instant:06d}.png"


def _stamp(opened: Opened, one: RigSequence, sources: dict[str, Source], poses: ndarray) -> str:
    """Changes when anything does that the sequence's folders are made of."""
    settings: list[Any] = [
        one.model_dump_json(),
        opened.rig.difference,
        {k: str(v) for k, v in opened.rig.backgrounds.items()},
    ]
    settings += [[name, source.stamp()] for name, source in sources.items()]
    for name in sources:
        mask_pattern = one.views[name].masks
        if mask_pattern is not None:
            settings.append(Files(numbered(*split(mask_pattern, opened.folder))).stamp())
    cameras = [opened.cameras[name] for name in sources]
    numbers = [x for c in cameras for x in (c.R, c.T_mm, c.f_px, c.c_px, c.distortion)]
    raw = b"".join(np.ascontiguousarray(item, np.float64).tobytes() for item in (*numbers, poses))
    return hashlib.sha256(raw + json.dumps(settings).encode()).hexdigest()[:16]
