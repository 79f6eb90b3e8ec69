"""Parts of a finished run that several benchmarks read, and the pose networks that they train on one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from codebase.config import Config
from codebase.data.embeddings import Embeddings, read_embeddings
from codebase.data.index import read_index
from codebase.data.store import CropStore
from codebase.models import encoder_decoder, pose
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.pose import PoseNet, pose_of
from codebase.models.pose2018 import PoseMlp2018
from codebase.paths import Paths
from codebase.stages import train_pose
from codebase.training.precision import pick_device, place
from codebase.training.state import load_checkpoint


def store_of(config: Config, split: str) -> CropStore:
    """The crops of a split's rows."""
    paths, subjects = Paths(config), getattr(config.split, split).subjects
    return CropStore([paths.crops(s) for s in subjects], read_index(paths.index(split)).key)


def codes_of(config: Config, split: str) -> list[Embeddings]:
    """The embeddings of a split's subjects."""
    return [read_embeddings(Paths(config).embeddings(s)) for s in getattr(config.split, split).subjects]


def enc_dec_of(config: Config, file: Path) -> EncoderDecoder:
    """The encoder-decoder of a checkpoint on the config's device, frozen and in eval mode."""
    found = load_checkpoint(file)
    net = encoder_decoder.restore(found.config, found.model, int(found.extra["crop_size"]))
    return place(net, pick_device(config.runtime.device))


def trained_pose(config: Config, output: Path) -> tuple[PoseNet | PoseMlp2018, np.ndarray]:
    """The pose network of a config, trained unless it is there, and the mean pose of its labelled rows, mm."""
    paths = Paths(config)
    subjects = sorted({*config.split.train.subjects, *config.split.val.subjects})
    train_pose.run(
        config, index_train=paths.index("train"), index_val=paths.index("val"),
        embeddings=[paths.embeddings(s) for s in subjects], output=output,
    )  # fmt: skip
    found = load_checkpoint(output)
    return pose.restore(found.config, found.part("pose")), found.extra["mean_joints_im_mm"].numpy()


def joints(net: PoseNet | PoseMlp2018, points: Tensor, mirrored: Tensor) -> np.ndarray:
    """Joints from L_3d, mm, root-centred, im frame, as the stage predict finds them."""
    batches = zip(points.split(1024), mirrored.split(1024), strict=True)
    return np.concatenate([pose_of(net, *batch).numpy() for batch in batches])
