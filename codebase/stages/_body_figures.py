"""What evaluate says of bodies beyond their vertices: by facing direction, and how their silhouettes fit the masks."""

from __future__ import annotations

from collections.abc import Mapping

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from codebase import metrics
from codebase.body.model import BodyLayer
from codebase.data.bodies import Bodies
from codebase.data.store import CropStore
from codebase.geometry import crop_intrinsics, world_to_camera
from codebase.render.raster import Pinhole, rasterise
from codebase.skeleton import H36M

PerSample = Float[ndarray, " samples"]
BINS_DEG = tuple(range(0, 360, 45))
PVE = ("/pve_mm", "/mean_body_pve_mm")
_MASK = 128
_CHUNK = 64
_MM_TO_M = 0.001


def by_facing(vertex_errors: Mapping[str, PerSample], facing_deg: PerSample) -> dict[str, PerSample]:
    """Vertex errors (`.../pve_mm`) of people who face the camera (within 90 degrees) and of the others.

    A sample of the other half is NaN, which counts nowhere.
    """
    with np.errstate(invalid="ignore"):
        halves = {"facing_camera": np.abs(facing_deg) <= 90, "facing_away": np.abs(facing_deg) > 90}
    return {
        name.replace("pve_mm", f"pve_{half}_mm"): np.where(inside, values, np.nan)
        for name, values in vertex_errors.items()
        if name.endswith(PVE)
        for half, inside in halves.items()
    }


def in_bins(vertex_errors: Mapping[str, PerSample], facing_deg: PerSample) -> dict[str, float]:
    """Mean vertex errors in eight bins of 45 degrees, centred at 0 (towards the camera), 45 and so on."""
    number = np.round(np.nan_to_num(facing_deg) / 45).astype(int) % 8
    known = np.isfinite(facing_deg)
    return {
        f"{name}/facing_{BINS_DEG[b]:03d}": float(values[here].mean())
        for name, values in vertex_errors.items()
        if name.endswith(PVE)
        for b in range(8)
        if (here := known & (number == b)).any()
    }


def heading_errors(file: h5py.File, known: Int[ndarray, " known"], facing_deg: PerSample) -> dict[str, PerSample]:
    """How far the predicted front is from the true one on the ground, degrees: 180 is the wrong way round."""
    R_world_im = file["frames/R_world_im"][:][known]
    found = {}
    for stage in ("smpl", "hmr"):
        off = metrics.facing_deg(file[f"{stage}/rotmats"][:, 0][known].astype(np.float64), R_world_im) - facing_deg
        found[f"{stage}/heading_error_deg"] = np.abs((off + 180) % 360 - 180)
    return found


def silhouette_ious(
    file: h5py.File, rows: Int[ndarray, " rows"], store: CropStore, layer: BodyLayer
) -> dict[str, PerSample]:
    """Intersection over union of each drawn body and the crop's mask, of rows that have one.

    The body's Human3.6M root joint stands at its true place. A pixel belongs to the drawn body if its centre does, to
    the mask from half coverage on.

    Args:
        file: predictions.h5.
        rows: of predictions.h5.
        store: crops of exactly the rows of predictions.h5, in their order.
        layer: the body.
    """
    mean = (np.broadcast_to(file[f"baseline/smpl_{key}"][:], file[f"smpl/{key}"].shape) for key in ("betas", "rotmats"))
    sources = {
        "smpl/silhouette_iou": Bodies(file["smpl/betas"][:], file["smpl/rotmats"][:]),
        "hmr/silhouette_iou": Bodies(file["hmr/betas"][:], file["hmr/rotmats"][:]),
        "smpl/mean_body_silhouette_iou": Bodies(*mean),
    }
    found: dict[str, list[PerSample]] = {name: [] for name in sources}
    for start in range(0, len(rows), _CHUNK):
        here = rows[start : start + _CHUNK]
        mask = store.gather(here, ("mask",))["mask"].numpy() >= _MASK
        for name, bodies in sources.items():
            found[name].append(metrics.iou(drawn(bodies.take(here), store, here, layer), mask))
    values = {name: np.concatenate(parts) for name, parts in found.items()}
    return values | {"hmr/mean_body_silhouette_iou": values["smpl/mean_body_silhouette_iou"]}


@torch.no_grad()
def drawn(
    bodies: Bodies, store: CropStore, rows: Int[ndarray, " rows"], layer: BodyLayer
) -> Bool[ndarray, "rows size size"]:
    """Which pixels of their crops bodies cover (global orientation in the im frame), the root at its true place."""
    betas, rotmats = (
        torch.from_numpy(np.ascontiguousarray(part, np.float32)) for part in (bodies.betas, bodies.rotmats)
    )
    root = layer.joints17(betas, rotmats)[:, H36M.index("root")]
    about_root = (layer.vertices(betas, rotmats) - root[:, None]).double().numpy()
    R, T_mm, R_world_im = store.R[rows], store.T_mm[rows], store.R_world_im[rows]
    place = _MM_TO_M * world_to_camera(store.root_world_mm[rows][:, None], R, T_mm)
    in_camera = about_root @ np.swapaxes(R @ np.swapaxes(R_world_im, 1, 2), 1, 2) + place
    f_px, c_px = crop_intrinsics(store.crop_from_image[rows], store.f_px[rows], store.c_px[rows])
    faces, size = layer.faces.numpy().astype(np.int32), store.size
    lenses = np.hstack([f_px, c_px]).tolist()
    cameras = [Pinhole(fx, fy, cx, cy, size, size) for fx, fy, cx, cy in lenses]
    return np.stack(
        [rasterise(mesh, faces, cam, cull=True).face >= 0 for mesh, cam in zip(in_camera, cameras, strict=True)]
    )
