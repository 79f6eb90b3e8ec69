"""Acts on two feet: directions, discussion, eating, greeting, phoning, posing, purchases, smoking, photo, waiting."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.synthetic.motion import hands as h
from codebase.synthetic.motion.feet import Gait
from codebase.synthetic.motion.gait import swing, walk_intent
from codebase.synthetic.motion.performer import Curve, Performer, crouch, lean
from codebase.synthetic.motion.solve import Intent


def _beats(who: Performer, hz: float, amplitude: float) -> Curve:
    """A rhythm (chopping, waving, chewing) with a slowly changing strength."""
    pace = hz * who.style.speed
    wobble = 0.6 * np.sin(2 * np.pi * 0.31 * who.time_s + who.rng.uniform(0, 6))
    wave = np.sin(2 * np.pi * pace * who.time_s + wobble + who.rng.uniform(0, 6))
    return np.asarray(amplitude * who.style.amplitude * wave)


def _look(intent: Intent, weights: Float[ndarray, "frames n"], pitch_yaw: tuple[tuple[float, float], ...]) -> None:
    """Turn the head with the states of a schedule; each gives pitch (down > 0) and yaw (left > 0)."""
    aim = weights @ np.array(pitch_yaw)
    intent.head_rad[:, :2] = 0.5 * intent.head_rad[:, :2] + aim
    intent.spine_rad[:, 1] += 0.25 * aim[:, 1]


def directions(who: Performer) -> Intent:
    """Act 2: shows the way: points ahead, aside, across, up and down, eyes along the arm."""
    states = who.states(6, (0.8, 1.7), blend_s=0.6)
    postures = (h.POINT_AHEAD, h.POINT_OUT, h.POINT_ACROSS, h.POINT_UP, h.POINT_DOWN, h.OPEN_FRONT)
    other = who.hands((h.HANG, h.HIP, h.OPEN_FRONT, h.POINT_OUT), who.states(4, (1.5, 3.0)), 0.04)
    pointing = who.hands(postures, states)
    pointing.offset[:, 1] += _beats(who, 1.3, 0.035)
    intent = who.stand(who.pair(pointing, other), path=who.standing_path(turn_rad=1.2))
    out = -1.0 if who.hand == 1 else 1.0
    aims = ((0.0, 0.0), (0.0, 0.85 * out), (0.0, -0.6 * out), (-0.35, 0.4 * out), (0.35, 0.2 * out), (0.05, 0.0))
    _look(intent, states, aims)
    intent.spine_rad[:, 1] += states @ np.array([0.15, -0.25, 0.35, 0.0, 0.1, 0.0]) * -out
    return intent


def discussion(who: Performer) -> Intent:
    """Act 3: talks with both hands: open palms, counting, chopping, a hand to the chest."""
    states = who.states(7, (0.7, 1.5), blend_s=0.5)
    first = (h.OPEN_FRONT, h.OPEN_WIDE, h.PALMS_UP, h.CHOP, h.COUNT, h.HEART, h.LOW_FRONT)
    second = (h.OPEN_FRONT, h.OPEN_WIDE, h.PALMS_UP, h.LOW_FRONT, h.PALMS_UP, h.HANG, h.HANG)
    talk, reply = who.hands(first, states, 0.09), who.hands(second, states, 0.09)
    beat = _beats(who, 1.7, 0.06)
    talk.offset[:, 1] += beat
    reply.offset[:, 1] += beat * 0.7
    intent = who.stand(who.pair(talk, reply), path=who.standing_path(turn_rad=1.3))
    intent.head_rad[:, 0] += _beats(who, 0.8, 0.08)
    intent.spine_rad[:, 0] += 0.10 * states[:, 3] + 0.05
    intent.shrug_rad = intent.shrug_rad + 0.15 * states[:, 1]
    return intent


def eating(who: Performer) -> Intent:
    """Act 4: plate in one hand, the other one travels between plate and mouth."""
    states = who.states(2, (0.7, 1.3), blend_s=0.55, cyclic=True)
    over_plate = h.Hand("shoulder", (-0.28, -0.42, 0.54), (0.8, -0.7, -0.3), pronate=0.5, flex=0.3)
    fork = who.hands((over_plate, h.MOUTH), states, 0.02)
    fork.offset[:, 0] += _beats(who, 1.6, 0.03) * states[:, 0]
    plate = who.hands((h.PLATE, h.PLATE.moved(0.0, 0.12, 0.02)), who.states(2, (1.5, 3.0)), 0.03)
    intent = who.stand(who.pair(fork, plate), path=who.standing_path(turn_rad=0.8))
    intent.head_rad[:, 1] *= 0.5
    intent.head_rad[:, 0] += 0.22 * states[:, 0] + 0.10 * states[:, 1] + _beats(who, 1.5, 0.02)
    intent.spine_rad[:, 0] += 0.12
    return intent


def greeting(who: Performer) -> Intent:
    """Act 5: waves with raised forearm and open palm, waves high, shakes hands, bows, hails."""
    states = who.states(5, (1.3, 2.2), blend_s=0.6)
    hand = who.hands((h.WAVE, h.WAVE_HIGH, h.SHAKE, h.HEART, h.HAIL), states, 0.02)
    wave = np.sin(2 * np.pi * 1.9 * who.style.speed * who.time_s + who.rng.uniform(0, 6))
    waving = states[:, 0] + states[:, 1]
    hand.offset[:, 0] += 0.17 * waving * wave * who.style.amplitude
    hand.offset[:, 1] -= 0.05 * waving * np.abs(wave)
    hand.extra[:, 2] += 0.30 * waving * np.sin(2 * np.pi * 1.9 * who.style.speed * who.time_s + 0.8)
    hand.offset[:, 1] += 0.07 * states[:, 2] * wave
    other = who.hands((h.HANG, h.HIP, h.HANG.moved(0.1, 0.05, 0.05)), who.states(3, (2.0, 3.5)), 0.03)
    intent = who.stand(who.pair(hand, other), path=who.standing_path(turn_rad=1.0))
    lean(intent, 0.85 * states[:, 3] + 0.18 * states[:, 2])
    intent.head_rad[:, 1] *= 0.5
    intent.head_rad[:, 0] += 0.15 * states[:, 3] - 0.08 * states[:, 1]
    return intent


def phoning(who: Performer) -> Intent:
    """Act 6: a hand at the ear all the time, slow pacing, the free hand explains or rests."""
    phone = who.hands((h.EAR,), np.ones((len(who.time_s), 1)), 0.006)
    free = who.hands((h.HANG, h.OPEN_FRONT, h.HIP, h.POCKET, h.PALMS_UP), who.states(5, (0.9, 2.2)), 0.06)
    going = who.states(2, (1.5, 3.0), blend_s=1.0) @ np.array([0.5, 0.12]) * who.style.speed
    intent = walk_intent(who, who.pair(phone, free), going, radius_m=0.8)
    arms = [0.5, 0.5]
    arms[who.hand] = 0.0
    swing(who, intent, arms=(arms[0], arms[1]))
    toward = -1.0 if who.hand == 1 else 1.0
    intent.head_rad[:, 1] *= 0.5
    intent.head_rad[:, 2] -= 0.12 * toward
    intent.head_rad[:, 0] += 0.08 + _beats(who, 0.6, 0.05)
    return intent


def posing(who: Performer) -> Intent:
    """Act 7: poses for a picture one after the other: hips, wide arms, head, one leg to the side, twist."""
    states = who.states(6, (0.9, 1.7), blend_s=0.7)
    first = (h.HIP, h.HEAD_TOP, h.OPEN_WIDE.moved(0.25, 0.45, 0.0), h.CHIN, h.POINT_UP, h.FOLD_OVER)
    second = (h.HIP, h.HIP, h.OPEN_WIDE.moved(0.25, 0.45, 0.0), h.FOLD_UNDER, h.HIP, h.FOLD_UNDER)
    intent = who.stand(
        who.pair(who.hands(first, states, 0.02), who.hands(second, states, 0.02)),
        path=who.standing_path(turn_rad=1.6, hold_s=(1.4, 2.4)),
        gait=Gait(0.5 / who.style.speed, 1.25 * who.style.stance_m, 0.06, 0.12, 0.3),
    )
    out = -1.0 if who.hand == 1 else 1.0
    intent.tilt_rad[:, 2] += states @ np.array([0.10, 0.14, 0.0, -0.08, 0.06, 0.0]) * out
    intent.spine_rad[:, 1] += states @ np.array([0.35, -0.2, 0.0, 0.25, -0.3, 0.0]) * out
    intent.spine_rad[:, 2] += states @ np.array([-0.15, -0.28, 0.0, 0.0, 0.1, 0.0]) * out
    intent.spine_rad[:, 0] += states @ np.array([-0.05, -0.08, -0.16, 0.1, -0.12, -0.05])
    _look(intent, states, ((0.0, -0.4 * out), (-0.15, 0.3), (-0.3, 0.0), (0.15, 0.0), (-0.4, 0.3 * out), (0.0, 0.2)))
    crouch(intent, states @ np.array([0.0, 0.03, 0.10, 0.0, 0.02, 0.0]) * who.rig.scale)
    return intent


def purchases(who: Performer) -> Intent:
    """Act 8: shopping: takes things from a shelf, looks at them, picks up bags from the floor, carries them."""
    states = who.states(5, (0.8, 1.6), blend_s=0.75, cyclic=True)
    first = (h.SHELF, h.CARRY, h.FLOOR_FRONT, h.BAG, h.TABLE)
    second = (h.HANG, h.CARRY, h.FLOOR_FRONT, h.BAG, h.TABLE.moved(0.05, 0.0, -0.05))
    both = who.pair(who.hands(first, states, 0.03), who.hands(second, states, 0.03))
    intent = who.stand(both, path=who.standing_path(turn_rad=1.5, roam_m=0.2))
    floor = states[:, 2]
    crouch(intent, 0.30 * floor * who.rig.scale)
    lean(intent, 0.60 * floor + 0.35 * states[:, 4], stature_m=0.4)
    intent.spine_rad[:, 0] += 0.45 * floor
    swing(who, intent, arms=(0.2, 0.2))
    intent.head_rad[:, 1] *= 0.5
    intent.head_rad[:, 0] += states @ np.array([-0.25, 0.35, -0.15, 0.0, 0.2])
    return intent


def smoking(who: Performer) -> Intent:
    """Act 11: fingers to the lips, a draw, the hand sinks to the side; the other arm folded or in a pocket."""
    states = who.states(3, (0.9, 1.7), blend_s=0.75, cyclic=True)
    aside = h.Hand("shoulder", (0.34, -0.52, 0.52), (0.4, -1.0, -0.6), pronate=-0.2, flex=-0.15)
    cigarette = who.hands((h.LIPS, aside, h.HANG.moved(0.04, 0.05, 0.08)), states, 0.015)
    rest = who.hands((h.FOLD_UNDER, h.POCKET, h.HANG), who.states(3, (2.2, 4.0), blend_s=1.0), 0.02)
    intent = who.stand(who.pair(cigarette, rest), path=who.standing_path(turn_rad=0.9))
    intent.head_rad[:, 0] += states @ np.array([0.08, -0.28, 0.05])
    intent.head_rad[:, 1] *= 0.3 + 0.7 * (1.0 - states[:, 0])
    intent.shrug_rad = intent.shrug_rad + 0.05 * states[:, 0]
    return intent


def photo(who: Performer) -> Intent:
    """Act 12: camera at the eyes in both hands; upright, bent forward, crouched; lowers it to look."""
    states = who.states(4, (1.0, 1.9), blend_s=0.8)
    level = (h.EYES, h.EYES, h.EYES, h.CARRY.moved(0.0, 0.05, -0.08))
    below = (h.EYES_SUPPORT, h.EYES, h.EYES_SUPPORT, h.CARRY.moved(0.0, 0.05, -0.08))
    both = who.pair(who.hands(level, states, 0.008), who.hands(below, states, 0.008))
    intent = who.stand(
        both,
        path=who.standing_path(turn_rad=1.5, roam_m=0.18),
        gait=Gait(0.55 / who.style.speed, 1.2 * who.style.stance_m, 0.05, 0.12, 0.35),
    )
    crouch(intent, states @ np.array([0.0, 0.36, 0.10, 0.0]) * who.rig.scale)
    lean(intent, states @ np.array([0.04, 0.30, 0.45, 0.10]), stature_m=0.5)
    intent.head_rad[:, 1] *= 0.25
    intent.head_rad[:, 0] += states @ np.array([0.0, -0.22, -0.25, 0.42])
    return intent


def waiting(who: Performer) -> Intent:
    """Act 13: arms crossed, hands on hips, behind the back, in pockets; weight from leg to leg; looks round."""
    states = who.states(5, (1.2, 2.2), blend_s=0.9, cyclic=True)  # from behind the back only to places beside it
    first = (h.FOLD_OVER, h.HIP, h.BACK, h.POCKET, h.CHIN)
    second = (h.FOLD_UNDER, h.HIP, h.BACK.moved(-0.02, -0.05, -0.01), h.POCKET, h.FOLD_UNDER)
    both = who.pair(who.hands(first, states, 0.012), who.hands(second, states, 0.012))
    intent = who.stand(both, path=who.standing_path(turn_rad=1.3, roam_m=0.16))
    aims = who.rng.uniform(-0.75, 0.75, 5)
    _look(intent, who.states(5, (0.8, 1.8), blend_s=0.5), tuple((0.05, float(yaw)) for yaw in aims))
    intent.tilt_rad[:, 2] *= 1.5
    return intent
