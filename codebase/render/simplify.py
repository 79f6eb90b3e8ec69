"""A mesh of few vertices, each of them one of the original's: for silhouettes at low resolution.

What is linear in the vertices (blend shapes, skinning) is then computed for the kept ones alone. Edges are collapsed
onto one of their ends in the order of the quadric error (Garland and Heckbert, 1997), summed over several poses of the
mesh, so that vertices stay where it bends.
"""

from __future__ import annotations

import heapq

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

_FLAT = 0.2  # cosine by which the normal of a face may turn at most in one collapse
_KEEP_SHAPE = 1e-9  # weight of plain distance, m2, which decides between flat places


def simplify(
    poses: Float[ndarray, "poses vertices 3"], faces: Int[ndarray, "faces 3"], count: int
) -> tuple[Int[ndarray, " kept"], Int[ndarray, "new_faces 3"]]:
    """Vertices of a closed mesh to keep, ascending, and triangles between them (in their numbering).

    Args:
        poses: the same mesh in one pose or several, one unit.
        faces: triangles, each edge with two faces.
        count: vertices to keep; more are kept where no collapse leaves a closed mesh without folds.
    """
    mesh = _Mesh(np.asarray(poses, float), np.asarray(faces, np.int64))
    mesh.collapse(count)
    kept = np.flatnonzero([bool(own) for own in mesh.faces_of])
    number = np.full(poses.shape[1], -1, np.int64)
    number[kept] = np.arange(len(kept))
    left = np.array([corners for corners in mesh.faces if corners is not None], np.int64)
    return kept, number[left]


class _Mesh:
    """A mesh on which edges are collapsed."""

    def __init__(self, places: Float[ndarray, "poses vertices 3"], faces: Int[ndarray, "faces 3"]) -> None:
        self.places = np.ascontiguousarray(places.transpose(1, 0, 2))
        self.faces: list[tuple[int, int, int] | None] = [tuple(corners) for corners in faces.tolist()]
        self.faces_of: list[set[int]] = [set() for _ in range(places.shape[1])]
        for face, corners in enumerate(faces.tolist()):
            for corner in corners:
                self.faces_of[corner].add(face)
        self.quadric = self._quadrics(faces)
        self.age = [0] * places.shape[1]

    def _quadrics(self, faces: Int[ndarray, "faces 3"]) -> Float[ndarray, "vertices poses 4 4"]:
        """Of each vertex: the squared distance to the planes of its faces, weighted by their areas."""
        a, b, c = (self.places[faces[:, corner]] for corner in range(3))
        normal = np.cross(b - a, c - a)
        size = np.linalg.norm(normal, axis=-1, keepdims=True)
        normal = normal / np.maximum(size, 1e-12)
        plane = np.concatenate([normal, -(normal * a).sum(axis=-1, keepdims=True)], axis=-1)
        of_face = size[..., None] * plane[..., :, None] * plane[..., None, :]
        quadric = np.zeros((len(self.places), *of_face.shape[1:]))
        for corner in range(3):
            np.add.at(quadric, faces[:, corner], of_face)
        return quadric

    def neighbours(self, vertex: int) -> set[int]:
        """Of a vertex, itself not among them."""
        found = {corner for face in self.faces_of[vertex] for corner in self.faces[face] or ()}
        found.discard(vertex)
        return found

    def collapse(self, count: int) -> None:
        """The cheapest edges first, until `count` vertices are left."""
        heap: list[tuple[float, int, int, int, int]] = []
        for vertex in range(len(self.places)):
            self._offer(heap, vertex, self.neighbours(vertex))
        left = sum(map(bool, self.faces_of))
        while left > count and heap:
            _, gone, stays, age, age_stays = heapq.heappop(heap)
            if (self.age[gone], self.age[stays]) != (age, age_stays) or not self._may(gone, stays):
                continue
            around = self.neighbours(gone)
            self._merge(gone, stays)
            left -= 1
            for vertex in around:
                self.age[vertex] += 1
            for vertex in around:
                self._offer(heap, vertex, self.neighbours(vertex))

    def _offer(self, heap: list, vertex: int, others: set[int]) -> None:
        """Both ways of collapsing each edge of a vertex."""
        near = np.fromiter(others, np.int64, len(others))
        both = self.quadric[near] + self.quadric[vertex]
        distance = _KEEP_SHAPE * np.square(self.places[near] - self.places[vertex]).sum(axis=(1, 2))
        onto = _heights(both, self.places[near]) + distance
        here = _heights(both, np.broadcast_to(self.places[vertex], self.places[near].shape)) + distance
        for other, there, back in zip(near.tolist(), onto.tolist(), here.tolist(), strict=True):
            heapq.heappush(heap, (there, vertex, other, self.age[vertex], self.age[other]))
            heapq.heappush(heap, (back, other, vertex, self.age[other], self.age[vertex]))

    def _may(self, gone: int, stays: int) -> bool:
        """Whether the mesh stays closed and no face folds over."""
        shared = self.faces_of[gone] & self.faces_of[stays]
        if len(shared) != 2 or len(self.neighbours(gone) & self.neighbours(stays)) != 2:
            return False
        moved = [self.faces[face] for face in self.faces_of[gone] - shared]
        before = self.places[np.array(moved)]
        after = self.places[np.array([[stays if c == gone else c for c in corners or ()] for corners in moved])]
        old, new = (np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]) for p in (before, after))
        lengths = np.linalg.norm(old, axis=-1) * np.linalg.norm(new, axis=-1)
        return bool(((old * new).sum(axis=-1) > _FLAT * lengths).all())

    def _merge(self, gone: int, stays: int) -> None:
        self.quadric[stays] += self.quadric[gone]
        for face in list(self.faces_of[gone]):
            corners = self.faces[face] or ()
            if stays in corners:
                for corner in corners:
                    self.faces_of[corner].discard(face)
                self.faces[face] = None
            else:
                a, b, c = (stays if corner == gone else corner for corner in corners)
                self.faces[face] = (a, b, c)
                self.faces_of[stays].add(face)
        self.faces_of[gone] = set()


def _heights(quadric: Float[ndarray, "n poses 4 4"], places: Float[ndarray, "n poses 3"]) -> Float[ndarray, " n"]:
    """Values of quadrics at places, summed over the poses."""
    linear = (quadric[..., :3, :3] @ places[..., None])[..., 0] + 2 * quadric[..., :3, 3]
    return ((linear * places).sum(axis=-1) + quadric[..., 3, 3]).sum(axis=-1)
