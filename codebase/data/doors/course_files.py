"""Files of the course's re-packaging: npz of bodies, names of folders, the table of intrinsics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from codebase.data.doors.folders import CAMERA_NUMBERS
from codebase.data.doors.official.metadata import Metadata
from codebase.errors import DataError
from codebase.files import missing
from codebase.skeleton import H36M_ACTS

_SHAPES = {"root_loc": 3, "root_orient": 3, "pose_body": 63, "pose_hand": 6, "betas": 10}
_OTHER_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkTogether": "WalkTogether"}
CAM_PARAMS = "cam_params.json"
_FOLDER = re.compile(r"(.+)\.(\d{8})")


@dataclass(frozen=True)
class Intrinsics:
    """A camera's own numbers: px; distortion k1, k2, p1, p2, k3."""

    f_px: Float[ndarray, "2"]
    c_px: Float[ndarray, "2"]
    distortion: Float[ndarray, "5"]
    width: int
    height: int


# Human3.6M's calibration of its four cameras, as in its metadata.xml: focal lengths, principal point, three radial and
# two tangential coefficients, width and height.
_H36M = {
    "54138969": (
        1145.0494384765625, 1143.7811279296875, 512.54150390625, 515.4514770507812,
        -0.20709891617298126, 0.24777518212795258, -0.0030751503072679043,
        -0.0009756988729350269, -0.00142447161488235, 1000, 1002,
    ),
    "55011271": (
        1149.6756591796875, 1147.5916748046875, 508.8486328125, 508.0649108886719,
        -0.1942136287689209, 0.2404085397720337, 0.006819975562393665,
        -0.0016190266469493508, -0.0027408944442868233, 1000, 1000,
    ),
    "58860488": (
        1149.1407470703125, 1148.7989501953125, 519.8158569335938, 501.40264892578125,
        -0.2083381861448288, 0.25548800826072693, -0.0024604974314570427,
        0.0014843869721516967, -0.0007599993259645998, 1000, 1000,
    ),
    "60457274": (
        1145.5113525390625, 1144.77392578125, 514.9682006835938, 501.88201904296875,
        -0.198384091258049, 0.21832367777824402, -0.008947807364165783,
        -0.0005872055771760643, -0.0018133620033040643, 1000, 1002,
    ),
}  # fmt: skip


def read_intrinsics(path: Path | None) -> dict[str, Intrinsics]:
    """Intrinsics by the camera's serial number: Human3.6M's, or those of a JSON list.

    An entry of the list: {"id", "center", "focal_length", "radial_distortion" (3 numbers), "tangential_distortion" (2),
    "res_w", "res_h"}, px.

    Raises:
        DataError: the file is missing, no such list, or names a camera twice.
    """
    if path is None:
        return {serial: _intrinsics(*map(float, numbers)) for serial, numbers in _H36M.items()}
    if not path.is_file():
        raise missing(path, mend="correct extract.intrinsics")
    found: dict[str, Intrinsics] = {}
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            serial = str(entry["id"])
            if serial in found:
                raise DataError(f"The camera {serial} stands there twice.", where=path, expected="each once")
            keys = ("focal_length", "center", "radial_distortion", "tangential_distortion")
            numbers = [float(x) for key in keys for x in entry[key]]
            found[serial] = _intrinsics(*numbers, float(entry["res_w"]), float(entry["res_h"]))
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise DataError(
            f"The file is no list of cameras: {error!r}", where=path,
            expected="entries with id, center, focal_length, radial_distortion, tangential_distortion, res_w, res_h",
        ) from None  # fmt: skip
    return found


def intrinsics_of(home: Path, given: Path | None) -> dict[str, Intrinsics]:
    """Intrinsics of a subject's folder: those of `given`, else of the cam_params.json in it, else Human3.6M's."""
    own = home / CAM_PARAMS
    return read_intrinsics(given if given is not None or not own.is_file() else own)


def _intrinsics(*numbers: float) -> Intrinsics:
    fx, fy, cx, cy, k1, k2, k3, p1, p2, width, height = numbers
    distortion = np.array([k1, k2, p1, p2, k3])
    return Intrinsics(np.array([fx, fy]), np.array([cx, cy]), distortion, int(width), int(height))


@dataclass(frozen=True)
class Named:
    """A folder of npz, and what its name means."""

    path: Path
    act: int
    subact: int
    camera: int


def names_of(home: Path, subject: int, metadata: Metadata | None) -> tuple[list[Named], list[tuple[str, str]]]:
    """What the folders under `home` are, and the names that mean nothing, with the reason.

    With metadata.xml its table says which name is which subaction. Without it the names of one act are numbered in the
    order "A 1", "A", "A 2", "A 3": usual, but not always Human3.6M's own numbers.
    """
    parsed: list[tuple[Path, str, str]] = []
    refused = []
    for path in sorted(entry for entry in home.iterdir() if entry.is_dir() and entry.name != "Images"):
        match = _FOLDER.fullmatch(path.name)
        if match is None or match[2] not in CAMERA_NUMBERS:
            refused.append((path.name, "the name is no <action>.<serial number of a camera of Human3.6M>"))
        else:
            parsed.append((path, match[1].replace("_", " ").strip(), match[2]))
    table = _table(subject, metadata) if metadata else _by_order({prefix for _, prefix, _ in parsed})
    found: dict[tuple[int, int, int], Named] = {}
    for path, prefix, serial in parsed:
        if prefix not in table:
            refused.append((path.name, f"no act of Human3.6M has files called {prefix!r}"))
            continue
        key = (*table[prefix], CAMERA_NUMBERS[serial])
        if key in found:
            refused.append((path.name, f"{found[key].path.name} is the same sequence and camera"))
            continue
        found[key] = Named(path, *key)
    return list(found.values()), refused


def _table(subject: int, metadata: Metadata) -> dict[str, tuple[int, int]]:
    return {prefix: (act, subact) for (s, act, subact), prefix in metadata.prefixes.items() if s == subject}


def _by_order(prefixes: set[str]) -> dict[str, tuple[int, int]]:
    acts = {name: act for act, name in H36M_ACTS.items()}
    takes: dict[int, list[tuple[float, str]]] = {}
    for prefix in prefixes:
        name, _, number = prefix.partition(" ")
        act = acts.get(_OTHER_NAMES.get(name, name))
        if act is not None and (not number or number.isdigit()):
            takes.setdefault(act, []).append((float(number) if number else 1.5, prefix))
    return {p: (act, place) for act, of in takes.items() for place, (_, p) in enumerate(sorted(of), start=1)}


def picture_folder(root: Path, subject: int, name: str) -> Path:
    """The folder of pictures that belongs to a folder of npz, whether it is written with spaces or underscores."""
    home = root / f"S{subject}" / "Images"
    for spelling in (name, name.replace("_", " "), name.replace(" ", "_")):
        if (home / spelling).is_dir():
            return home / spelling
    return home / name


@dataclass(frozen=True)
class BodyRows:
    """Bodies of one sequence before one camera; camera frame.

    Attributes:
        frame: from 1, rising.
        betas: shape coefficients.
        pose_rad: axis-angle of SMPL's 24 joints, the first one carries the body into the camera's frame.
        root_loc_m: SMPL's translation.
        left_out: reasons why files gave no row, and how many.
    """

    frame: Int[ndarray, " rows"]
    betas: Float[ndarray, "rows 10"]
    pose_rad: Float[ndarray, "rows 24 3"]
    root_loc_m: Float[ndarray, "rows 3"]
    left_out: tuple[tuple[str, int], ...]


def read_folder(path: Path) -> BodyRows:
    """All bodies of a folder of npz; files without a body (test frames) and broken ones are counted with the reason."""
    by_frame: dict[int, list[Path]] = {}
    reasons: dict[str, int] = {}
    for file in path.glob("*.npz"):
        if file.stem.isdigit() and file.stem.isascii():
            by_frame.setdefault(int(file.stem) + 1, []).append(file)
        else:
            reasons["the name of an npz is no frame number"] = (
                reasons.get("the name of an npz is no frame number", 0) + 1
            )
    kept: dict[int, Mapping[str, ndarray]] = {}
    for frame, files in sorted(by_frame.items()):
        found = _read_body(files[0]) if len(files) == 1 else "two npz have the same frame number"
        if isinstance(found, str):
            reasons[found] = reasons.get(found, 0) + 1
        else:
            kept[frame] = found
    columns: dict[str, Any] = {
        key: np.array([row[key] for row in kept.values()]).reshape(-1, n) for key, n in _SHAPES.items()
    }
    pose = np.concatenate([columns["root_orient"], columns["pose_body"], columns["pose_hand"]], axis=1)
    return BodyRows(
        np.array(list(kept), int),
        columns["betas"],
        pose.reshape(-1, 24, 3),
        columns["root_loc"],
        tuple(reasons.items()),
    )


def _read_body(path: Path) -> Mapping[str, ndarray] | str:
    """A frame's arrays, or why there is no body."""
    try:
        with np.load(path, allow_pickle=False) as file:
            lacking = [key for key in _SHAPES if key not in file.files]
            if lacking:
                return "the npz holds no body (a test frame)"
            found = {key: np.asarray(file[key], np.float64).ravel() for key in _SHAPES}
    except Exception as error:  # numpy and zipfile raise many kinds for a broken file
        return f"the npz cannot be read ({type(error).__name__})"
    wrong = [
        key for key, size in _SHAPES.items() if found[key].size < size or (key != "betas" and found[key].size != size)
    ]
    if wrong:
        return f"{wrong[0]} has another size"
    found["betas"] = found["betas"][:10]
    return found if all(np.isfinite(values).all() for values in found.values()) else "a number is not finite"
