"""Synthetic people for the tests of doors: rendered once a session, read here without the package's own readers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat

from codebase.config import Config
from codebase.stages import synthesize

SIZE, FRAMES = 160, 6


@dataclass(frozen=True)
class Shot:
    """What one ideal camera saw: x_cam = R (x - T), pixel centres at integers."""

    frames: list[np.ndarray]  # RGB
    masks: list[np.ndarray]  # booleans
    joints_world_mm: np.ndarray
    R: np.ndarray
    T_mm: np.ndarray
    f_px: np.ndarray
    c_px: np.ndarray

    @property
    def joints_cam_mm(self) -> np.ndarray:
        return np.einsum("ij,nkj->nki", self.R, self.joints_world_mm - self.T_mm)


@dataclass(frozen=True)
class People:
    """A rendered dataset tree."""

    root: Path
    subjects: tuple[int, ...]
    acts: tuple[int, ...]

    def shot(self, subject: int, act: int, camera: int) -> Shot:
        return _shot(self.root, subject, act, camera)


def render(
    root: Path,
    *,
    subjects: tuple[int, ...] = (1, 8),
    acts: tuple[int, ...] = (2, 14),
    frames: int = FRAMES,
    size: int = SIZE,
    fps: float = 3.0,
) -> People:
    """Render people into `root`, in the tree's format."""
    config = Config.model_validate({
        "name": "people", "results": root.parent / "results",
        "dataset": {"kind": "synthetic", "root": root, "subjects": subjects, "acts": acts, "subacts": (1,)},
        "split": {"train": {"subjects": subjects[:1]}, "val": {"subjects": subjects[:1]},
                  "test": {"subjects": subjects[-1:]}},
        "pose": {"label_subjects": subjects[:1]}, "smpl": {"label_subjects": subjects[:1]},
        "synthesize": {"image_size": size, "frames": frames, "fps": fps},
    })  # fmt: skip
    for subject in subjects:
        synthesize.run(config, subject=subject, output=root / "truth" / f"S{subject}.h5")
    return People(root, subjects, acts)


@lru_cache(maxsize=64)
def _shot(root: Path, subject: int, act: int, camera: int) -> Shot:
    name = f"s_{subject:02d}_act_{act:02d}_subact_01_ca_{camera:02d}"
    meta = loadmat(root / name / "h36m_meta.mat")
    files = sorted((root / name).glob("*.jpg"))
    return Shot(
        [cv2.imread(str(path))[..., ::-1] for path in files],
        [cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_GRAYSCALE) >= 128 for path in files],
        meta["pose3d_world"], meta["R"], meta["T"].ravel(), meta["f"].ravel(), meta["c"].ravel(),
    )  # fmt: skip
