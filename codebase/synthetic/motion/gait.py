"""Walking: curved paths, planted feet, arm swing against the legs, a spine that counter-rotates."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.synthetic.motion import hands as h
from codebase.synthetic.motion.curves import drift
from codebase.synthetic.motion.feet import Gait, Path
from codebase.synthetic.motion.hands import HandTrack
from codebase.synthetic.motion.performer import Curve, Performer
from codebase.synthetic.motion.rig import heading_frame
from codebase.synthetic.motion.solve import Intent


def curved_path(who: Performer, speed_m_s: Curve | float, *, radius_m: float = 0.95) -> Path:
    """A closed curve around the room's middle (an ellipse with a wobble, or a figure of eight).

    `speed_m_s` is one figure or a curve over `who.time_s`; heading follows the tangent.
    """
    rng = who.rng
    axes = radius_m * rng.uniform(0.8, 1.1, 2)
    eight, sense = rng.uniform() < 0.3, rng.choice([-1.0, 1.0])
    phase, tilt, wobble = rng.uniform(0, 2 * np.pi), rng.uniform(-np.pi, np.pi), rng.uniform(0.0, 0.05)
    centre = rng.uniform(-0.12, 0.12, 2)
    angle = np.linspace(0.0, 2.0 * np.pi, 721)
    round_ = 1.0 + wobble * np.cos(3.0 * angle + phase)
    curve = np.stack([axes[0] * np.sin(angle), axes[1] * (np.sin(2 * angle) * 0.4 if eight else np.cos(angle))], 1)
    cos, sin = np.cos(tilt), np.sin(tilt)
    curve = (curve * round_[:, None])[:: int(sense)] @ np.array([[cos, sin], [-sin, cos]]) + centre
    gone = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    tangent = np.gradient(curve, gone, axis=0)
    tangent[0] = tangent[-1] = 0.5 * (tangent[0] + tangent[-1])
    heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    whole_turn = 2.0 * np.pi * np.round((heading[-1] - heading[0]) / (2.0 * np.pi))
    fine = np.arange(who.time_s[0] - 5.0, who.time_s[-1] + 5.0, 0.02)
    pace = np.interp(fine, who.time_s, np.broadcast_to(speed_m_s, who.time_s.shape))
    way = rng.uniform(0.0, gone[-1]) + np.cumsum(pace) * 0.02

    def path(times: Float[ndarray, "times"]) -> tuple[ndarray, ndarray]:
        along = np.interp(times, fine, way)
        lap, rest = np.divmod(along, gone[-1])
        place = np.stack([np.interp(rest, gone, curve[:, axis]) for axis in (0, 1)], axis=1)
        return place, np.interp(rest, gone, heading) + lap * whole_turn

    return path


def swing(who: Performer, intent: Intent, *, arms: tuple[float, float] = (1.0, 1.0)) -> None:
    """Arms against legs, pelvis with the legs, chest against the pelvis, weight over the standing foot.

    Everything hangs on how far apart the feet are along the heading, so it fades when the person stops.
    """
    forward = heading_frame(intent.heading_rad)[:, :2, 2]
    left = heading_frame(intent.heading_rad)[:, :2, 0]
    apart = intent.feet.ankle_m[:, 0] - intent.feet.ankle_m[:, 1]
    ahead = (apart[:, :2] * forward).sum(1)  # left foot ahead of the right one, metres
    raised = np.clip(intent.feet.ankle_m[:, :, 2] - who.rig.sole_offset_m, 0.0, 0.1)
    over = raised[:, 1] - raised[:, 0]  # right foot in the air: weight on the left one
    intent.tilt_rad[:, 1] -= 0.22 * ahead
    intent.spine_rad[:, 1] += 0.50 * ahead * who.style.amplitude
    intent.head_rad[:, 1] -= 0.25 * ahead
    intent.root_xy_m = intent.root_xy_m + (0.25 * over)[:, None] * left
    intent.tilt_rad[:, 2] -= 0.5 * over
    for side, sign in ((0, -1.0), (1, 1.0)):
        reach = 0.62 * who.style.amplitude * arms[side] * sign * ahead / who.rig.scale
        offset = intent.both[side].offset
        offset[:, 2] += reach + 0.04 * arms[side]
        offset[:, 1] += 0.25 * np.clip(reach, 0.0, None) + 0.05 * np.abs(reach)
        offset[:, 0] -= 0.16 * np.clip(reach, 0.0, None)


def walk_intent(
    who: Performer, both: tuple[HandTrack, HandTrack], speed_m_s: Curve | float, *, radius_m: float = 0.95
) -> Intent:
    """Somebody who walks along a curved path with the given hands; no arm swing yet."""
    mean = float(np.mean(speed_m_s))
    step_s = float(np.clip(0.66 - 0.12 * mean, 0.48, 0.66))
    gait = Gait(step_s, 0.62 * who.style.stance_m, 0.055 + 0.02 * mean)
    intent = who.stand(both, path=curved_path(who, speed_m_s, radius_m=radius_m), gait=gait)
    intent.tilt_rad[:, 0] += 0.03 * mean
    return intent


def walking(who: Performer) -> Intent:
    """Act 14: round the room at an easy pace, both arms swinging."""
    pace = 0.95 * who.style.speed * (1.0 + drift(who.rng, who.time_s, 0.12, highest_hz=0.3))
    intent = walk_intent(who, (who.idle(), who.idle()), pace)
    intent.head_rad[:, 1] *= 0.6
    swing(who, intent)
    return intent


def walk_dog(who: Performer) -> Intent:
    """Act 15: one hand holds a leash and is pulled now and then; slow stretches, a bend to stroke the dog."""
    states = who.states(3, (1.3, 2.6), blend_s=0.9)
    pace = who.style.speed * (states @ np.array([1.05, 0.6, 0.08]))
    leash = who.hands((h.LEASH, h.LEASH.moved(0.05, 0.1, 0.18), h.POINT_DOWN), states, 0.08)
    intent = walk_intent(who, who.pair(leash, who.idle()), pace)
    swing(who, intent, arms=(0.9, 0.15) if who.hand == 1 else (0.15, 0.9))
    bend = states[:, 2]
    intent.spine_rad[:, 0] += 0.15 + 0.55 * bend
    intent.tilt_rad[:, 0] += 0.35 * bend
    intent.height_m = intent.height_m - (0.10 + 0.14) * who.rig.scale * bend
    intent.head_rad[:, 0] += 0.25
    intent.head_rad[:, 1] += 0.25 * (-1.0 if who.hand == 1 else 1.0)
    return intent


def walk_together(who: Performer) -> Intent:
    """Act 16: a stroll beside a partner, head turned to them, one hand talking."""
    beside = who.rng.choice([-1.0, 1.0])  # partner to the left (+) or right (-)
    talk = who.states(4, (0.9, 1.9), blend_s=0.6)
    postures = (h.HANG, h.OPEN_FRONT, h.LOW_FRONT, h.COUNT)
    chatty = who.hands(postures, talk, 0.07)
    pace = 0.72 * who.style.speed * (1.0 + drift(who.rng, who.time_s, 0.15, highest_hz=0.3))
    intent = walk_intent(who, who.pair(chatty, who.idle()), pace)
    arms = [0.8, 0.8]
    arms[who.hand] = 0.25
    swing(who, intent, arms=(arms[0], arms[1]))
    turned = beside * (0.45 + 0.4 * who.states(2, (1.2, 2.2)) @ np.array([0.0, 1.0]))
    intent.head_rad[:, 1] = 0.4 * intent.head_rad[:, 1] + 0.75 * turned
    intent.spine_rad[:, 1] += 0.25 * turned
    return intent
