"""A trained prior at rest, by which other trainings judge their bodies."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import torch
from jaxtyping import Float
from torch import Tensor

from codebase.errors import DataError
from codebase.models.prior import AnyPrior, restore
from codebase.models.rotations import FACING_CAMERA
from codebase.training.state import load_checkpoint


def frozen_prior(checkpoint: Path) -> tuple[AnyPrior, Float[Tensor, "24 3 3"]]:
    """The prior at rest, and the mean pose of its poses, upright before the camera.

    Raises:
        DataError: the checkpoint is missing, or none of a prior.
    """
    found = load_checkpoint(checkpoint)
    try:
        judge = restore(found.config, found.part("prior"))
        mean = found.extra["mean_rotmats"].clone()
    except (KeyError, RuntimeError, ValueError) as error:
        why = shorten(str(error), 300)
        raise DataError(
            f"The checkpoint holds no prior: {why}", where=checkpoint, expected="one of the stage train_prior"
        ) from None
    mean[0] = torch.tensor(FACING_CAMERA)
    return judge, mean
