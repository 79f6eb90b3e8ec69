"""`body convert`, `body info`, `body view`: what a body file is, an npz of it, pictures of bodies and predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.body.arrays import BodyArrays, load_body, rotation_matrices
from codebase.body.convert import convert as convert_file
from codebase.body.facts import facts
from codebase.body.raw import SHAPES
from codebase.errors import DataError, UserError
from codebase.report.body_rows import rows_of_file
from codebase.report.body_sheet import body_sheet, rows_sheet
from codebase.report.picture_file import write_picture
from codebase.skeleton import SMPL

Say = Callable[[str], None]
_PICTURES = (".png", ".jpg")


def info(path: Path, say: Say) -> None:
    """Say what a body file is and whether it holds together.

    Raises:
        DataError: the file is no body, or a check fails.
    """
    found = facts(path)
    for label, value in found.lines:
        say(f"{label:<12}{value}")
    say("checks")
    for check in found.checks:
        say(f"  {'ok' if check.right else 'NO':<4}{check.name:<40}{check.found}")
    say("joints of Human3.6M: definition in the T-pose, mean error of the regressor over held-out shapes and poses")
    for name, definition, error_mm in found.joints:
        say(f"  {name:<16}{error_mm:5.1f} mm  {definition}")
    wrong = [check.name for check in found.checks if not check.right]
    if wrong:
        raise DataError(f"The body does not hold together: not so: {'; '.join(wrong)}.", where=path)


def convert(source: Path, target: Path, say: Say) -> None:
    """Write a body as npz and say what became of it."""
    body = convert_file(source, target)
    fitted = "" if body.J17_is_fitted else ", 17 Human3.6M joints"
    say(
        f"wrote {target}: {len(body.v_template)} vertices, {SHAPES} shape components, 24 joints{fitted}, "
        f"{target.stat().st_size / 1e6:.1f} MB; the licence of {source.name} holds for it"
    )


def view(
    path: Path, output: Path, say: Say, *, betas: str | None, pose: Sequence[str], body: Path, head: str,
    at: Sequence[str],
) -> None:  # fmt: skip
    """Draw a body file, predicted bodies or bodies of a dataset from four sides.

    Args:
        path: a body file; predictions.h5; or a file of format posemill.bodies.
        output: PNG or JPEG.
        betas: up to ten numbers, of a body file.
        pose: JOINT=x,y,z (axis-angle, radians), of a body file.
        body: whose bodies the others are.
        head: smpl or hmr, of predictions.
        at: frames such as act_02_subact_01/20; by default some evenly, or the best, median and worst.

    Raises:
        UserError: an option that says nothing, a file that is none of these.
    """
    if output.suffix.lower() not in _PICTURES:
        raise UserError("No such kind of picture.", where=output, expected=f"a name in {' or '.join(_PICTURES)}")
    if path.suffix.lower() in (".npz", ".pkl") or not h5py.is_hdf5(path):
        arrays = load_body(path)
        sheet = body_sheet(arrays, read_betas(betas), read_pose(pose), _title(path, arrays, betas, pose))
    else:
        arrays = load_body(body)
        rows, names = rows_of_file(path, arrays, head, at)
        sheet = rows_sheet(rows, arrays.faces, names=names)
    write_picture(output, sheet)
    say(f"wrote {output}")


def _title(path: Path, body: BodyArrays, betas: str | None, pose: Sequence[str]) -> str:
    said = ([f"betas {betas}"] if betas else []) + list(pose)
    return f"{path.name}: {len(body.v_template)} vertices" + (f"; {' '.join(said)}" if said else "; template")


def read_betas(text: str | None) -> Float[ndarray, "10"]:
    """Shape coefficients of "1,-2"; those that are not said are 0.

    Raises:
        UserError: more than ten, or something that is no finite number.
    """
    found = _numbers(text, "--betas") if text else np.zeros(0)
    if len(found) > SHAPES:
        raise UserError(f"{len(found)} shape coefficients are given.", where="--betas", expected=f"at most {SHAPES}")
    return np.concatenate([found, np.zeros(SHAPES - len(found))])


def read_pose(words: Sequence[str]) -> Float[ndarray, "24 3 3"]:
    """Rotations of "left_elbow=0,-1.2,0" and the like; the other joints are not turned.

    Raises:
        UserError: a joint that SMPL does not have, or something else than three finite numbers.
    """
    vectors = np.zeros((len(SMPL), 3))
    for word in words:
        name, _, numbers = word.partition("=")
        if name not in SMPL.names:
            raise UserError(f"SMPL has no joint {name!r}.", where="--pose", expected=", ".join(SMPL.names))
        found = _numbers(numbers, f"--pose {name}")
        if len(found) != 3:
            raise UserError(f"{name} has {len(found)} numbers.", where="--pose", expected="x,y,z in radians")
        vectors[SMPL.index(name)] = found
    return rotation_matrices(vectors)


def _numbers(text: str, where: str) -> Float[ndarray, " n"]:
    try:
        found = np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise UserError(f"{text!r} is no list of numbers.", where=where, expected="numbers such as 1,-0.5,2") from None
    if not np.isfinite(found).all():
        raise UserError(f"{text!r} holds a number that is not finite.", where=where, expected="finite numbers")
    return found
