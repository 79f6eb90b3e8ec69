"""Calibrations of rigs: OpenCV's numbers, CMU Panoptic's JSON, MPI-INF-3DHP's text; checked, turned to z up and mm."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydantic import ValidationError

from codebase.config.base import validate_config
from codebase.config.rig import Axis, CameraFile, Rig, RigCamera, RigWorld, Unit
from codebase.errors import DataError
from codebase.files import missing
from codebase.geometry import project, undistort, world_to_camera

MM: dict[Unit, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_WORLDS = {
    "opencv": RigWorld(),
    # CMU Panoptic's files are in cm and their y axis points down
    "panoptic": RigWorld(up="-y", unit="cm"),
    # MPI-INF-3DHP's are in mm and their y axis points up
    "mpi_inf_3dhp": RigWorld(up="y", unit="mm"),
}
_SKELETOOL = "Skeletool Camera Calibration File"


@dataclass(frozen=True)
class RigView3d:
    """A camera of a rig, in the tree's world (z up, mm): x_cam = R (x - T)."""

    number: int
    name: str
    R: Float[ndarray, "3 3"]
    T_mm: Float[ndarray, "3"]
    f_px: Float[ndarray, "2"]
    c_px: Float[ndarray, "2"]
    distortion: Float[ndarray, "5"]
    width: int
    height: int

    def pixels(self, points_world_mm: Float[ndarray, "points 3"]) -> Float[ndarray, "points 2"]:
        """Where points stand in the picture, lens included; NaN for points behind the camera."""
        seen = world_to_camera(points_world_mm, self.R, self.T_mm)
        seen = np.where(seen[:, 2:] > 0, seen, np.nan)
        return project(seen, self.f_px, self.c_px, self.distortion)

    def rays(self, pixels: Float[ndarray, "points 2"]) -> Float[ndarray, "points 3"]:
        """World directions, of length 1, that pixels look along."""
        flat = undistort((pixels - self.c_px) / self.f_px, self.distortion)
        seen = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
        return (seen / np.linalg.norm(seen, axis=1, keepdims=True)) @ self.R


def to_z_up(up: Axis) -> Float[ndarray, "3 3"]:
    """The proper rotation, by quarter turns, that brings an axis to z."""
    quarter = {
        "z": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "-z": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
        "y": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
        "-y": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
        "x": [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
        "-x": [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
    }
    return np.array(quarter[up], float)


def world_of(rig: Rig) -> RigWorld:
    """The world of a rig: the stated one, or that of its calibration's format."""
    return rig.world or _WORLDS[rig.calibration.format if rig.calibration else "opencv"]


def read_cameras(rig: Rig, folder: Path) -> dict[str, RigView3d]:
    """The cameras of a rig, by name; `folder` is where rig.json lies.

    Raises:
        DataError: a file is missing or not in its format, a camera is wrong, or stands there twice.
    """
    cameras, where = _listed(rig, folder)
    world = world_of(rig)
    if len(cameras) < 2:
        raise DataError(f"The rig has {len(cameras)} cameras.", where=where, expected="at least 2, calibrated together")
    numbers = [camera.number or place for place, camera in enumerate(cameras, start=1)]
    found = {camera.name: _place(camera, number, world, where) for camera, number in zip(cameras, numbers, strict=True)}
    for what, counts in (("name", Counter(c.name for c in cameras)), ("number", Counter(map(str, numbers)))):
        twice = [value for value, count in counts.items() if count > 1]
        if twice:
            raise DataError(f"Two cameras have the {what} {twice[0]}.", where=where, expected="each camera once")
    for number in numbers:
        if number > 99:
            raise DataError(f"The camera number {number} is too large.", where=where, expected="1 to 99")
    _refuse_copies(list(found.values()), where)
    return found


def _listed(rig: Rig, folder: Path) -> tuple[Sequence[RigCamera], Path]:
    if rig.cameras is not None or rig.calibration is None:
        return rig.cameras or (), folder
    path = folder / rig.calibration.file
    if not path.is_file():
        raise missing(path, mend="correct calibration.file in rig.json")
    readers = {"opencv": _opencv, "panoptic": _panoptic, "mpi_inf_3dhp": _skeletool}
    try:
        cameras = readers[rig.calibration.format](path)
    except UnicodeDecodeError as error:
        raise DataError(f"The file is no text: {error}", where=path) from None
    chosen = rig.calibration.cameras
    if chosen is None:
        return cameras, path
    known = {camera.name: camera for camera in cameras}
    lacking = sorted(set(chosen) - set(known))
    if lacking:
        raise DataError(
            f"The calibration has no camera {lacking[0]!r}.", where=path,
            expected=f"one of {', '.join(sorted(known))}", mend="correct calibration.cameras in rig.json",
        )  # fmt: skip
    return [known[name].model_copy(update={"number": number}) for name, number in chosen.items()], path


def _opencv(path: Path) -> Sequence[RigCamera]:
    return validate_config(CameraFile, read_json_once(path), where=path).cameras


def _panoptic(path: Path) -> list[RigCamera]:
    content = read_json_once(path)
    cameras = content.get("cameras")
    if not isinstance(cameras, list) or not all(isinstance(camera, dict) for camera in cameras):
        raise DataError("The file lists no cameras.", where=path, expected="Panoptic's calibration_*.json")
    return [
        _camera(path, camera.get("name"), size=camera.get("resolution"), K=camera.get("K"),
                dist=camera.get("distCoef", ()), R=camera.get("R"), t=_flat(camera.get("t")))
        for camera in cameras
    ]  # fmt: skip


def _skeletool(path: Path) -> list[RigCamera]:
    """Blocks of `name`, `sensor`, `size`, `animated`, `intrinsic` (4x4), `extrinsic` (4x4), `radial`, one a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].startswith(_SKELETOOL):
        raise DataError("The file does not begin as a Skeletool calibration.", where=path, expected=_SKELETOOL)
    blocks: list[dict[str, list[str]]] = []
    for line in lines[1:]:
        key, *values = line.split() or [""]
        if key == "name":
            blocks.append({})
        if key and not blocks:
            raise DataError(f"{key!r} stands before the first name.", where=path)
        if key:
            blocks[-1][key] = values
    return [_skeletool_camera(path, block) for block in blocks]


def _skeletool_camera(path: Path, block: Mapping[str, list[str]]) -> RigCamera:
    name = " ".join(block["name"])
    try:
        size = [int(float(value)) for value in block["size"]]
        K, P = (np.array(block[key], float).reshape(4, 4) for key in ("intrinsic", "extrinsic"))
        radial = [float(value) for value in block.get("radial", ["0"])]
    except KeyError as error:
        raise DataError(f"Camera {name} has no line {error}.", where=path) from None
    except ValueError as error:
        raise DataError(f"A line of camera {name} is damaged: {error}", where=path) from None
    if any(radial):
        raise DataError(
            f"Camera {name} has radial distortion {radial}, whose model the format does not define.", where=path,
            expected="radial 0", mend="undistort the pictures, or give the calibration in OpenCV's model",
        )  # fmt: skip
    K = K / K[2, 2] if K[2, 2] else K
    return _camera(path, name, size=size, K=K[:3, :3].tolist(), dist=(), R=P[:3, :3].tolist(), t=P[:3, 3].tolist())


def _camera(path: Path, name: object, **values: Any) -> RigCamera:  # noqa: ANN401 - checked by the model
    try:
        return RigCamera(name=str(name), **values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"Camera {name}: {key}: {first['msg']}", where=path, mend="correct the calibration") from None


def _flat(value: Any) -> Any:  # noqa: ANN401 - checked by the model
    """Panoptic writes t as a column."""
    return [item[0] if isinstance(item, list) and len(item) == 1 else item for item in value or ()]


def _place(camera: RigCamera, number: int, world: RigWorld, where: Path) -> RigView3d:
    K, R, t = np.array(camera.K, float), np.array(camera.R, float), np.array(camera.t, float)
    numbers = np.concatenate([K.ravel(), R.ravel(), t, camera.dist])
    if not np.isfinite(numbers).all():
        raise DataError(f"Camera {camera.name} has numbers that are not finite.", where=where)
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise DataError(f"R of camera {camera.name} is no rotation.", where=where, expected="R R^T = 1, determinant +1")
    if K[0, 0] <= 0 or K[1, 1] <= 0 or abs(K[0, 1]) > 1e-3 * K[0, 0] or not np.allclose(K[[1, 2, 2], [0, 0, 1]], 0):
        raise DataError(
            f"K of camera {camera.name} is no intrinsic matrix without skew.", where=where,
            expected="[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]",
        )  # fmt: skip
    u, _, vt = np.linalg.svd(R)  # files round their numbers
    turn, scale = to_z_up(world.up), MM[world.unit]
    distortion = np.zeros(5)
    distortion[: min(5, len(camera.dist))] = camera.dist[:5]
    clean = u @ vt
    return RigView3d(
        number, camera.name, clean @ turn.T, turn @ (-clean.T @ t * scale), K[[0, 1], [0, 1]], K[:2, 2], distortion,
        *camera.size,
    )  # fmt: skip


def _refuse_copies(cameras: list[RigView3d], where: Path) -> None:
    for place, one in enumerate(cameras):
        for other in cameras[:place]:
            if np.allclose(one.R, other.R, atol=1e-6) and np.allclose(one.T_mm, other.T_mm, atol=1e-3):
                raise DataError(
                    f"Cameras {other.name!r} and {one.name!r} stand in the same place and look the same way.",
                    where=where, expected="each camera once", mend="remove one, or correct its R and t",
                )  # fmt: skip


def read_json_once(path: Path) -> dict[str, Any]:
    """A JSON object in which no key stands twice (JSON itself would keep the last one silently).

    Raises:
        DataError: the file is missing, no JSON object, or repeats a key.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise DataError(f"The key {twice[0]!r} stands twice in one object.", where=path, mend="remove one")
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror}", where=path) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"The file is no valid JSON: {error}", where=path) from None
    if not isinstance(content, dict):
        raise DataError("The file holds no JSON object.", where=path, expected="{ ... }")
    return content
