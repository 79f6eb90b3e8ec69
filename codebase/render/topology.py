"""A mesh's edges with the faces on either side: all that its outline can be made of."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Int32
from numpy import ndarray
from torch import Tensor

_KEPT = 8


@dataclass(frozen=True)
class Topology:
    """Faces, and each edge once.

    Attributes:
        faces: vertices of each triangle.
        edges: rows of vertex i < vertex j, the face that runs from i to j, the face that runs from j to i; -1 where
            there is none. An edge with more than two faces, or with two that run the same way, has several rows.
    """

    faces: Int32[ndarray, "faces 3"]
    edges: Int32[ndarray, "edges 4"]

    @classmethod
    def of(cls, faces: Int[ndarray, "faces 3"]) -> Topology:
        """Any triangles, open or closed; a triangle that names a vertex twice is dropped from the edges."""
        faces = np.ascontiguousarray(faces, np.int32)
        known = np.arange(len(faces), dtype=np.int64)
        solid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
        start = faces[solid].ravel().astype(np.int64)
        stop = np.roll(faces[solid], -1, axis=1).ravel().astype(np.int64)
        face = np.repeat(known[solid], 3)
        low, high, back = np.minimum(start, stop), np.maximum(start, stop), start > stop
        order = np.lexsort((face, back, high, low))
        low, high, back, face = low[order], high[order], back[order], face[order]
        # the n-th face of an edge that runs forwards shares a row with the n-th that runs backwards
        turn = _count_in_group(low, high, back)
        rows, row = np.unique(np.stack([low, high, turn], axis=1), axis=0, return_inverse=True)
        edges = np.full((len(rows), 4), -1, np.int32)
        edges[:, :2] = rows[:, :2]
        edges[row.ravel(), 2 + back.astype(int)] = face
        return cls(faces, edges)


def _count_in_group(*keys: ndarray) -> ndarray:
    """Position of each row among the equal rows before it; the rows are sorted."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    new = np.concatenate([[True], np.any([key[1:] != key[:-1] for key in keys], axis=0)])
    place = np.arange(len(new))
    return place - np.maximum.accumulate(np.where(new, place, 0))


_by_tensor: OrderedDict[int, tuple[weakref.ref, int, Topology]] = OrderedDict()
_by_bytes: OrderedDict[bytes, Topology] = OrderedDict()


def topology_of(faces: Int[Tensor, "faces 3"]) -> Topology:
    """The topology of a tensor of faces; made once for a tensor, and once for equal faces."""
    known = _by_tensor.get(id(faces))
    if known is not None and known[0]() is faces and known[1] == faces._version:
        return known[2]
    array = np.ascontiguousarray(faces.detach().cpu().numpy(), np.int32)
    key = array.tobytes()
    found = _by_bytes.get(key)
    if found is None:
        found = Topology.of(array)
        _keep(_by_bytes, key, found)
    _keep(_by_tensor, id(faces), (weakref.ref(faces), faces._version, found))
    return found


def _keep(cache: OrderedDict, key: object, value: object) -> None:
    cache[key] = value
    while len(cache) > _KEPT:
        cache.popitem(last=False)


_on_device: OrderedDict[tuple[int, str], tuple[Topology, Tensor, Tensor]] = OrderedDict()


def on_device(topology: Topology, device: torch.device) -> tuple[Int[Tensor, "faces 3"], Int[Tensor, "edges 4"]]:
    """Faces and edges as int64 tensors; a missing face is the number of faces, where a table can hold a zero."""
    key = (id(topology), str(device))
    known = _on_device.get(key)
    if known is None or known[0] is not topology:
        edges = topology.edges.astype(np.int64)
        edges[edges < 0] = len(topology.faces)
        known = (
            topology,
            torch.from_numpy(topology.faces.astype(np.int64)).to(device),
            torch.from_numpy(edges).to(device),
        )
        _keep(_on_device, key, known)
    return known[1], known[2]
