"""Stage fit_bodies: the SMPL parameters of one subject that explain its joints and masks, and how well they do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from codebase.body.arrays import load_body
from codebase.config import Config, FitBodiesConfig
from codebase.data.bodies import FORMAT
from codebase.data.index import read_index
from codebase.errors import DataError
from codebase.files import create_h5
from codebase.fitting.fitter import MM_TO_M, Bodies, Fitter, Shape, enough, spread
from codebase.fitting.prior import pose_prior
from codebase.fitting.tracks import Track, collect

VERSION = 1
# how far joints of other people's data may lie from the body's own, where the config does not say
OFFSET_MM = 20.0
log = logging.getLogger("posemill.fit_bodies")


@dataclass(frozen=True)
class Fitted:
    """Bodies of one sequence, and how well each frame is explained.

    Attributes:
        bodies: the result.
        joints_only: what joints alone gave.
        mask_iou: mean over the cameras of intersection over union of silhouette and mask; NaN without masks.
        kept: whether a frame is explained well enough.
    """

    track: Track
    bodies: Bodies
    joints_only: Bodies
    mask_iou: Float[ndarray, " frames"]
    kept: Bool[ndarray, " frames"]


def run(config: Config, *, subject: int, index: Sequence[Path], body: Path, every: int, output: Path) -> None:
    """Fit a subject's sequences and write `output` (bodies/S{subject}.h5, docs/conventions.md), atomically.

    Args:
        config: the whole config; `fit_bodies` and `runtime` are used.
        subject: whose bodies.
        index: indices of the splits that the subject is in.
        body: body file in SMPL layout.
        every: every n-th sequence is fitted.
        output: the file.

    Raises:
        DataError: a file is missing or not in its format, a mask is of another size than its frame, or a fit does
            not come out finite.
    """
    torch.set_num_threads(config.runtime.threads)
    section, tracks = config.fit_bodies, collect([read_index(path) for path in index], subject)[::every]
    arrays = load_body(body)
    if not any(enough(track.joints_world_mm).any() for track in tracks):
        # the index says why; training and figures go on without the subject's bodies
        log.warning("S%d: no frame has a known pose, so no body can be fitted", subject)
        _write(output, None, [], arrays.name)
        return
    prior = pose_prior(arrays, section.poses, count=section.count, parts=section.parts, seed=section.seed)
    fitter = Fitter(arrays, prior, section, offset_m=MM_TO_M * offset_mm(config))
    shape = fitter.shape(sampled(tracks, section.shape_frames))
    log.info("S%d: betas %s", subject, np.array2string(shape.betas.numpy(), precision=2, suppress_small=True))
    fitted = [fit_track(fitter, shape, track, section) for track in tracks]
    _log_dropped(subject, fitted, section)
    _write(output, shape, fitted, arrays.name)


def offset_mm(config: Config) -> float:
    """How far joints of the data may lie from the body's own: not at all where the body itself gave them."""
    own = config.fit_bodies.offset_mm
    return own if own is not None else 0.0 if config.dataset.kind == "synthetic" else OFFSET_MM


def sampled(tracks: Sequence[Track], most: int) -> Float[ndarray, "frames 17 3"]:
    """Joints of frames of all sequences, evenly, for the shape."""
    joints = np.concatenate([track.joints_world_mm[enough(track.joints_world_mm)] for track in tracks])
    return joints[spread(len(joints), most)]


def fit_track(fitter: Fitter, shape: Shape, track: Track, section: FitBodiesConfig) -> Fitted:
    """Fit one sequence."""
    bodies = fitter.sequence(shape, track.joints_world_mm, track.frame)
    tried = np.isfinite(bodies.joint_error_mm)
    for name, value in (("rotations", bodies.pose.rotmats), ("places", bodies.pose.transl_m)):
        if not torch.isfinite(value[torch.from_numpy(tried)]).all():
            raise DataError(
                f"The fit of a body gave {name} that are not finite.",
                where=f"S{track.subject} {track.name}",
                mend="raise fit_bodies.prior_weight or fit_bodies.joint_mm",
            )
    kept = tried & (bodies.joint_error_mm <= section.most_joint_mm)
    return Fitted(track, bodies, bodies, np.full(len(track), np.nan), kept)


def _log_dropped(subject: int, fitted: Sequence[Fitted], section: FitBodiesConfig) -> None:
    """Counts, with reasons."""
    error = np.concatenate([one.bodies.joint_error_mm for one in fitted])
    kept = np.concatenate([one.kept for one in fitted])
    few = int((~np.isfinite(error)).sum())
    far = int((error > section.most_joint_mm).sum())
    log.info("S%d: %d of %d frames kept, joints off by %.1f mm", subject, kept.sum(), len(kept), np.nanmean(error))
    for count, why in ((few, "too few known joints"), (far, f"joints off by more than {section.most_joint_mm:g} mm")):
        if count:
            log.warning("S%d: %d frames dropped: %s", subject, count, why)


def _write(output: Path, shape: Shape | None, fitted: Sequence[Fitted], body: str) -> None:
    with create_h5(output, format_name=FORMAT) as file:
        file.attrs["body"], file.attrs["fitted"] = body, True
        file["betas"] = np.zeros(10, np.float32) if shape is None else shape.betas.numpy().astype(np.float32)
        if shape is not None:
            file["joint_offsets_mm"] = (shape.offsets_m.numpy() / MM_TO_M).astype(np.float32)
        for one in fitted:
            if not np.isfinite(one.bodies.joint_error_mm).any():
                continue
            last, rows = int(one.track.frame[-1]), one.track.frame - 1
            group = file.create_group(one.track.name)
            columns = {
                "pose_rad": rotvecs(one.bodies), "transl_m": one.bodies.pose.transl_m.numpy(),
                "joints_only_pose_rad": rotvecs(one.joints_only),
                "joints_only_transl_m": one.joints_only.pose.transl_m.numpy(),
                "joint_error_mm": one.bodies.joint_error_mm, "mask_iou": one.mask_iou,
            }  # fmt: skip
            for name, values in columns.items():
                whole = np.full((last, *values.shape[1:]), np.nan, np.float32)
                whole[rows] = values
                group[name] = whole
            kept = np.zeros(last, bool)
            kept[rows] = one.kept
            group["kept"] = kept


def rotvecs(bodies: Bodies) -> Float[ndarray, "frames 24 3"]:
    """Axis-angle of all joints, NaN where there is no body."""
    rotmats = bodies.pose.rotmats
    known = rotmats.isfinite().all(3).all(2).all(1)
    out = torch.full((len(rotmats), 24, 3), torch.nan, dtype=rotmats.dtype)
    out[known] = roma.rotmat_to_rotvec(rotmats[known])
    return out.numpy()
