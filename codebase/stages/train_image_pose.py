"""Stage train_image_pose: 3D joints straight from images, end to end, with the labels of few subjects."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.config import Config, EncDecConfig, ImageNetwork, image_network
from codebase.data.batches import CropStore, Frames, in_turn
from codebase.data.index import read_index
from codebase.data.labels import extent, labelled, warn_of_unlabelled
from codebase.data.scratch import near
from codebase.errors import ConfigError
from codebase.models.image_pose import ImagePose, start_from_enc_dec, start_from_imagenet
from codebase.published import backbone_file
from codebase.training import loop, optim
from codebase.training.budget import left
from codebase.training.encoders import load_enc_dec
from codebase.training.global_norm import whole_batch_norms
from codebase.training.image_pose_lesson import PIXELS, learn_step
from codebase.training.image_poses import poses
from codebase.training.novel_views import as_image
from codebase.training.pose_figures import pose_figures
from codebase.training.precision import place
from codebase.training.runtime import prepare
from codebase.training.state import Batch, run_digest
from codebase.training.team import team

VERSION = 1
STANDARD = 512  # images by which the points of a learned encoder are scaled
log = logging.getLogger("posemill.train_image_pose")


def run(
    config: Config,
    *,
    index_train: Path,
    index_val: Path,
    crops: Sequence[Path],
    enc_dec: Path | None = None,
    output: Path,
    budget_s: float | None = None,
) -> None:
    """Train a pose network on images and write {output}, a model_{steps}.pt.

    Labels, and here images too, are of `image_pose.label_subjects` in the training split alone. The checkpoint holds
    the module `net` and, in `extra`, `mean_joints_im_mm` (17, 3) of the labelled rows and the size of the crops.

    Args:
        config: the whole config; `image_pose`, the encoder's part of `enc_dec` and `runtime` are used.
        index_train, index_val: index files.
        crops: of the labelled subjects and of those of validation, at least.
        enc_dec: checkpoint of train_enc_dec, for image_pose.start: enc_dec.
        output: the checkpoint.
        budget_s: seconds after which to save and leave.

    Raises:
        UserError: inputs are missing or do not fit, or a labelled subject has no row with known joints.
        OutOfTimeError: the budget is spent; the state is saved.
    """
    begun, section = time.monotonic(), image_network(config.image_pose, config.enc_dec)
    device = prepare(config.runtime, section.seed)
    train_index, val_index = read_index(index_train), read_index(index_val)
    chosen = labelled(
        train_index.key, train_index.has_joints, subjects=section.label_subjects, share=section.label_share,
        seed=section.seed, where="image_pose",
    )  # fmt: skip
    warn_of_unlabelled(val_index.key, val_index.has_joints)
    copies = near(crops, config.runtime.scratch)
    store = CropStore(copies, train_index.key[chosen])
    val = CropStore(copies, val_index.key[val_index.has_joints])
    joints = torch.from_numpy(store.joints_im_mm.astype(np.float32))
    net = whole_batch_norms(place(_network(section, store, joints, config.enc_dec, enc_dec), device))
    rate = section.encoder_rate if section.start != "scratch" else 1.0
    optimizer = optim.adam(section, net.encoder, net.pose, rates=(rate, 1.0))
    each = team().wrap(net, ImagePose.each)
    weights = [path for path in (enc_dec, backbone_file(section)) if path is not None]

    def update(batch: Batch, step: int) -> dict[str, Tensor]:
        loss, error = learn_step(each, batch, section, net.pose.spread_mm)
        return {"mpjpe_mm": error, "gradient_norm": optim.step(loss, optimizer, section.gradient_clip)}

    def validate() -> dict[str, float]:
        return pose_figures(poses(net, val, section.precision), val.joints_im_mm, mean.numpy())

    mean = joints.mean(dim=0)
    loop.fit(
        section,
        modules={"net": net},
        optimizers={"main": optimizer},
        batches=Frames(
            np.arange(len(store)),
            lambda rows: store.gather(rows, PIXELS),
            batch_size=section.batch_size,
            seed=section.seed,
            device=device,
            share=team().share,
        ),
        update=update,
        validate=validate if len(val) else None,
        output=output,
        digest=run_digest(section, version=VERSION, inputs=[index_train, index_val, *crops, *weights]),
        budget_s=left(budget_s, begun),
        extra={
            "mean_joints_im_mm": mean,
            "size": torch.tensor(store.size),
            "labelled": torch.tensor(extent(train_index.key[chosen])),
        },
    )


def _network(
    section: ImageNetwork,
    store: CropStore,
    joints: Float[Tensor, "rows 17 3"],
    shape: EncDecConfig,
    enc_dec: Path | None,
) -> ImagePose:
    """The network with its first weights; the points of a learned encoder scaled as those of an embedding are."""
    net = ImagePose(section, store.size)
    points = torch.ones(1, net.points, 3)
    if section.start == "enc_dec":
        if enc_dec is None:
            raise ConfigError(
                "image_pose.start is enc_dec, and no checkpoint of it is given.", where="--enc-dec",
                expected="a model_{step}.pt of the stage train_enc_dec", mend="name it, or set image_pose.start",
            )  # fmt: skip
        with torch.random.fork_rng(devices=[]):  # the training draws what it would without the network made here
            trained, _ = load_enc_dec(enc_dec, shape, store.size, points_alone=True)
        start_from_enc_dec(net, trained.encoder.state_dict())
        rows = np.unique(np.linspace(0, len(store) - 1, STANDARD).round().astype(np.int64))
        points = torch.cat([part.cpu() for part in _points(net, store, rows)])
    elif section.start == "imagenet":
        log.info("encoder: %s", start_from_imagenet(net, section))
    net.pose.standardise(points, joints)
    return net


@torch.inference_mode()
def _points(net: ImagePose, store: CropStore, rows: np.ndarray) -> list[Tensor]:
    net.eval()
    pixels = (store.gather(part, ("image", "background")) for part in in_turn(rows, 64))
    found = [net.encoder(as_image(part["image"]), as_image(part["background"])).points for part in pixels]
    net.train()
    return found
