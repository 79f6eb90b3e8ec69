"""Do poses look like a person of the documented joint order, in mm, z up? If not: which usual mistake would explain it?

Bones tell a wrong order; but left and right exchanged leaves all lengths as they are. Noses and knees tell it: a person
whose hips say that they face forward has the nose before the neck and the knees before the line from hip to foot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.skeleton import H36M

_LIMBS = H36M.indices(*(f"{side}_{name}" for side in ("left", "right") for name in ("knee", "foot", "elbow", "wrist")))
_GAIN = 0.02
Poses = Float[ndarray, "poses 17 3"]

# From pelvis to head top, mm: catches metres. As in the stage check.
TRUNK_MM = (350.0, 1100.0)
# Left and right bones of a person, and one bone in time, differ by a few per cent at most.
LARGEST_ASYMMETRY, LARGEST_SPREAD = 0.15, 0.10
FEWEST_FORWARD = 0.35
# Lengths relative to the way root - spine - neck - head - head top; wide, so that children and dancers fit.
_PROPORTIONS = {
    "hip": (0.06, 0.35), "knee": (0.35, 1.0), "foot": (0.35, 1.0), "shoulder": (0.10, 0.45), "elbow": (0.22, 0.65),
    "wrist": (0.20, 0.60), "spine": (0.15, 0.55), "neck": (0.15, 0.55), "head": (0.05, 0.35), "head_top": (0.05, 0.35),
}  # fmt: skip
# The other orders people use, as the place of each of their joints in ours.
_OTHER_ORDERS = {
    "MPI-INF-3DHP's and MPII's order (head top, neck, right arm ...)": (
        "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "root", "spine", "head",
    ),
    "LSP's order (right foot first) with pelvis, spine and head behind": (
        "right_foot", "right_knee", "right_hip", "left_hip", "left_knee", "left_foot", "right_wrist", "right_elbow",
        "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top", "root", "spine", "head",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Body:
    """Figures of a sequence's poses.

    Attributes:
        trunk_mm: median distance from root to head top.
        asymmetry: largest relative difference of a bone and its mirror image, and the bone's name.
        spread: largest relative change of a limb's bone in time (5th to 95th percentile), and the bone's name.
        forward: share of poses whose nose and knees point to where the hips do; NaN where the pose does not tell.
        twisted: share of poses whose hips and shoulders face opposite ways.
        up: mean of the direction from the feet's middle to the head top, world frame.
        odd: bones of a length no person has.
        is_headless: whether head_top is nearer to the neck than head.
        cost: continuous; the right order of joints has the least.
    """

    trunk_mm: float
    asymmetry: tuple[float, str]
    spread: tuple[float, str]
    forward: float
    twisted: float
    up: tuple[float, float, float]
    odd: tuple[str, ...]
    is_headless: bool
    cost: float

    @property
    def faults(self) -> int:
        """How many things look wrong."""
        return (
            len(self.odd) + (self.asymmetry[0] > LARGEST_ASYMMETRY) + (self.spread[0] > LARGEST_SPREAD)
            + (self.forward < FEWEST_FORWARD) + (self.twisted > 0.5) + self.is_headless
        )  # fmt: skip


def measure(joints_mm: Poses) -> Body:
    """Figures of at least one finite pose."""
    lengths = {
        child: np.linalg.norm(joints_mm[:, child] - joints_mm[:, parent], axis=-1) for parent, child in H36M.bones
    }
    median = {child: max(float(np.median(length)), 1e-9) for child, length in lengths.items()}
    sides = {child: _apart(median[child], median[H36M.mirrored[child]]) for child in lengths}
    spreads = {child: _spread(length) / median[child] for child, length in lengths.items()}
    asymmetry = max((value, H36M.names[child]) for child, value in sides.items())
    # a neck bends and a spine is a curve: the lengths of limbs are those that stay
    spread = max((spreads[child], H36M.names[child]) for child in _LIMBS)
    chain = sum(median[joint] for joint in H36M.indices("spine", "neck", "head", "head_top"))
    odd = tuple(H36M.names[child] for child in lengths if not _fits(H36M.names[child], median[child] / chain))
    forward, twisted = _forward(joints_mm), _twisted(joints_mm)
    is_headless = bool(np.median(_length(joints_mm, "neck", "head_top") - _length(joints_mm, "neck", "head")) < 0)
    cost = (
        np.mean(list(spreads.values())) + np.mean(list(sides.values())) + 0.3 * len(odd) + 0.5 * is_headless
        + 0.5 * twisted + 0.5 * (0.5 if np.isnan(forward) else 1 - forward) + 0.05 * sum(median.values()) / chain
    )  # fmt: skip
    return Body(
        float(np.median(_length(joints_mm, "root", "head_top"))), asymmetry, spread, forward, twisted, _up(joints_mm),
        odd, is_headless, float(cost),
    )  # fmt: skip


def explain(joints_mm: Poses) -> str:
    """Of faulty poses: the order of joints that fits best, in words; "" where none of the usual ones does."""
    costs = {text: measure(joints_mm[:, order]) for text, order in _orders()}
    best = min(costs, key=lambda text: costs[text].cost)
    good = costs[best].faults == 0 and costs[best].cost < measure(joints_mm).cost - _GAIN
    return best if good else ""


def _orders() -> Iterator[tuple[str, list[int]]]:
    """Ways to read the rows: row i of ours is row order[i] of the file."""
    mirrored = list(H36M.mirrored)
    yield "left and right are exchanged", mirrored
    for limb, joints in (
        ("legs", ("hip", "knee", "foot")), ("arms", ("shoulder", "elbow", "wrist")),
        *((name, (name,)) for name in ("hip", "knee", "foot", "shoulder", "elbow", "wrist")),
    ):  # fmt: skip
        here = {H36M.index(f"{side}_{joint}") for side in ("left", "right") for joint in joints}
        order = [mirrored[row] if row in here else row for row in range(len(H36M))]
        yield f"left and right {limb}{'' if limb.endswith('s') else 's'} are exchanged".replace("foots", "feet"), order
    head, top = H36M.indices("head", "head_top")
    yield "head and head_top are exchanged", [{head: top, top: head}.get(row, row) for row in range(len(H36M))]
    for text, names in _OTHER_ORDERS.items():
        order = [names.index(name) for name in H36M.names]
        yield f"the joints stand in {text}", order
        yield f"the joints stand in {text}, left and right exchanged", [order[row] for row in mirrored]
    yield "the joints stand in reversed order", list(range(len(H36M)))[::-1]


def _fits(name: str, ratio: float) -> bool:
    low, high = _PROPORTIONS[name.removeprefix("left_").removeprefix("right_")]
    return low <= ratio <= high


def _apart(one: float, other: float) -> float:
    return 2 * abs(one - other) / (one + other)


def _spread(length: Float[ndarray, " poses"]) -> float:
    low, high = np.percentile(length, [5, 95])
    return float(high - low)


def _length(joints_mm: Poses, one: str, other: str) -> Float[ndarray, " poses"]:
    return np.asarray(np.linalg.norm(_joint(joints_mm, one) - _joint(joints_mm, other), axis=-1))


def _joint(joints_mm: Poses, name: str) -> Float[ndarray, "poses 3"]:
    return joints_mm[:, H36M.index(name)]


def _forward(joints_mm: Poses) -> float:
    """Share of poses whose nose and knees say that they face where hips and trunk do."""
    left = _joint(joints_mm, "left_hip") - _joint(joints_mm, "right_hip")
    facing = np.cross(left, _joint(joints_mm, "neck") - _joint(joints_mm, "root"))
    middle = (_joint(joints_mm, "neck") + _joint(joints_mm, "head_top")) / 2
    nose = _cosine(_joint(joints_mm, "head") - middle, facing)
    knees = []
    for side in ("left", "right"):
        ends = (_joint(joints_mm, f"{side}_hip") + _joint(joints_mm, f"{side}_foot")) / 2
        bend = _joint(joints_mm, f"{side}_knee") - ends
        reach = np.linalg.norm(_joint(joints_mm, f"{side}_knee") - _joint(joints_mm, f"{side}_hip"), axis=-1)
        knees.append(np.where(np.linalg.norm(bend, axis=-1) > 0.15 * reach, _cosine(bend, facing), 0))
    votes = nose + sum(knees)
    return float((votes > 0).mean()) if (np.abs(votes) > 0.2).mean() > 0.2 else float("nan")


def _cosine(a: Float[ndarray, "poses 3"], b: Float[ndarray, "poses 3"]) -> Float[ndarray, " poses"]:
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(axis=-1) / np.maximum(lengths, 1e-9))


def _twisted(joints_mm: Poses) -> float:
    hips = _joint(joints_mm, "left_hip") - _joint(joints_mm, "right_hip")
    shoulders = _joint(joints_mm, "left_shoulder") - _joint(joints_mm, "right_shoulder")
    return float((_cosine(hips, shoulders) < 0).mean())


def _up(joints_mm: Poses) -> tuple[float, float, float]:
    feet = (_joint(joints_mm, "left_foot") + _joint(joints_mm, "right_foot")) / 2
    upwards = _joint(joints_mm, "head_top") - feet
    unit = upwards / np.maximum(np.linalg.norm(upwards, axis=-1, keepdims=True), 1e-9)
    x, y, z = unit.mean(axis=0).tolist()
    return x, y, z
