"""The checks that need tensors. Apart, so that all others start without torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from codebase.config import Config
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.geometry import apply_affine, project, world_to_camera
from codebase.stages._checks import Against, Figures, check_poses, finite, indices, require
from codebase.training.state import load_checkpoint

_BLOCK = 256


def check_crops(config: Config, path: Path, against: Against) -> Figures:
    """Size as configured, poses plausible, rotations rotations, the root in the middle, something to be seen."""
    store = CropStore([path])
    require(store.size == config.crops.size, path, f"Crops have {store.size} px, crops.size is {config.crops.size}.")
    _same_rows(store.key, path, against)
    if not len(store):
        return {"rows": 0}
    holes = empty_images(store)
    require(
        not len(holes),
        path,
        f"{len(holes)} images are all zero, the first in row {holes[:1].sum()}.",
    )
    for name in ("R_world_im", "root_world_mm", "R", "T_mm", "f_px", "c_px", "crop_from_image"):
        finite(getattr(store, name), path, name)
    asymmetry = check_poses(store.joints_im_mm[store.has_joints], path, "joints_im_mm")
    identity = store.R_world_im @ np.swapaxes(store.R_world_im, 1, 2)
    require(bool(np.allclose(identity, np.eye(3), atol=1e-6)), path, "R_world_im is no rotation.")
    root_cam = world_to_camera(store.root_world_mm[:, None], store.R, store.T_mm)
    place = apply_affine(store.crop_from_image, project(root_cam, store.f_px, store.c_px))
    require(bool(np.allclose(place, (store.size - 1) / 2, atol=1e-3)), path, "The root is not in the crop's middle.")
    sample = np.unique(np.linspace(0, len(store) - 1, 64).astype(np.int64))
    pixels = store.gather(sample, ("image", "mask"))
    contrast = float(pixels["image"].float().std(dim=(1, 2, 3)).median())
    require(contrast > 0.5, path, "The images are all of one colour.")
    inside = float((pixels["mask"] >= 128).float().mean())
    require(inside > 0 or not store.has_mask[sample].any(), path, "The masks show nobody; a person is 128 to 255.")
    return {"rows": len(store), "with_mask": int(store.has_mask.sum()), "asymmetry": asymmetry,
            "contrast": contrast, "mask_share": inside}  # fmt: skip


def check_checkpoint(config: Config, path: Path, against: Against) -> Figures:
    """Loads without running anything, every stored record's checksum right, all finite, trained to its end."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        damaged = None  # load_checkpoint says what there is beside it
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The file is no readable checkpoint: {error}", where=path, mend="delete it and train again"
        ) from None
    require(damaged is None, path, f"The checksum of its record {damaged} is wrong: the file is damaged.")
    found = load_checkpoint(path)
    for name, tensor in (*found.model.items(), *found.extra.items()):
        if torch.is_floating_point(tensor):
            bad = int((~torch.isfinite(tensor)).sum())
            require(not bad, path, f"{name} holds {bad} numbers that are not finite.")
    weights = [tensor for tensor in found.model.values() if tensor.ndim > 1 and torch.is_floating_point(tensor)]
    require(any(bool(tensor.any()) for tensor in weights), path, "All weights are zero.")
    steps = int(found.config.get("steps", -1))
    require(found.step == steps == _step_of(path), path,
            f"It stands at step {found.step}; its config says {steps}, its name {_step_of(path)}.")  # fmt: skip
    return {"step": found.step, "tensors": len(found.model)}


def _step_of(path: Path) -> int:
    number = path.stem.removeprefix("model_")
    return int(number) if number.isdigit() else -1


def empty_images(store: CropStore) -> Int64[ndarray, " empty"]:
    """Rows whose image is nothing but zeros; reads every image, some megabytes at a time."""
    found = []
    for start in range(0, len(store), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(store)))
        images = store.gather(rows, ("image",))["image"].numpy()
        found.append(rows[~images.reshape(len(rows), -1).any(axis=1)])
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _same_rows(keys: Int64[ndarray, " rows"], path: Path, against: Against) -> None:
    """The crops of a subject are exactly its rows in the indices."""
    given = indices(against)
    if not given:
        return
    subject = int(path.stem.removeprefix("S"))
    listed = np.unique(np.concatenate([index.key[index.subject == subject] for index in given]))
    require(len(keys) == len(listed) and bool((np.sort(keys) == listed).all()), path,
            f"It has {len(keys)} rows, the indices list {len(listed)} of subject {subject}, not the same.")  # fmt: skip
