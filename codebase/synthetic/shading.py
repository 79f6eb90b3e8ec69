"""Light: on each pixel of a person, on the floor around, and on the way to an exposed frame."""

from __future__ import annotations

import numpy as np

from codebase.render.jit import kernel
from codebase.render.raster import edge_functions
from codebase.synthetic.noise import noise2
from codebase.synthetic.paint import albedo, edge_wear

# materials as in appearance.py, which numba reads as constants
_SKIN, _TOP, _BOTTOM, _SHOE, _HAIR, _EYE, _SEAT = range(7)


@kernel
def _lit(p, normal, light, light_R, depth):  # type: ignore[no-untyped-def]
    """Share of the key light that reaches a world point: 3 x 3 comparisons with what the light sees.

    `light`: position 0-2, colours 3-11, focal length and principal point of its map 12-13.
    """
    q0 = p[0] + 0.012 * normal[0] - light[0]
    q1 = p[1] + 0.012 * normal[1] - light[1]
    q2 = p[2] + 0.012 * normal[2] - light[2]
    x = light_R[0, 0] * q0 + light_R[0, 1] * q1 + light_R[0, 2] * q2
    y = light_R[1, 0] * q0 + light_R[1, 1] * q1 + light_R[1, 2] * q2
    z = light_R[2, 0] * q0 + light_R[2, 1] * q1 + light_R[2, 2] * q2
    u, v = x / z * light[12] + light[13], y / z * light[12] + light[13]
    if not (1 < u < depth.shape[1] - 3 and 1 < v < depth.shape[0] - 3):
        return 1.0
    i, j = int(u), int(v)
    s, t = u - i, v - j
    limit = 1.0 / (z - 0.022)
    total = 0.0
    for dv in range(-1, 3):
        for du in range(-1, 3):
            across = (1 - s) if du == -1 else (s if du == 2 else 1.0)
            down = (1 - t) if dv == -1 else (t if dv == 2 else 1.0)
            if depth[j + dv, i + du] <= limit:
                total += across * down
    return total / 9.0


@kernel
def _light(material, p, n, ray, albedo_, ambient, row, light, light_R, depth, out):  # type: ignore[no-untyped-def]
    """Outgoing light: key with shadow, light from ceiling and floor, gloss; skin lets light bleed around."""
    l0, l1, l2 = light[0] - p[0], light[1] - p[1], light[2] - p[2]
    distance2 = l0 * l0 + l1 * l1 + l2 * l2
    distance = np.sqrt(distance2)
    l0, l1, l2 = l0 / distance, l1 / distance, l2 / distance
    cosine = n[0] * l0 + n[1] * l1 + n[2] * l2
    shadow = _lit(p, n, light, light_R, depth) if cosine > -0.2 else 0.0
    strength = 1.0 / (1.2 + distance2)
    up = 0.5 + 0.5 * n[2]
    facing = max(-(n[0] * ray[0] + n[1] * ray[1] + n[2] * ray[2]), 0.0)
    h0, h1, h2 = l0 - ray[0], l1 - ray[1], l2 - ray[2]
    half = max(n[0] * h0 + n[1] * h1 + n[2] * h2, 0.0) / max(np.sqrt(h0 * h0 + h1 * h1 + h2 * h2), 1e-9)
    gloss = row[7] * half ** row[8] * (0.35 + 0.65 * shadow)
    soft = row[7] * 0.5 * (1 - facing) ** 4 * up
    for channel in range(3):
        wrap = 0.0
        if material == _SKIN:
            wrap = 0.30 if channel == 0 else 0.12
        elif material == _HAIR:
            wrap = 0.2
        direct = max((cosine + wrap) / (1 + wrap), 0.0) * strength * (shadow if wrap == 0 else shadow + 0.15 * wrap)
        around = light[6 + channel] * up + light[9 + channel] * (1 - up) + 0.12
        fill = 0.10 * facing
        light_in = light[3 + channel] * direct + around * ambient + fill
        out[channel] = albedo_[channel] * light_in + (gloss * strength * light[3 + channel] + soft * ambient * 0.4)


@kernel
def shade(face, mesh, paint, camera, R, T, light, light_R, depth, samples, colour, cover, person):  # type: ignore[no-untyped-def]
    """Shade a window rastered with samples x samples samples a pixel.

    `mesh`: vertices (camera frame), faces, material, normals (world), place, occlusion, rim; see _Instant.
    `colour` gets the light of the covered samples, `cover` and `person` the covered shares of each pixel.
    """
    vertices, faces, material, normals, place, occlusion, rim = mesh
    edge = np.empty((3, 3))
    base, out, p, n, ray = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    share = 1.0 / (samples * samples)
    for v in range(face.shape[0]):
        for u in range(face.shape[1]):
            index = face[v, u]
            if index < 0:
                continue
            i, j, k = faces[index, 0], faces[index, 1], faces[index, 2]
            edge_functions(vertices[i], vertices[j], vertices[k], camera[0], camera[1], camera[2], camera[3], edge)
            w0 = edge[0, 0] * u + edge[0, 1] * v + edge[0, 2]
            w1 = edge[1, 0] * u + edge[1, 1] * v + edge[1, 2]
            w2 = edge[2, 0] * u + edge[2, 1] * v + edge[2, 2]
            total = w0 + w1 + w2
            w0, w1, w2 = w0 / total, w1 / total, w2 / total
            c0 = w0 * vertices[i, 0] + w1 * vertices[j, 0] + w2 * vertices[k, 0]
            c1 = w0 * vertices[i, 1] + w1 * vertices[j, 1] + w2 * vertices[k, 1]
            c2 = w0 * vertices[i, 2] + w1 * vertices[j, 2] + w2 * vertices[k, 2]
            for a in range(3):
                ray[a] = R[0, a] * c0 + R[1, a] * c1 + R[2, a] * c2
                p[a] = ray[a] + T[a]
                n[a] = w0 * normals[i, a] + w1 * normals[j, a] + w2 * normals[k, a]
            x = w0 * place[i, 0] + w1 * place[j, 0] + w2 * place[k, 0]
            y = w0 * place[i, 1] + w1 * place[j, 1] + w2 * place[k, 1]
            z = w0 * place[i, 2] + w1 * place[j, 2] + w2 * place[k, 2]
            kind = material[index]
            row = paint[kind]
            albedo(kind, x, y, z, row, base)
            edge_wear(kind, w0 * rim[i] + w1 * rim[j] + w2 * rim[k], x, z, row, base)
            if row[9] > 0:  # wrinkles
                one = (
                    row[9]
                    * np.cos(y * 46 + 4.0 * np.sin(x * 17 + 2) + 3.0 * np.sin(z * 15))
                    * noise2(x * 9, y * 9 + z * 5)
                )
                two = row[9] * np.cos(x * 40 + y * 24 + 3.0 * np.sin(y * 13 + z * 21)) * noise2(x * 7 + 9, y * 11)
                n[0] += 0.8 * two
                n[1] += 0.8 * two
                n[2] += one
            length = np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2)
            distance = np.sqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
            for a in range(3):
                n[a] /= max(length, 1e-9)
                ray[a] /= distance
            ambient = w0 * occlusion[i] + w1 * occlusion[j] + w2 * occlusion[k]
            _light(kind, p, n, ray, base, ambient, row, light, light_R, depth, out)
            pv, pu = v // samples, u // samples
            cover[pv, pu] += share
            if kind != _SEAT:
                person[pv, pu] += share
            for channel in range(3):
                colour[pv, pu, channel] += out[channel] * share


@kernel
def floor_shadow(top, left, camera, R, T, light, light_R, low, high, feet, out):  # type: ignore[no-untyped-def]
    """What remains of the light on the floor: `out` (a window) is multiplied by it.

    low, high: blurred maps of what blocks the key light below and above knee height; feet [n,3] darken around them.
    """
    for v in range(out.shape[0]):
        for u in range(out.shape[1]):
            x, y = (u + left - camera[2]) / camera[0], (v + top - camera[3]) / camera[1]
            down = R[0, 2] * x + R[1, 2] * y + R[2, 2]
            if down > -0.02:
                continue
            t = -T[2] / down
            p0 = T[0] + t * (R[0, 0] * x + R[1, 0] * y + R[2, 0])
            p1 = T[1] + t * (R[0, 1] * x + R[1, 1] * y + R[2, 1])
            q0, q1, q2 = p0 - light[0], p1 - light[1], -light[2]
            z = light_R[2, 0] * q0 + light_R[2, 1] * q1 + light_R[2, 2] * q2
            a = (light_R[0, 0] * q0 + light_R[0, 1] * q1 + light_R[0, 2] * q2) / z * light[12] + light[13]
            b = (light_R[1, 0] * q0 + light_R[1, 1] * q1 + light_R[1, 2] * q2) / z * light[12] + light[13]
            blocked = 0.0
            if 0 <= a < low.shape[1] - 1 and 0 <= b < low.shape[0] - 1:
                i, j = int(a), int(b)
                s, r = a - i, b - j
                near = (low[j, i] * (1 - s) + low[j, i + 1] * s) * (1 - r) + (
                    low[j + 1, i] * (1 - s) + low[j + 1, i + 1] * s
                ) * r
                far = (high[j, i] * (1 - s) + high[j, i + 1] * s) * (1 - r) + (
                    high[j + 1, i] * (1 - s) + high[j + 1, i + 1] * s
                ) * r
                blocked = 1 - (1 - near) * (1 - far)
            distance2 = q0 * q0 + q1 * q1 + q2 * q2
            key = light[4] * light[2] / np.sqrt(distance2) / (1.2 + distance2)
            around = light[7] + 0.12
            hidden = 0.0
            for f in range(feet.shape[0]):
                reach2 = (0.11 + 0.5 * max(feet[f, 2], 0.0)) ** 2
                near = np.exp(-((p0 - feet[f, 0]) ** 2 + (p1 - feet[f, 1]) ** 2) / (2 * reach2))
                hidden += 0.42 * near * 0.0121 / reach2
            remains = (key * (1 - blocked) + around * (1 - min(hidden, 0.6))) / (key + around)
            for channel in range(3):
                out[v, u, channel] *= remains


@kernel
def develop(linear, top, left, colour, cover, table, noise, noise_v, noise_u, image):  # type: ignore[no-untyped-def]
    """Lay the person over a window of the room and expose it: tone curve, then the sensor's noise."""
    last = table.shape[0] - 1
    for v in range(linear.shape[0]):
        for u in range(linear.shape[1]):
            for channel in range(3):
                value = linear[v, u, channel] * (1 - cover[v, u]) + colour[v, u, channel]
                tone = table[min(int(value * 2048.0), last)]
                grain = noise[noise_v + v + top, noise_u + u + left, channel]
                image[v + top, u + left, channel] = min(max(int(tone + grain + 0.5), 0), 255)


@kernel
def grain(still, noise, noise_v, noise_u, image):  # type: ignore[no-untyped-def]
    """The exposed empty room with this frame's noise."""
    for v in range(still.shape[0]):
        for u in range(still.shape[1]):
            for channel in range(3):
                value = still[v, u, channel] + noise[noise_v + v, noise_u + u, channel] + 0.5
                image[v, u, channel] = min(max(int(value), 0), 255)
