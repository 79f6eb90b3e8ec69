"""A performer: style, and the pieces every act is made of (path, stance, sway, gaze, assembled intent)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from codebase.synthetic.motion.curves import drift, drift3, schedule
from codebase.synthetic.motion.feet import Feet, Gait, Path, walk_feet
from codebase.synthetic.motion.hands import HANG, Hand, HandTrack, track
from codebase.synthetic.motion.rig import Rig, heading_frame
from codebase.synthetic.motion.solve import Intent

Curve = Float[ndarray, "frames"]


@dataclass(frozen=True)
class Style:
    """What makes one performer's manner differ from another's; the same in all acts of a seed."""

    speed: float
    amplitude: float
    slouch_rad: float
    gaze_down_rad: float
    stance_m: float
    arm_out: float
    right_handed: bool

    @staticmethod
    def of(seed: int) -> Style:
        """Draw a style from the performer's seed."""
        rng = np.random.default_rng([seed, 7919])
        return Style(
            speed=rng.uniform(0.85, 1.2),
            amplitude=rng.uniform(0.8, 1.15),
            slouch_rad=rng.uniform(-0.04, 0.16),
            gaze_down_rad=rng.uniform(-0.05, 0.18),
            stance_m=rng.uniform(0.16, 0.27),
            arm_out=rng.uniform(-0.02, 0.08),
            right_handed=bool(rng.uniform() < 0.88),
        )


@dataclass
class Performer:
    """One take: the skeleton, the style, the random numbers and the fine time grid."""

    rig: Rig
    style: Style
    rng: Generator
    time_s: Curve
    seat_m: float | None = field(default=None)

    @property
    def hand(self) -> int:
        """Index (0 left, 1 right) of the preferred hand."""
        return 1 if self.style.right_handed else 0

    def zeros(self, width: int = 3) -> Float[ndarray, "frames {width}"]:
        """An all-zero curve with `width` columns."""
        return np.zeros((len(self.time_s), width))

    def states(
        self, count: int, hold_s: tuple[float, float], *, blend_s: float = 0.7, cyclic: bool = False
    ) -> Float[ndarray, "frames {count}"]:
        """A schedule of states at this performer's speed."""
        pace = 1.0 / self.style.speed
        hold = hold_s[0] * pace, hold_s[1] * pace
        return schedule(self.rng, self.time_s, count, hold_s=hold, blend_s=blend_s * pace, cyclic=cyclic)

    def hands(
        self, postures: tuple[Hand, ...], weights: Float[ndarray, "frames n"], liveliness: float = 0.05
    ) -> HandTrack:
        """A hand that follows postures, with beats and drift of its own so that it never freezes."""
        made = track(postures, weights)
        made.offset += drift3(self.rng, self.time_s, liveliness * self.style.amplitude, highest_hz=0.9)
        made.extra += drift3(self.rng, self.time_s, 2.5 * liveliness, highest_hz=0.6)
        return made

    def idle(self, posture: Hand = HANG) -> HandTrack:
        """A hand that stays in one posture but for a little drift."""
        made = self.hands((posture,), np.ones((len(self.time_s), 1)), 0.025)
        made.offset[:, 0] += self.style.arm_out
        return made

    def pair(self, preferred: HandTrack, other: HandTrack) -> tuple[HandTrack, HandTrack]:
        """(left, right) from (preferred, other)."""
        return (other, preferred) if self.style.right_handed else (preferred, other)

    def standing_path(
        self, *, turn_rad: float = 0.9, roam_m: float = 0.12, hold_s: tuple[float, float] = (1.8, 3.5)
    ) -> Path:
        """A place in the room and a facing that changes now and then; heading and place are random."""
        count = 5
        time = np.arange(self.time_s[0] - 6.0, self.time_s[-1] + 6.0, 0.05)
        weights = schedule(self.rng, time, count, hold_s=hold_s, blend_s=1.3)
        facing = self.rng.uniform(-np.pi, np.pi) + turn_rad * self.rng.uniform(-1.0, 1.0, count)
        radius, angle = 0.85 * np.sqrt(self.rng.uniform()), self.rng.uniform(-np.pi, np.pi)
        spots = radius * np.array([np.cos(angle), np.sin(angle)]) + roam_m * self.rng.normal(size=(count, 2))
        heading, xy = weights @ facing, weights @ spots

        def path(times: Float[ndarray, "times"]) -> tuple[ndarray, ndarray]:
            place = np.stack([np.interp(times, time, xy[:, axis]) for axis in (0, 1)], axis=1)
            return place, np.interp(times, time, heading)

        return path

    def shuffle(self) -> Gait:
        """How this person steps when standing about: rarely, and only if it is worth it."""
        return Gait(0.62 / self.style.speed, self.style.stance_m, 0.05, least_step_m=0.14, least_turn_rad=0.4)

    def stand(self, both: tuple[HandTrack, HandTrack], *, path: Path | None = None, gait: Gait | None = None) -> Intent:
        """Somebody on two feet: steps along a path, shifts weight, breathes, looks about."""
        path = path or self.standing_path()
        gait = gait or self.shuffle()
        feet = walk_feet(self.rig, path, gait, self.time_s)
        xy, heading = path(self.time_s)
        shift = self.states(3, (1.6, 3.4), blend_s=1.1) @ np.array([-1.0, 1.0, 0.0]) * 0.055 * self.style.amplitude
        intent = self.intent(both, xy, heading, feet, np.full(len(self.time_s), 1.02 * self.rig.standing_m))
        left = heading_frame(heading)[:, :2, 0]
        intent.root_xy_m = intent.root_xy_m + shift[:, None] * left - 0.015 * heading_frame(heading)[:, :2, 2]
        intent.tilt_rad[:, 2] += 0.9 * shift
        intent.spine_rad[:, 2] -= 1.3 * shift
        return intent

    def intent(
        self,
        both: tuple[HandTrack, HandTrack],
        xy: Float[ndarray, "frames 2"],
        heading: Curve,
        feet: Feet,
        height: Curve,
    ) -> Intent:
        """An intent with posture, breathing, sway and gaze filled in."""
        time, style = self.time_s, self.style
        spine = drift3(self.rng, time, 0.06 * style.amplitude, highest_hz=0.5)
        breath = np.sin(2.0 * np.pi * 0.27 * style.speed * time + self.rng.uniform(0.0, 6.28))
        spine[:, 0] += style.slouch_rad - 0.012 * breath
        head = drift3(self.rng, time, 0.06, highest_hz=0.7)
        head[:, 0] += style.gaze_down_rad - 0.5 * style.slouch_rad
        head[:, 1] += self.states(4, (1.0, 2.4), blend_s=0.5) @ self.rng.uniform(-0.55, 0.55, 4)
        tilt = drift3(self.rng, time, 0.03)
        tilt[:, 0] += 0.04
        sway = np.stack([drift(self.rng, time, 0.012, highest_hz=0.6) for _ in range(2)], axis=1)
        return Intent(time, xy + sway, heading, height, tilt, spine, head, feet, self.zeros(2), both, 0.012 * breath)


def lean(intent: Intent, pitch_rad: Curve, *, stature_m: float = 0.85) -> None:
    """Bend forward in hips and spine; the pelvis goes back so that the person stays over the feet."""
    intent.tilt_rad[:, 0] += 0.5 * pitch_rad
    intent.spine_rad[:, 0] += 0.5 * pitch_rad
    back = 0.26 * stature_m * np.sin(np.clip(pitch_rad, 0.0, 1.6))
    intent.root_xy_m = intent.root_xy_m - back[:, None] * heading_frame(intent.heading_rad)[:, :2, 2]


def crouch(intent: Intent, depth_m: Curve) -> None:
    """Bend the knees by `depth_m`: the pelvis comes down and a little back."""
    intent.height_m = intent.height_m - depth_m
    back = 0.35 * np.clip(depth_m, 0.0, None)
    intent.root_xy_m = intent.root_xy_m - back[:, None] * heading_frame(intent.heading_rad)[:, :2, 2]
    intent.knee_out += np.clip(depth_m, 0.0, 1.0)[:, None]
