"""Rows of a sheet of bodies, from predictions.h5 or a file of a subject's bodies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.body.arrays import BodyArrays, lbs_numpy, rotation_matrices
from codebase.data.bodies import FORMAT as BODIES
from codebase.data.frame_names import parse_frame
from codebase.errors import DataError
from codebase.files import open_h5
from codebase.metrics import mpjpe
from codebase.report.body_sheet import SIDES, Row
from codebase.report.choose import Choice, by_rank
from codebase.report.material import Predictions, read_predictions

_EXAMPLES = 3
# the world's axes (z up) in a body's frame (y up)
_Y_UP = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
# a camera's axes (y down, z away) so that the body's z points to the camera
_CAMERA_UP = np.diag([1.0, -1.0, -1.0])
FROM_CAMERA = ("as the camera sees it", "from its right", "from behind", "from its left")


def rows_of_file(path: Path, body: BodyArrays, head: str, at: Sequence[str]) -> tuple[list[Row], Sequence[str]]:
    """Bodies of the frames that `at` names, or of a few, and the names of the four sides.

    Raises:
        DataError: the file is neither, lacks the head or a frame, or a body is not finite.
    """
    with h5py.File(path) as file:
        kind = file.attrs.get("format")
    if kind == BODIES:
        return _of_bodies(path, body, at), tuple(SIDES)
    if kind == "posemill.predictions":
        return _of_predictions(path, body, head, at), FROM_CAMERA
    raise DataError(
        f"The file has format {kind!r}.", where=path, expected=f"a body (npz, pkl), predictions.h5, or {BODIES}"
    )


def _of_predictions(path: Path, body: BodyArrays, head: str, at: Sequence[str]) -> list[Row]:
    predictions = read_predictions(path)
    if head not in predictions.bodies:
        raise DataError(f"It holds no bodies of {head}.", where=path, expected=", ".join(predictions.bodies) or "some")
    bodies = predictions.bodies[head]
    errors = mpjpe(bodies.joints_im_mm.astype(np.float64), predictions.truth_im_mm.astype(np.float64))
    choices = [_row_at(predictions, word, path) for word in at] if at else _ranked(predictions, errors)
    rows = []
    for choice in choices:
        row = choice.row
        known = f", MPJPE {errors[row]:.0f} mm" if np.isfinite(errors[row]) else ""
        title = f"{head}, {choice.why}{known}: {predictions.label(row)}"
        rotmats = bodies.rotmats[row].astype(np.float64)
        rotmats[0] = _CAMERA_UP @ rotmats[0]
        rows.append(_row(title, body, bodies.betas[row], rotmats, path))
    return rows


def _ranked(predictions: Predictions, errors: Float[ndarray, " frames"]) -> list[Choice]:
    """Best, median and worst, or evenly where no truth is known."""
    known = predictions.labelled
    if len(known):
        return [Choice(int(known[choice.row]), choice.why) for choice in by_rank(errors[known], _EXAMPLES)]
    spread = np.linspace(0, len(errors) - 1, min(_EXAMPLES, len(errors))).round().astype(int)
    return [Choice(int(row), f"row {row + 1} of {len(errors)}") for row in spread]


def _row_at(predictions: Predictions, word: str, path: Path) -> Choice:
    mine = np.ones(len(predictions.frames["frame"]), bool)
    for key, number in parse_frame(word).items():
        mine &= predictions.frames[key] == number
    if not mine.any():
        raise DataError(f"It holds no frame {word}.", where=path, expected=f"such as {predictions.label(0)}")
    return Choice(int(np.flatnonzero(mine)[0]), "as asked for")


def _of_bodies(path: Path, body: BodyArrays, at: Sequence[str]) -> list[Row]:
    rows = []
    with open_h5(path, format_name=BODIES) as file:
        for name, frame in [_sequence_at(file, word, path) for word in at] or _evenly(file):
            group = file[name]
            betas = np.asarray(group["betas"] if "betas" in group else file["betas"], np.float32)
            rotmats = rotation_matrices(np.asarray(group["pose_rad"][frame - 1], np.float64))
            rows.append(_row(f"{path.stem}, {name}, frame {frame}", body, betas, _facing(rotmats), path))
    if not rows:
        raise DataError("The file holds no body.", where=path, expected="groups act_02_subact_01 with pose_rad")
    return rows


def _evenly(file: h5py.File) -> list[tuple[str, int]]:
    found = []
    for name, group in file.items():
        if isinstance(group, h5py.Group):
            good = np.flatnonzero(np.isfinite(group["pose_rad"][:]).all(axis=(1, 2)))
            found += [(name, int(row) + 1) for row in good]
    return [found[int((k + 0.5) / _EXAMPLES * len(found))] for k in range(min(_EXAMPLES, len(found)))]


def _sequence_at(file: h5py.File, word: str, path: Path) -> tuple[str, int]:
    wanted = parse_frame(word)
    name = f"act_{wanted['action']:02d}_subact_{wanted['subaction']:02d}"
    whose = re.fullmatch(r"S(\d+)", path.stem)
    if whose and wanted.get("subject", int(whose[1])) != int(whose[1]):
        raise DataError(f"It holds no frame {word}.", where=path, expected=f"frames of {path.stem}")
    if name not in file or not 1 <= wanted["frame"] <= len(file[name]["pose_rad"]):
        there = [f"{key}/1 to {len(group['pose_rad'])}" for key, group in file.items() if isinstance(group, h5py.Group)]
        raise DataError(f"It holds no frame {word}.", where=path, expected=", ".join(there[:6]) or "some")
    return name, wanted["frame"]


def _facing(rotmats_world: Float[ndarray, "24 3 3"]) -> Float[ndarray, "24 3 3"]:
    """A body of the world's frame, y up and turned about the vertical until it faces the viewer."""
    upright = rotmats_world.copy()
    upright[0] = _Y_UP @ upright[0]
    ahead = upright[0][:, 2]
    upright[0] = rotation_matrices(np.array([0.0, -np.arctan2(ahead[0], ahead[2]), 0.0])) @ upright[0]
    return upright


def _row(title: str, body: BodyArrays, betas: ndarray, rotmats: Float[ndarray, "24 3 3"], path: Path) -> Row:
    if not (np.isfinite(betas).all() and np.isfinite(rotmats).all()):
        raise DataError(
            f"The body has parameters that are not finite: {title}", where=path, expected="a frame that has a body"
        )
    vertices, _ = lbs_numpy(body, betas[None].astype(np.float32), rotmats[None].astype(np.float32))
    return Row(title, vertices[0])
