"""Figures on fitted bodies where true ones are known: metrics.json's fit_bodies/..."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import roma
import torch
from jaxtyping import Float
from numpy import ndarray

from codebase import metrics
from codebase.body.model import BodyLayer
from codebase.data.bodies import FORMAT
from codebase.files import open_h5

M_TO_MM = 1000.0
_CHUNK = 64
# of the sources of poses in a file of fitted bodies, what their columns are called
_SOURCES = {"pve_mm": "", "joints_only_pve_mm": "joints_only_"}


def fit_figures(fitted: Sequence[Path], bodies: Sequence[Path], layer: BodyLayer) -> dict[str, float]:
    """Means over the kept frames that have a true body; nothing where there is none.

    Files of the same name, S{n}.h5, belong together.

    `pve_mm` and `joints_only_pve_mm` bring the pelvis joints together, as all vertex errors do; `world_pve_mm` does
    not. `kept_share` is of all fitted frames.
    """
    parts: dict[str, list[np.ndarray]] = {}
    true = {path.name: path for path in bodies}
    for found in fitted:
        if found.name not in true:
            continue
        with open_h5(found, format_name=FORMAT) as one, open_h5(true[found.name], format_name=FORMAT) as other:
            for name, values in _figures(one, other, layer):
                parts.setdefault(name, []).append(values)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    result = {f"fit_bodies/{n}": float(v[np.isfinite(v)].mean()) for n, v in joined.items() if np.isfinite(v).any()}
    return result | ({"fit_bodies/frames": float(len(joined["pve_mm"]))} if "pve_mm" in joined else {})


def _figures(one: h5py.File, other: h5py.File, layer: BodyLayer) -> Iterator[tuple[str, ndarray]]:
    for name, group in one.items():
        if not isinstance(group, h5py.Group) or name not in other:
            continue
        tried = np.flatnonzero(np.isfinite(group["joint_error_mm"][:]))
        kept = group["kept"][:]
        yield "kept_share", kept[tried].astype(float)
        truth = other[name]
        rows = np.flatnonzero(kept)
        rows = rows[rows < len(truth["pose_rad"])]
        rows = rows[np.isfinite(truth["pose_rad"][:][rows]).all(axis=(1, 2))]
        own = truth["betas"] if "betas" in truth else other["betas"]
        for column in ("joint_error_mm", "mask_iou"):
            yield column, group[column][:][rows].astype(float)
        for start in range(0, len(rows), _CHUNK):
            here = rows[start : start + _CHUNK]
            target = _vertices_m(layer, own[:], truth, here, "")
            for figure, prefix in _SOURCES.items():
                betas = one[f"{prefix}betas"] if f"{prefix}betas" in one else one["betas"]
                found = _vertices_m(layer, betas[:], group, here, prefix)
                yield figure, M_TO_MM * metrics.pve(found[0] - found[1], target[0] - target[1])
                if not prefix:
                    yield "world_pve_mm", M_TO_MM * metrics.pve(found[0], target[0])


@torch.no_grad()
def _vertices_m(
    layer: BodyLayer, betas: Float[ndarray, "10"], group: Mapping[str, h5py.Dataset], rows: ndarray, prefix: str
) -> tuple[Float[ndarray, "rows v 3"], Float[ndarray, "rows 1 3"]]:
    """Vertices in the world, and their pelvis joints, metres."""
    pose = torch.from_numpy(group[f"{prefix}pose_rad"][:][rows].astype(np.float32))
    transl = torch.from_numpy(group[f"{prefix}transl_m"][:][rows].astype(np.float32))
    shape, rotmats = torch.from_numpy(betas.astype(np.float32)).expand(len(rows), -1), roma.rotvec_to_rotmat(pose)
    return (
        layer.vertices(shape, rotmats, transl).numpy(),
        layer.joints24(shape, rotmats, transl)[:, :1].numpy(),
    )
