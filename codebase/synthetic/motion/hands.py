"""Where hands go: named hand postures relative to a part of the body, and their cross-fades over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Anchor = Literal["shoulder", "head", "pelvis", "thigh", "ground"]


@dataclass(frozen=True)
class Hand:
    """A posture of one hand, written for the left side; the right one is its mirror image.

    `at` is the wrist in the anchor's frame, (outward, up, forward): in arm lengths for `shoulder` (chest axes,
    origin at this side's shoulder), in metres of a 1.7 m person for `head`, `pelvis` and `ground` (origin on
    the floor below the pelvis). For `thigh` it is (outward, above, share of the way from hip to knee).
    `elbow` is the direction in which the elbow points (chest axes). Angles in radians: `pronate` > 0 turns the
    palm down or back, `flex` > 0 bends the hand towards the palm, `deviate` > 0 towards the thumb.
    """

    anchor: Anchor
    at: tuple[float, float, float]
    elbow: tuple[float, float, float] = (0.5, -1.0, -0.5)
    pronate: float = 0.0
    flex: float = 0.0
    deviate: float = 0.0

    def moved(self, outward: float = 0.0, up: float = 0.0, forward: float = 0.0) -> Hand:
        """The same posture somewhere else, in the anchor's units."""
        x, y, z = self.at
        return replace(self, at=(x + outward, y + up, z + forward))


HANG = Hand("shoulder", (0.16, -0.93, 0.12), (0.45, 0.0, -1.0), pronate=0.25, flex=0.15)
LOW_FRONT = Hand("shoulder", (-0.08, -0.55, 0.60), (0.6, -0.4, -0.8), pronate=0.2)
OPEN_FRONT = Hand("shoulder", (0.22, -0.38, 0.66), (0.6, -0.8, -0.5), pronate=-1.1)
OPEN_WIDE = Hand("shoulder", (0.58, -0.32, 0.52), (0.5, -0.9, -0.4), pronate=-1.3, flex=-0.2)
PALMS_UP = Hand("shoulder", (0.12, -0.52, 0.58), (0.5, -0.8, -0.6), pronate=-1.5)
CHOP = Hand("shoulder", (0.02, -0.22, 0.72), (0.7, -0.8, -0.3), pronate=0.2)
COUNT = Hand("shoulder", (-0.14, -0.28, 0.58), (0.7, -0.7, -0.4), pronate=-0.6, flex=0.3)
POINT_AHEAD = Hand("shoulder", (0.02, 0.06, 0.97), (0.6, -0.9, 0.0), pronate=0.8)
POINT_OUT = Hand("shoulder", (0.84, 0.08, 0.45), (0.2, -0.9, -0.4), pronate=0.7)
POINT_ACROSS = Hand("shoulder", (-0.55, 0.02, 0.75), (0.9, -0.5, 0.1), pronate=0.9)
POINT_UP = Hand("shoulder", (0.38, 0.62, 0.58), (0.8, -0.5, 0.0), pronate=0.6)
POINT_DOWN = Hand("shoulder", (0.25, -0.55, 0.76), (0.7, -0.3, -0.5), pronate=0.8)
WAVE = Hand("shoulder", (0.50, 0.36, 0.28), (0.75, -0.9, -0.25), pronate=0.1, flex=-0.2)
WAVE_HIGH = Hand("shoulder", (0.42, 0.78, 0.22), (1.0, -0.2, 0.1), pronate=0.15, flex=-0.2)
SHAKE = Hand("shoulder", (-0.14, -0.42, 0.74), (0.5, -0.9, -0.5), pronate=0.1)
HAIL = Hand("shoulder", (0.30, 0.20, 0.62), (0.8, -0.8, 0.0), pronate=0.5, flex=-0.45)
HEART = Hand("shoulder", (-0.42, -0.30, 0.32), (0.9, -0.6, 0.1), pronate=-0.5)
EAR = Hand("head", (0.13, -0.07, 0.05), (0.5, -1.0, 0.7), pronate=0.4, flex=-0.5)
MOUTH = Hand("head", (0.085, -0.045, 0.18), (0.45, -1.0, 0.0), pronate=-0.1, flex=0.6)
LIPS = Hand("head", (0.085, -0.055, 0.155), (0.4, -1.0, 0.0), pronate=-0.3, flex=0.5)
CHIN = Hand("head", (0.02, -0.16, 0.15), (0.55, -1.0, 0.1), pronate=-0.3, flex=-0.1)
HEAD_TOP = Hand("head", (0.13, 0.14, 0.05), (1.0, 0.15, 0.35), pronate=0.4, flex=0.3)
EYES = Hand("head", (0.12, 0.0, 0.26), (0.8, -0.75, 0.1), pronate=-0.9, flex=0.1)
EYES_SUPPORT = Hand("head", (0.055, -0.09, 0.25), (0.6, -0.9, 0.0), pronate=-0.7)
HIP = Hand("pelvis", (0.235, 0.085, 0.03), (1.0, 0.1, -0.55), pronate=0.6, flex=-0.55)
BACK = Hand("pelvis", (0.12, 0.0, -0.19), (0.6, 0.0, -1.0), pronate=0.7)
POCKET = Hand("pelvis", (0.245, -0.02, 0.055), (0.7, 0.1, -1.0), pronate=0.3)
PLATE = Hand("shoulder", (-0.22, -0.58, 0.46), (0.7, -0.6, -0.6), pronate=-1.6)
LEASH = Hand("shoulder", (0.16, -0.68, 0.56), (0.5, -0.3, -1.0), pronate=0.4)
FOLD_OVER = Hand("shoulder", (-0.50, -0.44, 0.42), (0.9, -0.8, 0.1), pronate=0.7)
FOLD_UNDER = Hand("shoulder", (-0.36, -0.52, 0.36), (0.9, -0.8, 0.0), pronate=0.2)
THIGH = Hand("thigh", (0.0, 0.115, 0.72), (0.6, -0.5, -0.8), pronate=1.0)
KNEE = Hand("thigh", (0.01, 0.105, 0.93), (0.7, -0.4, -0.6), pronate=1.0, flex=0.2)
LAP = Hand("thigh", (-0.085, 0.14, 0.45), (0.8, -0.5, -0.7), pronate=0.6)
SHINS = Hand("ground", (0.05, 0.36, 0.48), (0.9, -0.3, -0.2), pronate=0.4)
FLOOR_BEHIND = Hand("ground", (0.30, 0.09, -0.26), (0.4, 0.3, -1.0), pronate=1.0, flex=-0.9)
FLOOR_FRONT = Hand("ground", (0.13, 0.16, 0.44), (0.8, 0.1, -0.6), pronate=0.3)
CARRY = Hand("shoulder", (-0.10, -0.52, 0.62), (0.7, -0.6, -0.6), pronate=-0.35)
SHELF = Hand("shoulder", (-0.08, 0.42, 0.72), (0.8, -0.8, 0.0), pronate=0.2)
TABLE = Hand("shoulder", (0.05, -0.58, 0.66), (0.7, -0.2, -0.7), pronate=0.9)
BAG = Hand("shoulder", (0.22, -0.94, 0.08), (0.5, 0.0, -1.0), pronate=0.3)


@dataclass
class HandTrack:
    """Postures of one hand in turn: `weights` sum to one in every frame.

    `offset` moves the wrist and `extra` adds to (pronate, flex, deviate); both are written for the left side.
    `offset` is in arm lengths along the chest's axes: waving, chopping, drift.
    """

    hands: tuple[Hand, ...]
    weights: Float[ndarray, "frames hands"]
    offset: Float[ndarray, "frames 3"]
    extra: Float[ndarray, "frames 3"]

    def blended(self, name: Literal["elbow", "angles"]) -> Float[ndarray, "frames 3"]:
        """Weighted elbow direction, or weighted (pronate, flex, deviate) with the extra added."""
        if name == "elbow":
            return self.weights @ np.array([hand.elbow for hand in self.hands])
        return self.weights @ np.array([(h.pronate, h.flex, h.deviate) for h in self.hands]) + self.extra


def track(hands: tuple[Hand, ...], weights: Float[ndarray, "frames hands"]) -> HandTrack:
    """A hand that follows a schedule of postures, with no motion of its own yet."""
    return HandTrack(hands, weights, np.zeros((len(weights), 3)), np.zeros((len(weights), 3)))
