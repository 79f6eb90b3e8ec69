"""Files of bodies (true, given or fitted ones), for rows of frames, in the im frames of their crops."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from scipy.spatial.transform import Rotation

from codebase.errors import DataError
from codebase.files import open_h5

FORMAT = "posemill.bodies"


@dataclass(frozen=True)
class Bodies:
    """Shape and pose of some frames.

    Attributes:
        betas: shape coefficients.
        rotmats: rotations of SMPL's joints, the global orientation (in the frame that the maker names) first.
    """

    betas: Float[ndarray, "bodies 10"]
    rotmats: Float[ndarray, "bodies 24 3 3"]

    def __len__(self) -> int:
        return len(self.betas)

    def take(self, which: Int[ndarray, " chosen"] | slice) -> Bodies:
        """Some of the bodies."""
        return Bodies(self.betas[which], self.rotmats[which])


@dataclass(frozen=True)
class World:
    """Bodies of a sequence in the world, row i of frame i + 1; NaN where there is none."""

    betas: Float[ndarray, "10"]
    pose_rad: Float[ndarray, "frames 24 3"]
    transl_m: Float[ndarray, "frames 3"]


def bodies_in_world(path: Path) -> dict[tuple[int, int], World]:
    """The bodies of a subject by act and subaction; fitted ones that were not kept count as none.

    Raises:
        DataError: the file is missing, of another format, its shapes are wrong, or it does not say where bodies stand.
    """
    found = {}
    with open_h5(path, format_name=FORMAT) as file:
        sequences, shape = _sequences(file, path), _shape(file["betas"], path)
        for name, group in sequences:
            pose = _pose(group, path)
            if "transl_m" not in group or group["transl_m"].shape != (len(pose), 3):
                raise DataError(f"{name} has no transl_m: where the bodies stand is not known.", where=path,
                                expected=f"({len(pose)}, 3), metres")  # fmt: skip
            own = _shape(group["betas"], path) if "betas" in group else shape
            place = np.asarray(group["transl_m"], np.float64)
            found[_parse(name, path)] = World(own.astype(np.float64), pose, place)
    return found


def bodies_in_im(
    paths: Iterable[Path],
    keys: Mapping[str, Int[ndarray, " rows"]],
    R_world_im: Float[ndarray, "rows 3 3"],
) -> tuple[Int[ndarray, " known"], Bodies]:
    """The bodies of frames, global orientation in each frame's im frame: R_im = R_world_im R_world.

    Args:
        paths: files S{subject}.h5 of any subjects.
        keys: columns subject, action, subaction and frame (from 1).
        R_world_im: of each row's crop.

    Returns:
        The rows that have a body, ascending, and their bodies. Sequences or frames without one are no error, and
        fitted ones that were not kept count as none.

    Raises:
        DataError: a file is missing, of another format, its shapes are wrong, or its numbers are not finite.
    """
    rows, betas, rotmats = [], [], []
    for path in paths:
        subject = _subject(path)
        mine = np.flatnonzero(keys["subject"] == subject)
        with open_h5(path, format_name=FORMAT) as file:
            sequences, shape = _sequences(file, path), _shape(file["betas"], path)
            for name, group in sequences:
                action, subaction = _parse(name, path)
                here = mine[(keys["action"][mine] == action) & (keys["subaction"][mine] == subaction)]
                pose = _pose(group, path)
                here = here[keys["frame"][here] <= len(pose)]
                # frames without a body are NaN
                here = here[np.isfinite(pose[keys["frame"][here] - 1]).all(axis=(1, 2))]
                own = _shape(group["betas"], path) if "betas" in group else shape
                turned = _matrices(pose[keys["frame"][here] - 1])
                turned[:, 0] = R_world_im[here] @ turned[:, 0]
                rows.append(here)
                betas.append(np.broadcast_to(own, (len(here), 10)))
                rotmats.append(turned.astype(np.float32))
    if not rows:
        return np.zeros(0, int), Bodies(np.zeros((0, 10), np.float32), np.zeros((0, 24, 3, 3), np.float32))
    found = np.concatenate(rows)
    order = np.argsort(found)
    return found[order], Bodies(np.concatenate(betas)[order], np.concatenate(rotmats)[order])


def _subject(path: Path) -> int:
    if not path.stem.removeprefix("S").isdigit():
        raise DataError("The file's name names no subject.", where=path, expected="S{number}.h5")
    return int(path.stem.removeprefix("S"))


def _sequences(file: h5py.File, path: Path) -> list[tuple[str, h5py.Group]]:
    if "betas" not in file or file["betas"].shape != (10,):
        raise DataError("The file holds no `betas` of shape (10,).", where=path)
    return [(name, item) for name, item in file.items() if isinstance(item, h5py.Group)]


def _parse(name: str, path: Path) -> tuple[int, int]:
    found = re.fullmatch(r"act_(\d+)_subact_(\d+)", name, re.ASCII)
    if found is None:
        raise DataError(f"The group {name!r} names no sequence.", where=path, expected="act_02_subact_01")
    return int(found[1]), int(found[2])


def _pose(group: h5py.Group, path: Path) -> Float[ndarray, "frames 24 3"]:
    if "pose_rad" not in group or group["pose_rad"].shape[1:] != (24, 3):
        raise DataError(f"{group.name}/pose_rad is missing or has another shape.", where=path, expected="(N, 24, 3)")
    pose = np.asarray(group["pose_rad"], dtype=np.float64)
    if "kept" in group:  # fitted bodies that explain their frame badly are none
        kept = np.asarray(group["kept"], dtype=bool)
        if kept.shape != pose.shape[:1]:
            raise DataError(f"{group.name}/kept has another length than pose_rad.", where=path)
        pose[~kept] = np.nan
    if np.isinf(pose).any():
        raise DataError(
            f"{group.name}/pose_rad holds infinite numbers.",
            where=path,
            expected="angles, or NaN where there is no body",
        )
    return pose


def _shape(stored: h5py.Dataset, path: Path) -> Float32[ndarray, "10"]:
    betas = np.asarray(stored, dtype=np.float32)
    if betas.shape != (10,) or not np.isfinite(betas).all():
        raise DataError(f"{stored.name} holds no ten finite numbers.", where=path, expected="shape coefficients (10,)")
    return betas


def _matrices(pose_rad: Float[ndarray, "frames 24 3"]) -> Float[ndarray, "frames 24 3 3"]:
    return Rotation.from_rotvec(pose_rad.reshape(-1, 3)).as_matrix().reshape(len(pose_rad), 24, 3, 3)
