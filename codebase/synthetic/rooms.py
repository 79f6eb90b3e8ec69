"""A lit studio: what a camera sees while nobody is there.

World frame in metres, z up. The room is a box with furniture of boxes and flat things on the walls; each pixel is
traced with several rays, coloured by a procedural texture and lit by one key light, the ceiling and soft contact
shading. It is computed once per camera and subject, in linear light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from codebase.render.jit import kernel
from codebase.synthetic.noise import noise2, smoothstep
from codebase.synthetic.rig import Camera

LOW, HIGH = np.array([-3.9, -5.75, 0.0]), np.array([4.1, 5.85, 3.3])
FLOOR, WALL, PLAIN, WOOD, WINDOW, PICTURE, BOOKS, LEAVES = range(8)
# box: 6 bounds, 3 albedo, texture, seed
BOXES = np.array(
    [
        # wall y = -5.75, behind the person for cameras 1 and 3
        (-0.62, -5.75, 0.0, 0.34, -5.70, 2.12, 0.36, 0.30, 0.25, PLAIN, 0),  # door frame
        (-0.55, -5.75, 0.0, 0.27, -5.68, 2.05, 0.50, 0.36, 0.24, WOOD, 1),  # door
        (0.13, -5.68, 1.00, 0.21, -5.63, 1.04, 0.55, 0.52, 0.46, PLAIN, 0),  # handle
        (0.95, -5.75, 1.25, 1.85, -5.71, 1.95, 0.30, 0.38, 0.46, PICTURE, 2),
        (-2.6, -5.75, 0.0, -1.3, -5.40, 1.75, 0.52, 0.44, 0.34, BOOKS, 3),  # book case
        (2.35, -5.75, 0.0, 3.5, -5.30, 0.78, 0.40, 0.29, 0.20, WOOD, 4),  # sideboard
        (2.6, -5.6, 0.78, 2.85, -5.40, 1.02, 0.20, 0.30, 0.32, PLAIN, 0),
        # wall y = 5.85, behind the person for cameras 2 and 4
        (-1.9, 5.80, 1.0, -0.3, 5.85, 2.35, 0.80, 0.88, 1.00, WINDOW, 5),
        (0.2, 5.80, 1.0, 1.8, 5.85, 2.35, 0.80, 0.88, 1.00, WINDOW, 6),
        (-1.8, 5.70, 0.12, -0.4, 5.83, 0.72, 0.74, 0.73, 0.70, BOOKS, 40),  # radiators
        (0.3, 5.70, 0.12, 1.7, 5.83, 0.72, 0.74, 0.73, 0.70, BOOKS, 40),
        (2.3, 5.35, 0.0, 3.4, 5.85, 1.05, 0.40, 0.42, 0.45, PLAIN, 0),  # cabinet
        (2.55, 5.45, 1.05, 3.1, 5.6, 1.45, 0.06, 0.06, 0.07, PLAIN, 0),  # monitor
        (-3.3, 5.1, 0.0, -2.8, 5.55, 0.42, 0.55, 0.38, 0.28, PLAIN, 0),  # pot and plant
        (-3.4, 5.0, 0.42, -2.7, 5.65, 1.45, 0.13, 0.24, 0.10, LEAVES, 8),
        # wall x = -3.9
        (-3.9, -1.6, 1.15, -3.86, -0.7, 1.95, 0.42, 0.34, 0.28, PICTURE, 9),
        (-3.9, 0.9, 1.05, -3.86, 2.4, 2.0, 0.46, 0.48, 0.40, PICTURE, 10),
        (-3.9, -3.2, 0.0, -3.4, -1.9, 0.46, 0.34, 0.38, 0.44, PLAIN, 0),  # bench
        (-3.9, -3.2, 0.46, -3.72, -1.9, 0.9, 0.34, 0.38, 0.44, PLAIN, 0),
        # wall x = 4.1
        (4.06, -1.2, 1.1, 4.1, 0.4, 2.05, 0.36, 0.42, 0.38, PICTURE, 11),
        (3.7, 1.3, 0.0, 4.1, 2.6, 1.9, 0.50, 0.41, 0.31, WOOD, 12),  # wardrobe
        (3.55, -3.4, 0.0, 4.1, -2.2, 0.74, 0.58, 0.46, 0.34, WOOD, 13),  # table
        (3.75, -3.1, 0.74, 3.95, -2.9, 1.2, 0.70, 0.62, 0.45, PLAIN, 0),  # lamp
    ]
)
# cameras 1 to 4 look past their own walls: nothing stands where they do


@dataclass(frozen=True)
class Lights:
    """Light of a session, linear; positions in metres."""

    key_m: Float[ndarray, "3"]
    key: Float[ndarray, "3"]
    sky: Float[ndarray, "3"]
    bounce: Float[ndarray, "3"]


@dataclass(frozen=True)
class Room:
    """A session's room: its lights and a few tints."""

    lights: Lights
    wall: Float[ndarray, "3"]
    rug: Float[ndarray, "3"]
    wood: Float[ndarray, "3"]


def make_room(subject: int, *, seed: int) -> Room:
    """The same room at each session, in slightly different light."""
    rng = np.random.default_rng([seed, subject, 72])
    warm = rng.normal(0, 0.03)
    lights = Lights(
        key_m=np.array([1.3, -0.9, 3.25]) + rng.normal(0, 0.25, 3) * [1, 1, 0.2],
        key=np.array([1.0 + warm, 0.95, 0.87 - warm]) * 7.2 * (1 + rng.normal(0, 0.06)),
        sky=np.array([0.46, 0.48, 0.51]) * (1 + rng.normal(0, 0.06)),
        bounce=np.array([0.30, 0.26, 0.22]),
    )
    return Room(lights, np.array([0.64, 0.62, 0.57]), np.array([0.23, 0.27, 0.33]), np.array([0.46, 0.33, 0.215]))


@kernel
def _texture(kind, number, base, p, u, v, rug, out):  # type: ignore[no-untyped-def]  # noqa: C901 - one branch a surface
    """Albedo at a point; u and v are coordinates along the surface, in metres."""
    out[0], out[1], out[2] = base[0], base[1], base[2]
    gain = 1.0
    if kind == 0:  # floor: parquet of staggered planks, and a rug with a border
        plank = np.floor(u / 0.14)
        along = v + 0.61 * plank
        board = np.floor(along / 1.1)
        gain = 0.84 + 0.28 * noise2(plank * 7.3 + 0.5, board * 3.1 + 0.5)
        gain *= 0.93 + 0.14 * noise2(u * 60, v * 3.0) * noise2(u * 22 + 9, v * 1.3)
        if u / 0.14 - plank < 0.03 or along / 1.1 - board < 0.004:
            gain *= 0.72
        rim = max(abs(p[0]) - 1.9, abs(p[1]) - 2.5)
        if rim < 0:
            out[0], out[1], out[2] = rug[0], rug[1], rug[2]
            gain = 0.88 + 0.16 * noise2(p[0] * 130, p[1] * 130) + 0.1 * noise2(p[0] * 2.1, p[1] * 2.1)
            if -0.22 < rim < -0.16:
                gain *= 1.7
            elif rim > -0.03:
                gain *= 0.8
    elif kind == 1:  # plaster with a skirting board
        gain = 0.97 + 0.05 * noise2(u * 1.4, v * 1.4) + 0.025 * noise2(u * 17, v * 17)
        if p[2] < 0.09:
            gain = 1.22 if p[2] < 0.08 else 0.55
    elif kind == 3:  # wood
        gain = 0.86 + 0.26 * noise2(u * 26 + number, v * 1.7) * (0.6 + 0.4 * noise2(u * 90, v * 4))
    elif kind == 4:  # a window: frame, sky above, trees below
        cell = min(abs(u % 0.8 - 0.4), abs(v - 1.7))
        edge = min(0.4 - abs(u % 0.8 - 0.4), 0.675 - abs(v - 1.675))
        if min(cell, edge) < 0.035:
            out[0], out[1], out[2] = 0.62, 0.61, 0.59
            gain = 0.85
        else:
            green = smoothstep(0.15, -0.15, v - 1.5 - 0.35 * noise2(u * 3 + number, 4.0) + 0.1 * noise2(u * 14, v * 14))
            out[0] = 0.80 * (1 - green) + 0.30 * green
            out[1] = 0.88 * (1 - green) + 0.42 * green
            out[2] = 0.97 * (1 - green) + 0.27 * green
            gain = 1.0 + 0.15 * noise2(u * 6, v * 6)
    elif kind == 5:  # a framed print: soft shapes in two muted tones
        s, t = u * 2.3 + number * 5, v * 2.3
        shape = smoothstep(0.45, 0.52, noise2(s, t) * 0.7 + 0.3 * noise2(s * 3, t * 3))
        tone = 0.6 + 0.7 * noise2(s * 0.7 + 11, t * 0.7)
        out[0] = base[0] * (1 - shape) * tone + shape * (0.62 - 0.4 * base[2])
        out[1] = base[1] * (1 - shape) * tone + shape * (0.58 - 0.2 * base[0])
        out[2] = base[2] * (1 - shape) * tone + shape * (0.50 - 0.1 * base[1])
    elif kind == 6:  # shelves with backs of books, or ribs of a radiator
        if number > 20:
            gain = 0.75 + 0.35 * abs((u / 0.06) % 1.0 - 0.5) * 2
        else:
            shelf = (v / 0.34) % 1.0
            book = np.floor(u / 0.045)
            row = np.floor(v / 0.34)
            tall = 0.55 + 0.4 * noise2(book * 3.7 + 0.5, row * 5.3 + 0.5)
            if 0.06 < shelf < tall:
                tint = noise2(book * 1.9 + 0.5, row * 2.3 + 9.5)
                out[0] = 0.18 + 0.4 * tint
                out[1] = 0.16 + 0.28 * noise2(book * 2.7 + 3.5, row + 0.5)
                out[2] = 0.15 + 0.3 * (1 - tint)
            elif shelf >= tall:
                gain = 0.28
    elif kind == 7:  # leaves
        leaf = noise2(u * 14 + 3, v * 9) * noise2(u * 31, v * 23 + 5)
        gain = 0.35 + 2.4 * leaf
    for channel in range(3):
        out[channel] *= gain


@kernel
def _near(a, b, p0, p1):  # type: ignore[no-untyped-def]
    """Distance of a floor point from the footprint (a0, b0, a1, b1) of a box."""
    dx = max(a[0] - p0, p0 - b[0], 0.0)
    dy = max(a[1] - p1, p1 - b[1], 0.0)
    return np.sqrt(dx * dx + dy * dy)


@kernel
def _bush(box, origin, ray):  # type: ignore[no-untyped-def]
    """Where a ray enters the ragged ellipsoid in a box, and the axis that its normal is nearest to; -1 for a miss."""
    a, half, c = 0.0, 0.0, -1.0
    for k in range(3):
        radius = 0.5 * (box[3 + k] - box[k])
        d, o = ray[k] / radius, (origin[k] - 0.5 * (box[3 + k] + box[k])) / radius
        a, half, c = a + d * d, half + d * o, c + o * o
    root = half * half - a * c
    if root <= 0:
        return 0.0, -1
    t = (-half - np.sqrt(root)) / a
    side, most = 0, 0.0
    for k in range(3):
        out = abs(origin[k] + t * ray[k] - 0.5 * (box[3 + k] + box[k])) / (box[3 + k] - box[k])
        if out > most:
            side, most = k, out
    p0, p2 = origin[0] + t * ray[0], origin[2] + t * ray[2]
    # leaves stick out of the rim: rays that graze it pass between them
    grazing = root / (half * half) * 900
    if grazing < 0.25 * noise2(p0 * 40, p2 * 34) + 0.6 * noise2(p0 * 13, p2 * 11):
        return 0.0, -1
    return t, side


@kernel
def _trace(origin, ray, low, high, boxes, wall, wood, rug, key_m, key, sky, bounce, out):  # type: ignore[no-untyped-def]  # noqa: C901 - one branch a surface
    """Light that arrives along one ray."""
    best, axis, hit = 1e9, 0, -1
    for a in range(3):  # the room from inside
        t = ((high[a] if ray[a] > 0 else low[a]) - origin[a]) / ray[a] if ray[a] != 0 else 1e9
        if t < best:
            best, axis = t, a
    for b in range(boxes.shape[0]):
        enter, leave, side = 0.0, best, -1
        for a in range(3):
            step = 1.0 / ray[a] if ray[a] != 0 else 1e12
            t0, t1 = (boxes[b, a] - origin[a]) * step, (boxes[b, 3 + a] - origin[a]) * step
            if t0 > t1:
                t0, t1 = t1, t0
            if t0 > enter:
                enter, side = t0, a
            leave = min(leave, t1)
        if side >= 0 and enter < leave and boxes[b, 9] == 7:
            enter, side = _bush(boxes[b], origin, ray)
        if side >= 0 and enter < leave:
            best, axis, hit = enter, side, b
    p = origin + best * ray
    normal = -1.0 if ray[axis] > 0 else 1.0
    u, v = (p[1], p[2]) if axis == 0 else ((p[0], p[2]) if axis == 1 else (p[0], p[1]))
    kind, number = 1, 0.0
    if hit >= 0:
        kind, number = int(boxes[hit, 9]), boxes[hit, 10]
        base = boxes[hit, 6:9]
        if kind >= 4 and kind != 7 and axis != (0 if boxes[hit, 3] - boxes[hit, 0] < 0.1 else 1):
            kind = 2
        if kind == 5:  # frame and mount of a print
            a = 1 if axis == 0 else 0
            rim = min(u - boxes[hit, a], boxes[hit, 3 + a] - u, v - boxes[hit, 2], boxes[hit, 5] - v)
            if rim < 0.1:
                kind = 2
                base = wall * 1.25 if rim > 0.03 else wood * 0.35
    elif axis == 2:
        kind, base = (0, wood) if normal > 0 else (2, wall * 1.15)
    else:
        base = wall
    _texture(kind, number, base, p, u, v, rug, out)
    to_key = key_m - p
    distance2 = to_key[0] ** 2 + to_key[1] ** 2 + to_key[2] ** 2
    lambert = max(normal * to_key[axis], 0.02) / np.sqrt(distance2)
    # corners and the feet of furniture receive less light from around
    shade = 1.0
    for a in range(3):
        if a != axis:
            shade *= 1 - 0.32 * np.exp(-(p[a] - low[a]) / 0.4)
            shade *= 1 - 0.32 * np.exp(-(high[a] - p[a]) / 0.4)
    if hit < 0:
        for b in range(boxes.shape[0]):
            if axis == 2 and boxes[b, 2] < 0.01:
                shade *= 1 - 0.5 * np.exp(-_near(boxes[b, 0:3], boxes[b, 3:6], p[0], p[1]) / 0.12)
            elif axis == 1 and normal * (boxes[b, 1] + boxes[b, 4] - 2 * p[1]) < 0.9:
                inside = max(boxes[b, 0] - p[0], p[0] - boxes[b, 3], boxes[b, 2] - p[2], p[2] - boxes[b, 5], 0.0)
                shade *= 1 - 0.25 * np.exp(-inside / 0.05)
    up = 0.5 + 0.5 * (normal if axis == 2 else 0.0)
    for channel in range(3):
        light = key[channel] * lambert / (1.2 + distance2) + shade * (
            sky[channel] * up + bounce[channel] * (1 - up) + 0.12
        )
        if kind == 4:
            light = 1.15
        elif axis == 2 and normal < 0 and abs(p[0] % 2.0 - 1.0) < 0.3 and abs(p[1] % 2.4 - 1.2) < 0.6:
            light = 2.2  # lamps in the ceiling
        out[channel] *= light


@kernel
def _render(R, T, fx, fy, cx, cy, samples, low, high, boxes, wall, wood, rug, key_m, key, sky, bounce, out):  # type: ignore[no-untyped-def]
    colour = np.empty(3)
    ray = np.empty(3)
    for v in range(out.shape[0]):
        for u in range(out.shape[1]):
            for s in range(samples * samples):
                x = (u + (s % samples + 0.5) / samples - 0.5 - cx) / fx
                y = (v + (s // samples + 0.5) / samples - 0.5 - cy) / fy
                for a in range(3):
                    ray[a] = R[0, a] * x + R[1, a] * y + R[2, a]
                _trace(T, ray, low, high, boxes, wall, wood, rug, key_m, key, sky, bounce, colour)
                for channel in range(3):
                    # what is far brighter than white must not bleed into the next pixel
                    out[v, u, channel] += min(colour[channel], 1.5) / (samples * samples)


def render_room(room: Room, camera: Camera, *, samples: int = 3) -> Float32[ndarray, "height width 3"]:
    """Linear light at each pixel of the empty room, with the lens's vignetting."""
    out = np.zeros((camera.size, camera.size, 3), np.float32)
    lights = room.lights
    _render(
        camera.R, camera.T_mm / 1000, *camera.f_px, *camera.c_px, samples, LOW, HIGH, BOXES,
        room.wall, room.wood, room.rug, lights.key_m, lights.key, lights.sky, lights.bounce, out,
    )  # fmt: skip
    return out * vignette(camera)[..., None]


def vignette(camera: Camera) -> Float32[ndarray, "height width"]:
    """Natural fall-off towards the corners, a little milder than cos^4."""
    v, u = np.mgrid[: camera.size, : camera.size]
    tangent2 = ((u - camera.c_px[0]) / camera.f_px[0]) ** 2 + ((v - camera.c_px[1]) / camera.f_px[1]) ** 2
    return (1 / (1 + 0.8 * tangent2) ** 2).astype(np.float32)
