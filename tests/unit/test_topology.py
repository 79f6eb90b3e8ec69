"""Edges of meshes with the faces on either side."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.render.topology import Topology, topology_of
from tests.silhouettes import posed_body


def test_a_closed_mesh_has_each_edge_once_with_two_faces() -> None:
    _, faces = posed_body(0)
    edges = Topology.of(faces).edges
    assert len(edges) == 3 * len(faces) // 2
    assert (edges >= 0).all()
    assert (edges[:, 0] < edges[:, 1]).all()
    for low, high, forwards, backwards in edges[::97].tolist():
        ring, back = faces[forwards].tolist(), faces[backwards].tolist()
        assert ring[(ring.index(low) + 1) % 3] == high
        assert back[(back.index(high) + 1) % 3] == low


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=20))
def test_every_side_of_every_triangle_is_in_the_table_once(faces: list) -> None:
    """Whatever the triangles: several on an edge, the same twice, open ones."""
    table = Topology.of(np.array(faces, np.int32)).edges
    found = []
    for low, high, forwards, backwards in table.tolist():
        found += [(low, high, forwards)] * (forwards >= 0) + [(high, low, backwards)] * (backwards >= 0)
    expected = [
        (own[i], own[(i + 1) % 3], number) for number, own in enumerate(faces) if len(set(own)) == 3 for i in range(3)
    ]
    assert sorted(found) == sorted(expected)


def test_the_table_is_made_anew_when_faces_change() -> None:
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    first = topology_of(faces)
    assert topology_of(faces) is first
    assert topology_of(faces.clone()) is first
    faces[1, 2] = 1
    assert topology_of(faces).faces.tolist() == [[0, 1, 2], [0, 2, 1]]
