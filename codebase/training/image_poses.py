"""The poses that an image network sees in crops, batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from codebase.data.batches import in_turn
from codebase.data.store import CropStore
from codebase.models.augment import mirror_joints
from codebase.models.image_pose import ImagePose
from codebase.training.novel_views import as_image
from codebase.training.precision import Precision, autocast


@torch.no_grad()
def poses(net: ImagePose, store: CropStore, precision: Precision, batch_size: int = 128) -> Float[ndarray, "rows 17 3"]:
    """The poses of all rows of a store, mm, root-centred, im frame; the network is in eval mode.

    Of a network that learned from mirrored images, averaged with those of the mirror images, turned back, as the poses
    from embeddings are (`codebase.models.pose.pose_of`).
    """
    device, found = net.pose.scale.device, []
    for rows in in_turn(np.arange(len(store)), batch_size):
        pixels = store.gather(rows, ("image", "background"))
        with autocast(precision, device):
            image, background = (as_image(pixels[name].to(device)) for name in ("image", "background"))
            joints = net(image, background).float()
            if net.mirrors:
                joints = (joints + mirror_joints(net(image.flip(-1), background.flip(-1)).float())) / 2
            found.append(joints.cpu())
    return torch.cat(found).numpy()
