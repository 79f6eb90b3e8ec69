"""Virtual cameras that go round a person: their R_world_im, and how a latent turns from one to another.

A camera that is carried round the root by the rotation Q (of the world, about the root) keeps the root at the same
place of its own frame, so its R_centre stays and its R becomes R Q^T: R_world_im becomes R_world_im Q^T, whatever its
intrinsics. A latent of the source turns by R_world_im[target] R_world_im[source]^T, for a virtual target as for a real
one. (The system of 2019 put a rotation in R_target's place instead of composing, and turned about x for every axis.)

Seen from the root, a camera stands at an azimuth (counter-clockwise from the world's x, seen from above) and an
elevation above the horizon; its roll is the angle by which its picture is turned, x towards y, from an upright one.
Together they are R_world_im.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

Axis = Literal["vertical", "horizontal", "view"]
AXES: tuple[Axis, ...] = ("vertical", "horizontal", "view")
UP = np.array([0.0, 0.0, 1.0])


def latent_rotation(
    target: Float[ndarray, "*views 3 3"], source: Float[ndarray, "*#views 3 3"]
) -> Float[ndarray, "*views 3 3"]:
    """How L_3d of the source turns into the target's frame; both are R_world_im."""
    return target @ np.swapaxes(source, -1, -2)


def carried(
    R_world_im: Float[ndarray, "3 3"], axis_world: Float[ndarray, "3"], angles_rad: Float[ndarray, " views"]
) -> Float[ndarray, "views 3 3"]:
    """R_world_im of a camera that is carried round the root, right-handed about an axis of the world."""
    turns = Rotation.from_rotvec(angles_rad[:, None] * (axis_world / np.linalg.norm(axis_world)))
    return R_world_im @ np.swapaxes(turns.as_matrix(), -1, -2)


def axis_in_world(axis: Axis, R_world_im: Float[ndarray, "3 3"]) -> Float[ndarray, "3"]:
    """The axis of a turn about the root.

    `vertical` is the world's z; `horizontal` lies level and across the camera's view, so that the camera first rises;
    `view` is the camera's own, so that its picture turns in its plane.
    """
    if axis == "vertical":
        return UP
    if axis == "view":
        return R_world_im[2]
    azimuth, _, _ = angles_of(R_world_im)
    return np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])


def turntable(
    R_world_im: Float[ndarray, "3 3"], views: int, *, axis: Axis = "vertical", elevation_rad: float = 0.0
) -> Float[ndarray, "views 3 3"]:
    """R_world_im of `views` even steps of a whole turn; the first is the source, one more step would be it again.

    Args:
        R_world_im: of the source.
        elevation_rad: how far the camera has risen half way round the vertical; it sinks again.
    """
    turn = np.arange(views) * (2 * np.pi / views)
    round_it = carried(np.eye(3), axis_in_world(axis, R_world_im), turn)
    rise = carried(R_world_im, axis_in_world("horizontal", R_world_im), elevation_rad * (1 - np.cos(turn)) / 2)
    return rise @ round_it


def through(keys: Float[ndarray, "keys 3 3"], views: int) -> tuple[Float[ndarray, "views 3 3"], list[int]]:
    """A closed path of `views` steps through cameras, the first of them first, then counter-clockwise from above.

    Between two cameras azimuth, elevation and roll change evenly.

    Args:
        keys: R_world_im of the cameras.
        views: at least as many.

    Returns:
        The path, and at which of its steps each key stands, exactly.
    """
    angles = np.array([angles_of(key) for key in keys])
    ahead = (angles[:, 0] - angles[0, 0]) % (2 * np.pi)
    ahead[ahead > 2 * np.pi - 1e-6] = 0  # beside the first, not a whole turn away
    order = np.argsort(ahead, kind="stable")
    order = np.concatenate([[0], order[order != 0]])
    stops = np.append(ahead[order], 2 * np.pi)
    places = _places(stops, views)
    path, start = [], angles[0, 0]
    for leg, (first, last) in enumerate(pairwise(places)):
        here, there = order[leg], order[(leg + 1) % len(order)]
        share = np.arange(last - first) / (last - first)
        azimuth = start + stops[leg] + share * (stops[leg + 1] - stops[leg])
        rest = [angles[here, k] + share * _shortest(angles[there, k] - angles[here, k]) for k in (1, 2)]
        path += [from_angles(*each) for each in zip(azimuth.tolist(), *(r.tolist() for r in rest), strict=True)]
        path[first] = keys[here]
    step_of = dict(zip(order.tolist(), places, strict=False))
    return np.stack(path), [step_of[key] for key in range(len(keys))]


def _places(stops: Float[ndarray, " stops"], views: int) -> list[int]:
    """Steps at which the stops are reached, in proportion to the way, at least one step a leg."""
    legs = len(stops) - 1
    spare = np.diff(stops) / (2 * np.pi) * (views - legs)
    return [int(place) for place in np.arange(legs + 1) + np.rint(np.concatenate([[0], np.cumsum(spare)]))]


def _shortest(angle_rad: float) -> float:
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)


def angles_of(R_world_im: Float[ndarray, "3 3"]) -> tuple[float, float, float]:
    """Azimuth, elevation and roll of a camera that looks at the root, radians."""
    x, y, z = -R_world_im[2]
    azimuth, elevation = float(np.arctan2(y, x)), float(np.arctan2(z, np.hypot(x, y)))
    rolled = R_world_im @ _upright(azimuth, elevation).T
    return azimuth, elevation, float(np.arctan2(rolled[1, 0], rolled[0, 0]))


def from_angles(azimuth_rad: float, elevation_rad: float, roll_rad: float) -> Float[ndarray, "3 3"]:
    """R_world_im of a camera that looks at the root."""
    cos, sin = np.cos(roll_rad), np.sin(roll_rad)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ _upright(azimuth_rad, elevation_rad)


def _upright(azimuth_rad: float, elevation_rad: float) -> Float[ndarray, "3 3"]:
    cos, sin, level, rise = np.cos(azimuth_rad), np.sin(azimuth_rad), np.cos(elevation_rad), np.sin(elevation_rad)
    forward = -np.array([level * cos, level * sin, rise])
    right = np.array([-sin, cos, 0.0])
    return np.stack([right, np.cross(forward, right), forward])


def azimuths_from(source: Float[ndarray, "3 3"], others: Sequence[Float[ndarray, "3 3"]]) -> list[float]:
    """How far round each camera stands from the source, degrees from -180 to 180, counter-clockwise from above."""
    own = angles_of(source)[0]
    return [float(np.degrees(_shortest(angles_of(other)[0] - own))) for other in others]
