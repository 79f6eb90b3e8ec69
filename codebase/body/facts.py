"""What a body file is, and whether it holds together: `body info`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from codebase.body.arrays import BodyArrays, load_body
from codebase.body.builder.h36m import DEFINITION
from codebase.body.builder.mesh import watertight
from codebase.body.raw import SHAPES, read_arrays
from codebase.body.regressors import Mark, h36m_error_mm
from codebase.body_sources import known
from codebase.skeleton import H36M, SMPL

_SUM_TOLERANCE = 1e-3
_HELD_OUT = 60  # bodies
_FREE_MESH = "MakeHuman / MPFB2"


@dataclass(frozen=True)
class Check:
    """Something that must hold, and what was found."""

    name: str
    right: bool
    found: str


@dataclass(frozen=True)
class Facts:
    """What `body info` says: (label, value) lines, checks, and each Human3.6M joint's definition and error in mm."""

    lines: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]
    joints: tuple[tuple[str, str, float], ...]


def facts(path: Path) -> Facts:
    """Read a body file and look at it.

    Raises:
        DataError: the file is missing or not a body.
    """
    raw, body = read_arrays(path), load_body(path)
    errors = h36m_error_mm(body.linear, body.J17_regressor, _HELD_OUT, _marks(body))
    table = zip(H36M.names, errors.tolist(), strict=True)
    return Facts(_lines(path, raw, body), _checks(raw, body), tuple((n, _defined(n), error) for n, error in table))


def _lines(path: Path, raw: Mapping[str, np.ndarray], body: BodyArrays) -> tuple[tuple[str, str], ...]:
    joints, shapes = np.shape(raw["weights"])[1], np.shape(raw["shapedirs"])[-1]
    moving = float((body.posedirs != 0).mean())
    return (
        ("file", f"{path}, {path.stat().st_size / 1e6:.1f} MB, sha256 {body.digest}"),
        ("what", _what(path, raw)),
        ("gender", _gender(path, raw)),
        ("mesh", f"{len(body.v_template)} vertices, {len(body.faces)} faces, {_volume_m3(body):.3f} m3"),
        ("joints", f"{joints}" + ("" if joints == len(SMPL) else ", of which SMPL's 24 are made")),
        ("shape", f"{shapes} components" + (f", the first {SHAPES} are used" if shapes > SHAPES else "")),
        ("pose", f"{np.shape(raw['posedirs'])[-1]} correctives, {100 * moving:.0f} % of their numbers used"),
        ("stature", _stature(body)),
        ("H36M joints", "regressor fitted when the file is read" if body.J17_is_fitted else "regressor in the file"),
        ("labels", _labels(body)),
    )


def _what(path: Path, raw: Mapping[str, np.ndarray]) -> str:
    """By the file's name, else by what is in it."""
    if "source" in raw:
        return str(np.asarray(raw["source"]))
    if "landmarks" in raw and "part" in raw:
        return f"the free body of {_FREE_MESH} (CC0 1.0) or one built like it"
    skeleton = "SMPL+H" if np.shape(raw["weights"])[1] != len(SMPL) else "SMPL"
    found = known(path)
    if found is None:
        return f"a body in {skeleton} layout, of unknown origin"
    shapes = np.shape(raw["shapedirs"])[-1]
    release = found.source.model
    if "v1" not in path.name.lower() and skeleton == "SMPL":
        release += f"; its {shapes} components are those of " + ("1.1.0" if shapes > SHAPES else "1.0.0 or SMPLify's")
    return f"{release} (licence: non-commercial research)"


def _gender(path: Path, raw: Mapping[str, np.ndarray]) -> str:
    if "gender" in raw:
        return str(np.asarray(raw["gender"]))
    found = known(path)
    return found.gender if found else "the file does not say"


def _volume_m3(body: BodyArrays) -> float:
    corners = body.v_template[body.faces].astype(np.float64)
    return float(np.einsum("fx,fx->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def stature_m(body: BodyArrays, betas: Float[np.ndarray, "10"]) -> float:
    """Height of the T-posed body, metres."""
    return float(np.ptp(body.v_template[:, 1] + body.shapedirs[:, 1] @ betas))


def _stature(body: BodyArrays) -> str:
    height = body.shapedirs[:, 1]
    tall = int(np.abs(height[body.v_template[:, 1].argmax()] - height[body.v_template[:, 1].argmin()]).argmax())
    low, high = sorted(stature_m(body, two * np.eye(SHAPES)[tall]) for two in (-2.0, 2.0))
    return f"{stature_m(body, np.zeros(SHAPES)):.2f} m; {low:.2f} to {high:.2f} m at -2 and +2 of component {tall + 1}"


def _labels(body: BodyArrays) -> str:
    if not len(body.part):
        return "none: synthesize cannot dress it"
    return f"{len(body.part_names)} parts, {len(body.landmarks)} landmarks"


def _checks(raw: Mapping[str, np.ndarray], body: BodyArrays) -> tuple[Check, ...]:
    unused = len(body.v_template) - len(np.unique(body.faces))
    return (
        Check(
            "surface closed, each edge in two faces", watertight(body.faces, len(body.v_template)), f"{unused} unused"
        ),
        Check("faces look outwards", _volume_m3(body) > 0, f"{_volume_m3(body):.4f} m3"),
        _sums("weights of each vertex sum to 1", body.weights, lowest=0.0),
        _sums("rows of J_regressor sum to 1", body.J_regressor),
        _sums("rows of J17_regressor sum to 1", body.J17_regressor),
        Check("kintree_table is SMPL's tree", tuple(body.parents.tolist()) == SMPL.parents, f"root {_root(raw)}"),
        Check("y up, facing z, x to the left", *_axes(body)),
    )


def _sums(name: str, rows: np.ndarray, lowest: float = -np.inf) -> Check:
    off, least = float(np.abs(rows.sum(1, dtype=np.float64) - 1).max()), float(rows.min())
    return Check(name, off < _SUM_TOLERANCE and least >= lowest, f"off by at most {off:.1e}, least {least:.2g}")


def _root(raw: Mapping[str, np.ndarray]) -> int:
    return int(np.asarray(raw["kintree_table"])[0, 0])


def _axes(body: BodyArrays) -> tuple[bool, str]:
    joints = dict(zip(SMPL.names, body.J_regressor.astype(np.float64) @ body.v_template, strict=True))
    across = joints["left_shoulder"] - joints["right_shoulder"]
    up = joints["head"] - joints["pelvis"]
    ahead = joints["left_foot"] - joints["left_ankle"]
    strongest = [int(np.abs(part).argmax()) for part in (across, up)]
    right = strongest == [0, 1] and across[0] > 0 and up[1] > 0 and ahead[2] > 0
    return bool(right), f"shoulders {abs(across[0]):.2f} m apart, head {up[1]:.2f} m above the pelvis"


def _marks(body: BodyArrays) -> dict[str, Mark] | None:
    """The points that the joints' definition needs, where the file names them."""
    if not {"nose_tip", "crown"} <= set(body.landmarks):
        return None
    found = {}
    for name in ("nose_tip", "crown"):
        vertex = body.landmark_vertices[name]
        row = np.zeros(len(body.v_template))
        row[vertex] = 1.0
        found[name] = Mark(row, (body.landmarks[name] - body.v_template[vertex]).astype(np.float64))
    return found


def _defined(joint: str) -> str:
    carrier, shares = DEFINITION[joint]
    place = " + ".join(name if share == 1 else f"{share:g} {name}" for name, share in shares.items())
    return f"{place}, moving with {carrier}"
