"""Acts on a seat or on the floor: sitting, sitting down and getting up."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.synthetic.motion import hands as h
from codebase.synthetic.motion.curves import drift
from codebase.synthetic.motion.feet import Feet, ankles_from_soles
from codebase.synthetic.motion.performer import Curve, Performer
from codebase.synthetic.motion.rig import heading_frame
from codebase.synthetic.motion.solve import Intent

# from a seat (or the floor) up to the hip joints, and from the floor up to a seat; person of 1.7 m
FLESH_M = 0.085
SEAT_TOP_M = 0.43


def _spot(who: Performer) -> tuple[Float[ndarray, "frames 2"], Curve]:
    """Where the seat stands and which way it faces: both random, and fixed, since feet on the floor do not turn."""
    radius, angle = 0.6 * np.sqrt(who.rng.uniform()), who.rng.uniform(-np.pi, np.pi)
    xy = np.tile(radius * np.array([np.cos(angle), np.sin(angle)]), (len(who.time_s), 1))
    return xy, np.full(len(xy), who.rng.uniform(-np.pi, np.pi))


def _soles(
    who: Performer,
    pelvis_xy: Float[ndarray, "frames 2"],
    heading: Curve,
    ahead_m: Float[ndarray, "frames 2"],
    aside_m: Float[ndarray, "frames 2"],
) -> Feet:
    """Feet flat on the floor, each so far ahead of the pelvis and aside of the middle."""
    axes, ankles, yaws = heading_frame(heading), [], []
    for foot, sign in ((0, 1.0), (1, -1.0)):
        xy = pelvis_xy + ahead_m[:, [foot]] * axes[:, :2, 2] + sign * aside_m[:, [foot]] * axes[:, :2, 0]
        yaw, flat = heading + sign * 0.15, np.zeros(len(heading))
        ankles.append(ankles_from_soles(who.rig, foot, xy, flat, yaw, flat))
        yaws.append(yaw)
    flags = np.ones((len(heading), 2), dtype=bool)
    return Feet(np.stack(ankles, 1), np.stack(yaws, 1), who.zeros(2), flags, who.zeros(2))


def _blend(first: Feet, second: Feet, share: Float[ndarray, "frames 2"], lift_m: float = 0.0) -> Feet:
    """Feet on their way from one arrangement to another, a little in the air while between."""
    mix = share[:, :, None]
    ankle = (1.0 - mix) * first.ankle_m + mix * second.ankle_m
    ankle[:, :, 2] += 4.0 * lift_m * share * (1.0 - share)
    still = np.where(share < 0.01, first.planted, (share > 0.99) & second.planted)
    return Feet(
        ankle,
        (1.0 - share) * first.yaw_rad + share * second.yaw_rad,
        (1.0 - share) * first.pitch_rad + share * second.pitch_rad,
        still,
        (1.0 - share) * first.loose + share * second.loose,
    )


def _place(
    who: Performer, xy: ndarray, heading: Curve, at: tuple[tuple[float, float, float], ...], loose: float
) -> Feet:
    """Ankles at (outward, up, forward) metres from the floor point below the pelvis, one triple a foot."""
    axes, scale = heading_frame(heading), who.rig.scale
    ankles = []
    for foot, sign in ((0, 1.0), (1, -1.0)):
        out, up, ahead = np.array(at[foot]) * scale
        ground = xy + sign * out * axes[:, :2, 0] + ahead * axes[:, :2, 2]
        ankles.append(np.column_stack([ground, np.full(len(xy), up)]))
    yaw = np.stack([heading, heading], axis=1)
    none = np.zeros((len(xy), 2))
    return Feet(np.stack(ankles, 1), yaw, none, none > 1.0, none + loose)


def _chair_feet(who: Performer, xy: ndarray, heading: Curve) -> Feet:
    """Below the knees, now and then stretched out, drawn back or one leg over the other."""
    rig = who.rig
    states = who.states(4, (1.6, 3.2), blend_s=0.8)
    knee = rig.length("left_knee", "left_hip")
    ahead = knee + rig.scale * np.stack(
        [states @ np.array([0.0, 0.22, -0.10, 0.05]), states @ np.array([0.02, 0.16, 0.06, 0.05])], 1
    )
    aside = rig.scale * np.stack(
        [states @ np.array([0.12, 0.13, 0.10, 0.14]), states @ np.array([0.12, 0.10, 0.14, 0.12])], 1
    )
    feet = _soles(who, xy, heading, ahead, aside)
    if who.rng.uniform() < 0.5:
        crossed = _place(who, xy, heading, ((-0.19, 0.36, 0.60), (0.12, 0.1, 0.5)), 1.0)
        share = who.zeros(2)
        share[:, 0] = states[:, 3]
        feet = _blend(feet, crossed, share, 0.06)
    moving = np.linalg.norm(np.gradient(feet.ankle_m, who.time_s, axis=0), axis=2) > 0.005
    feet.planted &= ~moving
    return feet


def _floor_feet(who: Performer, xy: ndarray, heading: Curve) -> tuple[Feet, Float[ndarray, "frames 2"], ndarray]:
    """On the floor: cross-legged, knees up, legs stretched; gives feet, knee opening and the weights of the three."""
    states = who.states(3, (2.0, 3.6), blend_s=1.0)
    cross = _place(who, xy, heading, ((-0.10, 0.115, 0.34), (-0.12, 0.10, 0.25)), 1.0)
    sole = np.ones((len(xy), 2)) * who.rig.scale
    up = _soles(who, xy, heading, 0.52 * sole, 0.12 * sole)
    long = _place(who, xy, heading, ((0.10, 0.075, 0.80), (0.11, 0.075, 0.76)), 1.0)
    feet = _blend(cross, up, states[:, [1, 1]], 0.0)
    feet = _blend(feet, long, states[:, [2, 2]], 0.0)
    return feet, np.repeat(0.25 * states[:, [0]], 2, axis=1), states


def _seat(who: Performer, top_m: float) -> float:
    """Height of the pelvis joint of somebody upright on a seat."""
    hips = 0.5 * (who.rig.offset("left_hip", "pelvis") + who.rig.offset("right_hip", "pelvis"))
    return (top_m + FLESH_M) * who.rig.scale - float(hips[1])


def sitting(who: Performer) -> Intent:
    """Act 9: on a chair (or, every third take, on the floor): hands on thighs, talking, leaning, leg over leg."""
    on_floor = who.rng.uniform() < 0.34
    xy, heading = _spot(who)
    states = who.states(5, (1.0, 2.0), blend_s=0.7)
    first = (h.THIGH, h.LAP, h.CHIN, h.OPEN_FRONT, h.KNEE)
    second = (h.THIGH, h.LAP, h.LAP, h.PALMS_UP, h.KNEE)
    both = who.pair(who.hands(first, states, 0.012), who.hands(second, states, 0.012))
    if on_floor:
        feet, knees, floor = _floor_feet(who, xy, heading)
    else:
        feet, knees, floor = _chair_feet(who, xy, heading), who.zeros(2), who.zeros(3)
    who.seat_m = None if on_floor else SEAT_TOP_M * who.rig.scale
    height = np.full(len(who.time_s), _seat(who, 0.0 if on_floor else SEAT_TOP_M))
    intent = who.intent(both, xy, heading, feet, height)
    intent.root_xy_m = xy
    intent.knee_out += knees
    intent.tilt_rad[:, 0] += -0.12 - 0.28 * on_floor
    intent.spine_rad[:, 1] += drift(who.rng, who.time_s, 0.35, highest_hz=0.3)
    slump = states @ np.array([0.05, 0.1, 0.32, 0.0, 0.38])
    intent.spine_rad[:, 0] += slump + 0.12 + 0.28 * on_floor + 0.12 * floor[:, 2]
    intent.head_rad[:, 0] -= 0.4 * slump
    return intent


def sitting_down(who: Performer) -> Intent:
    """Act 10: stands, sits down on a chair or the floor, stays for a while, gets up again, over and over.

    The feet stay where they are; the trunk bends forward on the way so that the weight is over them.
    """
    on_floor = who.rng.uniform() < 0.5
    top = 0.0 if on_floor else SEAT_TOP_M
    xy, heading = _spot(who)
    down = who.states(2, (1.5, 2.4), blend_s=1.5, cyclic=True)[:, 1]
    between = 4.0 * down * (1.0 - down)
    forward = heading_frame(heading)[:, :2, 2]
    ahead = (0.55 if on_floor else 0.39) * who.rig.scale
    sole = np.ones((len(xy), 2)) * who.rig.scale
    feet = _soles(who, xy, heading, ahead * np.ones((len(xy), 2)), (0.5 * who.style.stance_m + 0.02) * sole)
    hands = who.states(3, (1.6, 2.6))
    settled = (h.HANG, h.SHINS, h.FLOOR_BEHIND) if on_floor else (h.HANG, h.THIGH, h.KNEE)
    often = np.column_stack([1.0 - down, down * (hands[:, 0] + hands[:, 1]), down * hands[:, 2]])
    seldom = np.column_stack([1.0 - down, down * (hands[:, 0] + hands[:, 2]), down * hands[:, 1]])
    rest = who.hands(settled, often, 0.015)
    other = who.hands((*settled[:2], h.LOW_FRONT), seldom, 0.015)
    low, high = _seat(who, top), 1.02 * who.rig.standing_m
    intent = who.intent(who.pair(rest, other), xy, heading, feet, high + (low - high) * down)
    intent.root_xy_m = intent.root_xy_m + ((1.0 - down) * ahead + 0.10 * between * who.rig.scale)[:, None] * forward
    who.seat_m = None if on_floor else SEAT_TOP_M * who.rig.scale
    for side in intent.both:
        side.offset[:, 2] += 0.45 * between
        side.offset[:, 1] += 0.25 * between
    intent.tilt_rad[:, 0] += (0.25 if on_floor else 0.42) * between - (0.42 if on_floor else 0.12) * down
    intent.spine_rad[:, 0] += (0.55 if on_floor else 0.38) * between + (0.50 if on_floor else 0.12) * down
    intent.head_rad[:, 0] -= 0.25 * between
    intent.knee_out += 0.25 * between[:, None]
    return intent
