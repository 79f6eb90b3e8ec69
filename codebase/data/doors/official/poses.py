"""Human3.6M's pose files (CDF): 32 joints to 17, camera frame to world, and the check against the projected poses.

A file holds one variable `Pose` of shape (1, frames, 96) in mm, or (1, frames, 64) in pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.data.doors.official.cdf import BoundedCDF
from codebase.data.doors.official.metadata import OfficialCamera
from codebase.errors import DataError
from codebase.files import missing
from codebase.geometry import project, world_to_camera
from codebase.skeleton import H36M

# The 32 joints in the order of the files; those that the 17 leave out (ends, toes, hands, doubles) have names of the
# skeleton in metadata.xml.
JOINTS_32 = (
    "root", "right_hip", "right_knee", "right_foot", "RightToeBase", "RightToeEnd",
    "left_hip", "left_knee", "left_foot", "LeftToeBase", "LeftToeEnd",
    "Spine", "spine", "neck", "head", "head_top",
    "LeftShoulder", "left_shoulder", "left_elbow", "left_wrist", "LeftHandThumb", "LeftThumbEnd", "LeftWristEnd",
    "LeftHandEnd",
    "RightShoulder", "right_shoulder", "right_elbow", "right_wrist", "RightHandThumb", "RightThumbEnd", "RightWristEnd",
    "RightHandEnd",
)  # fmt: skip
SELECTED = tuple(JOINTS_32.index(name) for name in H36M.names)
CHECKED_FRAMES = 50
LARGEST_GAP_PX = 1.0


def read_poses(path: Path, *, size: int) -> Float[ndarray, "frames 17 size"]:
    """The 17 joints of a pose file, in the order of `H36M`; `size` 3 (mm) or 2 (pixels).

    Raises:
        DataError: the file is missing, no readable CDF, or its `Pose` has another shape.
    """
    if not path.is_file():
        raise missing(path)
    try:
        file = BoundedCDF(path)
        info = file.cdf_info()
        if "Pose" not in [*info.zVariables, *info.rVariables]:
            raise DataError("The file holds no variable `Pose`.", where=path, mend="download it again")
        pose = np.asarray(file.varget("Pose"))
    except DataError:
        raise
    except Exception as error:  # cdflib raises many kinds for a broken file
        text = str(error) or type(error).__name__
        raise DataError(f"The file is no readable CDF: {text}", where=path, mend="download it again") from None
    width = len(JOINTS_32) * size
    if (
        pose.size == 0
        or pose.dtype.kind not in "fiu"
        or pose.shape[-1] != width
        or pose.size != pose[..., 0].size * width
    ):
        raise DataError(f"Pose has shape {pose.shape}.", where=path, expected=f"(1, frames, {width})")
    if pose.ndim not in (2, 3) or (pose.ndim == 3 and pose.shape[0] != 1):
        raise DataError(f"Pose has shape {pose.shape}.", where=path, expected=f"(1, frames, {width})")
    return pose.reshape(-1, len(JOINTS_32), size)[:, SELECTED].astype(np.float64)


def camera_to_world(
    joints_cam_mm: Float[ndarray, "frames joints 3"], camera: OfficialCamera
) -> Float[ndarray, "frames joints 3"]:
    """Joints of the camera's frame (D3_Positions_mono) in the world, mm."""
    return joints_cam_mm @ camera.R + camera.T_mm


def check_projection(
    joints_world_mm: Float[ndarray, "frames 17 3"],
    joints_px: Float[ndarray, "rows 17 2"],
    camera: OfficialCamera,
) -> float:
    """Largest distance, px, between the projected joints and those of D2_Positions, in frames all over the sequence.

    Row i of both belongs to frame i + 1; one may be longer.

    Human3.6M's own code weighs the mixed terms of the tangential distortion half as much as OpenCV's model: up to
    0.4 px in the middle of the picture, 1.4 px in its corners. Files projected by either are right.

    Raises:
        DataError: they are more than LARGEST_GAP_PX apart: camera or joint order is wrong.
    """
    count = min(len(joints_world_mm), len(joints_px))
    rows = np.unique(np.linspace(0, count - 1, CHECKED_FRAMES).astype(int))
    in_camera = world_to_camera(joints_world_mm[rows].reshape(-1, 3), camera.R, camera.T_mm)
    wanted = joints_px[rows].reshape(-1, 2)
    rays = in_camera[..., :2] / in_camera[..., 2:]
    projected = (project(in_camera, camera.f_px, camera.c_px, camera.distortion), _own_model(rays, camera))
    known = np.isfinite(in_camera).all(-1) & np.isfinite(wanted).all(-1)
    gap = min(float(np.linalg.norm(found - wanted, axis=-1)[known].max(initial=0.0)) for found in projected)
    if gap > LARGEST_GAP_PX:
        raise DataError(
            f"camera or joint order wrong: projected joints lie up to {gap:.1f} px from those of D2_Positions.",
            expected=f"at most {LARGEST_GAP_PX:g} px",
        )
    return gap


def _own_model(rays: Float[ndarray, "points 2"], camera: OfficialCamera) -> Float[ndarray, "points 2"]:
    """Pixels by the lens model of Human3.6M's code."""
    k1, k2, p1, p2, k3 = camera.distortion
    r2 = (rays**2).sum(-1, keepdims=True)
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    mixed = p1 * rays[..., 1:] + p2 * rays[..., :1]
    return (rays * (radial + mixed) + r2 * np.array([p2, p1])) * camera.f_px + camera.c_px
