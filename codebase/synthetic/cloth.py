"""Cutting shells out of a mesh along a smooth line, and keeping them off the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse


@dataclass(frozen=True)
class Patch:
    """A piece of a mesh: its vertices lie on edges of the mesh, first + weight (second - first).

    Attributes:
        first, second: vertices of the mesh.
        weight: 0 to 1 along the edge.
        faces: triangles of the patch's own vertices, oriented as in the mesh.
    """

    first: Int[ndarray, " points"]
    second: Int[ndarray, " points"]
    weight: Float[ndarray, " points"]
    faces: Int[ndarray, "triangles 3"]

    def of(self, values: Float[ndarray, "vertices ..."]) -> Float[ndarray, "points ..."]:
        """Values of the mesh's vertices, carried over to the patch."""
        weight = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        return values[self.first] * (1 - weight) + values[self.second] * weight


def cut(faces: Int[ndarray, "faces 3"], distance: Float[ndarray, " vertices"]) -> Patch:
    """The part of a mesh where `distance` (linear over each face) is negative; crossed faces are cut in two."""
    inside = distance < 0
    count = inside[faces].sum(1)
    triangles = [tuple((int(v), int(v)) for v in face) for face in faces[count == 3]]
    for face in faces[(count == 1) | (count == 2)]:
        corners: list[tuple[int, int]] = []
        for here, there in zip(face, np.roll(face, -1), strict=True):
            if inside[here]:
                corners.append((int(here), int(here)))
            if inside[here] != inside[there]:
                corners.append((int(min(here, there)), int(max(here, there))))
        triangles += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
    if not triangles:
        return Patch(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros((0, 3), int))
    points, index = np.unique(np.array(triangles).reshape(-1, 2), axis=0, return_inverse=True)
    first, second = points.T
    gap = distance[first] - distance[second]
    weight = np.where(first == second, 0.0, distance[first] / np.where(gap == 0, 1.0, gap))
    return Patch(first, second, weight, index.reshape(-1, 3))


def smoothing(faces: Int[ndarray, "faces 3"], count: int) -> sparse.csr_matrix:
    """One step of averaging each vertex half with its neighbours."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.concatenate([edges, edges[:, ::-1]])
    around = sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (count, count))
    around.data[:] = 1.0
    degree = np.maximum(np.asarray(around.sum(1)).ravel(), 1)
    return (0.5 * sparse.identity(count) + 0.5 * sparse.diags(1 / degree) @ around).tocsr()


def fill_hollows(
    vertices: Float[ndarray, "vertices 3"],
    normals: Float[ndarray, "vertices 3"],
    step: sparse.csr_matrix,
    *,
    steps: int,
    most_m: float,
) -> Float[ndarray, " vertices"]:
    """How far along its normal each vertex must move for cloth to span hollows instead of following them."""
    smooth = vertices.copy()
    for _ in range(steps):
        smooth = step @ smooth
    offset = np.clip(((smooth - vertices) * normals).sum(1), 0.0, most_m)
    for _ in range(3):
        offset = step @ offset
    return offset
