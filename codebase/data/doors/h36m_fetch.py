"""Door h36m_fetch: `processed/S1/Directions-1/annot.h5` and `imageSequence/54138969/img_000001.jpg`.

annot.h5 has a row for each frame and camera: `frame`, `camera` (serial number), `subject`, `action`, `subaction`,
`pose/3d` (32 joints, camera frame, mm), and `intrinsics/<serial>` (fx, cx, fy, cy, fitted by that tool without
distortion). It knows no extrinsics: those come from metadata.xml, or by aligning the cameras' poses. Frames are a
subset of the video and keep its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from codebase.config import Config
from codebase.data.doors.align import CameraPoses, Extrinsics
from codebase.data.doors.folders import (
    ALIGNED_WORLD,
    CAMERA_NUMBERS,
    OWN_WORLD,
    View,
    in_world,
    metadata_of,
    place,
    rows,
    write_views,
)
from codebase.data.doors.official.metadata import Metadata, OfficialCamera
from codebase.data.doors.official.poses import JOINTS_32, SELECTED
from codebase.data.doors.pictures import Files, numbered
from codebase.data.doors.tree import TreeWriter, reason_of
from codebase.data.human36m import Folder
from codebase.errors import DataError
from codebase.files import missing
from codebase.skeleton import H36M_ACTS, H36M_CAMERAS

_SEQUENCE = 1_000_000  # instants are numbered act, subaction, frame


@dataclass(frozen=True)
class Annotations:
    """What an annot.h5 says of one camera.

    Attributes:
        frame: numbers in the video, from 1, rising.
        joints_cam_mm: of each frame.
        f_px, c_px: intrinsics, without distortion.
        repeated: frames that stood there more than once (the first is taken).
    """

    frame: Int[ndarray, " frames"]
    joints_cam_mm: Float[ndarray, "frames 17 3"]
    f_px: Float[ndarray, "2"]
    c_px: Float[ndarray, "2"]
    repeated: int


def extract(subject: int, config: Config, tree: TreeWriter) -> None:
    """Write the subject's folders; see `codebase.data.doors`."""
    home = _home(config.extract.source or Path(), subject)
    metadata = metadata_of(config.extract)
    found: dict[Folder, tuple[Path, Annotations]] = {}
    for path in sorted(entry for entry in home.iterdir() if entry.is_dir()):
        try:
            for folder, one in read_annotations(path / "annot.h5", subject).items():
                if folder in found:
                    tree.leave_out(folder.name, f"{path.name} and {found[folder][0].name} are both it", "folder")
                found.setdefault(folder, (path, one))
        except DataError as error:
            _leave_out(tree, path, reason_of(error))
    poses = _by_camera(found)
    cameras, refused = place(poses, subject, metadata)
    world = in_world(poses, cameras)
    tree.fact("world", OWN_WORLD if metadata else ALIGNED_WORLD)
    for folder in found:
        if folder.camera in refused:
            tree.leave_out(folder.name, refused[folder.camera], "folder")
    views = [
        _view(folder, path, one, cameras[folder.camera], world, metadata)
        for folder, (path, one) in found.items()
        if folder in tree.wanted and folder.camera in cameras
    ]
    write_views(tree, config, views)


def _home(source: Path, subject: int) -> Path:
    for home in (source / f"S{subject}", source / "processed" / f"S{subject}"):
        if home.is_dir():
            return home
    raise DataError(
        f"The source has no folder S{subject}.", where=source,
        expected=f"S{subject}/Directions-1/annot.h5, as h36m-fetch's process_all.py makes",
        mend="correct extract.source, or leave the subject out of dataset.subjects",
    )  # fmt: skip


def read_annotations(path: Path, subject: int) -> dict[Folder, Annotations]:
    """The cameras of an annot.h5.

    Raises:
        DataError: the file is missing, unreadable, lacks a dataset, or one has another length or shape.
    """
    if not path.is_file():
        raise missing(path)
    try:
        with h5py.File(path, "r") as file:
            columns = {name: np.asarray(file[name]) for name in ("frame", "camera", "subject", "action", "subaction")}
            pose = np.asarray(file["pose/3d"], np.float64)
            inner = {serial: np.asarray(file[f"intrinsics/{serial}"], np.float64) for serial in file["intrinsics"]}
    except KeyError as error:
        raise DataError(f"The file lacks a dataset: {error}", where=path) from None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"The file is no readable HDF5: {error}", where=path) from None
    count = len(columns["frame"])
    shapes = {name: values.shape for name, values in columns.items() if values.shape != (count,)}
    if shapes or pose.shape != (count, len(JOINTS_32), 3):
        raise DataError(
            f"The datasets do not fit: pose/3d {pose.shape}, frame ({count},), {shapes}.", where=path,
            expected="rows of one length; pose/3d (rows, 32, 3)",
        )  # fmt: skip
    if not (columns["subject"] == subject).all() or not (columns["frame"] >= 1).all():
        raise DataError(f"The rows are not of S{subject}, or a frame's number is below 1.", where=path)
    found = {}
    for act, subact, serial in sorted(set(zip(*(columns[n].tolist() for n in _KEYS), strict=True))):
        number = CAMERA_NUMBERS.get(str(serial))
        numbers = inner.get(str(serial), np.zeros(0))
        if number is None or numbers.shape != (4,) or not np.isfinite(numbers).all() or min(numbers[[0, 2]]) <= 0:
            raise DataError(f"The camera {serial} is unknown, or intrinsics/{serial} is no fx, cx, fy, cy.", where=path)
        mine = np.flatnonzero(
            (columns["action"] == act) & (columns["subaction"] == subact) & (columns["camera"] == serial)
        )
        frame, first = np.unique(columns["frame"][mine], return_index=True)
        joints = pose[mine[first]][:, SELECTED]
        found[Folder(subject, int(act), int(subact), number)] = Annotations(
            frame.astype(int), joints, numbers[[0, 2]], numbers[[1, 3]], len(mine) - len(frame)
        )
    return found


_KEYS = ("action", "subaction", "camera")


def _leave_out(tree: TreeWriter, path: Path, reason: str) -> None:
    """Leave out the folders that a sequence's name means, or the sequence by its own name."""
    action, _, subact = path.name.rpartition("-")
    acts = {name: act for act, name in H36M_ACTS.items()}
    if action in acts and subact.isdigit():
        mine = [f for f in tree.wanted if (f.action, f.subaction) == (acts[action], int(subact))]
        for folder in mine:
            tree.leave_out(folder.name, reason, "folder")
    else:
        tree.leave_out(path.name, reason, "folder")


def _instant(folder: Folder, frame: ndarray) -> ndarray:
    return (folder.action * 100 + folder.subaction) * _SEQUENCE + frame


def _by_camera(found: Mapping[Folder, tuple[Path, Annotations]]) -> dict[int, CameraPoses]:
    """All finite poses of each camera."""
    parts: dict[int, list[tuple[ndarray, ndarray]]] = {}
    for folder, (_, one) in sorted(found.items()):
        finite = np.isfinite(one.joints_cam_mm).all(axis=(1, 2))
        parts.setdefault(folder.camera, []).append((_instant(folder, one.frame)[finite], one.joints_cam_mm[finite]))
    return {
        camera: CameraPoses(np.concatenate([i for i, _ in part]), np.concatenate([j for _, j in part]))
        for camera, part in parts.items()
    }


def _view(
    folder: Folder,
    path: Path,
    one: Annotations,
    placed: Extrinsics,
    world: Mapping[int, Float[ndarray, "17 3"]],
    metadata: Metadata | None,
) -> View:
    serial = H36M_CAMERAS[folder.camera]
    known = None if metadata is None else metadata.cameras.get((folder.subject, folder.camera))
    camera = known or OfficialCamera(placed.R, placed.T_mm, one.f_px, one.c_px, np.zeros(5), 1000, 1000)
    instants = _instant(folder, one.frame)
    poses = {f: world[i] for f, i in zip(one.frame.tolist(), instants.tolist(), strict=True) if i in world}
    left_out = []
    if len(poses) < len(one.frame):
        left_out.append(("the pose is not finite", len(one.frame) - len(poses)))
    if one.repeated:
        left_out.append(("rows of annot.h5 repeat a frame of the same camera", one.repeated))
    files = Files(numbered(path / "imageSequence" / serial, "img_%06d.jpg"))
    return View(folder, camera, rows(poses), files, {frame: frame for frame in poses}, tuple(left_out))
