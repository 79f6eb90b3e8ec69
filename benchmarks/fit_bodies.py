"""How near fitted bodies come to true ones, and how fast, from joints alone and with masks.

python -m benchmarks.fit_bodies results/small [--subjects 9 11] [--sequences-every 1] [--most-frames 60]
                                [--without-acts 5 9 10] [--joint-noise-mm 5] [--workers 2] [key=value ...]

RUN is a run on synthetic data, of which config, index, masks and truth are read. The prior's free synthetic poses are
drawn by other performers than the subjects, but from the same generator of motion: with --without-acts the prior
sees no pose of these acts, and only they are measured.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import roma
import torch

from codebase.body.arrays import BodyArrays, lbs_numpy, load_body
from codebase.config import Config, load_config
from codebase.data.index import read_index
from codebase.data.parallel import in_order
from codebase.fitting.fitter import Posed, spread
from codebase.fitting.points import Pose
from codebase.fitting.prior import PosePrior
from codebase.fitting.tracks import Track, collect
from codebase.paths import Paths
from codebase.stages import fit_bodies
from codebase.synthetic.motion import ACT_NAMES, make_clip

M_TO_MM = 1000.0


class Clock:
    """Wall and CPU time (of this process and of workers that ended)."""

    def __init__(self) -> None:
        own = os.times()
        self.wall, self.cpu = time.perf_counter(), own.user + own.system + own.children_user + own.children_system

    def since(self, begin: Clock, frames: int = 0) -> str:
        """Seconds, or frames a second; the machine may be shared, so CPU seconds as well."""
        wall, cpu = self.wall - begin.wall, self.cpu - begin.cpu
        if frames:
            return f"{frames / wall:.1f} frames/s, {frames / max(cpu, 1e-9):.1f} a CPU second"
        return f"{wall:.1f} s, {cpu:.1f} CPU seconds"


def main() -> None:
    """Fit, compare, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--subjects", type=int, nargs="+", default=[9, 11])
    parser.add_argument("--sequences-every", type=int, default=1)
    parser.add_argument("--most-frames", type=int, default=10**6, help="of each sequence, evenly")
    parser.add_argument("--without-acts", type=int, nargs="*", default=[])
    parser.add_argument("--joint-noise-mm", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    config = load_config(Config, options.run / "config.yaml", options.overrides)
    config = config.model_copy(update={"results": options.run.parent, "name": options.run.name})
    for subject in options.subjects:
        measure(config, subject, options)


def measure(config: Config, subject: int, options: argparse.Namespace) -> None:
    """One subject's table."""
    paths, body = Paths(config), load_body(config.dataset.body)
    indices = [read_index(p) for s in ("train", "val", "test") if (p := paths.index(s)).is_file()]
    tracks = [
        track for track in collect(indices, subject) if track.action in options.without_acts or not options.without_acts
    ]
    tracks = [thinned(track, options.most_frames) for track in tracks[:: options.sequences_every]]
    frames = sum(len(track) for track in tracks)
    true = [truth(paths.truth(subject), track) for track in tracks]
    noisy = [with_noise(track, options.joint_noise_mm) for track in tracks]
    if options.without_acts:
        rest, _ = body.joint_shape_map
        prior = PosePrior.of(
            poses_without(options.without_acts, config.fit_bodies.count, rest), config.fit_bodies.parts
        )
        fit_bodies.pose_prior = lambda *_, **__: prior
    began = Clock()
    job = fit_bodies.prepare(config, body, noisy)
    shaped = Clock()
    alone = list(in_order(partial(joints_alone, job), noisy, workers=options.workers, what="joints"))
    between = Clock()
    fitted = list(in_order(partial(fit_bodies.fit_track, job), noisy, workers=options.workers, what="masks"))
    ended = Clock()
    print(f"S{subject}: {frames} frames of {len(tracks)} sequences; prior and shape {shaped.since(began)}")
    row("joints alone", body, alone, true, between.since(shaped, frames))
    # fit_track fits joints first, and then both
    row("joints and masks", body, [one.posed for one in fitted], true, ended.since(between, frames))
    kept = np.concatenate([one.kept for one in fitted])
    iou = np.concatenate([one.posed.mask_iou for one in fitted])
    print(f"  kept {kept.sum()} of {frames}; overlap with masks {np.nanmean(iou):.3f}")
    print("  betas true ", np.array2string(true[0].betas[0].numpy(), precision=2, suppress_small=True))
    print("  betas found", np.array2string(job.shape.betas.numpy(), precision=2, suppress_small=True))


def joints_alone(job: fit_bodies.Job, track: Track) -> Posed:
    """What joints alone give."""
    torch.set_num_threads(1)
    return job.fitter.sequence(job.bare, track.joints_world_mm, track.frame)


def row(name: str, body: BodyArrays, found: Sequence[Posed], true: Sequence[Pose], rate: str) -> None:
    """Print the errors of one way of fitting."""
    pairs = [errors_mm(body, one.pose, other) for one, other in zip(found, true, strict=True)]
    pelvis, world = (np.concatenate(part) for part in zip(*pairs, strict=True))
    joints = np.concatenate([one.joint_error_mm for one in found])
    print(
        f"  {name:17} PVE {pelvis.mean():5.2f} mm (median {np.median(pelvis):.2f}, "
        f"95 % {np.percentile(pelvis, 95):.2f}), "
        f"in the world {world.mean():5.2f} mm, joints {np.nanmean(joints):.2f} mm, {rate}"
    )


def errors_mm(body: BodyArrays, found: Pose, true: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Mean vertex errors with the pelvis joints brought together, and in the world."""
    (one, pelvis), (other, place) = (
        lbs_numpy(body, pose.betas.numpy(), pose.rotmats.numpy(), pose.transl_m.numpy()) for pose in (found, true)
    )
    together = (one - pelvis[:, :1]) - (other - place[:, :1])
    return tuple(M_TO_MM * np.linalg.norm(off, axis=-1).mean(1) for off in (together, one - other))


def truth(path: Path, track: Track) -> Pose:
    """The true bodies of a sequence."""
    with h5py.File(path) as file:
        rows = track.frame - 1
        pose, transl = (file[track.name][key][:][rows].astype(np.float64) for key in ("pose_rad", "transl_m"))
        betas = torch.from_numpy(file["betas"][:].astype(np.float64))
    return Pose(betas.expand(len(rows), -1), roma.rotvec_to_rotmat(torch.from_numpy(pose)), torch.from_numpy(transl))


def thinned(track: Track, most: int) -> Track:
    """At most so many frames of a sequence."""
    return track.take(spread(len(track), most))


def with_noise(track: Track, deviation_mm: float) -> Track:
    """Joints with Gaussian noise, independent in each frame."""
    rng = np.random.default_rng([track.subject, track.action, track.subaction])
    noise = rng.normal(0, deviation_mm, track.joints_world_mm.shape) if deviation_mm else 0.0
    return replace(track, joints_world_mm=(track.joints_world_mm + noise).astype(np.float32))


def poses_without(acts: Sequence[int], count: int, rest_joints_m: np.ndarray) -> np.ndarray:
    """Free synthetic poses of all other acts."""
    rng, others = np.random.default_rng(1), [act for act in ACT_NAMES if act not in acts]
    clips: list[np.ndarray] = []
    while 24 * len(clips) < count:
        clips.append(
            make_clip(
                int(rng.choice(others)), int(rng.integers(1_000_000)), seed=int(rng.integers(1_000_000)), frames=24,
                fps=2.0, rest_joints_m=rest_joints_m, sole_offset_m=0.09,
            ).pose_rad
        )  # fmt: skip
    return np.concatenate(clips)[:count]


if __name__ == "__main__":
    main()
