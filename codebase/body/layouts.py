"""Bodies with another skeleton than SMPL's 24 joints, brought to SMPL's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int

from codebase.errors import DataError
from codebase.skeleton import SMPL

SMPLH_JOINTS, BODY_JOINTS = 52, 22
_HANDS = {"left_hand": "left_wrist", "right_hand": "right_wrist"}


def parents_of(kintree: np.ndarray, path: Path) -> Int[np.ndarray, " joints"]:
    """Parent of each joint, -1 for the root, which official files mark as -1 or 2**32 - 1.

    Raises:
        DataError: it is no table of parents.
    """
    table = np.asarray(kintree)
    if table.ndim != 2 or table.shape[0] != 2 or not table.shape[1] or table.dtype.kind not in "iuf":
        raise DataError(
            f"kintree_table has shape {table.shape} and type {table.dtype}.", where=path, expected="integers (2, 24)"
        )
    with np.errstate(invalid="ignore"):  # floats that are no number fail the comparison of the tree
        parents = table.astype(np.int64)[0]
    parents[0] = -1
    return parents


def to_smpl(raw: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Arrays with SMPL's 24 joints, of a file that has them or SMPL+H's 52.

    Of SMPL+H a hand's fifteen finger joints become SMPL's one hand joint, amid the fingers' roots: the same surface as
    long as the fingers are straight. Correctives of the fingers are dropped.

    Raises:
        DataError: the joints are neither.
    """
    arrays = dict(raw)
    weights = np.asarray(arrays.get("weights", np.zeros((0, 0))))
    if weights.ndim != 2 or weights.shape[1] in (0, len(SMPL)):
        return arrays
    parents = parents_of(arrays.get("kintree_table", np.zeros((2, 0))), path)
    if weights.shape[1] != SMPLH_JOINTS or tuple(parents[:BODY_JOINTS]) != SMPL.parents[:BODY_JOINTS]:
        raise DataError(
            f"The body has {weights.shape[1]} joints.", where=path,
            expected="SMPL's 24, or SMPL+H's 52 (SMPL-X and others are not read)",
        )  # fmt: skip
    for key, shape in {"J_regressor": (SMPLH_JOINTS,), "posedirs": (len(weights), 3)}.items():
        if key in arrays and np.shape(arrays[key])[: len(shape)] != shape:
            raise DataError(f"{key} has shape {np.shape(arrays[key])}.", where=path, expected=f"{shape}, ...")
    return arrays | _merged(arrays, weights, parents)


def _merged(arrays: Mapping[str, np.ndarray], weights: np.ndarray, parents: np.ndarray) -> dict[str, np.ndarray]:
    regressor = np.asarray(arrays["J_regressor"], np.float64) if "J_regressor" in arrays else None
    all_weights, rows = [weights[:, :BODY_JOINTS]], [] if regressor is None else [regressor[:BODY_JOINTS]]
    for wrist in _HANDS.values():
        fingers = [joint for joint in range(BODY_JOINTS, SMPLH_JOINTS) if _hangs_on(joint, SMPL.index(wrist), parents)]
        roots = [joint for joint in fingers if parents[joint] == SMPL.index(wrist)]
        all_weights.append(weights[:, fingers].sum(1, keepdims=True))
        if regressor is not None and roots:
            rows.append(regressor[roots].mean(0, keepdims=True))
    changed = {
        "weights": np.concatenate(all_weights, axis=1),
        "kintree_table": np.array([SMPL.parents, range(len(SMPL))]),
    }
    if rows:
        changed["J_regressor"] = np.concatenate(rows)
    if "posedirs" in arrays:
        kept = 9 * (BODY_JOINTS - 1)
        changed["posedirs"] = np.zeros((len(weights), 3, 9 * (len(SMPL) - 1)), np.float32)
        changed["posedirs"][..., :kept] = np.asarray(arrays["posedirs"])[..., :kept]
    return changed


def _hangs_on(joint: int, ancestor: int, parents: np.ndarray) -> bool:
    for _ in range(len(parents)):
        if joint == ancestor:
            return True
        joint = int(parents[joint])
        if not 0 <= joint < len(parents):
            return False
    return False
