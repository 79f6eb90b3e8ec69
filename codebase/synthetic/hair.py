"""Hair: a shell over the scalp, and locks that hang from it. Coordinates of the mean body in the T-pose, metres."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from codebase.skeleton import SMPL
from codebase.synthetic.bodies import Hair

Loft = tuple[Float[ndarray, "points 3"], Int[ndarray, "triangles 3"]]

# height of the hairline along the head, from nape (z < 0) over the ear (z = 0.07) and the sideburn to the forehead
_LINE_Z = (-0.06, -0.01, 0.03, 0.055, 0.070, 0.084, 0.100, 0.125, 0.150, 0.175)
_LINE_Y = (0.300, 0.292, 0.290, 0.335, 0.372, 0.372, 0.412, 0.441, 0.454, 0.459)
# thickness on top and at the sides
_THICK: dict[Hair, tuple[float, float]] = {
    "crop": (0.006, 0.004), "short": (0.020, 0.006), "side": (0.026, 0.007), "bob": (0.024, 0.020),
    "long": (0.022, 0.018), "ponytail": (0.012, 0.009), "bun": (0.012, 0.009), "bald": (0.001, 0.001),
}  # fmt: skip


def _smooth(low: float, high: float, x: Float[ndarray, "*n"]) -> Float[ndarray, "*n"]:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def hairline(points: Float[ndarray, "n 3"], ear: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """About the distance from the hairline, negative where hair grows; `ear` is 1 on the ears."""
    x, y, z = points.T
    ragged = 0.0022 * np.sin(x * 310 + 2) * np.sin(x * 97 + z * 50)
    line = np.interp(z, _LINE_Z, _LINE_Y) + ragged + 0.016 * _smooth(0.025, 0.06, np.abs(x)) * _smooth(0.11, 0.14, z)
    return np.maximum(line - y, ear * 0.05 - 0.02)


def thickness(style: Hair, points: Float[ndarray, "n 3"], line: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """How far the hair stands off the scalp, metres."""
    top, side = _THICK[style]
    x, y, z = points.T
    full = side + (top - side) * _smooth(0.40, 0.47, y)
    if style == "side":  # a parting on one side, combed over to the other
        full = full * (1 - 0.55 * np.exp(-(((x - 0.035) / 0.010) ** 2)) * _smooth(0.43, 0.47, y))
    tuft = np.sin(x * 171 + 3 * np.sin(z * 61)) * np.sin(z * 143 + 2 * np.sin(x * 83)) * np.sin(y * 127)
    rooted: Float[ndarray, " n"] = 0.0015 + full * _smooth(-0.002, 0.045, -line) * (1 + 0.22 * tuft)
    return rooted


def locks(style: Hair) -> Loft | None:
    """What hangs or is tied beside the shell, as a closed mesh."""
    if style in ("bob", "long"):
        return _curtain(style)
    if style == "ponytail":
        height = (0.435, 0.440, 0.425, 0.380, 0.310, 0.240, 0.180)
        behind = (-0.030, -0.060, -0.085, -0.098, -0.098, -0.094, -0.088)
        path = np.stack([np.zeros(7), np.array(height), np.array(behind)], -1)
        return _tube(path, np.array([0.014, 0.016, 0.026, 0.030, 0.027, 0.020, 0.005]))
    if style == "bun":
        turns = np.linspace(0.02, np.pi - 0.02, 9)
        path = np.stack([0 * turns, 0.455 + 0.020 * np.cos(turns), -0.048 + 0.044 * -np.cos(turns)], -1)
        return _tube(path, 0.042 * np.sin(turns))
    return None


def lock_weights(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 24"]:
    """Skinning weights: the head carries hair, neck and back hold its ends."""
    y = points[:, 1]
    weights = np.zeros((len(points), len(SMPL)))
    weights[:, SMPL.index("head")] = head = _smooth(0.14, 0.34, y)
    weights[:, SMPL.index("neck")] = neck = (1 - head) * _smooth(0.05, 0.24, y)
    weights[:, SMPL.index("spine3")] = 1 - head - neck
    return weights


def loft(rings: Float[ndarray, "rows sides 3"]) -> Loft:
    """A closed mesh through rings of points, faces outwards."""
    rows, sides, _ = rings.shape
    points = np.concatenate([rings.reshape(-1, 3), rings[0].mean(0)[None], rings[-1].mean(0)[None]])
    i, j = np.mgrid[: rows - 1, :sides]
    a, b = i * sides + j, i * sides + (j + 1) % sides
    side = np.concatenate([np.stack([a, b, a + sides], -1), np.stack([b, b + sides, a + sides], -1)]).reshape(-1, 3)
    edge = np.arange(sides)
    after, last, top = (edge + 1) % sides, (rows - 1) * sides, rows * sides
    caps = np.concatenate(
        [
            np.stack([np.full(sides, top), after, edge], -1),
            np.stack([np.full(sides, top + 1), last + edge, last + after], -1),
        ]
    )
    faces = np.concatenate([side, caps])
    a, b, c = points[faces].transpose(1, 0, 2)
    volume = np.einsum("ni,ni->", a - points.mean(0), np.cross(b - a, c - a))
    return points, faces if volume > 0 else faces[:, ::-1]


def _tube(path: Float[ndarray, "rows 3"], radii: Float[ndarray, " rows"], sides: int = 12) -> Loft:
    """A round tube in the plane x = 0."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, [1.0, 0.0, 0.0])
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[None, :, None] * np.array([1.0, 0, 0]) + np.sin(turn)[None, :, None] * across[:, None]
    return loft(path[:, None] + radii[:, None, None] * ring)


def _curtain(style: Hair) -> Loft:
    """Hair that falls around the head, open at the face: a crescent at each height."""
    rows, half = 14, 26
    turn = np.linspace(-1, 1, half) * np.deg2rad(112)  # 0 is the back of the head
    s = np.linspace(0, 1, rows)[:, None]
    back = np.cos(turn) * 0.5 + 0.5
    end = (0.268 + 0.01 * back) if style == "bob" else 0.245 - 0.135 * back**1.5
    y = 0.462 + s * (end - 0.462)
    # the skull's width at that height, then straight down, a little in at the ends
    wide = np.interp(y, [0.10, 0.27, 0.33, 0.40, 0.44, 0.462], [0.082, 0.086, 0.093, 0.097, 0.090, 0.062])
    deep = np.interp(y, [0.10, 0.22, 0.30, 0.38, 0.43, 0.462], [0.135, 0.118, 0.114, 0.126, 0.122, 0.085])
    lock = 1 + 0.035 * np.sin(turn * 17) * s + 0.02 * np.sin(turn * 41 + 1) * s
    outer = np.stack([wide * lock * np.sin(turn), y + 0 * turn, 0.066 - deep * lock * np.cos(turn)], -1)
    thick = (
        0.022 * np.sqrt(np.clip(1 - (turn / turn[-1]) ** 2, 0.02, 1)) * (0.35 + 0.65 * np.sin(np.pi * (0.15 + 0.8 * s)))
    )
    middle = np.stack([np.zeros_like(y), y, np.full_like(y, 0.066)], -1)
    inward = outer - middle
    inward /= np.linalg.norm(inward, axis=-1, keepdims=True)
    inner = outer - inward * thick[..., None]
    return loft(np.concatenate([outer + inward * 0.004, inner[:, ::-1]], axis=1))
