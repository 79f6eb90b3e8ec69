"""The section on fitting bodies to joints and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from codebase.config.base import Section


class FitBodiesConfig(Section):
    """SMPL parameters that explain the 3D joints and the masks of all cameras."""

    use: Literal["never", "auto", "always"] = Field(
        "auto",
        description="whose bodies train_hmr learns from and evaluate measures against: auto: fitted ones where the "
        "dataset has no bodies; always: train_hmr learns from fitted ones even where it has; never: nothing is fitted",
    )
    measure_every: NonNegativeInt = Field(
        4,
        description="where the dataset has true bodies, every n-th sequence of the test subjects is fitted to be "
        "compared with them (metrics.json: fit_bodies/...); 0: none",
    )
    poses: Path | None = Field(
        None, description="folder of AMASS-style npz from which the prior on poses is made; null: free synthetic poses"
    )
    count: PositiveInt = Field(4000, description="poses of which the prior is made, or the most read of `poses`")
    parts: PositiveInt = Field(8, description="Gaussians of the prior on poses")
    seed: int = Field(0, ge=0, lt=2**32, description="of the free synthetic poses and of the prior's fit to poses")
    prior_weight: PositiveFloat = Field(
        0.3, description="of the prior on poses; 1: poses are exactly as common as it thinks"
    )
    joint_mm: PositiveFloat = Field(5.0, description="how far off a joint is expected to be")
    outlier_mm: PositiveFloat = Field(40.0, description="a joint that is further off than this loses its say")
    offset_mm: NonNegativeFloat | None = Field(
        None,
        description="how far each joint may lie from the body's own joint of that name, all the time, in the frame of "
        "the part that carries it; one offset a subject is estimated; null: 0 on synthetic data, else 20",
    )
    smooth_rad: NonNegativeFloat = Field(
        0.3, description="how far a joint turns from one indexed frame to the next; 0: frames do not know each other"
    )
    shape_frames: PositiveInt = Field(240, description="frames, of all sequences, from which the shape is estimated")
    iterations: PositiveInt = Field(12, description="most Gauss-Newton steps on joints")
    masks: bool = Field(True, description="whether masks are looked at, beside joints")
    mask_every: PositiveInt = Field(1, description="masks of every n-th indexed frame are looked at")
    mask_size: PositiveInt = Field(128, ge=32, description="side of the window about the person in which they are, px")
    mask_weight: PositiveFloat = Field(0.5, description="of the distance of the body's outlines from the masks'")
    mask_frames: PositiveInt = Field(60, description="frames with masks, of all sequences, that help with the shape")
    mask_rounds: PositiveInt = Field(3, description="how often the body's outlines are found anew")
    least_iou: float = Field(
        0.6, ge=0, le=1, description="frames whose silhouettes and masks overlap less, in the mean over the cameras "
        "(intersection over union), are not kept"
    )  # fmt: skip
    most_joint_mm: PositiveFloat = Field(
        30.0, description="frames whose joints are off by more, in the mean, are not kept"
    )
