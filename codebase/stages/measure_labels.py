"""Stage measure_labels: errors on the test split of every training of a representation in the label sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray

from codebase import metrics
from codebase.config import Config, Point, point_settings, points
from codebase.data.batches import CropStore
from codebase.data.embeddings import read_embeddings
from codebase.data.index import Index, read_index
from codebase.data.labels import sequence_of
from codebase.data.latents import latents_of, mirrored_of
from codebase.errors import DataError
from codebase.files import write_json
from codebase.models.image_pose import restore as restore_image_pose
from codebase.models.pose import pose_of
from codebase.models.pose import restore as restore_pose
from codebase.training.image_poses import poses
from codebase.training.precision import place
from codebase.training.runtime import prepare
from codebase.training.state import Checkpoint, load_checkpoint

VERSION = 1
FORMAT = "posemill.labels"
MEASURES = ("mpjpe", "n_mpjpe", "pa_mpjpe")
log = logging.getLogger("posemill.measure_labels")
Predict = Callable[[Checkpoint], Float[ndarray, "rows 17 3"]]


def run(
    config: Config,
    *,
    representation: str,
    index_test: Path,
    checkpoints: Sequence[Path],
    output: Path,
    crops: Sequence[Path] = (),
    embeddings: Sequence[Path] = (),
) -> None:
    """Write {output}: for each training the mean error of each test sequence, mm (docs/conventions.md).

    Args:
        config: of the run; `labels`, `evaluate.cameras` and `runtime` are used.
        representation: whose trainings they are.
        index_test: index of the test split; rows with known poses, of the cameras of `evaluate`, are measured.
        checkpoints: of all points of the representation, in the order of `codebase.config.points`.
        output: labels/{representation}.json.
        crops: of the test subjects, for networks on images.
        embeddings: of the test subjects, of this representation, for networks on embeddings.

    Raises:
        DataError: a file is missing, belongs to another point, or there is nothing to measure.
    """
    device = prepare(config.runtime, 0)
    index = read_index(index_test)
    rows = _measured_rows(config, index)
    wanted = points(config, representation)
    if len(wanted) != len(checkpoints):
        raise DataError(
            f"{len(checkpoints)} checkpoints are given for the {len(wanted)} points of {representation}.",
            expected="one for each amount and seed of the section labels, in its order",
        )
    predict, truth = (_of_images if wanted[0].of_images else _of_embeddings)(
        device, index.key[rows], crops if wanted[0].of_images else embeddings
    )
    names, place_of, frames = np.unique(sequence_of(index.key[rows]), return_inverse=True, return_counts=True)
    found = []
    for point, path in zip(wanted, checkpoints, strict=True):
        checkpoint = load_checkpoint(path)
        _require_point(config, point, checkpoint, path)
        predicted = predict(checkpoint)
        errors = {f"{name}_mm": getattr(metrics, name)(predicted, truth) for name in MEASURES}
        per_sequence = {name: np.bincount(place_of, value) / frames for name, value in errors.items()}
        found.append(_entry(point, checkpoint) | {name: value.tolist() for name, value in per_sequence.items()})
        log.info("%s: N-MPJPE %.1f mm", point.name, float(errors["n_mpjpe_mm"].mean()))
    content = {"format": FORMAT, "version": VERSION, "representation": representation, "points": found}
    write_json(output, content | {"sequences": [_name(int(one)) for one in names], "frames": frames.tolist()})


def _measured_rows(config: Config, index: Index) -> Int64[ndarray, " rows"]:
    cameras = config.evaluate.cameras
    chosen = index.has_joints & (np.isin(index.camera, cameras) if cameras is not None else True)
    if not chosen.any():
        raise DataError("No frame of the test split has a known pose, so nothing can be measured.")
    return np.flatnonzero(chosen)


def _of_images(
    device: torch.device, keys: Int64[ndarray, " rows"], crops: Sequence[Path]
) -> tuple[Predict, Float[ndarray, "rows 17 3"]]:
    store = CropStore(crops, keys)

    def predict(found: Checkpoint) -> Float[ndarray, "rows 17 3"]:
        net = place(restore_image_pose(found.config, found.part("net"), store.size), device)
        return poses(net, store, found.config["precision"]).astype(np.float64)

    return predict, store.joints_im_mm.astype(np.float64)


def _of_embeddings(
    device: torch.device, keys: Int64[ndarray, " rows"], embeddings: Sequence[Path]
) -> tuple[Predict, Float[ndarray, "rows 17 3"]]:
    subjects = [read_embeddings(path) for path in embeddings]
    both = [torch.from_numpy(each) for each in (latents_of(subjects, keys)[0], mirrored_of(subjects, keys))]
    known = np.concatenate([item.key for item in subjects])
    order = np.argsort(known)
    rows = order[np.searchsorted(known[order], keys)]
    truth = np.concatenate([item.joints_im_mm for item in subjects])[rows].astype(np.float64)

    @torch.inference_mode()
    def predict(found: Checkpoint) -> Float[ndarray, "rows 17 3"]:
        net = restore_pose(found.config, found.part("pose")).to(device)
        parts = zip(*(each.split(1024) for each in both), strict=True)
        seen = [pose_of(net, *(each.to(device) for each in part)).cpu() for part in parts]
        return torch.cat(seen).numpy().astype(np.float64)

    return predict, truth


def _require_point(config: Config, point: Point, checkpoint: Checkpoint, path: Path) -> None:
    """The checkpoint must be of this very point: files in another order would be other labels' errors."""
    for key, value in point_settings(config, point).items():
        if key in ("start", "seed", "label_subjects", "label_share") and checkpoint.config.get(key) != value:
            raise DataError(
                f"The checkpoint was trained with {key} {checkpoint.config.get(key)}.", where=path,
                expected=f"{value}, as the point {point.name} says", mend="delete it and train the point again",
            )  # fmt: skip


def _entry(point: Point, checkpoint: Checkpoint) -> dict[str, Any]:
    frames, sequences = checkpoint.extra["labelled"].tolist()
    return {"amount": point.amount, "seed": point.seed, "labelled_frames": frames, "labelled_sequences": sequences}


def _name(sequence: int) -> str:
    return f"S{sequence // 10_000}/act_{sequence // 100 % 100:02d}_subact_{sequence % 100:02d}"
