"""Sheets of bodies: a body from four sides and its shape components, and several bodies under each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from codebase.body.arrays import BodyArrays, lbs_numpy, rotation_matrices
from codebase.body.raw import SHAPES
from codebase.render.overlay import draw_mesh
from codebase.skeleton import SMPL

Image = UInt8[ndarray, "_ _ 3"]
Vertices = Float[ndarray, "vertices 3"]
SIDES = {"front": 0.0, "left side": -90.0, "back": 180.0, "right side": 90.0}
PAPER, INK, COLOUR = (244, 243, 239), (50, 50, 50), (0.45, 0.67, 0.88)
_DISTANCE_M, _TITLE_PX, _TEXT = 8.0, 22, 0.42


class Row(NamedTuple):
    """A body on a sheet: y up, z to the viewer, metres."""

    title: str
    vertices_m: Vertices


def four_sides(
    vertices_m: Vertices, faces: Int[ndarray, "faces 3"], *, side_px: int = 300, span_m: float | None = None,
    colour: tuple[float, float, float] = COLOUR,
) -> list[UInt8[ndarray, "side side 3"]]:  # fmt: skip
    """Pictures of a body in the order of SIDES: from where it faces, from its left, from behind, from its right.

    Args:
        vertices_m: y up, facing z.
        span_m: how much of space a picture shows, about the body's middle; by default what all four need.
    """
    low, high = vertices_m.min(axis=0), vertices_m.max(axis=0)
    centred = vertices_m - (low + high) / 2
    across = 2 * np.linalg.norm(centred[:, [0, 2]], axis=1).max()
    span = span_m or 1.08 * max(across, float(high[1] - low[1]))
    return [_from(centred, faces, angle, side_px, span, colour) for angle in SIDES.values()]


def _from(
    centred: Vertices, faces: Int[ndarray, "faces 3"], angle_deg: float, side_px: int, span_m: float,
    colour: tuple[float, float, float],
) -> UInt8[ndarray, "side side 3"]:  # fmt: skip
    angle = np.radians(angle_deg)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    # the camera stands where the body faces: its x is the body's left, its y down, its z into the body
    seen = (centred @ turn.T) * (1, -1, -1) + (0, 0, _DISTANCE_M)
    focal = np.full(2, side_px * _DISTANCE_M / span_m)
    paper = np.full((side_px, side_px, 3), PAPER, np.uint8)
    centre = np.full(2, (side_px - 1) / 2)
    return draw_mesh(paper, seen, faces, focal, centre, colour=colour, opacity=1.0, samples=2)


def rows_sheet(
    rows: Sequence[Row], faces: Int[ndarray, "faces 3"], *, side_px: int = 260, names: Sequence[str] = tuple(SIDES)
) -> Image:
    """Bodies under each other, each from four sides (called `names`), with its title above it."""
    empty = np.full((0, side_px, 3), PAPER, np.uint8)
    lines = [np.concatenate([_titled(empty, name) for name in names], axis=1)]
    for row in rows:
        pictures = four_sides(row.vertices_m, faces, side_px=side_px)
        lines.append(_titled(np.concatenate(pictures, axis=1), row.title))
    return np.concatenate(lines)


def body_sheet(body: BodyArrays, betas: Float[ndarray, "10"], rotations: Float[ndarray, "24 3 3"], title: str) -> Image:
    """The body as asked for from four sides; below, its shape components at two standard deviations to either side."""
    vertices, _ = lbs_numpy(body, betas[None].astype(np.float32), rotations[None].astype(np.float32))
    top = rows_sheet([Row(title, vertices[0])], body.faces, side_px=320)
    text = "shape components at -2 and +2 standard deviations, one scale"
    return np.concatenate([top, _components(body, top.shape[1], text)])


def _components(body: BodyArrays, width: int, text: str) -> Image:
    shapes = np.concatenate([sign * np.eye(SHAPES, dtype=np.float32) for sign in (-2.0, 2.0)])
    still, _ = lbs_numpy(body, shapes, np.broadcast_to(_arms_down(), (len(shapes), 24, 3, 3)))
    small = width // SHAPES
    span = 1.12 * float(np.ptp(still[..., 1], axis=1).max())
    strips = []
    for number, mesh in enumerate(still):
        picture = four_sides(mesh, body.faces, side_px=2 * small, span_m=span)[0][:, small // 2 : small // 2 + small]
        strips.append(_titled(picture, f"{number % SHAPES + 1}: {'-' if number < SHAPES else '+'}2"))
    lines = [np.concatenate(strips[start : start + SHAPES], axis=1) for start in (0, SHAPES)]
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0)), constant_values=PAPER[0]) for line in lines]
    return np.concatenate([_titled(lines[0], text), lines[1]])


def _arms_down() -> Float[ndarray, "24 3 3"]:
    vectors = np.zeros((len(SMPL), 3), np.float32)
    vectors[SMPL.index("left_shoulder"), 2], vectors[SMPL.index("right_shoulder"), 2] = -1.1, 1.1
    return rotation_matrices(vectors)


def _titled(picture: Image, title: str) -> Image:
    bar = np.full((_TITLE_PX, picture.shape[1], 3), PAPER, np.uint8)
    plain = title.encode("ascii", "replace").decode()  # OpenCV's font knows no more
    cv2.putText(bar, plain, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, _TEXT, INK, 1, cv2.LINE_AA)
    return np.concatenate([bar, picture])
