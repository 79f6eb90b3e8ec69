"""What the page is made of, read once and checked: predictions, index, metrics, histories of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from numpy import ndarray

from codebase.config import Config
from codebase.data.human36m import Folder
from codebase.data.index import Index, read_index
from codebase.data.lens import Lens
from codebase.errors import DataError
from codebase.files import missing, open_h5, read_json
from codebase.paths import Paths
from codebase.skeleton import H36M, H36M_ACTS

KEYS = ("subject", "action", "subaction", "camera", "frame")
BODY_HEADS = ("smpl", "hmr")
TRAINED = ("enc_dec", "pose", "prior", "smpl", "hmr")


@dataclass(frozen=True)
class Bodies:
    """A head's bodies, one row a test frame; the global rotation and the root-centred joints (mm) in the im frame."""

    betas: Float32[ndarray, "frames 10"]
    rotmats: Float32[ndarray, "frames 24 3 3"]
    joints_im_mm: Float32[ndarray, "frames 17 3"]


@dataclass(frozen=True)
class Examples:
    """Pictures of a few pairs; `pair` is the row in `NovelViews`, where the file tells it."""

    input: UInt8[ndarray, "examples size size 3"]
    background: UInt8[ndarray, "examples size size 3"]
    prediction: UInt8[ndarray, "examples size size 3"]
    target: UInt8[ndarray, "examples size size 3"]
    pair: Int32[ndarray, " examples"] | None


@dataclass(frozen=True)
class NovelViews:
    """Pairs of cameras of one instant (rows of frames) and mean squared errors of images in [0, 1]."""

    source: Int32[ndarray, " pairs"]
    target: Int32[ndarray, " pairs"]
    mse_foreground: Float32[ndarray, " pairs"]
    mse_background_only: Float32[ndarray, " pairs"]
    examples: Examples


@dataclass(frozen=True)
class Predictions:
    """`predictions.h5`; a part that a file lacks is None, or stands in no dict."""

    frames: dict[str, Int32[ndarray, " frames"]]
    truth_im_mm: Float32[ndarray, "frames 17 3"]
    mean_im_mm: Float32[ndarray, "17 3"]
    pose_im_mm: Float32[ndarray, "frames 17 3"] | None
    bodies: dict[str, Bodies]
    novel: NovelViews | None

    @property
    def labelled(self) -> Int64[ndarray, " labelled"]:
        """Rows whose true pose is known."""
        return np.flatnonzero(np.isfinite(self.truth_im_mm).all(axis=(1, 2)))

    def folder(self, row: int) -> Folder:
        """The folder in which the frame of `row` lies."""
        return Folder(*(int(self.frames[key][row]) for key in KEYS[:4]))

    def label(self, row: int) -> str:
        """What a caption calls the frame of `row`."""
        folder = self.folder(row)
        act = H36M_ACTS.get(folder.action, f"act {folder.action}")
        return f"S{folder.subject}, {act} {folder.subaction}, camera {folder.camera}, frame {self.frames['frame'][row]}"


@dataclass(frozen=True)
class Views:
    """Camera and root of each test frame; world frame, mm and px."""

    root_world_mm: Float64[ndarray, "frames 3"]
    R: Float64[ndarray, "frames 3 3"]
    T_mm: Float64[ndarray, "frames 3"]
    f_px: Float64[ndarray, "frames 2"]
    c_px: Float64[ndarray, "frames 2"]
    distortion: Float64[ndarray, "frames 5"]

    def lens(self, row: int) -> Lens:
        """How the frame of a row was bent."""
        return Lens(*(tuple(getattr(self, name)[row].tolist()) for name in ("f_px", "c_px", "distortion")))


@dataclass(frozen=True)
class Training:
    """One stage's checkpoint: its history, one dict a logged step, and the step at which it stopped.

    Attributes:
        roc: of the prior, false positives (points) and below them true positives of each curve; None where there is
            none, as in older checkpoints.
    """

    stage: str
    path: Path
    step: int
    history: list[dict[str, float]]
    roc: Float32[ndarray, "rows points"] | None = None


@dataclass(frozen=True)
class Material:
    """Everything that the page shows."""

    config: Config
    metrics: dict[str, Any]
    predictions: Predictions
    views: Views
    indices: dict[str, Index]
    training: list[Training]
    body: Path
    files: dict[str, Path]
    curve: Path | None = None


def gather(
    config: Config,
    *,
    metrics: Path,
    predictions: Path,
    index_test: Path,
    checkpoints: Sequence[Path],
    body: Path,
    labels: Sequence[Path] = (),
) -> Material:
    """Read all of it; `labels` is curve.json of the label sweep, or nothing.

    Raises:
        DataError: a file is missing, of another format, or its rows are not those of the index.
    """
    values = read_json(metrics)
    if not isinstance(values, dict):
        raise DataError("The metrics are no flat object.", where=metrics, expected='{"pose/mpjpe_mm": 101.5, ...}')
    predicted, indices = read_predictions(predictions), _read_indices(index_test)
    files = {"metrics": metrics, "predictions": predictions, "index_test": index_test, "body": body}
    return Material(
        config=config,
        metrics=values,
        predictions=predicted,
        views=read_views(indices["test"], predicted.frames, where=index_test),
        indices=indices,
        training=[read_training(config, path) for path in checkpoints],
        body=body,
        files=files | ({"labels": labels[0]} if labels else {}),
        curve=next(iter(labels), None),
    )


def read_predictions(path: Path) -> Predictions:
    """Read `predictions.h5`."""
    with open_h5(path, format_name="posemill.predictions") as file:
        try:
            return Predictions(
                frames={key: file[f"frames/{key}"][:] for key in KEYS},
                truth_im_mm=file["truth/joints_im_mm"][:],
                mean_im_mm=file["baseline/joints_im_mm"][:],
                pose_im_mm=file["pose/joints_im_mm"][:] if "pose" in file else None,
                bodies={head: _read_bodies(file[head]) for head in BODY_HEADS if head in file},
                novel=_read_novel(file["novel_view"]) if "novel_view" in file else None,
            )
        except KeyError as error:
            raise DataError(f"A dataset is missing: {error}", where=path, mend="delete it and run again") from None


def _read_bodies(group: h5py.Group) -> Bodies:
    return Bodies(*(group[key][:].astype(np.float32) for key in ("betas", "rotmats", "joints_im_mm")))


def _read_novel(group: h5py.Group) -> NovelViews:
    pictures = group["examples"]
    return NovelViews(
        source=group["source"][:],
        target=group["target"][:],
        mse_foreground=group["mse_foreground"][:],
        mse_background_only=group["mse_background_only"][:],
        examples=Examples(
            input=pictures["input"][:],
            background=pictures["background"][:],
            prediction=pictures["prediction"][:],
            target=pictures["target"][:],
            pair=pictures["pair"][:] if "pair" in pictures else None,
        ),
    )


def read_views(index: Index, frames: dict[str, ndarray], *, where: Path) -> Views:
    """Camera and root of each row of `frames`, which must be the rows of `index`."""
    if any(not np.array_equal(getattr(index, key), frames[key]) for key in KEYS):
        raise DataError(
            "The predictions have other rows than the index.", where=where, mend="run predict again after index"
        )
    roots = index.joints_world_mm[:, H36M.index("root")].astype(np.float64)
    cameras = (getattr(index.views, key)[index.view] for key in ("R", "T_mm", "f_px", "c_px", "distortion"))
    return Views(roots[index.instant], *cameras)


def _read_indices(index_test: Path) -> dict[str, Index]:
    # all three lie side by side; those of training are for the table of counts, without which the page still stands
    paths = {split: index_test.with_name(f"index_{split}.h5") for split in ("train", "val")} | {"test": index_test}
    return {split: read_index(path) for split, path in paths.items() if path.is_file() or split == "test"}


def read_training(config: Config, path: Path) -> Training:
    """History of one checkpoint; the weights stay on disk (memory-mapped)."""
    if not path.is_file():
        raise missing(path)
    paths = Paths(config)
    names = {paths.run_dir(stage).name: stage for stage in TRAINED}
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        history = [{key: float(value) for key, value in entry.items()} for entry in content["history"]]
        extra = content.get("extra", {})
        known = "roc_fpr" in extra and "roc_tpr" in extra
        roc = np.vstack([extra["roc_fpr"][None], extra["roc_tpr"]]).astype(np.float32) if known else None
        return Training(names.get(path.parent.name, path.parent.name), path, int(content["step"]), history, roc)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DataError(f"The checkpoint has no readable history: {error}", where=path) from None
