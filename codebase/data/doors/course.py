"""Door course: bodies in npz files, one a frame and camera, of a course's re-packaging of Human3.6M.

`{source}/S{n}/<action>.<serial>/<frame>.npz` counts frames from 0, with any padding; the picture is
`{frames}/S{n}/Images/<action>.<serial>/%06d.jpg`, counted from 1. Actions are called as in the official files
("Directions 1"), with spaces or underscores. Joints come from the body file (dataset.body), which must be the one that
the bodies were fitted with. Intrinsics are Human3.6M's or a file's; extrinsics come from metadata.xml, or by aligning
the same bodies seen by several cameras.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from codebase.body.arrays import BodyArrays, load_body
from codebase.body.model import BodyLayer
from codebase.config import Config
from codebase.data.bodies import FORMAT as BODIES
from codebase.data.doors.align import CameraPoses, Extrinsics
from codebase.data.doors.course_files import (
    BodyRows,
    Intrinsics,
    Named,
    intrinsics_of,
    names_of,
    picture_folder,
    read_folder,
)
from codebase.data.doors.folders import ALIGNED_WORLD, OWN_WORLD, View, in_world, metadata_of, place, rows, write_views
from codebase.data.doors.official.metadata import OfficialCamera
from codebase.data.doors.pictures import Files, numbered
from codebase.data.doors.tree import TreeWriter
from codebase.data.human36m import Folder
from codebase.data.parallel import in_order
from codebase.errors import DataError
from codebase.files import create_h5
from codebase.skeleton import H36M_CAMERAS

M_TO_MM = 1000.0
_SEQUENCE = 1_000_000  # instants are numbered act, subaction, frame
_CHUNK = 4096


@dataclass(frozen=True)
class _Seen:
    """A sequence before a camera: its files, its bodies, their joints."""

    named: Named
    bodies: BodyRows
    joints_cam_mm: Float[ndarray, "rows 17 3"]

    @property
    def instant(self) -> ndarray:
        return (self.named.act * 100 + self.named.subact) * _SEQUENCE + self.bodies.frame


def extract(subject: int, config: Config, tree: TreeWriter) -> None:
    """Write the subject's folders and its bodies in the world; see `codebase.data.doors`."""
    settings = config.extract
    source = settings.source or Path()
    home = source / f"S{subject}"
    if not home.is_dir():
        raise DataError(
            f"The source has no folder S{subject}.", where=source, expected="S1/Directions 1.54138969/00000.npz",
            mend="correct extract.source, or leave the subject out of dataset.subjects",
        )  # fmt: skip
    metadata, intrinsics = metadata_of(settings), intrinsics_of(home, settings.intrinsics)
    named, refused = names_of(home, subject, metadata)
    for name, reason in refused:
        tree.leave_out(name, reason, "folder")
    body = load_body(config.dataset.body)
    seen = _read(named, body, config.runtime.workers)
    poses = _by_camera(seen)
    cameras, unplaced = place(poses, subject, metadata)
    world = in_world(poses, cameras)
    tree.fact("world", OWN_WORLD if metadata else ALIGNED_WORLD)
    tree.fact("subactions", "by metadata.xml" if metadata else "by the order of names, which may not be Human3.6M's")
    tree.fact("body", body.name)
    views = []
    for one in seen:
        folder = Folder(subject, one.named.act, one.named.subact, one.named.camera)
        serial = H36M_CAMERAS[folder.camera]
        if not len(one.bodies.frame):
            why = "; ".join(reason for reason, _ in one.bodies.left_out) or "there is no npz"
            tree.leave_out(folder.name, why, "folder", 1)
        elif folder.camera not in cameras or serial not in intrinsics:
            reason = unplaced.get(folder.camera, f"there are no intrinsics of camera {serial}")
            tree.leave_out(folder.name, reason, "folder")
        elif folder in tree.wanted:
            pictures = picture_folder(settings.frames or source, subject, one.named.path.name)
            views.append(_view(folder, one, cameras[folder.camera], intrinsics[serial], world, pictures))
    write_views(tree, config, views)
    _write_bodies(tree, [one for one in seen if one.named.camera in cameras], cameras, body)


def _read(named: list[Named], body: BodyArrays, workers: int) -> list[_Seen]:
    layer = BodyLayer(body)
    found = []
    read = in_order(read_folder, [one.path for one in named], workers=workers, what="folders of npz")
    for one, bodies in zip(named, read, strict=True):
        found.append(_Seen(one, bodies, _joints_mm(bodies, layer)))
    return found


@torch.inference_mode()
def _joints_mm(bodies: BodyRows, layer: BodyLayer) -> Float[ndarray, "rows 17 3"]:
    """Human3.6M's joints of the bodies, camera frame."""
    rotations = _matrices(bodies.pose_rad)
    out = [np.zeros((0, 17, 3))]
    for start in range(0, len(bodies.frame), _CHUNK):
        part = [
            torch.from_numpy(values[start : start + _CHUNK].astype(np.float32))
            for values in (bodies.betas, rotations, bodies.root_loc_m)
        ]
        out.append(M_TO_MM * layer.joints17(*part).double().numpy())
    return np.concatenate(out)


def _matrices(pose_rad: Float[ndarray, "rows 24 3"]) -> Float[ndarray, "rows 24 3 3"]:
    return Rotation.from_rotvec(pose_rad.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)


def _by_camera(seen: list[_Seen]) -> dict[int, CameraPoses]:
    parts: dict[int, list[_Seen]] = {}
    for one in sorted(seen, key=lambda item: (item.named.camera, item.named.act, item.named.subact)):
        parts.setdefault(one.named.camera, []).append(one)
    return {
        camera: CameraPoses(
            np.concatenate([one.instant for one in part]), np.concatenate([one.joints_cam_mm for one in part])
        )
        for camera, part in parts.items()
    }


def _view(
    folder: Folder,
    one: _Seen,
    placed: Extrinsics,
    inner: Intrinsics,
    world: Mapping[int, Float[ndarray, "17 3"]],
    pictures: Path,
) -> View:
    camera = OfficialCamera(placed.R, placed.T_mm, inner.f_px, inner.c_px, inner.distortion, inner.width, inner.height)
    frames = one.bodies.frame.tolist()
    poses = {frame: world[instant] for frame, instant in zip(frames, one.instant.tolist(), strict=True)}
    files = Files(numbered(pictures, "%06d.jpg"))
    return View(folder, camera, rows(poses), files, {frame: frame for frame in frames}, one.bodies.left_out)


def _write_bodies(tree: TreeWriter, seen: list[_Seen], cameras: Mapping[int, Extrinsics], body: BodyArrays) -> None:
    """Write bodies/S{n}.h5: world frame; of an instant that several cameras see, the body of the first one.

    The shape is the mean of a sequence's betas, which were fitted frame by frame; the pelvis stays where it was.
    """
    sequences: dict[tuple[int, int], list[_Seen]] = {}
    for one in sorted(seen, key=lambda item: item.named.camera):
        if len(one.bodies.frame):
            sequences.setdefault((one.named.act, one.named.subact), []).append(one)
    everything = [one.bodies.betas for part in sequences.values() for one in part]
    mean = np.concatenate(everything).mean(0) if everything else np.zeros(10)
    spread = float(np.concatenate(everything).std(0).mean()) if everything else 0.0
    tree.fact("betas_spread", {"mean_deviation_of_frames_from_their_mean": round(spread, 4)})
    with create_h5(tree.bodies, format_name=BODIES) as file:
        file.attrs["body"] = body.name
        file.attrs["digest"] = hashlib.sha256(body.digest.encode()).hexdigest()[:12]
        file["betas"] = mean.astype(np.float32)
        for (act, subact), part in sorted(sequences.items()):
            group = file.create_group(f"act_{act:02d}_subact_{subact:02d}")
            group["betas"], group["pose_rad"], group["transl_m"] = _in_world(part, cameras, body)


def _in_world(
    part: list[_Seen], cameras: Mapping[int, Extrinsics], body: BodyArrays
) -> tuple[ndarray, ndarray, ndarray]:
    """Mean betas of a sequence, and pose and translation of its frames in the world; NaN where there is no body."""
    count = max(int(one.bodies.frame.max()) for one in part)
    betas = np.concatenate([one.bodies.betas for one in part]).mean(0)
    pose, transl = np.full((count, 24, 3), np.nan), np.full((count, 3), np.nan)
    offset, slope = body.joint_shape_map
    pelvis_of_mean = (offset + slope @ betas)[0]
    for one in reversed(part):  # the first camera is written last, and stays
        placed, bodies, row = cameras[one.named.camera], one.bodies, one.bodies.frame - 1
        pose[row] = bodies.pose_rad
        turned = placed.R.T @ _matrices(bodies.pose_rad)[:, 0]
        pose[row, 0] = Rotation.from_matrix(turned).as_rotvec()
        # smplx turns about the pelvis' place at rest and then shifts
        pelvis_cam = (offset + np.einsum("jxb,nb->njx", slope, bodies.betas))[:, 0] + bodies.root_loc_m
        transl[row] = pelvis_cam @ placed.R + placed.T_mm / M_TO_MM - pelvis_of_mean
    return betas.astype(np.float32), pose.astype(np.float32), transl.astype(np.float32)
