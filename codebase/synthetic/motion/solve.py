"""From what a performer intends (root, spine, gaze, feet, hands) to SMPL pose parameters."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.synthetic.motion.feet import Feet
from codebase.synthetic.motion.hands import Hand, HandTrack
from codebase.synthetic.motion.ik import STRAIGHTEST, carry, two_bone
from codebase.synthetic.motion.limits import enforce
from codebase.synthetic.motion.rig import (
    MIRROR,
    SIDES,
    J,
    Rig,
    apply,
    heading_frame,
    rot,
    rotations,
    rotvecs,
    unit,
)

Mats = Float[ndarray, "frames 3 3"]
Vecs = Float[ndarray, "frames 3"]

HINGE_LEG = np.array([1.0, 0.0, 0.0])
HINGE_ARM = np.array([0.0, 1.0, 0.0])
# half axes of the trunk (sideways, front to back) that wrists keep out of, for a person of 1.7 m
TRUNK_M = (0.195, 0.155)


@dataclass
class Intent:
    """What a performer does, frame by frame. World frame z up, metres, radians.

    `height_m` is the wished height of the pelvis joint (lowered where the legs would not reach); `tilt_rad` the
    pelvis' pitch (forward > 0), twist (left > 0) and roll (right side down > 0... about the forward axis);
    `spine_rad` and `head_rad` hold pitch, twist and roll summed over spine1..3 and over neck and head;
    `knee_out` opens the knees; `both` hands are (left, right).
    """

    time_s: Float[ndarray, "frames"]
    root_xy_m: Float[ndarray, "frames 2"]
    heading_rad: Float[ndarray, "frames"]
    height_m: Float[ndarray, "frames"]
    tilt_rad: Vecs
    spine_rad: Vecs
    head_rad: Vecs
    feet: Feet
    knee_out: Float[ndarray, "frames 2"]
    both: tuple[HandTrack, HandTrack]
    shrug_rad: Float[ndarray, "frames"]

    def at(self, frames: slice) -> Intent:
        """The same intent at some of its frames."""
        part = {f.name: getattr(self, f.name)[frames] for f in fields(self) if f.name not in ("feet", "both")}
        left, right = (HandTrack(t.hands, t.weights[frames], t.offset[frames], t.extra[frames]) for t in self.both)
        feet = Feet(**{f.name: getattr(self.feet, f.name)[frames] for f in fields(Feet)})
        return Intent(**part, feet=feet, both=(left, right))


def _turn(pitch_twist_roll: Vecs, share: float = 1.0) -> Mats:
    return rotations(share * pitch_twist_roll)


def _pelvis(rig: Rig, intent: Intent) -> tuple[Vecs, Mats]:
    """Pelvis position and orientation; it comes down until both ankles are within reach of the hips."""
    orient = heading_frame(intent.heading_rad) @ _turn(intent.tilt_rad)
    height = intent.height_m.copy()
    for foot, side in enumerate(SIDES):
        hip = apply(orient, rig.offset(f"{side}_hip", "pelvis"))
        ankle = intent.feet.ankle_m[:, foot]
        gap = np.linalg.norm(intent.root_xy_m + hip[:, :2] - ankle[:, :2], axis=1)
        length = 0.99 * STRAIGHTEST * rig.leg_m
        highest = ankle[:, 2] + np.sqrt(np.maximum(length**2 - gap**2, 0.09 * length**2)) - hip[:, 2]
        height = height - 0.012 * np.logaddexp(0.0, (height - highest) / 0.012)
    return np.column_stack([intent.root_xy_m, height]), orient


def _foot_orientation(intent: Intent, foot: int) -> Mats:
    return heading_frame(intent.feet.yaw_rad[:, foot]) @ rot(0, intent.feet.pitch_rad[:, foot])


def _slerp(first: Mats, second: Mats, share: Float[ndarray, "frames"]) -> Mats:
    return first @ rotations(share[:, None] * rotvecs(first.transpose(0, 2, 1) @ second))


def _leg(rig: Rig, intent: Intent, foot: int, pelvis: Vecs, orient: Mats) -> tuple[dict[str, Mats], Vecs, Vecs]:
    """Local rotations of hip, knee, ankle and foot; and the world positions of hip and knee."""
    side, sign = SIDES[foot], 1.0 if foot == 0 else -1.0
    into = orient.transpose(0, 2, 1)
    hip = pelvis + apply(orient, rig.offset(f"{side}_hip", "pelvis"))
    foot_world = _foot_orientation(intent, foot)
    outward = np.zeros((len(pelvis), 3))
    outward[:, 0], outward[:, 1] = sign * (0.08 + intent.knee_out[:, foot]), 0.25
    flat_yaw = heading_frame(intent.feet.yaw_rad[:, foot])[:, :, 2]
    pole = apply(orient, np.array([0.0, 0.0, 1.0])) + flat_yaw * (1.0 - intent.feet.loose[:, [foot]])
    pole = apply(into, pole) + outward
    thigh_rest, shin_rest = rig.offset(f"{side}_knee", f"{side}_hip"), rig.offset(f"{side}_ankle", f"{side}_knee")
    lengths = float(np.linalg.norm(thigh_rest)), float(np.linalg.norm(shin_rest))
    thigh, shin, normal = two_bone(apply(into, intent.feet.ankle_m[:, foot] - hip), pole, *lengths)
    up = carry(thigh_rest, HINGE_LEG, thigh, -normal)
    low = carry(shin_rest, HINGE_LEG, shin, -normal)
    free = low @ rot(0, np.full(len(pelvis), 0.35))
    ankle = _slerp(into @ foot_world, free, intent.feet.loose[:, foot])
    toes = rot(0, -0.9 * np.clip(intent.feet.pitch_rad[:, foot], 0.0, None))
    local = {
        f"{side}_hip": up,
        f"{side}_knee": up.transpose(0, 2, 1) @ low,
        f"{side}_ankle": low.transpose(0, 2, 1) @ ankle,
        f"{side}_foot": toes,
    }
    return local, hip, hip + apply(orient, thigh * lengths[0])


@dataclass
class _Trunk:
    """World frames that hands may refer to."""

    pelvis: Vecs
    pelvis_turn: Mats
    chest: Vecs
    chest_turn: Mats
    head: Vecs
    head_turn: Mats
    heading_turn: Mats
    hips: list[Vecs]
    knees: list[Vecs]


def _wrist(rig: Rig, trunk: _Trunk, hand: Hand, side: int, shoulder: Vecs) -> Vecs:
    """World position of the wrist in one posture."""
    sign = 1.0 if side == 0 else -1.0
    at = np.array(hand.at) * np.array([sign, 1.0, 1.0])
    if hand.anchor == "shoulder":
        return shoulder + apply(trunk.chest_turn, rig.arm_m * at)
    if hand.anchor == "head":
        return trunk.head + apply(trunk.head_turn, rig.scale * at)
    if hand.anchor == "pelvis":
        return trunk.pelvis + apply(trunk.pelvis_turn, rig.scale * at)
    if hand.anchor == "ground":
        ground = trunk.pelvis * np.array([1.0, 1.0, 0.0])
        return ground + apply(trunk.heading_turn, rig.scale * at)
    bone = trunk.knees[side] - trunk.hips[side]
    left = trunk.heading_turn[:, :, 0]
    above = np.cross(unit(bone), left)
    above = unit(np.where(above[:, 2:] < 0.0, -above, above))
    return trunk.hips[side] + at[2] * bone + rig.scale * (at[1] * above + at[0] * left)


def _outside_trunk(rig: Rig, trunk: _Trunk, wrist: Vecs) -> Vecs:
    """Push wrists out of the elliptic column from the hips to the armpits, in the chest's frame."""
    local = apply(trunk.chest_turn.transpose(0, 2, 1), wrist - trunk.chest)
    axes = rig.scale * np.array(TRUNK_M)
    reach = np.maximum(np.linalg.norm(local[:, [0, 2]] / axes, axis=1), 1e-3)
    low, high = -0.42 * rig.scale, 0.14 * rig.scale
    ramp = np.clip((local[:, 1] - low) / 0.1, 0.0, 1.0) * np.clip((high - local[:, 1]) / 0.1, 0.0, 1.0)
    push = 1.0 + ramp * np.clip(1.0 / reach - 1.0, 0.0, 4.0)
    local[:, [0, 2]] *= push[:, None]
    return trunk.chest + apply(trunk.chest_turn, local)


def _collar(rig: Rig, reach: Vecs, shrug: Float[ndarray, "frames"]) -> Mats:
    """The shoulder girdle follows the arm (as a left one): up when it is raised, forward when it reaches across."""
    aim = reach / rig.arm_m
    lift = np.clip(0.28 * (aim[:, 1] + 0.45), -0.14, 0.36) + shrug
    forward = np.clip(0.22 * (aim[:, 2] - 0.45) - 0.12 * aim[:, 0], -0.12, 0.25)
    return rotations(np.column_stack([np.zeros(len(aim)), -forward, lift]))


def _bow(local: Vecs, reach_m: float, track: HandTrack) -> Vecs:
    """Between two postures a hand that would pass close by its shoulder goes round it in front.

    On the straight way the elbow would fold and flip in an instant.
    """
    between = 2.0 * (1.0 - (track.weights**2).sum(1))
    near = np.clip((0.85 - np.linalg.norm(local, axis=1) / reach_m) / 0.45, 0.0, 1.0)
    return local + (0.45 * reach_m * between * near)[:, None] * np.array([0.15, -0.15, 1.0])


def _arm(rig: Rig, intent: Intent, trunk: _Trunk, side: int) -> dict[str, Mats]:
    """Local rotations of collar, shoulder, elbow and wrist of one side."""
    name, track = SIDES[side], intent.both[side]
    flip = np.eye(3) if side == 0 else MIRROR
    into = trunk.chest_turn.transpose(0, 2, 1)
    at_rest = trunk.chest + apply(trunk.chest_turn, rig.offset(f"{name}_shoulder", "spine3"))
    wrist = sum(track.weights[:, [k]] * _wrist(rig, trunk, hand, side, at_rest) for k, hand in enumerate(track.hands))
    wrist = wrist + apply(trunk.chest_turn, rig.arm_m * track.offset @ flip)
    wrist = _outside_trunk(rig, trunk, wrist)
    collar = _collar(rig, apply(into, wrist - at_rest) @ flip, intent.shrug_rad)
    rest = {part: rig.offset(f"{name}_{part}", f"{name}_{parent}") @ flip
            for part, parent in (("shoulder", "collar"), ("elbow", "shoulder"), ("wrist", "elbow"))}  # fmt: skip
    root = rig.offset(f"{name}_collar", "spine3") @ flip
    shoulder = root + apply(collar, rest["shoulder"])
    local = apply(into, wrist - trunk.chest) @ flip - shoulder
    lengths = float(np.linalg.norm(rest["elbow"])), float(np.linalg.norm(rest["wrist"]))
    local = _bow(local, sum(lengths), track)
    upper, fore, normal = two_bone(local, track.blended("elbow"), *lengths, soft=0.03)
    arm = carry(rest["elbow"], HINGE_ARM, upper, normal)
    forearm = carry(rest["wrist"], HINGE_ARM, fore, normal)
    pronate, flex, deviate = track.blended("angles").T
    axis = unit(rest["wrist"])
    half = rotations(0.5 * pronate[:, None] * axis)
    found = {
        "collar": collar,
        "shoulder": collar.transpose(0, 2, 1) @ arm,
        "elbow": arm.transpose(0, 2, 1) @ forearm @ half,
        "wrist": half @ rot(2, -flex) @ rot(1, -deviate),
        "hand": rot(2, np.full(len(flex), -0.2)),
    }
    return {f"{name}_{part}": flip @ turn @ flip for part, turn in found.items()}


def _trunk(rig: Rig, intent: Intent, pelvis: Vecs, orient: Mats) -> tuple[dict[str, Mats], _Trunk]:
    """Local rotations from spine1 to head, and the frames that hands refer to."""
    spread = {"spine1": 0.36, "spine2": 0.34, "spine3": 0.30}
    local = {joint: _turn(intent.spine_rad, share) for joint, share in spread.items()}
    local |= {"neck": _turn(intent.head_rad, 0.45), "head": _turn(intent.head_rad, 0.55)}
    where, turn, parent = pelvis, orient, "pelvis"
    frames: dict[str, tuple[Vecs, Mats]] = {}
    for joint in ("spine1", "spine2", "spine3", "neck", "head"):
        where = where + apply(turn, rig.offset(joint, parent))
        turn, parent = turn @ local[joint], joint
        frames[joint] = where, turn
    trunk = _Trunk(pelvis, orient, *frames["spine3"], *frames["head"], heading_frame(intent.heading_rad), [], [])
    return local, trunk


def solve(rig: Rig, intent: Intent) -> tuple[Float[ndarray, "frames 24 3"], Vecs]:
    """SMPL pose (axis-angle, radians, joint 0 body to world) and translation (metres) of an intent."""
    pelvis, orient = _pelvis(rig, intent)
    local, trunk = _trunk(rig, intent, pelvis, orient)
    for foot in (0, 1):
        leg, hip, knee = _leg(rig, intent, foot, pelvis, orient)
        local |= leg
        trunk.hips.append(hip)
        trunk.knees.append(knee)
    for side in (0, 1):
        local |= _arm(rig, intent, trunk, side)
    local["pelvis"] = orient
    pose = np.zeros((len(pelvis), 24, 3))
    for joint, matrices in local.items():
        pose[:, J[joint]] = rotvecs(matrices)
    return enforce(pose), pelvis - rig.rest_m[0]
