"""A rendered dataset tree for tests that look at pictures, and the mistakes that people make in such trees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat, savemat

from codebase.config import Config
from codebase.data.human36m import META, parse_folder
from codebase.skeleton import H36M
from codebase.stages import synthesize


def render(root: Path, *, subject: int = 1, acts: tuple[int, ...] = (2, 9, 14), size: int = 200) -> None:
    """One rendered subject, four cameras, 8 frames a sequence."""
    config = Config.model_validate({
        "name": "render", "results": root.parent / "results",
        "dataset": {"root": root, "subjects": [subject, 98, 99], "acts": acts, "subacts": [1]},
        "split": {"train": {"subjects": [subject]}, "val": {"subjects": [98]}, "test": {"subjects": [99]}},
        "pose": {"label_subjects": [subject]}, "smpl": {"label_subjects": [subject]},
        "synthesize": {"image_size": size, "frames": 8, "fps": 2.0},
    })  # fmt: skip
    synthesize.run(config, subject=subject, output=root / "truth" / f"S{subject}.h5")


def folders(root: Path, camera: int | None = None) -> list[Path]:
    """Folders of the tree, of one camera or of all."""
    found = [path for path in sorted(root.iterdir()) if parse_folder(path.name)]
    return [path for path in found if camera in (None, parse_folder(path.name).camera)]


def change(folder: Path, **values: object) -> None:
    """Replace values of a folder's meta file; a function is given the old value."""
    raw = {key: value for key, value in loadmat(folder / META).items() if not key.startswith("_")}
    for key, value in values.items():
        raw[key] = value(raw[key]) if callable(value) else value
    savemat(folder / META, raw)


def exchange(root: Path, one: int, other: int) -> None:
    """Give two cameras each other's matrices."""
    for left, right in zip(folders(root, one), folders(root, other), strict=True):
        cameras = [{key: loadmat(path / META)[key] for key in ("R", "T", "f", "c")} for path in (left, right)]
        change(left, **cameras[1])
        change(right, **cameras[0])


def swap_joints(pose: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return pose[:, list(H36M.mirrored)]


def on_masks(root: Path, function, camera: int | None = None) -> None:
    """Write function(mask) over every mask."""
    for folder in folders(root, camera):
        for path in folder.glob("*.png"):
            cv2.imwrite(str(path), function(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))


def on_frames(root: Path, function, camera: int | None = None) -> None:
    """Write function(image) over every frame."""
    for folder in folders(root, camera):
        for path in folder.glob("*.jpg"):
            cv2.imwrite(str(path), function(cv2.imread(str(path))))
