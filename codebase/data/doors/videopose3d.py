"""Door videopose3d: `data_3d_h36m.npz` (world joints), a folder of frames, and metadata.xml for the cameras.

The npz holds a pickled dict positions_3d[S1][Directions 1] of arrays (frames, 32, 3), metres, Human3.6M's world. Its
names are those of the official files, but TakingPhoto is Photo and WalkingDog is WalkDog; which one is which act and
subaction says the table of metadata.xml, never the number in the name. Frames are a jpg tree, or the official videos.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.config import Config
from codebase.data.doors.folders import OWN_WORLD, View, metadata_of, write_views
from codebase.data.doors.official.metadata import Metadata
from codebase.data.doors.official.poses import JOINTS_32, SELECTED
from codebase.data.doors.official.sources import VIDEOS, Item, open_source
from codebase.data.doors.official.video import survey
from codebase.data.doors.pictures import Files, Movie, Source, numbered
from codebase.data.doors.plain_npz import read_pickled
from codebase.data.doors.tree import TreeWriter, reason_of
from codebase.data.human36m import Folder
from codebase.errors import DataError
from codebase.provenance import file_digest

FILE, KEY = "data_3d_h36m.npz", "positions_3d"
M_TO_MM = 1000.0


def extract(subject: int, config: Config, tree: TreeWriter) -> None:
    """Write the subject's folders; see `codebase.data.doors`."""
    source = config.extract.source or Path()
    path = source / FILE if source.is_dir() else source
    metadata = metadata_of(config.extract)
    if metadata is None:
        raise DataError(
            "The cameras are in Human3.6M's metadata.xml, which is not there.", where=source,
            mend="put it beside the npz, or name it with extract.metadata",
        )  # fmt: skip
    positions = read_positions(path, subject)
    tree.source(path, size=path.stat().st_size, digest=file_digest(path))
    tree.fact("world", OWN_WORLD)
    frames = config.extract.frames or path.parent
    views = []
    for folder in tree.wanted:
        try:
            views.append(_view(folder, positions, metadata, frames))
        except DataError as error:
            tree.leave_out(folder.name, reason_of(error), "folder")
    write_views(tree, config, views)


def read_positions(path: Path, subject: int) -> dict[str, Float[ndarray, "frames 17 3"]]:
    """The subject's poses by the name of the sequence, world frame, mm.

    Raises:
        DataError: the file is missing, no such npz, holds more than plain arrays, or lacks the subject.
    """
    content = read_pickled(path, KEY)
    mine = content.get(f"S{subject}") if isinstance(content, dict) else None
    if not isinstance(mine, dict):
        known = ", ".join(sorted(map(str, content))) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{KEY} has no S{subject}.", where=path, expected=f"a dict of subjects; here: {known}")
    found = {}
    for name, values in mine.items():
        fits = isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.shape[1:] == (len(JOINTS_32), 3)
        if not fits or not isinstance(name, str):
            raise DataError(f"{KEY}[S{subject}][{name!r}] is no array (frames, 32, 3).", where=path)
        found[name] = M_TO_MM * values[:, SELECTED].astype(np.float64)
    return found


def canonical(prefix: str) -> str:
    """The npz's name of a sequence whose official files begin with `prefix`."""
    return prefix.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")


def _view(
    folder: Folder, positions: dict[str, Float[ndarray, "frames 17 3"]], metadata: Metadata, frames: Path
) -> View:
    prefix = metadata.prefixes.get((folder.subject, folder.action, folder.subaction))
    camera = metadata.cameras.get((folder.subject, folder.camera))
    if prefix is None or camera is None:
        raise DataError("metadata.xml knows no such sequence or camera")
    poses = positions.get(canonical(prefix))
    if poses is None:
        raise DataError(f"{FILE} has no {canonical(prefix)!r}; its makers left out damaged sequences")
    source = _pictures(folder, prefix, metadata.camera_names[folder.camera], frames)
    listed = source.numbers
    usable = [number for number in listed if 1 <= number <= len(poses)]
    more = len(listed) - len(usable)
    left_out = ((f"there are {len(poses)} poses, and no more", more),) if more else ()
    return View(folder, camera, poses, source, {number: number for number in usable}, left_out)


def _pictures(folder: Folder, prefix: str, camera: str, root: Path) -> Source:
    files = Files(numbered(root / folder.name, f"{folder.name}_%06d.jpg"))
    if files.paths:
        return files
    video = root / f"S{folder.subject}" / "Videos" / f"{prefix}.{camera}.mp4"
    if not video.is_file() and root.is_dir():
        video = open_source(root, folder.subject).local.get(Item(VIDEOS, prefix, camera), video)
    if video.is_file():
        return Movie(video, len(survey(video)))
    raise DataError(f"there are neither frames in {folder.name} nor a video {prefix}.{camera}.mp4")
