"""Free bodies in poses that no prior saw, for tests that fit bodies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import roma
import torch

from codebase.body.arrays import lbs_numpy, load_body
from codebase.config import FitBodiesConfig
from codebase.fitting.points import Pose
from codebase.synthetic.motion import make_clip

BODY = load_body(Path(__file__).resolve().parents[1] / "assets" / "free_body.npz")
BETAS = torch.tensor([0.8, -0.7, 0.5, 0.4, -0.3, 0, 0, 0, 0, 0], dtype=torch.float64)
SECTION = FitBodiesConfig(iterations=8, mask_rounds=2)


def performed(act, frames=6, seed=77):
    """Somebody whom the prior did not see."""
    rest, slope = BODY.joint_shape_map
    clip = make_clip(
        act, 1, seed=seed, frames=frames, fps=10.0, rest_joints_m=rest + slope @ BETAS.numpy(), sole_offset_m=0.09,
        min_span_s=0.0,
    )  # fmt: skip
    rotmats = roma.rotvec_to_rotmat(torch.from_numpy(clip.pose_rad).double())
    return Pose(BETAS.expand(frames, -1), rotmats, torch.from_numpy(clip.transl_m).double())


def millimetres(joints_m):
    return (1000 * joints_m).numpy()


def pve_mm(found, true):
    (one, pelvis), (other, place) = (
        lbs_numpy(BODY, pose.betas.numpy(), pose.rotmats.numpy(), pose.transl_m.numpy()) for pose in (found, true)
    )
    return 1000 * np.linalg.norm((one - pelvis[:, :1]) - (other - place[:, :1]), axis=-1).mean(1)


def random_pose(seed, count=2):
    rng = torch.Generator().manual_seed(seed)
    turns = roma.rotvec_to_rotmat(0.6 * torch.randn(count, 24, 3, generator=rng, dtype=torch.float64))
    betas = torch.randn(1, 10, generator=rng, dtype=torch.float64).expand(count, -1)
    return Pose(betas, turns, torch.randn(count, 3, generator=rng, dtype=torch.float64))


def nudged(pose, step):
    turn = roma.rotvec_to_rotmat(step[:, :72].unflatten(1, (24, 3)))
    return Pose(pose.betas, pose.rotmats @ turn, pose.transl_m + step[:, 72:])
