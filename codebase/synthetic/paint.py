"""Colour of each place of a dressed person: faces, cloth, hair, shoes and eyes, in coordinates of the mean body."""

from __future__ import annotations

import numpy as np

from codebase.render.jit import kernel
from codebase.synthetic.noise import noise2, smoothstep

# materials as in appearance.py, which numba reads as constants
_SKIN, _TOP, _BOTTOM, _SHOE, _HAIR, _EYE, _SEAT = range(7)


@kernel
def _mix(out, r, g, b, share):  # type: ignore[no-untyped-def]
    out[0] += (r - out[0]) * share
    out[1] += (g - out[1]) * share
    out[2] += (b - out[2]) * share


@kernel
def _scale(out, gain):  # type: ignore[no-untyped-def]
    out[0] *= gain
    out[1] *= gain
    out[2] *= gain


@kernel
def _face(x, y, z, paint, out):  # type: ignore[no-untyped-def]
    """Brows, lids, lips, cheeks and beard."""
    a = abs(x)
    flush = np.exp(-((a - 0.045) ** 2 + (y - 0.358) ** 2) / 0.0005) + 0.7 * np.exp(-(a * a + (y - 0.362) ** 2) / 0.0002)
    out[1] *= 1 - 0.16 * flush
    out[2] *= 1 - 0.16 * flush
    beard = paint[13] * smoothstep(0.345, 0.328, y) * smoothstep(0.05, 0.085, z) * smoothstep(0.262, 0.285, y)
    beard = max(beard, paint[13] * smoothstep(0.352, 0.346, y) * smoothstep(0.034, 0.026, a) * (y > 0.33))
    _mix(out, paint[10], paint[11], paint[12], 0.85 * beard * (0.75 + 0.5 * noise2(x * 900, y * 700)))
    lip = (x / 0.0265) ** 2 + ((y - 0.3285) / 0.0115) ** 2
    _mix(out, paint[3], paint[4], paint[5], smoothstep(1.15, 0.75, lip))
    _scale(out, 1 - 0.55 * smoothstep(0.0022, 0.0008, abs(y - 0.3285)) * smoothstep(0.027, 0.022, a))
    # the lids: a shade around the eye, a dark line of lashes above it
    eye = ((a - 0.0305) / 0.0155) ** 2 + ((y - 0.3975) / 0.0085) ** 2
    _scale(out, 1 - 0.22 * smoothstep(2.6, 1.0, eye))
    lash = smoothstep(1.5, 1.1, eye) * (1.0 if y > 0.398 else 0.35)
    _mix(out, 0.02, 0.014, 0.012, 0.8 * lash)
    arch = 0.4165 + 0.0045 * (1 - ((a - 0.040) / 0.022) ** 2)
    width = 0.0040 * smoothstep(0.066, 0.036, a) + 0.0008
    brow = (
        smoothstep(width + 0.0012, width - 0.0008, abs(y - arch))
        * smoothstep(0.013, 0.018, a)
        * smoothstep(0.064, 0.056, a)
    )
    _mix(out, paint[10] * 0.8, paint[11] * 0.8, paint[12] * 0.8, 0.82 * brow)


@kernel
def _cloth(x, y, z, paint, out):  # type: ignore[no-untyped-def]
    """Pattern of a top; along the sleeves it runs across."""
    kind, a = int(paint[6]), abs(x)
    sleeve = a > 0.195
    s, t = (a, y * 1.0) if sleeve else (y, x)
    share = 0.0
    if kind == 1:
        share = smoothstep(0.10, 0.25, np.sin(s * 2 * np.pi / 0.062))
    elif kind == 2:
        one, two = np.sin(s * 2 * np.pi / 0.07), np.sin(t * 2 * np.pi / 0.07)
        share = 0.42 * smoothstep(0.1, 0.3, one) + 0.42 * smoothstep(0.1, 0.3, two)
    elif kind == 3:
        share = smoothstep(0.060, 0.063, y) if not sleeve else 1.0
    elif kind == 4 and z > 0.05 and not sleeve:
        share = smoothstep(0.0815, 0.0785, max(a, abs(y - 0.035))) * smoothstep(0.40, 0.46, noise2(x * 38 + 5, y * 38))
    elif kind == 5 and z > 0.05 and not sleeve:
        share = 0.45 * smoothstep(0.0022, 0.0012, abs(abs(x) - 0.016))
        button = (x * x + ((y + 0.3) % 0.085 - 0.04) ** 2) / 0.0055**2
        share = max(share, smoothstep(1.2, 0.8, button))
    _mix(out, paint[3], paint[4], paint[5], share)
    _scale(out, 0.96 + 0.08 * noise2(x * 420, (y + z) * 420))


@kernel
def albedo(material, x, y, z, paint, out):  # type: ignore[no-untyped-def]
    """Linear albedo at a place of the mean body."""
    out[0], out[1], out[2] = paint[0], paint[1], paint[2]
    if material == _SKIN:
        if y > 0.25 and abs(x) < 0.1:
            if z > 0.05:
                _face(x, y, z, paint, out)
        else:
            _scale(out, 0.97 + 0.06 * noise2(x * 60, y * 60 + z * 40))
            if abs(x) > 0.7:  # knuckles and palms
                out[1] *= 0.95
                out[2] *= 0.94
    elif material == _TOP:
        _cloth(x, y, z, paint, out)
    elif material == _BOTTOM:
        _scale(out, 0.95 + 0.10 * noise2(x * 380, (y + z) * 300))
        if y > -0.2 and y < -0.185:
            _scale(out, 0.8)
        _scale(out, 1 - 0.2 * smoothstep(0.0025, 0.001, abs(z - 0.025)) * (abs(x) > 0.09))  # side seams
    elif material == _SHOE:
        sole = smoothstep(-1.172, -1.176, y)
        _mix(out, paint[3], paint[4], paint[5], sole)
        lace = (
            smoothstep(0.2, 0.6, np.sin(z * 420))
            * (abs(abs(x) - 0.113) < 0.016)
            * (z > 0.07)
            * (z < 0.14)
            * (y > -1.16)
        )
        _mix(out, 0.5, 0.5, 0.48, 0.55 * lace)
    elif material == _HAIR:
        turn = np.arctan2(x, z - 0.07)
        strand = noise2(turn * 34 + 40, y * 14 + 8) * 0.6 + noise2(turn * 90 + 40, y * 22 + 50) * 0.4
        _scale(out, 0.55 + 0.9 * strand)
    elif material == _EYE:
        from_iris = np.hypot(abs(x) - 0.0300, y - 0.3980)
        _mix(out, paint[3], paint[4], paint[5], smoothstep(0.0066, 0.0056, from_iris))
        _mix(out, 0.01, 0.01, 0.01, smoothstep(0.0032, 0.0024, from_iris))
        _scale(out, 1 - 0.45 * smoothstep(0.3985, 0.4025, y))


@kernel
def edge_wear(material, rim, x, z, paint, out):  # type: ignore[no-untyped-def]
    """What happens near the edge of a shell, `rim` metres inside it: a seam in cloth, thin hair."""
    if material in (_TOP, _BOTTOM):
        _scale(out, 1 - 0.22 * smoothstep(0.003, 0.001, abs(rim - 0.016)) - 0.25 * smoothstep(0.002, 0.0, rim))
    elif material == _HAIR:
        turn = np.arctan2(x, z - 0.07)
        ragged = 0.010 * noise2(turn * 45 + 300, 3.5) + 0.003
        _mix(out, paint[3], paint[4], paint[5], 0.75 * smoothstep(ragged, 0.2 * ragged, rim))
