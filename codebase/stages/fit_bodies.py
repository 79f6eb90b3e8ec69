"""Stage fit_bodies: the SMPL parameters of one subject that explain its joints and masks, and how well they do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import roma
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from codebase.body.arrays import BodyArrays, load_body
from codebase.config import Config, FitBodiesConfig
from codebase.data.bodies import FORMAT
from codebase.data.index import read_index
from codebase.data.parallel import in_order
from codebase.files import create_h5
from codebase.fitting.fitter import MM_TO_M, Fitter, Posed, Shape, enough, spread
from codebase.fitting.points import Pose
from codebase.fitting.prior import pose_prior
from codebase.fitting.tracks import Track, collect
from codebase.fitting.windows import Windows, read_windows
from codebase.paths import Paths

VERSION = 2
# how far joints of other people's data may lie from the body's own, where the config does not say
OFFSET_MM = 20.0
log = logging.getLogger("posemill.fit_bodies")


@dataclass(frozen=True)
class Fitted:
    """Bodies of one sequence.

    Attributes:
        posed: the result, with how well each frame is explained.
        joints_only: what joints alone gave.
        kept: whether a frame is explained well enough.
    """

    track: Track
    posed: Posed
    joints_only: Posed
    kept: Bool[ndarray, " frames"]


@dataclass(frozen=True)
class Job:
    """What the sequences of one subject share; `bare` is the shape that joints alone gave."""

    fitter: Fitter
    section: FitBodiesConfig
    masks_root: Path
    bare: Shape
    shape: Shape


def run(config: Config, *, subject: int, index: Sequence[Path], body: Path, every: int, output: Path) -> None:
    """Fit a subject's sequences and write `output` (bodies/S{subject}.h5, docs/conventions.md), atomically.

    Args:
        config: the whole config; `fit_bodies`, `runtime` and where the masks lie are used.
        subject: whose bodies.
        index: indices of the splits that the subject is in.
        body: body file in SMPL layout.
        every: every n-th sequence is fitted.
        output: the file.

    Raises:
        DataError: a file is missing or not in its format, a mask is of another size than its frame, or a fit's
            cost is not finite.
    """
    torch.set_num_threads(1)  # also here, so that the number of cores changes no result
    tracks = collect([read_index(path) for path in index], subject)[::every]
    arrays = load_body(body)
    if not any(enough(track.joints_world_mm).any() for track in tracks):
        # the index says why; training and figures go on without the subject's bodies
        log.warning("S%d: no frame has a known pose, so no body can be fitted", subject)
        _write(output, None, [], arrays.name)
        return
    job = prepare(config, arrays, tracks)
    betas = np.array2string(job.shape.betas.numpy(), precision=2, suppress_small=True)
    log.info("S%d: betas %s", subject, betas)
    fitted = list(in_order(partial(fit_track, job), tracks, workers=config.runtime.workers, what=f"S{subject}: bodies"))
    log_dropped(subject, fitted, job.section)
    _write(output, job, fitted, arrays.name)


def prepare(config: Config, body: BodyArrays, tracks: Sequence[Track]) -> Job:
    """The prior on poses, and the subject's shape."""
    section, masks_root = config.fit_bodies, Paths(config).masks
    if config.dataset.kind == "extract" and config.extract.masks == "boxes":
        log.info("the masks are boxes about people, so they are not looked at")
        section = section.model_copy(update={"masks": False})
    prior = pose_prior(body, section.poses, count=section.count, parts=section.parts, seed=section.seed)
    fitter = Fitter(body, prior, section, offset_m=MM_TO_M * offset_mm(config))
    chosen = sampled(tracks, section.shape_frames, masked=False)
    bare = shape = fitter.shape(np.concatenate([track.joints_world_mm for track in chosen]))
    looked_at = sampled(tracks, section.mask_frames, masked=True) if section.masks else []
    if looked_at:
        windows = Windows.join([_windows(one, np.arange(len(one)), masks_root, section, every=1) for one in looked_at])
        shape = fitter.dressed(bare, np.concatenate([track.joints_world_mm for track in looked_at]), windows)
    return Job(fitter, section, masks_root, bare, shape)


def offset_mm(config: Config) -> float:
    """How far joints of the data may lie from the body's own: not at all where the body itself gave them."""
    own = config.fit_bodies.offset_mm
    return own if own is not None else 0.0 if config.dataset.kind == "synthetic" else OFFSET_MM


def sampled(tracks: Sequence[Track], most: int, *, masked: bool) -> list[Track]:
    """At most so many frames, evenly of all sequences, for the shape: those with enough joints, and with a mask."""
    usable = [enough(track.joints_world_mm) & (has_mask(track) | (not masked)) for track in tracks]
    place = np.concatenate([np.full(int(one.sum()), number) for number, one in enumerate(usable)])
    row = np.concatenate([np.flatnonzero(one) for one in usable])
    chosen = spread(len(row), most)
    return [tracks[number].take(row[chosen[place[chosen] == number]]) for number in np.unique(place[chosen])]


def has_mask(track: Track) -> Bool[ndarray, " frames"]:
    """Frames with a mask in any camera."""
    return np.any([camera.has_mask for camera in track.cameras], axis=0)


def _windows(
    track: Track, rows: Int[ndarray, " rows"], masks_root: Path, section: FitBodiesConfig, *, every: int
) -> Windows:
    """The masks of some rows: of every n-th row of the sequence."""
    part = track.take(rows)
    wanted = enough(part.joints_world_mm) & (rows % every == 0)
    return read_windows(part, masks_root, size=section.mask_size, wanted=wanted)


def fit_track(job: Job, track: Track) -> Fitted:
    """Fit one sequence."""
    section, joints_mm = job.section, track.joints_world_mm
    torch.set_num_threads(1)
    joints_only = posed = job.fitter.sequence(job.bare, joints_mm, track.frame)
    if section.masks and has_mask(track).any():

        def look(rows: Int[ndarray, " rows"]) -> Windows:
            return _windows(track, rows, job.masks_root, section, every=section.mask_every)

        posed = job.fitter.sequence(job.shape, joints_mm, track.frame, look)
    far, apart = poor(posed, section)
    return Fitted(track, posed, joints_only, enough(joints_mm) & ~far & ~apart)


def poor(posed: Posed, section: FitBodiesConfig) -> tuple[Bool[ndarray, " frames"], Bool[ndarray, " frames"]]:
    """Frames whose joints are too far off, and those whose silhouettes are too far from the masks."""
    return posed.joint_error_mm > section.most_joint_mm, posed.mask_iou < section.least_iou


def log_dropped(subject: int, fitted: Sequence[Fitted], section: FitBodiesConfig) -> None:
    """How many frames are kept, and why the others are not."""
    error, iou = (
        np.concatenate([getattr(one.posed, name) for one in fitted]) for name in ("joint_error_mm", "mask_iou")
    )
    kept, seen = np.concatenate([one.kept for one in fitted]), np.isfinite(iou)
    overlap = f"{np.mean(iou[seen]):.3f}" if seen.any() else "not known"
    log.info(
        "S%d: %d of %d frames kept; joints off by %.1f mm, overlap with masks %s",
        subject, kept.sum(), len(kept), np.nanmean(error), overlap,
    )  # fmt: skip
    far, apart = (np.concatenate(part) for part in zip(*(poor(one.posed, section) for one in fitted), strict=True))
    reasons = {
        "too few known joints": ~np.isfinite(error),
        f"joints off by more than {section.most_joint_mm:g} mm (fit_bodies.most_joint_mm)": far,
        f"overlap with masks below {section.least_iou:g} (fit_bodies.least_iou)": apart,
    }
    for why, which in reasons.items():
        if which.any():
            log.warning("S%d: %d frames dropped: %s", subject, which.sum(), why)


def _write(output: Path, job: Job | None, fitted: Sequence[Fitted], body: str) -> None:
    with create_h5(output, format_name=FORMAT) as file:
        file.attrs["body"], file.attrs["fitted"] = body, True
        file["betas"] = np.zeros(10, np.float32) if job is None else job.shape.betas.numpy().astype(np.float32)
        if job is not None:
            file["joints_only_betas"] = job.bare.betas.numpy().astype(np.float32)
            file["joint_offsets_mm"] = (job.shape.offsets_m.numpy() / MM_TO_M).astype(np.float32)
            file["cloth_mm"] = (job.shape.cloth_m.numpy() / MM_TO_M).astype(np.float32)
        for one in fitted:
            if np.isfinite(one.posed.joint_error_mm).any():
                _write_sequence(file.create_group(one.track.name), one)


def _write_sequence(group: h5py.Group, one: Fitted) -> None:
    """A row for each frame from 1, NaN where there is no body."""
    columns = {
        "pose_rad": rotvecs(one.posed.pose), "transl_m": one.posed.pose.transl_m.numpy(),
        "joints_only_pose_rad": rotvecs(one.joints_only.pose),
        "joints_only_transl_m": one.joints_only.pose.transl_m.numpy(),
        "joint_error_mm": one.posed.joint_error_mm, "mask_iou": one.posed.mask_iou,
    }  # fmt: skip
    rows = one.track.frame - 1
    for name, values in columns.items():
        whole = np.full((rows[-1] + 1, *values.shape[1:]), np.nan, np.float32)
        whole[rows] = values
        group[name] = whole
    kept = np.zeros(rows[-1] + 1, bool)
    kept[rows] = one.kept
    group["kept"] = kept


def rotvecs(pose: Pose) -> Float[ndarray, "frames 24 3"]:
    """Axis-angle of all joints, NaN where there is no body."""
    known = pose.rotmats.isfinite().flatten(1).all(1)
    out = torch.full((len(pose), 24, 3), torch.nan, dtype=pose.rotmats.dtype)
    out[known] = roma.rotmat_to_rotvec(pose.rotmats[known])
    return out.numpy()
