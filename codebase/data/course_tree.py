"""A course tree from a dataset tree with bodies: the npz, the pictures and the cameras' intrinsics of a subject."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial.transform import Rotation

from codebase.body.arrays import BodyArrays
from codebase.body.model import BodyLayer
from codebase.data.bodies import World, bodies_in_world
from codebase.data.course import BOX_PX
from codebase.data.doors.course_files import CAM_PARAMS
from codebase.data.human36m import FRAME_SUFFIX, Folder, Meta, list_frames, parse_folder, read_meta
from codebase.data.parallel import in_order
from codebase.errors import DataError
from codebase.files import write_json
from codebase.geometry import project
from codebase.skeleton import H36M_ACTS, H36M_CAMERAS

MARGIN = 1.3  # the box is so much larger than that of the projected joints: hands, feet and hair reach beyond them
log = logging.getLogger("posemill.course_tree")


@dataclass(frozen=True)
class CameraBodies:
    """Bodies of some frames as one camera sees them: camera frame."""

    frame: Int[ndarray, " rows"]
    betas: Float[ndarray, "10"]
    pose_rad: Float[ndarray, "rows 24 3"]
    root_loc_m: Float[ndarray, "rows 3"]


@dataclass(frozen=True)
class _Task:
    source: Path
    folder: Folder
    target: Path
    bodies: World
    body: BodyArrays
    blind: bool


def write_subject(
    source: Path,
    bodies: Path,
    body: BodyArrays,
    output: Path,
    *,
    subject: int,
    folders: list[Folder],
    blind: bool,
    workers: int = 1,
) -> int:
    """Write S{subject} below `output`, complete or not at all; returns the number of frames.

    Args:
        source: the dataset tree. bodies: the subject's file, format `posemill.bodies`.
        folders: of the subject, to be taken.
        blind: write neither shape nor pose, as the course did for its test frames.

    Raises:
        DataError: the file of bodies lacks all sequences, or a camera has no name or several intrinsics.
    """
    known = bodies_in_world(bodies)
    tasks = []
    partial = output / f".S{subject}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for folder in folders:
        if (folder.action, folder.subaction) in known and (source / folder.name).is_dir():
            world = known[folder.action, folder.subaction]
            tasks.append(_Task(source, folder, partial, world, body, blind))
    done = list(in_order(_write_folder, tasks, workers=workers, what=f"S{subject}: folders"))
    if not sum(count for count, _ in done):
        raise DataError(f"No frame of S{subject} has a picture and a body.", where=bodies,
                        expected=f"sequences of {source}")  # fmt: skip
    _write_cameras(
        partial / CAM_PARAMS, [(task.folder.camera, meta) for task, (_, meta) in zip(tasks, done, strict=True)]
    )
    partial.rename(output / f"S{subject}")
    return sum(count for count, _ in done)


def before_camera(world: World, meta: Meta, frames: Int[ndarray, " rows"], body: BodyArrays) -> CameraBodies:
    """Bodies of frames that have one, turned into the camera's frame.

    SMPL turns about the pelvis' place at rest and then shifts, so with p that place: R (p + t - T) = p + root_loc.
    """
    frames = frames[frames <= len(world.pose_rad)]
    there = np.isfinite(world.pose_rad[frames - 1]).all((1, 2)) & np.isfinite(world.transl_m[frames - 1]).all(1)
    frames = frames[there]
    pose = world.pose_rad[frames - 1].copy()
    pose[:, 0] = Rotation.from_matrix(meta.R @ Rotation.from_rotvec(pose[:, 0]).as_matrix()).as_rotvec()
    offset, slope = body.joint_shape_map
    pelvis = (offset + slope @ world.betas)[0]
    root_loc = (pelvis + world.transl_m[frames - 1] - meta.T_mm / 1000) @ meta.R.T - pelvis
    return CameraBodies(frames, world.betas, pose, root_loc)


@torch.inference_mode()
def boxes(
    bodies: CameraBodies, meta: Meta, body: BodyArrays
) -> tuple[Float[ndarray, "rows 2"], Float[ndarray, " rows"]]:
    """Centre (px) and scale (200 px) of boxes about the joints, as the picture was recorded."""
    rotations = Rotation.from_rotvec(bodies.pose_rad.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    arrays = (np.tile(bodies.betas, (len(rotations), 1)), rotations, bodies.root_loc_m)
    joints = BodyLayer(body).joints17(*(torch.from_numpy(a.astype(np.float32)) for a in arrays)).double().numpy()
    lens = (np.tile(values, (len(joints), 1)) for values in (meta.f_px, meta.c_px, meta.distortion))
    px = project(joints, *lens)
    low, high = px.min(axis=1), px.max(axis=1)
    return (low + high) / 2, MARGIN * (high - low).max(axis=1) / BOX_PX


def folder_name(folder: Folder) -> str:
    """What the course calls a folder: "Directions 1.54138969"; subaction 2 is plain "Directions", as usual there."""
    number = {1: " 1", 2: ""}.get(folder.subaction, f" {folder.subaction - 1}")
    return f"{H36M_ACTS[folder.action]}{number}.{H36M_CAMERAS[folder.camera]}"


def _write_folder(task: _Task) -> tuple[int, Meta]:
    folder, name = task.folder, folder_name(task.folder)
    meta = read_meta(task.source / folder.name)
    frames = list_frames(task.source / folder.name, folder.name).astype(int)
    bodies = before_camera(task.bodies, meta, frames, task.body)
    if not len(bodies.frame):
        return 0, meta
    center, scale = boxes(bodies, meta, task.body)
    for home in (task.target / name, task.target / "Images" / name):
        home.mkdir(parents=True)
    for row, frame in enumerate(bodies.frame.tolist()):
        vectors = bodies.pose_rad[row].ravel()
        values = {"root_loc": bodies.root_loc_m[row], "center_img": center[row], "scale_img": scale[row]}
        if not task.blind:
            values |= {
                "betas": bodies.betas, "root_orient": vectors[:3],
                "pose_body": vectors[3:66], "pose_hand": vectors[66:],
            }  # fmt: skip
        single: dict[str, Any] = {key: np.asarray(value, np.float32) for key, value in values.items()}
        np.savez(task.target / name / f"{frame - 1:05d}.npz", **single)
        _link(folder.file(task.source, frame, FRAME_SUFFIX), task.target / "Images" / name / f"{frame:06d}.jpg")
    return len(bodies.frame), meta


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or no hard links
        shutil.copyfile(source, target)


def _write_cameras(path: Path, seen: list[tuple[int, Meta]]) -> None:
    """The list of intrinsics that the course kept in its code, here as JSON.

    Raises:
        DataError: folders of one camera differ in intrinsics.
    """
    cameras: dict[int, Meta] = {}
    for number, meta in seen:
        first = cameras.setdefault(number, meta)
        for key in ("f_px", "c_px", "distortion"):
            if not np.allclose(getattr(first, key), getattr(meta, key), atol=1e-3):
                raise DataError(f"Camera {number} has several {key}.", where=path, expected="one for all folders")
    write_json(path, [
        {
            "id": H36M_CAMERAS[number], "center": meta.c_px.tolist(), "focal_length": meta.f_px.tolist(),
            "radial_distortion": meta.distortion[[0, 1, 4]].tolist(),
            "tangential_distortion": meta.distortion[[2, 3]].tolist(),
            "res_w": meta.width, "res_h": meta.height, "azimuth": _azimuth(meta),
        }
        for number, meta in sorted(cameras.items())
    ])  # fmt: skip


def _azimuth(meta: Meta) -> float:
    """Direction of the camera's axis over the floor, degrees from the world's x axis."""
    return float(np.degrees(np.arctan2(meta.R[2, 1], meta.R[2, 0])))


def folders_of(
    root: Path, *, subject: int, acts: tuple[int, ...], subacts: tuple[int, ...], cameras: tuple[int, ...]
) -> list[Folder]:
    """Folders of the dataset tree that the course has names for.

    Raises:
        DataError: the tree has none of the subject, or a camera or act has no name in Human3.6M.
    """
    there = [parse_folder(p.name) for p in sorted(root.iterdir()) if p.is_dir()] if root.is_dir() else []
    wanted = (acts, subacts, cameras)
    mine = [
        f
        for f in there
        if f
        and f.subject == subject
        and all(n in of for n, of in zip((f.action, f.subaction, f.camera), wanted, strict=True))
    ]
    nameless = [f.name for f in mine if f.camera not in H36M_CAMERAS or f.action not in H36M_ACTS]
    if nameless or not mine:
        raise DataError(
            f"{nameless[0]} has no name in the course's tree." if nameless else f"The tree has no S{subject}.",
            where=root, expected="Human3.6M's acts 2 to 16 and cameras 1 to 4",
            mend="make the dataset first, or take the subject out of the config's splits",
        )  # fmt: skip
    return mine
