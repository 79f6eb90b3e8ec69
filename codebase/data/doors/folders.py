"""What the doors of Human3.6M's re-packagings share: cameras, one world pose an instant, writing many folders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from codebase.config import Config, ExtractConfig
from codebase.data.doors.align import CameraPoses, Extrinsics, place_cameras
from codebase.data.doors.official.door import find_metadata
from codebase.data.doors.official.metadata import Metadata, OfficialCamera, read_metadata
from codebase.data.doors.pictures import (
    Picture,
    Source,
    build_room,
    difference_mask,
    load_room,
    mask_from,
    save_room,
    write_view,
)
from codebase.data.doors.tree import TreeWriter
from codebase.data.human36m import MASK_SUFFIX, Folder
from codebase.data.parallel import in_order
from codebase.errors import ConfigError, DataError
from codebase.skeleton import H36M, H36M_CAMERAS

CAMERA_NUMBERS = {name: number for number, name in H36M_CAMERAS.items()}
# More poses place a camera no better.
_MOST_ALIGNED = 2000
# 2^64 over the golden ratio: products with it, modulo 2^64, spread evenly (Knuth's multiplicative hashing). Plain
# remainders do not: every fifth frame has one remainder of 10, or two.
_SCATTER = 0x9E3779B97F4A7C15
ALIGNED_WORLD = (
    "of this extraction, not Human3.6M's own: the first camera's frame turned so that z is up as well as the poses "
    "tell (docs/datasets.md)"
)
OWN_WORLD = "Human3.6M's own, by metadata.xml"


@dataclass(frozen=True)
class View:
    """A folder that is to be written.

    Attributes:
        poses_world_mm: row i belongs to frame i + 1.
        numbers: of each frame its picture's number.
        left_out: reasons why frames are not among `numbers`, and how many.
    """

    folder: Folder
    camera: OfficialCamera
    poses_world_mm: Float[ndarray, "frames 17 3"]
    source: Source
    numbers: dict[int, int]
    left_out: tuple[tuple[str, int], ...] = ()


def metadata_of(settings: ExtractConfig) -> Metadata | None:
    """Human3.6M's metadata.xml where the config names it or the source holds it."""
    try:
        path = find_metadata(settings)
    except DataError:
        return None
    return read_metadata(path)


def write_views(tree: TreeWriter, config: Config, views: Sequence[View]) -> None:
    """Write the folders that are not there; masks come from `extract.masks_root`, or by difference if asked for.

    Raises:
        ConfigError: masks of the source are asked for by name, and this source has none.
    """
    settings = config.extract
    if settings.masks == "boxes":
        raise ConfigError(
            f"The source of door {settings.door} has no masks.", where="extract.masks",
            expected="difference or none; masks of a tree by extract.masks_root",
        )  # fmt: skip
    views = [replace(view, camera=_sized(view)) for view in views]
    pending = [view for view in views if not tree.has(view.folder, stamp=_stamp(view, settings))]
    rooms = {}
    if settings.masks == "difference" and settings.masks_root is None:
        for camera in sorted({view.folder.camera for view in pending}):
            mine = [view for view in views if view.folder.camera == camera]
            rooms[camera] = tree.scratch / f"room_{camera}.npz"
            size = (mine[0].camera.width, mine[0].camera.height)
            save_room(rooms[camera], build_room([view.source for view in mine], size))
    for _ in in_order(
        partial(_write, tree, settings, rooms), pending, workers=config.runtime.workers,
        what=f"S{tree.subject}: folders",
    ):  # fmt: skip
        pass


def _write(tree: TreeWriter, settings: ExtractConfig, rooms: Mapping[int, Path], view: View) -> None:
    every = {frame: number for frame, number in view.numbers.items() if (frame - 1) % settings.every == 0}
    write_view(
        tree, view.folder, view.camera, view.poses_world_mm, view.source, numbers=every,
        masks=_Masks.of(settings, rooms, view), stamp=_stamp(view, settings), left_out=view.left_out,
    )  # fmt: skip


@dataclass(frozen=True)
class _Masks:
    folder: Folder
    root: Path | None
    room: Path | None

    @classmethod
    def of(cls, settings: ExtractConfig, rooms: Mapping[int, Path], view: View) -> _Masks | None:
        room = rooms.get(view.folder.camera)
        asked = settings.masks != "none" and (settings.masks_root is not None or room is not None)
        return cls(view.folder, settings.masks_root, room) if asked else None

    def __call__(self, frame: int, picture: Picture) -> Bool[ndarray, "height width"] | str | None:
        if self.root is not None:
            path = self.folder.file(self.root, frame, MASK_SUFFIX)
            return mask_from(path if path.is_file() else None, picture.size())
        return difference_mask(load_room(self.room), picture) if self.room is not None else None


def _sized(view: View) -> OfficialCamera:
    """The camera with the size that most of the view's pictures have: videos of one camera differ by two rows."""
    sizes = view.source.sizes()
    if not sizes:
        return view.camera
    width, height = max(sizes, key=sizes.count)
    return replace(view.camera, width=width, height=height)


def _stamp(view: View, settings: ExtractConfig) -> str:
    camera = view.camera
    numbers = [camera.R, camera.T_mm, camera.f_px, camera.c_px, camera.distortion, view.poses_world_mm]
    raw = b"".join(np.ascontiguousarray(item, np.float64).tobytes() for item in numbers)
    text = repr((view.source.stamp(), sorted(view.numbers.items()), view.left_out, str(settings.masks_root)))
    return hashlib.sha256(raw + text.encode()).hexdigest()[:16]


def place(
    poses: Mapping[int, CameraPoses], subject: int, metadata: Metadata | None
) -> tuple[dict[int, Extrinsics], dict[int, str]]:
    """Where the cameras stand: by metadata.xml, or without it by aligning their poses; and which cannot be placed."""
    if metadata is None:
        return place_cameras(thinned(poses))
    found, refused = {}, {}
    for camera in poses:
        known = metadata.cameras.get((subject, camera))
        if known is None:
            refused[camera] = "metadata.xml does not know the camera"
        else:
            found[camera] = Extrinsics(known.R, known.T_mm)
    return found, refused


def thinned(poses: Mapping[int, CameraPoses]) -> dict[int, CameraPoses]:
    """About _MOST_ALIGNED poses a camera, of the same instants in all cameras, whatever the stride of their numbers."""
    step = max([1, *(len(one.instant) // _MOST_ALIGNED for one in poses.values())])
    out = {}
    for camera, one in poses.items():
        scattered = (one.instant.astype(np.uint64) * np.uint64(_SCATTER)) >> np.uint64(40)
        kept = scattered % np.uint64(step) == 0
        out[camera] = CameraPoses(one.instant[kept], one.joints_cam_mm[kept])
    return out


def in_world(poses: Mapping[int, CameraPoses], cameras: Mapping[int, Extrinsics]) -> dict[int, Float[ndarray, "17 3"]]:
    """One world pose an instant: the mean of what its cameras say."""
    instants = np.concatenate([poses[camera].instant for camera in cameras] or [np.zeros(0, int)])
    joints = np.concatenate(
        [poses[c].joints_cam_mm @ one.R + one.T_mm for c, one in cameras.items()] or [np.zeros((0, len(H36M), 3))]
    )
    known, place_of, count = np.unique(instants, return_inverse=True, return_counts=True)
    total = np.zeros((len(known), len(H36M), 3))
    np.add.at(total, place_of, joints)
    return dict(zip(known.tolist(), total / count[:, None, None], strict=True))


def rows(poses: Mapping[int, Float[ndarray, "17 3"]]) -> Float[ndarray, "frames 17 3"]:
    """Poses by frame number as the meta file wants them: row i for frame i + 1, NaN where there is none."""
    out = np.full((max(poses, default=0), len(H36M), 3), np.nan)
    for frame, pose in poses.items():
        out[frame - 1] = pose
    return out
