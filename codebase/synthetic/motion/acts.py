"""The fifteen acts of Human3.6M by number, and clips of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from codebase.errors import UserError
from codebase.synthetic.motion import gait, gestures, seated
from codebase.synthetic.motion.performer import Performer, Style
from codebase.synthetic.motion.rig import Rig
from codebase.synthetic.motion.solve import Intent, solve

Builder = Callable[[Performer], Intent]

ACTS: dict[int, tuple[str, Builder]] = {
    2: ("Directions", gestures.directions),
    3: ("Discussion", gestures.discussion),
    4: ("Eating", gestures.eating),
    5: ("Greeting", gestures.greeting),
    6: ("Phoning", gestures.phoning),
    7: ("Posing", gestures.posing),
    8: ("Purchases", gestures.purchases),
    9: ("Sitting", seated.sitting),
    10: ("SittingDown", seated.sitting_down),
    11: ("Smoking", gestures.smoking),
    12: ("Photo", gestures.photo),
    13: ("Waiting", gestures.waiting),
    14: ("Walking", gait.walking),
    15: ("WalkDog", gait.walk_dog),
    16: ("WalkTogether", gait.walk_together),
}
ACT_NAMES: dict[int, str] = {act: name for act, (name, _) in ACTS.items()}

FINEST_HZ = 40.0


@dataclass(frozen=True)
class Clip:
    """One take of one act.

    `pose_rad`: SMPL axis-angle, radians; joint 0 carries the body frame (y up, facing +z) to the world (z up).
    `transl_m`: world translation, metres: vertices_world = LBS(betas, pose) + transl, so the pelvis is at
    rest_joints[0] + transl. `time_s`: time of each frame; frames lie further apart than 1 / fps when a clip of
    few frames is spread over `min_span_s`. `planted`: whether the left and right sole rest on the floor.
    `seat_m`: height of the seat below the pelvis, metres, if the act uses one that a scene may draw.
    """

    pose_rad: Float32[ndarray, "frames 24 3"]
    transl_m: Float32[ndarray, "frames 3"]
    name: str
    time_s: Float[ndarray, "frames"]
    planted: ndarray
    seat_m: float | None


def _act(act: int) -> tuple[str, Builder]:
    if act not in ACTS:
        known = f"{min(ACTS)}..{max(ACTS)}, numbered as in Human3.6M"
        raise UserError(f"nobody knows how to perform act {act}", expected=known, mend="choose acts among these")
    return ACTS[act]


def make_clip(
    act: int,
    subaction: int,
    *,
    seed: int,
    frames: int,
    fps: float | int,
    rest_joints_m: Float[ndarray, "24 3"],
    sole_offset_m: float,
    min_span_s: float = 6.0,
) -> Clip:
    """Perform one take of an act of Human3.6M (2 Directions ... 16 WalkTogether).

    `seed` is the performer: it fixes the style (speed, amplitude, posture, handedness) over all acts, and with
    act and subaction everything else, so the same call gives the same clip. `rest_joints_m` are the joints of
    the performer's shaped body in SMPL's rest pose (body frame, metres), `sole_offset_m` the height of the
    ankle joints over the sole, shoes included. Frames are 1 / fps apart, or further so that they span at least
    `min_span_s` seconds: eight frames then show eight poses. Raises UserError on an act that is not there.
    """
    name, build = _act(act)
    spacing = max(frames / fps, min_span_s) / frames
    finer = max(1, int(np.ceil(spacing * FINEST_HZ)))
    time = np.arange(frames * finer) * (spacing / finer)
    rng = np.random.default_rng([seed, act, subaction])
    rig = Rig(np.asarray(rest_joints_m, dtype=float), float(sole_offset_m))
    who = Performer(rig, Style.of(seed), rng, time)
    intent = build(who)
    pose, transl = solve(rig, intent.at(slice(None, None, finer)))
    return Clip(
        pose.astype(np.float32), transl.astype(np.float32), f"{name} {subaction}", time[::finer],
        intent.feet.planted[::finer], who.seat_m,
    )  # fmt: skip


def sample_poses(
    count: int, seed: int, rest_joints_m: Float[ndarray, "24 3"], *, sole_offset_m: float = 0.09
) -> Float32[ndarray, "count 24 3"]:
    """Body poses of all acts in random order, many performers, for a pose prior.

    Joint 0 (global orientation) is zero: the prior is about the body, not about where it faces.
    """
    rng = np.random.default_rng([seed, 104729])
    per_clip = 24
    clips = -(-count // per_clip)
    acts = np.resize(rng.permutation(list(ACTS)), clips)
    poses = []
    for act in acts:
        clip = make_clip(int(act), int(rng.integers(1, 1_000_000)), seed=int(rng.integers(1_000_000)), frames=per_clip,
                         fps=2.0, rest_joints_m=rest_joints_m, sole_offset_m=sole_offset_m)  # fmt: skip
        poses.append(clip.pose_rad)
    out = np.concatenate(poses)[rng.permutation(clips * per_clip)[:count]]
    out[:, 0] = 0.0
    return out
