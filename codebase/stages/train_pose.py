"""Stage train_pose: 3D joints from frozen embeddings, with the labels of few subjects."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray
from torch import Tensor

from codebase.config import Config, PoseConfig
from codebase.data.batches import Frames
from codebase.data.embeddings import Embeddings, read_embeddings
from codebase.data.index import read_index
from codebase.data.labels import extent, labelled, warn_of_unlabelled
from codebase.errors import DataError
from codebase.models.augment import mirror_joints, mirror_rotations
from codebase.models.encoder_decoder import rotate
from codebase.models.pose import PoseNet, build, pose_of, vertical_turns
from codebase.models.pose2018 import PoseMlp2018
from codebase.training import loop, optim
from codebase.training.budget import left
from codebase.training.encoders import encoder_of, require_mirrored
from codebase.training.pose_error import pose_error
from codebase.training.pose_figures import pose_figures
from codebase.training.precision import autocast
from codebase.training.runtime import prepare
from codebase.training.state import Batch, run_digest
from codebase.training.team import team

VERSION = 2
COLUMNS = ("L_3d", "L_3d_mirrored", "joints_im_mm", "R_world_im")


def run(
    config: Config,
    *,
    index_train: Path,
    index_val: Path,
    embeddings: Sequence[Path],
    output: Path,
    budget_s: float | None = None,
) -> None:
    """Train the pose network and write runs/{name}/model_{steps}.pt.

    Labels are read of `pose.label_subjects` in the training split alone; other subjects of it give statistics of the
    embedding. The checkpoint holds the module `pose` and, in `extra`, of the labelled
    rows `mean_joints_im_mm` (17, 3) and `labelled`, how many they are, of how many sequences.

    Raises:
        UserError: inputs are missing or do not fit, or the labelled subjects have no row with known joints.
        OutOfTimeError: the budget is spent; the state is saved.
    """
    begun, section = time.monotonic(), config.pose
    device = prepare(config.runtime, section.seed)
    subjects = [read_embeddings(path) for path in embeddings]
    encoder = encoder_of(subjects)
    require_mirrored(subjects, "pose", section.mirror)
    train, val = (rows_of(subjects, read_index(path).key) for path in (index_train, index_val))
    chosen = labelled(
        train["key"].numpy(), known(train), subjects=section.label_subjects, share=section.label_share,
        seed=section.seed, where="pose",
    )  # fmt: skip
    rows = np.flatnonzero(chosen)
    warn_of_unlabelled(val["key"].numpy(), known(val))
    val = {name: values[torch.from_numpy(known(val))] for name, values in val.items()}
    joints = train["joints_im_mm"][rows]
    net = build(section, train["L_3d"].shape[1])
    net.standardise(train["L_3d"], joints if not section.mirror else torch.cat([joints, mirror_joints(joints)]))
    net = net.to(device)
    optimizer = optim.adam(section, net)
    each = team().wrap(net, type(net).each)

    def update(batch: Batch, step: int) -> dict[str, Tensor]:
        points, target = augment(batch, section)
        with autocast(section.precision, device):
            seen = each(points)
        error, distance_mm = pose_error(seen, target, net.spread_mm, section.loss)
        norm = optim.step(error, optimizer, section.gradient_clip)
        return {"mpjpe_mm": distance_mm.detach(), "gradient_norm": norm}

    mean = joints.mean(dim=0)
    loop.fit(
        section,
        modules={"pose": net},
        optimizers={"main": optimizer},
        batches=Frames(
            rows,
            lambda rows: {name: train[name][torch.from_numpy(rows)] for name in COLUMNS},
            batch_size=section.batch_size,
            seed=section.seed,
            device=device,
            share=team().share,
        ),
        update=update,
        validate=(lambda: figures(net, val, mean)) if len(val["subject"]) else None,
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[index_train, index_val, *embeddings]),
        budget_s=left(budget_s, begun),
        extra=encoder | {"mean_joints_im_mm": mean, "labelled": torch.tensor(extent(train["key"].numpy()[rows]))},
    )


def rows_of(subjects: Sequence[Embeddings], keys: np.ndarray) -> dict[str, Tensor]:
    """The rows of a split: L_3d, joints_im_mm, R_world_im (float32), subject and key, as tensors."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*COLUMNS, "subject", "key")}
    for item in subjects:
        mine = np.isin(item.key, keys)
        for name in COLUMNS:
            found[name].append(getattr(item, name)[mine].astype(np.float32))
        found["subject"].append(np.full(int(mine.sum()), item.subject))
        found["key"].append(item.key[mine])
    count = sum(map(len, found["subject"]))
    if count != len(keys):
        raise DataError(
            f"The embeddings hold {count} of the {len(keys)} rows of the index.",
            expected="embeddings of all its subjects, made from crops of this very index",
            mend="run the stage embed again",
        )  # fmt: skip
    return {name: torch.from_numpy(np.concatenate(parts)) for name, parts in found.items()}


def known(rows: dict[str, Tensor]) -> Bool[ndarray, " rows"]:
    """Whether the pose of each row is known."""
    return rows["joints_im_mm"].isfinite().all(dim=2).all(dim=1).numpy()


def augment(batch: Batch, config: PoseConfig) -> tuple[Tensor, Tensor]:
    """L_3d and target, mirrored, and turned together about the world's vertical; noise on L_3d.

    The encoder has learned that its points turn with the camera, so the turned pair is as true as the first one.
    """
    points, target, world = batch["L_3d"], batch["joints_im_mm"], batch["R_world_im"]
    if config.mirror > 0:
        chosen = (team().rand(len(points)) < config.mirror).to(points.device)[:, None, None]
        points = torch.where(chosen, batch["L_3d_mirrored"], points)
        target = torch.where(chosen, mirror_joints(target), target)
        world = torch.where(chosen, mirror_rotations(world), world)
    if config.turn > 0:
        chosen = team().rand(len(points)) < config.turn
        angle = torch.where(chosen, team().rand(len(points)) * 2 * math.pi, 0)
        rotation = vertical_turns(world, angle.to(points.device))
        points, target = rotate(points, rotation), rotate(target, rotation)
    if config.noise > 0:
        size = team().average(points.square().mean(dim=(0, 2), keepdim=True)).sqrt()
        points = points + config.noise * size * team().randn(*points.shape).to(points.device)
    return points, target


@torch.no_grad()
def figures(net: PoseNet | PoseMlp2018, rows: dict[str, Tensor], mean_mm: Tensor) -> dict[str, float]:
    """Errors on rows, mm, and those of showing the labelled subjects' mean pose instead."""
    both = zip(rows["L_3d"].split(1024), rows["L_3d_mirrored"].split(1024), strict=True)
    device = net.scale.device
    predicted = torch.cat([pose_of(net, one.to(device), other.to(device)).cpu() for one, other in both]).numpy()
    return pose_figures(predicted, rows["joints_im_mm"].numpy(), mean_mm.numpy())
