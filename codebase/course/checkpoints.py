"""Checkpoints as the course wrote them, model_{it}.pt and model_best.pt, and how a run goes on from one of them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codebase.config import HmrConfig
from codebase.errors import DataError
from codebase.files import atomic_path
from codebase.training.state import Batches, Progress, generators

log = logging.getLogger("posemill.course")
KEYS = ("model", "optimizer", "epoch_it", "it", "loss_val_best")
# of the section: what must be the same in a run that begins from a checkpoint
BUILT = (
    "backbone", "widths", "blocks", "normalisation", "style", "regressor", "heads", "rotation", "width", "iterations",
    "features", "places", "frozen", "optimizer", "enlarge", "queries", "encoder_rate",
)  # fmt: skip


@dataclass(frozen=True)
class Keeper:
    """Writes the checkpoints of a run: pass `after` to the loop.

    Attributes:
        folder: out_dir.
        section: of the network; `save_every` are the steps between two checkpoints.
        model, optimizer, batches: of the run.
        frames: rows of an epoch.
        size: height and width of the crops.
        backbone: what the encoder started from, in words.
        body: name and digest of the body file.
        metric: name of the figure by which model_best.pt is chosen; lowest is best.
    """

    folder: Path
    section: HmrConfig
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Batches
    frames: int
    size: tuple[int, int]
    backbone: str
    body: str
    metric: str

    def after(self, progress: Progress) -> None:
        """Write what is due at this step."""
        best = loss_val_best(progress, self.metric)
        newest = progress.history[-1] if progress.history else {}
        value = newest.get(f"val/{self.metric}") if newest.get("step") == progress.step else None
        names = [f"model_{progress.step}.pt"] * self._due(progress.step)
        names += ["model_best.pt"] * (value is not None and value <= best)
        if not names:
            return
        content = self._content(progress, best)
        for name in names:
            with atomic_path(self.folder / name) as temporary:
                torch.save(content, temporary)

    def _due(self, step: int) -> bool:
        return step % self.section.save_every == 0 or step == self.section.steps

    def _content(self, progress: Progress, best: float) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch_it": progress.step * self.section.batch_size // self.frames,
            "it": progress.step,
            "loss_val_best": best,
            "posemill": {
                "section": json.loads(self.section.model_dump_json()),
                "size": list(self.size),
                "backbone": self.backbone,
                "body": self.body,
                "progress": vars(progress),
                "batches": self.batches.state_dict(),
                "generators": generators(),
            },
        }


def loss_val_best(progress: Progress, metric: str) -> float:
    """The lowest value of the metric in any validation so far; infinite before the first."""
    return min((entry[f"val/{metric}"] for entry in progress.history if f"val/{metric}" in entry), default=math.inf)


@dataclass(frozen=True)
class CourseCheckpoint:
    """A checkpoint of ours in the course's form.

    Attributes:
        path: the file.
        content: all of it.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def own(self) -> Mapping[str, Any]:
        """What only our checkpoints hold: section, size, backbone, body, and what an exact resume needs."""
        return self.content["posemill"]

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """State dict of the network."""
        return self.content["model"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        height, width = self.own["size"]
        return int(height), int(width)


def read_checkpoint(path: Path) -> CourseCheckpoint:
    """Read a checkpoint onto the CPU; nothing in it runs.

    Raises:
        DataError: the file is no checkpoint of a course run of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise anything
        raise DataError(f"The file is no readable checkpoint: {str(error).partition(chr(10))[0]}", where=path) from None
    lacking = [key for key in (*KEYS, "posemill") if not isinstance(content, dict) or key not in content]
    if lacking:
        raise DataError(
            f"The file is no checkpoint of train.py: it lacks {', '.join(lacking)}.", where=path,
            expected=f"a dict with {', '.join(KEYS)} (and `posemill`: how to build the network and go on)",
            mend="name one that `python train.py` wrote with a config of the course",
        )  # fmt: skip
    return CourseCheckpoint(path, content)


def begin_from(checkpoint: CourseCheckpoint, state: Path, *, section: HmrConfig, size: tuple[int, int]) -> None:
    """Make `state`, the state that the loop resumes from, of a checkpoint.

    Args:
        checkpoint: whose step, weights, optimiser and generators are gone on from.
        state: the file to write.
        section: of the run that begins; its learning rate counts.
        size: height and width of its crops.

    Raises:
        DataError: the checkpoint is of another network or optimiser.
    """
    # a checkpoint of older code lacks newer keys, whose defaults are what it was
    was = HmrConfig.model_construct().model_dump(mode="json") | checkpoint.own["section"]
    now = section.model_dump(mode="json")
    other = [f"{key} {was[key]} (now {now[key]})" for key in BUILT if was[key] != now[key]]
    if checkpoint.size != size and (section.backbone == "ours" or section.features == "grid"):
        other.append(f"crops of {checkpoint.size} (now {size})")
    if other:
        raise DataError(f"The model file is of another network or optimiser: {', '.join(other)}.",
                        where=checkpoint.path, mend="train on with the config that it was made with")  # fmt: skip
    optimizer, times = checkpoint.content["optimizer"], section.learning_rate / was["learning_rate"]
    for group in optimizer["param_groups"]:  # the encoder may have a share of the rate
        group["lr"] = group["initial_lr"] = times * group["initial_lr"]
    content = {
        "progress": checkpoint.own["progress"],
        "config": now,
        "modules": {"hmr": checkpoint.weights},
        "optimizers": {"hmr": optimizer},
        "batches": checkpoint.own["batches"],
        "generators": checkpoint.own["generators"],
    }
    with atomic_path(state) as temporary:
        torch.save(content, temporary)
    log.info("going on from %s, step %d", checkpoint.path, checkpoint.content["it"])
