"""Poses to learn a prior from: folders of AMASS-style npz files, or of SURREAL's."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from jaxtyping import Float32
from numpy import ndarray

from codebase.errors import DataError

# SMPL-H and SMPL-X share SMPL's first 22 joints and then go on with fingers, jaw and eyes.
_SHARED = 22


Poses = tuple[Float32[ndarray, "_ 24 3"], Float32[ndarray, "_ 10"]]  # axis-angle, radians; betas


def pose_files(folder: Path) -> list[Path]:
    """The files under a folder that may hold poses."""
    return sorted([*folder.rglob("*.npz"), *folder.rglob("*_info.mat")])


def read_poses(folder: Path, count: int, seed: int, held_out: float) -> tuple[Poses, Poses]:
    """Poses (global orientation zero) and betas of all files under a folder to learn from, and held-out ones.

    AMASS's npz: `poses` (frames, 72 or more), and `betas` (10 or more; frames x 10 as well). SURREAL's `_info.mat`,
    and npz of the same names: `pose` (72, frames), `shape` (10, frames). SURREAL's smpl_data.npz: `pose_{sequence}`
    (frames, 72), without shapes. Files without any of them, such as AMASS's shape.npz, are passed over. Frames are
    taken evenly from every sequence, about `count` in all.

    Whole sequences are held out, at least one and about a share of `held_out` of the frames: neighbouring frames are
    too much alike to stand on both sides. Clips that SURREAL cut from one sequence (01_01_c0001, 01_01_c0002, in any
    run) go together. Of a single sequence its end is held out.

    Raises:
        DataError: the folder holds no such file, or one cannot be read.
    """
    files = pose_files(folder)
    sequences: dict[str, list[Poses]] = {}
    for path in files:
        for name, clip in _read(path, max(1, -(-count // max(len(files), 1)))).items():
            sequences.setdefault(_sequence(path.relative_to(folder), name), []).append(clip)
    clips = [_joined(parts) for parts in sequences.values()]
    if not clips:
        raise DataError(
            "The folder holds no poses.", where=folder,
            expected="npz files with `poses` (frames, 72 or more), or SURREAL's *_info.mat",
            mend="correct `poses` in the section prior or fit_bodies, or set it to null: free synthetic poses",
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    if len(clips) == 1:
        clips = _cut(clips[0], held_out)
    order = rng.permutation(len(clips)) if len(clips) > 2 else np.arange(len(clips))[::-1]
    ends = np.cumsum([len(clips[number][0]) for number in order])
    held = int(np.clip(np.searchsorted(ends, held_out * ends[-1]) + 1, 1, len(clips) - 1))
    left, right = ([clips[number] for number in part] for part in (order[held:], order[:held]))
    return _mixed(left, count, rng), _mixed(right, count, rng)


def _sequence(path: Path, name: str) -> str:
    """What a clip was cut from: the file, and the array in it; of SURREAL's clips, their common sequence."""
    cut = re.fullmatch(r"(.+)_c\d+_info", path.stem)
    return f"surreal/{cut[1]}" if cut else f"{path}/{name}"


def _joined(clips: list[Poses]) -> Poses:
    poses, betas = (np.concatenate(parts) for parts in zip(*clips, strict=True))
    return poses, betas


def _cut(clip: Poses, held_out: float) -> list[Poses]:
    """A clip in two, the second a share of `held_out` (a frame at least, where there are two)."""
    poses, betas = clip
    end = max(1, min(len(poses) - 1, round(len(poses) * (1 - held_out))))
    start = min(end, len(poses) - 1)
    return [(poses[:end], betas[:end]), (poses[start:], betas[start:])]


def _mixed(clips: list[Poses], count: int, rng: np.random.Generator) -> Poses:
    """The frames of clips in random order, at most `count`."""
    poses, betas = _joined(clips)
    order = rng.permutation(len(poses))[:count]
    return poses[order], betas[order]


def _read(path: Path, most: int) -> dict[str, Poses]:
    """The clips of a file by name, `most` frames of each file."""
    try:
        clips = _clips(_arrays(path))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, NotImplementedError) as error:
        raise DataError(f"The file holds no readable poses: {error}", where=path, mend="remove or replace it") from None
    return {name: _thinned(path, *clip, max(1, -(-most // len(clips)))) for name, clip in clips.items()}


def _arrays(path: Path) -> dict[str, ndarray]:
    wanted = re.compile(r"poses|betas|pose|shape|pose_.+")
    if path.suffix == ".mat":
        found: Mapping[str, Any] = scipy.io.loadmat(path, variable_names=["pose", "shape"])
        return {name: found[name] for name in ("pose", "shape") if name in found}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if wanted.fullmatch(name)}


def _clips(arrays: Mapping[str, ndarray]) -> dict[str, tuple[ndarray, ndarray]]:
    """Poses (frames, 72 or more) and betas of each clip, as the file's kind has them."""
    if "poses" in arrays:
        return {"poses": (arrays["poses"], arrays.get("betas", np.zeros(10)))}
    if "pose" in arrays:
        pose, shape = (np.atleast_2d(np.squeeze(arrays.get(name, np.zeros((10, 1))))) for name in ("pose", "shape"))
        pose = pose.reshape(72, 1) if pose.shape == (1, 72) else pose
        shape = shape.reshape(10, 1) if shape.shape == (1, 10) else shape
        return {"pose": (pose.T, shape.T if shape.shape[1] > 1 else shape[:, 0])}
    return {name: (pose, np.zeros(10)) for name, pose in arrays.items() if name.startswith("pose_")}


def _thinned(path: Path, poses: ndarray, betas: ndarray, most: int) -> Poses:
    if poses.ndim != 2 or poses.shape[1] < 72 or betas.ndim < 1 or betas.shape[-1] < 10 or not len(poses):
        raise DataError(
            f"Its poses have shape {poses.shape}, its betas {betas.shape}.", where=path,
            expected="(frames, 72 or more) and (10 or more)",
        )  # fmt: skip
    chosen = np.linspace(0, len(poses) - 1, min(most, len(poses))).round().astype(int)
    taken = np.zeros((len(chosen), 24, 3), np.float32)
    taken[:, 1:_SHARED] = poses[chosen, 3 : 3 * _SHARED].reshape(-1, _SHARED - 1, 3)
    shape = betas[chosen, :10] if betas.ndim == 2 and len(betas) == len(poses) else betas.reshape(-1)[:10]
    shape = np.broadcast_to(shape, (len(chosen), 10)).astype(np.float32)
    if not (np.isfinite(taken).all() and np.isfinite(shape).all()):
        raise DataError("Its poses or betas are not all finite.", where=path, mend="remove or replace it")
    return taken, shape
