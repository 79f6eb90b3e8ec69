"""Dressing a body: skin, garments, shoes and hair as one mesh that follows the posed body.

All cuts are lines on the mean body in the T-pose, so hems sit at the same place of everybody's anatomy, are smooth
whatever the triangles, and each pixel can be coloured by where it lies on that mean body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from numpy import ndarray
from scipy import sparse
from scipy.spatial import cKDTree

from codebase.body.arrays import BodyArrays
from codebase.render.raster import Pinhole, rasterise, vertex_normals
from codebase.skeleton import SMPL
from codebase.synthetic.bodies import PATTERNS, WAIST, Garment, Person
from codebase.synthetic.cloth import Patch, cut, fill_hollows, smoothing
from codebase.synthetic.hair import hairline, lock_weights, locks, loft, thickness

SKIN, TOP, BOTTOM, SHOE, HAIR, EYE, SEAT = range(7)
PAINT_COLUMNS = 16
SHOE_TOP, SHOE_OFFSET_M = -1.108, 0.006
# columns of the paint table
COLOUR, SECOND, PATTERN, SPECULAR, GLOSS, WRINKLE, EXTRA = 0, 3, 6, 7, 8, 9, 10


@dataclass(frozen=True)
class Outfit:
    """A dressed person. "Body" below is the body's vertices followed by those of `extra`.

    Attributes:
        first, second, weight: each vertex lies at first + weight (second - first) of the body...
        offset_m: ...and so far out along the body's normal.
        place_m: where each vertex lies on the mean body in the T-pose: the coordinates of paint.
        rim_m: how far each vertex lies inside the edge of its piece; large where there is no edge.
        occlusion: the share of the ambient light that reaches each vertex.
        faces, material: triangles and what each is made of.
        paint: one row a material, columns as named above.
        extra_m, extra_weights: rest positions (subject's shape, T-pose) and skinning weights of what the body lacks.
    """

    first: Int32[ndarray, " points"]
    second: Int32[ndarray, " points"]
    weight: Float[ndarray, " points"]
    offset_m: Float[ndarray, " points"]
    place_m: Float[ndarray, "points 3"]
    rim_m: Float[ndarray, " points"]
    occlusion: Float[ndarray, " points"]
    faces: Int32[ndarray, "triangles 3"]
    material: UInt8[ndarray, " triangles"]
    paint: Float[ndarray, "materials 16"]
    extra_m: Float[ndarray, "extra 3"]
    extra_weights: Float[ndarray, "extra 24"]


@dataclass(frozen=True)
class _Piece:
    patch: Patch
    offset: Float[ndarray, " points"]
    place: Float[ndarray, "points 3"]
    rim: Float[ndarray, " points"]
    material: UInt8[ndarray, " triangles"]


def shaped(body: BodyArrays, betas: Float[ndarray, "10"]) -> Float32[ndarray, "vertices 3"]:
    """The T-posed body of somebody, metres."""
    return (body.v_template + body.shapedirs @ betas).astype(np.float32)


def sole_offset_m(body: BodyArrays, betas: Float[ndarray, "10"]) -> float:
    """Height of the ankles above the sole of the shoe."""
    vertices = shaped(body, betas)
    ankle = body.J_regressor[SMPL.index("left_ankle")] @ vertices
    return float(ankle[1] - vertices[:, 1].min() + SHOE_OFFSET_M)


def top_distance(place: Float[ndarray, "n 3"], top: Garment) -> Float[ndarray, " n"]:
    """About the distance from the edge of a top, negative inside: hem, sleeves, neckline."""
    x, y, z = place.T
    from_neck = np.hypot(x, z - (0.045 + 0.35 * (y - 0.24)))
    dip = top.v_m * np.clip(1 - np.abs(x) / 0.06, 0, 1) * (z > 0.05)
    neckline = np.maximum(top.neck_m + dip - from_neck, y - 0.262)
    # in front the collar lies lower than at the nape
    below = y - (0.228 - 0.043 * _ramp(0.01, 0.08, z) - 1.6 * dip - 2.5 * (top.neck_m - 0.075) * (z > 0.06))
    return np.max([top.hem - y, np.abs(x) - top.end, np.minimum(neckline, below)], axis=0)


def bottom_distance(place: Float[ndarray, "n 3"], bottom: Garment) -> Float[ndarray, " n"]:
    """The same for trousers, shorts, or what is under a skirt."""
    x, y, _ = place.T
    return np.max([y - bottom.hem, bottom.end - y, np.abs(x) - 0.35], axis=0)


def dress(body: BodyArrays, person: Person) -> Outfit:
    """Cut and fit everything that a person wears."""
    betas = np.array(person.betas)
    place = body.v_template.astype(np.float64)
    rest = shaped(body, betas).astype(np.float64)
    normals = vertex_normals(rest, body.faces)
    step = smoothing(body.faces, len(place))
    fill = fill_hollows(rest, normals, step, steps=40, most_m=0.03)
    span = np.maximum(fill, fill_hollows(rest, normals, step, steps=150, most_m=0.05))
    top, bottom = top_distance(place, person.top), bottom_distance(place, person.bottom)
    shoe = place[:, 1] - (SHOE_TOP + 0.012 * np.clip(-place[:, 2] / 0.05, -1, 1))
    ear = step @ (step @ (body.part == _part(body, "ear")).astype(float))
    line = hairline(place, ear)
    x, y = np.abs(place[:, 0]), place[:, 1]
    hang = np.where(x < 0.2, _ramp(0.10, -0.12, y), _ramp(0.2, 0.36, x) * 0.8)
    legs = _ramp(-0.25, -0.75, y)
    pieces = [
        _skin(body, np.min([top, bottom, shoe, line], axis=0), place),
        _shell(body, top, 0.005 + span + person.top.loose_m * hang, place, TOP),
        _shell(body, bottom, 0.002 + fill + person.bottom.loose_m * legs, place, BOTTOM),
    ]
    if person.hair_style != "bald":
        pieces.append(_shell(body, line, thickness(person.hair_style, place, line), place, HAIR))
    made = (_shoes(body, shoe, rest, step), _hair_extra(body, person, rest), _skirt_extra(body, person, rest))
    extras = [extra for extra in made if extra is not None]
    start = len(place)
    for points, faces, _, _, material in extras:
        index = np.arange(start, start + len(points))
        patch = Patch(index, index, np.zeros(len(points)), faces)
        pieces.append(
            _Piece(patch, np.zeros(len(points)), points, np.ones(len(points)), np.full(len(faces), material, np.uint8))
        )
        start += len(points)
    extra_rest = np.concatenate([np.zeros((0, 3)), *[e[2] for e in extras]])
    extra_weights = np.concatenate([np.zeros((0, len(SMPL))), *[e[3] for e in extras]])
    return _join(pieces, person, np.concatenate([rest, extra_rest]), extra_rest, extra_weights, body)


def _ramp(low: float, high: float, x: Float[ndarray, "*n"]) -> Float[ndarray, "*n"]:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _part(body: BodyArrays, name: str) -> int:
    # a body file without labels has no ears and eyes to tell apart
    return body.part_names.index(name) if name in body.part_names else -1


def _skin(body: BodyArrays, covered: Float[ndarray, " vertices"], place: Float[ndarray, "vertices 3"]) -> _Piece:
    """What is not deep under something else."""
    faces = body.faces[(covered[body.faces] > -0.02).any(1)]
    used, index = np.unique(faces, return_inverse=True)
    eye = (body.part == _part(body, "eye")) if len(body.part) else np.zeros(len(place), bool)
    material = np.where(eye[faces].sum(1) >= 2, EYE, SKIN).astype(np.uint8)
    patch = Patch(used, used, np.zeros(len(used)), index.reshape(-1, 3))
    return _Piece(patch, np.zeros(len(used)), place[used], np.ones(len(used)), material)


def _shell(
    body: BodyArrays, distance: Float[ndarray, " vertices"], offset: Float[ndarray, " vertices"],
    place: Float[ndarray, "vertices 3"], material: int,
) -> _Piece:  # fmt: skip
    patch = cut(body.faces, distance)
    material_of = np.full(len(patch.faces), material, np.uint8)
    return _Piece(patch, patch.of(offset), patch.of(place), -patch.of(distance), material_of)


def _carried(body: BodyArrays, rest: Float[ndarray, "vertices 3"], points: Float[ndarray, "n 3"]) -> ndarray:
    """Points beside the mean body, moved along with the body's shape."""
    distance, index = cKDTree(body.v_template).query(points, k=24)
    weight = 1 / (distance + 0.01) ** 2
    weight /= weight.sum(1, keepdims=True)
    return points + ((rest - body.v_template)[index] * weight[..., None]).sum(1)


_Extra = tuple[ndarray, ndarray, ndarray, ndarray, int]


def _shoes(
    body: BodyArrays, distance: Float[ndarray, " vertices"], rest: Float[ndarray, "vertices 3"], step: sparse.csr_matrix
) -> _Extra:
    """Shoes follow a foot whose toes are smoothed into one."""
    smooth = rest.copy()
    for _ in range(50):
        smooth = step @ smooth
    toes = _ramp(0.06, 0.13, body.v_template[:, 2])[:, None]
    last = rest + toes * (smooth - rest)
    last += vertex_normals(last, body.faces) * (SHOE_OFFSET_M + 0.006 * toes)
    last[:, 1] = np.maximum(last[:, 1], rest[:, 1].min() - SHOE_OFFSET_M)
    patch = cut(body.faces, distance)
    return patch.of(body.v_template), patch.faces, patch.of(last), patch.of(body.weights), SHOE


def _hair_extra(body: BodyArrays, person: Person, rest: Float[ndarray, "vertices 3"]) -> _Extra | None:
    made = locks(person.hair_style)
    if made is None:
        return None
    points, faces = made
    return points, faces, _carried(body, rest, points), lock_weights(points), HAIR


def _skirt_extra(body: BodyArrays, person: Person, rest: Float[ndarray, "vertices 3"]) -> _Extra | None:
    if not person.skirt:
        return None
    rows, sides = 14, 40
    s = np.linspace(0, 1, rows)[:, None]
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    middle = np.array([0.0, 0.022])
    outward = np.stack([np.sin(turn), np.cos(turn)], -1)
    height = WAIST + 0.02 + s * (person.bottom.end - WAIST - 0.02)
    # it hangs from the widest of waist and hips above, and flares
    reach = np.empty((rows, sides))
    for row, level in enumerate(height[:, 0]):
        near = np.abs(body.v_template[:, 1] - level) < 0.02
        ring = body.v_template[near & (np.abs(body.v_template[:, 0]) < 0.3)][:, [0, 2]] - middle
        reach[row] = (ring @ outward.T).max(0) + 0.020 if len(ring) else 0.0
    reach = np.maximum.accumulate(reach, axis=0) + 0.035 * s * (1 + np.sin(turn * 11) * 0.25)
    plan = middle + reach[..., None] * outward
    rings = np.stack([plan[..., 0], np.broadcast_to(height, reach.shape), plan[..., 1]], -1)
    points, faces = loft(rings)
    weights = np.zeros((len(points), len(SMPL)))
    leg = _ramp(WAIST, WAIST - 0.25, points[:, 1]) * 0.92
    left = _ramp(-0.14, 0.14, points[:, 0])
    weights[:, SMPL.index("left_hip")], weights[:, SMPL.index("right_hip")] = leg * left, leg * (1 - left)
    weights[:, SMPL.index("pelvis")] = 1 - leg
    return points, faces, _carried(body, rest, points), weights, BOTTOM


def _join(
    pieces: list[_Piece], person: Person, rest: Float[ndarray, "all 3"], extra: Float[ndarray, "extra 3"],
    extra_weights: Float[ndarray, "extra 24"], body: BodyArrays,
) -> Outfit:  # fmt: skip
    sizes = np.cumsum([0, *[len(piece.patch.first) for piece in pieces]])
    faces = np.concatenate([piece.patch.faces + start for piece, start in zip(pieces, sizes, strict=False)])
    first, second, weight = (
        np.concatenate([getattr(piece.patch, name) for piece in pieces]) for name in ("first", "second", "weight")
    )
    offset = np.concatenate([piece.offset for piece in pieces])
    normals = np.zeros_like(rest)
    normals[: len(body.v_template)] = vertex_normals(rest[: len(body.v_template)], body.faces)
    whole = Patch(first, second, weight, faces)
    rim = np.concatenate([piece.rim for piece in pieces])
    dressed = whole.of(rest) + whole.of(normals) * offset[:, None]
    return Outfit(
        first.astype(np.int32), second.astype(np.int32), weight, offset,
        np.concatenate([piece.place for piece in pieces]), rim, ambient_occlusion(dressed, faces),
        faces.astype(np.int32), np.concatenate([piece.material for piece in pieces]), paint_table(person),
        extra, extra_weights,
    )  # fmt: skip


def ambient_occlusion(
    vertices: Float[ndarray, "points 3"], faces: ndarray, *, directions: int = 40
) -> Float[ndarray, " points"]:
    """Share of the light from all around that reaches each vertex, 0 to 1, cosine-weighted."""
    normals = vertex_normals(vertices, faces)
    golden = np.pi * (3 - 5**0.5) * np.arange(directions)
    height = 1 - (2 * np.arange(directions) + 1) / directions
    width = np.sqrt(1 - height**2)
    seen, total = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    for direction in np.stack([width * np.cos(golden), height, width * np.sin(golden)], -1):
        across = np.cross(direction, [0.3, 0.5, 0.81])
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(-direction, across), -direction])
        # from so far away that perspective hardly counts
        placed = (vertices - vertices.mean(0)) @ axes.T + [0, 0, 60.0]
        camera = Pinhole(60 * 130.0, 60 * 130.0, 159.5, 159.5, 320, 320)
        depth = rasterise(placed, faces.astype(np.int32), camera).inverse_depth
        u, v = np.rint(placed[:, :2] / placed[:, 2:] * camera.fx + camera.cx).astype(int).T
        inverse = depth[np.clip(v, 0, 319), np.clip(u, 0, 319)]
        cosine = np.maximum(normals @ direction, 0)
        visible = (inverse == 0) | (placed[:, 2] < 1 / np.maximum(inverse, 1e-9) + 0.012)
        seen, total = seen + cosine * visible, total + cosine
    return np.clip(seen / total, 0.1, 1)


def paint_table(person: Person) -> Float[ndarray, "materials 16"]:
    """Colours and finish of each material."""
    table = np.zeros((SEAT + 1, PAINT_COLUMNS))

    def row(material: int, colour: tuple, second: tuple, pattern: int, finish: tuple, extra: tuple = ()) -> None:
        table[material, : EXTRA + len(extra)] = [*colour, *second, pattern, *finish, *extra]

    skin, hair = np.array(person.skin), np.array(person.hair)
    lip = skin * [0.86, 0.52, 0.50] * (1 - person.lips * 0.5) + np.array([0.30, 0.05, 0.05]) * person.lips * 0.5
    row(SKIN, person.skin, tuple(lip), 0, (0.18, 18.0, 0.0), (*hair, person.beard))
    row(TOP, person.top.colour, person.top.second, PATTERNS.index(person.top.pattern), (0.02, 6.0, 0.22))
    row(BOTTOM, person.bottom.colour, person.bottom.second, 0, (0.02, 6.0, 0.0 if person.skirt else 0.26))
    row(SHOE, person.shoe, (0.62, 0.61, 0.58), 0, (0.12, 20.0, 0.05))
    row(HAIR, person.hair, person.skin, 0, (0.16, 14.0, 0.0))
    row(EYE, (0.66, 0.63, 0.60), person.iris, 0, (0.5, 60.0, 0.0))
    row(SEAT, (0.30, 0.20, 0.12), (0.3, 0.3, 0.3), 0, (0.06, 12.0, 0.0))
    return table
