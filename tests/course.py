"""A miniature course tree, made as users make one: rendered people through `course-tree`; and a YAML for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from codebase.config import Config
from codebase.course.tree import write_tree
from tests.people import BODY

SUBJECTS = {"train": 1, "val": 8, "test": 9}


def dataset(folder: Path) -> Config:
    """A config of a rendered tree: three people, one act, two cameras, three frames."""
    return Config.model_validate({
        "name": "mini", "results": folder, "synthesize": {"image_size": 96, "frames": 3},
        "dataset": {"subjects": [1, 8, 9], "acts": [2], "subacts": [1, 2], "cameras": [1, 2], "body": BODY},
        "split": {split: {"subjects": [subject]} for split, subject in SUBJECTS.items()},
    })  # fmt: skip


def course_tree(folder: Path) -> Path:
    """The course's tree of these people: 12 frames each."""
    write_tree(dataset(folder), folder / "course")
    return folder / "course"


def write_yaml(path: Path, tree: Path, **changes: object) -> Path:
    """A YAML with a network small enough for tests; `changes` are dotted keys with __ for the dot."""
    raw: dict = {
        "trainer": "conv", "out_dir": str(path.parent / "out"), "device": "cpu",
        "model": {"name": "conv", "backbone": "ours", "regressor": "iterative"},
        "training": {
            "print_every": 1, "validate_every": 2, "checkpoint_every": 2, "epochs": 2, "batch_size": 4,
            "num_workers": 1, "optimizer": {"name": "Adam", "lr": 1e-3},
        },
        "loss": {"v2v_l1": True, "v2v_l2": True},
        "data": {
            "dataset": "base", "resy": 32, "resx": 24, "train_subjects": "S1", "val_subjects": "S8",
            "test_subjects": "S9", "dataset_folder": str(tree), "img_folder": str(tree), "bm_path": str(BODY),
        },
        "hmr": {"widths": [8, 16], "blocks": [1, 1], "width": 32, "frozen": False, "precision": "fp32"},
    }  # fmt: skip
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        section = raw
        for parent in parents:
            section = section[parent]
        section[last] = value
    path.write_text(yaml.safe_dump(raw))
    return path


def rewrite_npz(path: Path, **changes: object) -> None:
    """Write an npz again with some arrays changed, or (None) left out."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path, **arrays)
