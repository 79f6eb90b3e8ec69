"""Poses to learn a prior from: folders of AMASS-style npz files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from codebase.errors import DataError

# SMPL-H and SMPL-X share SMPL's first 22 joints and then go on with fingers, jaw and eyes.
_SHARED = 22


def read_poses(
    folder: Path, count: int, seed: int
) -> tuple[Float32[ndarray, "poses 24 3"], Float32[ndarray, "poses 10"]]:
    """Poses (axis-angle, radians, global orientation zero) and betas of all npz files under a folder.

    A file has `poses` (frames, 72 or more) and may have `betas` (10 or more; frames x 10 as well). Files without
    `poses`, such as AMASS's shape.npz, are passed over. Frames are taken evenly from every file, about `count` in all.

    Raises:
        DataError: the folder holds no such file, or one cannot be read.
    """
    files = sorted(folder.rglob("*.npz"))
    poses, betas = [], []
    for path in files:
        found = _read(path, max(1, -(-count // max(len(files), 1))))
        if found is not None:
            poses.append(found[0])
            betas.append(found[1])
    if not poses:
        raise DataError(
            "The folder holds no poses.", where=folder, expected="npz files with `poses` (frames, 72 or more)",
            mend="correct prior.poses, or set it to null to learn from free synthetic poses",
        )  # fmt: skip
    order = np.random.default_rng(seed).permutation(sum(map(len, poses)))[:count]
    return np.concatenate(poses)[order], np.concatenate(betas)[order]


def _read(path: Path, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            if "poses" not in file:
                return None
            poses = np.asarray(file["poses"], np.float32)
            betas = np.asarray(file["betas"], np.float32) if "betas" in file else np.zeros(10, np.float32)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"The file is no readable npz: {error}", where=path, mend="remove or replace it") from None
    if poses.ndim != 2 or poses.shape[1] < 72 or betas.shape[-1] < 10 or not len(poses):
        raise DataError(
            f"`poses` has shape {poses.shape}, `betas` {betas.shape}.", where=path,
            expected="(frames, 72 or more) and (10 or more)",
        )  # fmt: skip
    chosen = np.linspace(0, len(poses) - 1, min(most, len(poses))).round().astype(int)
    taken = np.zeros((len(chosen), 24, 3), np.float32)
    taken[:, 1:_SHARED] = poses[chosen, 3 : 3 * _SHARED].reshape(-1, _SHARED - 1, 3)
    shape = betas[chosen, :10] if betas.ndim == 2 and len(betas) == len(poses) else betas.reshape(-1)[:10]
    return taken, np.broadcast_to(shape, (len(chosen), 10))
