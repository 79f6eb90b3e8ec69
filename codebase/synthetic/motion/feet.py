"""Footsteps: planted feet that follow a path, and the roll of the foot over heel and ball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from codebase.synthetic.motion.curves import min_jerk
from codebase.synthetic.motion.rig import HEEL_BEHIND_ANKLE_M, SIDES, Rig, apply, heading_frame, rot

Path = Callable[[Float[ndarray, "times"]], tuple[Float[ndarray, "times 2"], Float[ndarray, "times"]]]

STEP_FOR_FULL_ROLL_M = 0.65
TOE_OUT_RAD = 0.12


@dataclass
class Feet:
    """Where the feet are, world frame. Second axis: left, right.

    `ankle_m` is the ankle joint; `yaw_rad` the foot's heading; `pitch_rad` > 0 lifts the heel, < 0 the toes;
    `planted` marks frames in which the whole sole rests on one place; `loose` (0..1) lets the ankle hang in
    its neutral pose rather than keep the sole level (seated on the floor, legs crossed).
    """

    ankle_m: Float[ndarray, "frames 2 3"]
    yaw_rad: Float[ndarray, "frames 2"]
    pitch_rad: Float[ndarray, "frames 2"]
    planted: Bool[ndarray, "frames 2"]
    loose: Float[ndarray, "frames 2"]


@dataclass(frozen=True)
class Gait:
    """How somebody steps: time of a step, distance of the ankles, lift, and when a step is worth taking."""

    step_s: float = 0.6
    width_m: float = 0.20
    lift_m: float = 0.07
    least_step_m: float = 0.03
    least_turn_rad: float = 0.06


@dataclass(frozen=True)
class _Step:
    lift_s: float
    land_s: float
    start_xy: Float[ndarray, "2"]
    end_xy: Float[ndarray, "2"]
    start_yaw: float
    end_yaw: float

    @property
    def roll(self) -> float:
        """Share of the full heel-to-toe roll, from the forward part of the step."""
        forward = np.array([np.cos(self.end_yaw), np.sin(self.end_yaw)])
        return float(np.clip((self.end_xy - self.start_xy) @ forward / STEP_FOR_FULL_ROLL_M / 2.0, 0.0, 1.0))


def _places(path: Path, gait: Gait, foot: int, times: Float[ndarray, "steps"]) -> tuple[ndarray, ndarray]:
    """Where a foot belongs when the body is at `times` on the path: ankle ground point and yaw."""
    xy, heading = path(times)
    sign = 1.0 if foot == 0 else -1.0
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    return xy + sign * 0.5 * gait.width_m * left, heading + sign * TOE_OUT_RAD


def _steps(path: Path, gait: Gait, foot: int, begin_s: float, end_s: float) -> tuple[list[_Step], ndarray, float]:
    """Steps of one foot between two times; it moves in every second slot, and only if that is worth it."""
    first = int(np.floor(begin_s / gait.step_s)) - 3
    slots = np.arange(first + (first + foot) % 2, int(np.ceil(end_s / gait.step_s)) + 3, 2)
    places, yaws = _places(path, gait, foot, (slots + 1.52) * gait.step_s)
    here, yaw = places[0], float(yaws[0])
    first_xy, first_yaw, steps = here, yaw, []
    for slot, place, want in zip(slots[1:], places[1:], yaws[1:], strict=True):
        if np.linalg.norm(place - here) < gait.least_step_m and abs(want - yaw) < gait.least_turn_rad:
            continue
        steps.append(_Step((slot + 0.12) * gait.step_s, (slot + 0.92) * gait.step_s, here, place, yaw, float(want)))
        here, yaw = place, float(want)
    return steps, first_xy, first_yaw


def _bump(progress: Float[ndarray, "frames"]) -> Float[ndarray, "frames"]:
    """Lift during the swing: up fast, down slowly, zero at both ends."""
    return np.sin(np.pi * np.clip(progress, 0.0, 1.0) ** 0.8) ** 2


def _pitch(step: _Step, gait: Gait, time_s: Float[ndarray, "frames"]) -> Float[ndarray, "frames"]:
    """Heel rise before the swing, toes up before landing, and back to flat; zero elsewhere."""
    push = min_jerk((time_s - step.lift_s) / (0.45 * gait.step_s) + 1.0)
    swing = min_jerk((time_s - step.lift_s) / (0.85 * (step.land_s - step.lift_s)))
    flat = min_jerk((time_s - step.land_s) / (0.25 * gait.step_s))
    return step.roll * (0.75 * push - (0.75 + 0.35) * swing + 0.35 * flat)


def ankles_from_soles(
    rig: Rig,
    foot: int,
    xy_m: Float[ndarray, "frames 2"],
    lift_m: Float[ndarray, "frames"],
    yaw_rad: Float[ndarray, "frames"],
    pitch_rad: Float[ndarray, "frames"],
) -> Float[ndarray, "frames 3"]:
    """Ankle positions of a foot that rolls over its ball (pitch > 0) or its heel (pitch < 0) on the floor."""
    reach = float(rig.offset(f"{SIDES[foot]}_foot", f"{SIDES[foot]}_ankle")[2])
    along = np.where(pitch_rad > 0.0, reach, -HEEL_BEHIND_ANKLE_M)
    pivot = np.stack([np.zeros_like(along), np.full_like(along, -rig.sole_offset_m), along], axis=1)
    upright = heading_frame(yaw_rad)
    flat = np.column_stack([xy_m, rig.sole_offset_m + lift_m])
    return flat + apply(upright, pivot) - apply(upright @ rot(0, pitch_rad), pivot)


def _track(rig: Rig, path: Path, gait: Gait, foot: int, time_s: Float[ndarray, "frames"]) -> tuple[ndarray, ...]:
    steps, xy0, yaw0 = _steps(path, gait, foot, float(time_s[0]), float(time_s[-1]))
    xy, yaw = np.tile(xy0, (len(time_s), 1)), np.full(len(time_s), yaw0)
    lift, pitch = np.zeros(len(time_s)), np.zeros(len(time_s))
    for step in steps:
        progress = (time_s - step.lift_s) / (step.land_s - step.lift_s)
        share = min_jerk(progress)
        xy += share[:, None] * (step.end_xy - step.start_xy)
        yaw += share * (step.end_yaw - step.start_yaw)
        lift += gait.lift_m * _bump(progress)
        pitch += _pitch(step, gait, time_s)
    planted = np.ones(len(time_s), dtype=bool)
    for step in steps:
        planted &= (time_s <= step.lift_s) | (time_s >= step.land_s)
    planted &= np.abs(pitch) < 1e-3
    return ankles_from_soles(rig, foot, xy, lift, yaw, pitch), yaw, pitch, planted


def walk_feet(rig: Rig, path: Path, gait: Gait, time_s: Float[ndarray, "frames"]) -> Feet:
    """Feet of somebody who follows `path` (time -> place in metres, heading in radians).

    Left and right take turns in slots of `gait.step_s`; each foot is put where the body will be in the middle
    of its stance. With large thresholds in `gait` the same rule gives somebody who stands and shuffles.
    """
    tracks = [_track(rig, path, gait, foot, time_s) for foot in (0, 1)]
    ankle, yaw, pitch, planted = (np.stack(part, axis=1) for part in zip(*tracks, strict=True))
    return Feet(ankle, yaw, pitch, planted, np.zeros_like(yaw))
