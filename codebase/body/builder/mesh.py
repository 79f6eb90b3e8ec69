"""From MakeHuman's quads to 6890 vertices: drop mouth and eye cavities, close the face, decimate.

Every new vertex is a fixed combination of MakeHuman's vertices, so shapes and weights carry over linearly.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from codebase.body.builder.source import Source

VERTICES, FACES = 6890, 13776


def triangulate(vertices: Float[np.ndarray, "N 3"], quads: Int[np.ndarray, "Q 4"]) -> Int[np.ndarray, "F 3"]:
    """Split each quad along its shorter diagonal."""
    a, b, c, d = quads.T
    short = np.linalg.norm(vertices[a] - vertices[c], axis=1) <= np.linalg.norm(vertices[b] - vertices[d], axis=1)
    first = np.where(short[:, None], np.stack((a, b, c), 1), np.stack((a, b, d), 1))
    second = np.where(short[:, None], np.stack((c, d, a), 1), np.stack((d, b, c), 1))
    return np.concatenate((first, second))


def boundary_loops(faces: Int[np.ndarray, "F 3"]) -> list[Int[np.ndarray, " n"]]:
    """Closed loops of edges that only one face has, in the direction opposite to that face's (ready to be filled)."""
    edges = {(int(u), int(v)) for face in faces for u, v in zip(face, np.roll(face, -1), strict=True)}
    following = {v: u for u, v in edges if (v, u) not in edges}
    loops = []
    while following:
        start, here = next(iter(following.items()))
        loop = [start]
        del following[start]
        while here != start:
            loop.append(here)
            here = following.pop(here)
        loops.append(np.array(loop))
    return loops


def closed_surface(source: Source) -> tuple[Int[np.ndarray, "F 3"], sparse.csr_matrix, dict[str, np.ndarray]]:
    """The outer skin, watertight.

    Returns:
        faces over the old and new vertices, the combination matrix (old + new, old), and the ids of vertices on the
        eyeballs (L, R), the eyelids (lid.L, lid.R) and the mouth's slit (mouth).
    """
    mean = source.rest.mean(0)
    inside = np.logical_or.reduce(list(source.cavities.values()))
    faces = triangulate(mean, source.quads[~inside])
    rows: list[dict[int, float]] = []
    patches: list[np.ndarray] = [faces]
    eyes: dict[str, np.ndarray] = {}
    for loop in boundary_loops(faces):
        centre = mean[loop].mean(0)
        if abs(centre[0]) < 0.01:
            patches.append(fill_flat(mean[loop], loop))
            eyes["mouth"] = loop
            continue
        side = "L" if centre[0] > 0 else "R"
        ball = source.groups[f"helper-{side.lower()}-eye"]
        first = len(mean) + len(rows)
        patch, added = fill_eye(mean, loop, ball, first)
        rows += added
        patches.append(patch)
        eyes[side] = np.arange(first, first + len(added))
        eyes[f"lid.{side}"] = loop
    return np.concatenate(patches), _combination(len(mean), rows), eyes


def fill_eye(
    vertices: np.ndarray, lids: np.ndarray, ball: np.ndarray, first: int
) -> tuple[Int[np.ndarray, "F 3"], list[dict[int, float]]]:
    """Cover an eyelid opening by a ring on the eyeball's front and its pole."""
    pole = int(ball[np.argmax(vertices[ball, 2])])
    front = ball[vertices[ball, 2] > np.median(vertices[ball, 2])]
    rows: list[dict[int, float]] = []
    for lid in lids:
        target = 0.5 * (vertices[lid] + vertices[pole])
        near = int(front[np.argmin(np.linalg.norm(vertices[front] - target, axis=1))])
        row = {int(lid): 0.4, pole: 0.3}
        row[near] = row.get(near, 0.0) + 0.3
        rows.append(row)
    rows.append({pole: 1.0})
    count = len(lids)
    ring, centre = first + np.arange(count), np.full(count, first + count)
    outer, outer_next, ring_next = lids, np.roll(lids, -1), np.roll(ring, -1)
    faces = np.concatenate(
        [
            np.stack((outer, outer_next, ring_next), 1),
            np.stack((outer, ring_next, ring), 1),
            np.stack((ring, ring_next, centre), 1),
        ]
    )
    return faces, rows


def fill_flat(points: Float[np.ndarray, "n 3"], loop: Int[np.ndarray, " n"]) -> Int[np.ndarray, "F 3"]:
    """Triangulate a loop without new vertices, with the least squared edge lengths (dynamic programming).

    Fit for smooth openings such as a mouth's; the caller checks that the whole surface is closed.
    """
    count = len(loop)
    square = ((points[:, None] - points[None]) ** 2).sum(-1)
    cost, choice = np.zeros((count, count)), np.zeros((count, count), int)
    for span in range(2, count):
        for i in range(count - span):
            j = i + span
            middle = np.arange(i + 1, j)
            total = cost[i, middle] + cost[middle, j]
            choice[i, j] = middle[np.argmin(total)]
            cost[i, j] = total.min() + square[i, j]
    faces, stack = [], [(0, count - 1)]
    while stack:
        i, j = stack.pop()
        if j - i < 2:
            continue
        k = int(choice[i, j])
        faces.append((loop[i], loop[k], loop[j]))
        stack += [(i, k), (k, j)]
    return np.array(faces)


def _combination(count: int, rows: list[dict[int, float]]) -> sparse.csr_matrix:
    extra = sparse.lil_matrix((len(rows), count))
    for index, row in enumerate(rows):
        for column, value in row.items():
            extra[index, column] = value
    return sparse.vstack((sparse.identity(count), extra)).tocsr()


def decimate(
    vertices: Float[np.ndarray, "N 3"], faces: Int[np.ndarray, "F 3"], importance: Float[np.ndarray, " N"]
) -> tuple[Int[np.ndarray, "13776 3"], sparse.csr_matrix]:
    """Reduce to SMPL's counts.

    Args:
        vertices: the closed surface.
        faces: its triangles.
        importance: local magnification (1 = neutral) that draws triangles to where they are worth most.

    Returns:
        faces, and the matrix (6890, N) of barycentric weights.
    """
    import fast_simplification

    used = np.unique(faces)
    compact = np.full(len(vertices), -1)
    compact[used] = np.arange(len(used))
    small, magnified = compact[faces], magnify(vertices[used], compact[faces], importance[used])
    points, triangles = fast_simplification.simplify(
        magnified.astype(np.float32), small.astype(np.int32), target_count=FACES, agg=4.0
    )
    if (len(points), len(triangles)) != (VERTICES, FACES):
        raise ValueError(f"decimation gave {len(points)} vertices and {len(triangles)} faces, not {VERTICES}, {FACES}")
    face, weights = closest_on_surface(points.astype(np.float64), magnified, small)
    rows = np.repeat(np.arange(VERTICES), 3)
    matrix = sparse.csr_matrix((weights.ravel(), (rows, used[small[face]].ravel())), (VERTICES, len(vertices)))
    matrix.sum_duplicates()
    return triangles.astype(np.int64), matrix


def magnify(points: np.ndarray, faces: np.ndarray, importance: np.ndarray) -> Float[np.ndarray, "N 3"]:
    """Blow the surface up locally: positions whose edges are the old ones times the importance (least squares)."""
    edges = np.unique(np.sort(np.concatenate((faces[:, :2], faces[:, 1:], faces[:, ::2])), 1), axis=0)
    count = len(edges)
    ends = np.tile([1.0, -1.0], count)
    matrix = sparse.csr_matrix((ends, (np.repeat(np.arange(count), 2), edges.ravel())), (count, len(points)))
    wanted = importance[edges].mean(1)[:, None] * (points[edges[:, 0]] - points[edges[:, 1]])
    normal = (matrix.T @ matrix + 1e-9 * sparse.identity(len(points))).tocsc()
    return splu(normal).solve(matrix.T @ wanted)


def closest_on_surface(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, candidates: int = 40
) -> tuple[Int[np.ndarray, " P"], Float[np.ndarray, "P 3"]]:
    """Nearest face and barycentric weights for each point, among the faces with the nearest centres."""
    corners = vertices[faces]
    _, near = cKDTree(corners.mean(1)).query(points, k=candidates)
    weights = project_to_triangles(points[:, None], corners[near])
    distance = np.linalg.norm(np.einsum("pkc,pkcx->pkx", weights, corners[near]) - points[:, None], axis=-1)
    best = distance.argmin(1)
    rows = np.arange(len(points))
    return near[rows, best], weights[rows, best]


def project_to_triangles(
    points: Float[np.ndarray, "P 1 3"], corners: Float[np.ndarray, "P K 3 3"]
) -> Float[np.ndarray, "P K 3"]:
    """Barycentric weights of the closest point of each triangle: inside, or on the best of its edges."""
    a, b, c = np.moveaxis(corners, 2, 0)
    normal = np.cross(b - a, c - a)
    area = np.maximum((normal**2).sum(-1), 1e-30)
    inner = np.stack(
        [
            (np.cross(c - b, points - b) * normal).sum(-1) / area,
            (np.cross(a - c, points - c) * normal).sum(-1) / area,
            (np.cross(b - a, points - a) * normal).sum(-1) / area,
        ],
        -1,
    )
    options = [inner]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        p, q = corners[:, :, first], corners[:, :, second]
        t = ((points - p) * (q - p)).sum(-1) / np.maximum(((q - p) ** 2).sum(-1), 1e-30)
        edge = np.zeros_like(inner)
        edge[..., first], edge[..., second] = 1 - np.clip(t, 0, 1), np.clip(t, 0, 1)
        options.append(edge)
    stacked = np.stack(options)
    distance = np.linalg.norm(np.einsum("opkc,pkcx->opkx", stacked, corners) - points, axis=-1)
    distance[0][(inner < 0).any(-1)] = np.inf
    best = distance.argmin(0)
    return np.take_along_axis(stacked, best[None, :, :, None], 0)[0]


def watertight(faces: Int[np.ndarray, "F 3"], vertex_count: int) -> bool:
    """Whether each edge has two faces, once in each direction, and the surface is one sphere (V - E + F = 2)."""
    directed = np.concatenate((faces[:, :2], faces[:, 1:], faces[:, [2, 0]]))
    keys = directed[:, 0] * vertex_count + directed[:, 1]
    back = directed[:, 1] * vertex_count + directed[:, 0]
    once = len(np.unique(keys)) == len(keys) and bool(np.isin(keys, back).all())
    return once and vertex_count - len(keys) // 2 + len(faces) == 2
