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


Poses = tuple[Float32[ndarray, "_ 24 3"], Float32[ndarray, "_ 10"]]  # axis-angle, radians; betas


def read_poses(folder: Path, count: int, seed: int, held_out: float) -> tuple[Poses, Poses]:
    """Poses (global orientation zero) and betas of all npz files under a folder to learn from, and held-out ones.

    A file has `poses` (frames, 72 or more) and may have `betas` (10 or more; frames x 10 as well). Files without
    `poses`, such as AMASS's shape.npz, are passed over. Frames are taken evenly from every file, about `count` in all.
    Whole files are held out, at least one and about a share of `held_out` of the frames: neighbouring frames of a
    clip are too much alike to stand on both sides. Of a single file its end is held out.

    Raises:
        DataError: the folder holds no such file, or one cannot be read.
    """
    files = sorted(folder.rglob("*.npz"))
    clips = [clip for path in files if (clip := _read(path, max(1, -(-count // max(len(files), 1))))) is not None]
    if not clips:
        raise DataError(
            "The folder holds no poses.", where=folder, expected="npz files with `poses` (frames, 72 or more)",
            mend="correct prior.poses, or set it to null to learn from free synthetic poses",
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    if len(clips) == 1:
        clips = _cut(clips[0], held_out)
    order = rng.permutation(len(clips)) if len(clips) > 2 else np.arange(len(clips))[::-1]
    ends = np.cumsum([len(clips[number][0]) for number in order])
    held = int(np.clip(np.searchsorted(ends, held_out * ends[-1]) + 1, 1, len(clips) - 1))
    left, right = ([clips[number] for number in part] for part in (order[held:], order[:held]))
    return _mixed(left, count, rng), _mixed(right, count, rng)


def _cut(clip: Poses, held_out: float) -> list[Poses]:
    """A clip in two, the second a share of `held_out` (a frame at least, where there are two)."""
    poses, betas = clip
    end = max(1, min(len(poses) - 1, round(len(poses) * (1 - held_out))))
    start = min(end, len(poses) - 1)
    return [(poses[:end], betas[:end]), (poses[start:], betas[start:])]


def _mixed(clips: list[Poses], count: int, rng: np.random.Generator) -> Poses:
    """The frames of clips in random order, at most `count`."""
    poses, betas = (np.concatenate(parts) for parts in zip(*clips, strict=True))
    order = rng.permutation(len(poses))[:count]
    return poses[order], betas[order]


def _read(path: Path, most: int) -> Poses | None:
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
