"""Positions over the instants of a rig's sequence: joints, roots and boxes, out of JSON or NumPy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.config.rig import RigTrack, RigWorld
from codebase.data.doors.calibration import MM, read_json_once, to_z_up
from codebase.errors import DataError
from codebase.files import missing, read_json
from codebase.logs import log
from codebase.skeleton import H36M

LAST_INSTANT = 999_999


def read_track(track: RigTrack, folder: Path, world: RigWorld) -> Float[ndarray, "instants 17 3"]:
    """Joints in the tree's world (z up, mm); row i belongs to instant i + 1, NaN where nothing is known.

    Raises:
        DataError: the file is missing, unreadable, or its arrays do not fit.
    """
    path = folder / track.file
    content = _arrays(path, track.key)
    joints = _numbers(content[track.key], path, track.key)
    if joints.ndim == 2 and joints.shape[1] == 3:
        joints = joints[:, None]
    if joints.ndim != 3 or joints.shape[2] != 3:
        raise DataError(
            f"{track.key} has shape {joints.shape}.", where=path, expected="(instants, joints, 3), or (instants, 3)"
        )
    places = _places(content.get("names"), joints.shape[1], path)
    instants = _instants(content.get("instants"), len(joints), path)
    out = np.full((int(instants.max(initial=0)), len(H36M), 3), np.nan)
    scale = MM[track.unit or world.unit]
    out[np.ix_(instants - 1, np.array(places))] = scale * joints @ to_z_up(world.up).T
    return out if len(places) in (1, len(H36M)) else _roots_of_some(out, places, path)


def _roots_of_some(
    joints_mm: Float[ndarray, "instants 17 3"], places: list[int], path: Path
) -> Float[ndarray, "instants 17 3"]:
    """Poses in another set of joints are no labels here, but they hold the root, by itself or between the hips."""
    root, hips = H36M.index("root"), H36M.indices("right_hip", "left_hip")
    if root not in places and not set(hips) <= set(places):
        raise DataError(
            "The file names some joints, but neither the root nor both hips.", where=path,
            expected=f"all {len(H36M)} joints for labels, or the root or both hips for the root alone",
        )  # fmt: skip
    log.warning("%s names %d of %d joints: the root is used alone", path.name, len(places), len(H36M))
    out = np.full_like(joints_mm, np.nan)
    out[:, root] = joints_mm[:, root] if root in places else joints_mm[:, hips].mean(axis=1)
    return out


def read_boxes(path: Path) -> Float[ndarray, "instants 4"]:
    """Boxes x, y, width, height, px; row i belongs to instant i + 1.

    Raises:
        DataError: the file is missing, unreadable, or of another shape.
    """
    content = _arrays(path, "boxes")
    boxes = _numbers(content["boxes"], path, "boxes")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"boxes has shape {boxes.shape}.", where=path, expected="(instants, 4): x, y, width, height")
    return boxes


def _arrays(path: Path, key: str) -> dict[str, Any]:
    if not path.is_file():
        raise missing(path, mend="correct the path in rig.json")
    try:
        if path.suffix == ".npy":
            return {key: np.load(path, allow_pickle=False)}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        elif path.suffix == ".json":
            found = read_json(path)
            content = {key: found} if isinstance(found, list) else read_json_once(path)
        else:
            raise DataError("The file's kind is unknown.", where=path, expected=".json, .npz or .npy")
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a broken file
        raise DataError(f"The file cannot be read: {error}", where=path, expected="plain numbers") from None
    if key not in content:
        raise DataError(f"The file lacks {key!r}.", where=path, expected=f"{key}; here: {', '.join(sorted(content))}")
    return content


def _numbers(values: Any, path: Path, key: str) -> Float[ndarray, "*shape"]:  # noqa: ANN401 - what the file held
    try:
        return np.array(values, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        raise DataError(f"{key} is no regular array of numbers.", where=path) from None


def _places(names: Any, count: int, path: Path) -> list[int]:  # noqa: ANN401 - what the file held
    """Rows of H36M of the file's joints."""
    if names is None:
        if count in (1, len(H36M)):
            return list(range(count))
        raise DataError(
            f"There are {count} joints without names.", where=path,
            expected=f"`names`, or {len(H36M)} joints: {', '.join(H36M.names)}",
        )  # fmt: skip
    words = [str(name) for name in np.asarray(names).ravel().tolist()]
    unknown = [word for word in words if word not in H36M.names]
    if unknown or len(words) != count or len(set(words)) != len(words):
        wrong = f"the joint {unknown[0]!r} is unknown" if unknown else f"{len(words)} names, {count} joints, each once"
        raise DataError(f"The names do not fit: {wrong}.", where=path, expected=", ".join(H36M.names))
    return H36M.indices(*words)


def _instants(values: Any, count: int, path: Path) -> ndarray:  # noqa: ANN401 - what the file held
    if values is None:
        return np.arange(1, count + 1)
    numbers = _numbers(values, path, "instants")
    whole = numbers.ndim == 1 and bool((numbers == np.floor(numbers)).all())
    if not whole or len(numbers) != count or not ((numbers >= 1) & (numbers <= LAST_INSTANT)).all():
        raise DataError(f"instants does not fit the {count} rows.", where=path, expected="whole numbers from 1")
    if len(np.unique(numbers)) != count:
        raise DataError("An instant stands twice in `instants`.", where=path, expected="each once")
    return numbers.astype(np.int64)
