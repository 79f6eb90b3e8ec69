"""Meshes as other software reads them: trimesh loads what was written, and glTF's own rules hold."""

import json
import struct

import numpy as np
import pytest
import trimesh
from conftest import REPOSITORY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codebase.body.arrays import lbs_numpy, load_body, rotation_matrices
from codebase.errors import DataError
from codebase.render.mesh_files import WRITERS, write_mesh

SUFFIXES = sorted(WRITERS)


@pytest.fixture(scope="module")
def posed():
    body = load_body(REPOSITORY / "assets/free_body.npz")
    pose = 0.4 * np.random.default_rng(0).normal(size=(1, 24, 3))
    return lbs_numpy(body, np.zeros((1, 10)), rotation_matrices(pose))[0][0], body.faces


def load(path):
    """As a viewer would: one mesh, vertices as they stand in the file."""
    return trimesh.load(path, force="mesh", process=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_trimesh_opens_a_body(tmp_path, posed, suffix):
    vertices, faces = posed
    path = tmp_path / f"body{suffix}"
    write_mesh(path, vertices, faces, name="S9/act_02, metres")
    mesh = load(path)
    assert np.abs(mesh.vertices - vertices).max() < 1e-6
    assert np.array_equal(mesh.faces, faces)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert 0.045 < mesh.volume < 0.09  # positive: outward faces
    outward = trimesh.Trimesh(vertices, faces, process=False).vertex_normals
    assert (np.einsum("vx,vx->v", mesh.vertex_normals, outward) > 0.8).mean() > 0.999


@st.composite
def meshes(draw):
    count = draw(st.integers(3, 40))
    coordinates = st.floats(-1e3, 1e3, width=32)
    vertices = np.array(draw(st.lists(st.tuples(*3 * [coordinates]), min_size=count, max_size=count)), np.float32)
    corner = st.integers(0, count - 1)
    faces = np.array(draw(st.lists(st.tuples(*3 * [corner]), min_size=1, max_size=30)))
    return vertices, faces


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(mesh=meshes(), suffix=st.sampled_from([".ply", ".glb"]))
def test_binary_formats_keep_every_bit(tmp_path, mesh, suffix):
    vertices, faces = mesh
    path = tmp_path / f"mesh{suffix}"
    write_mesh(path, vertices, faces, name="any")
    again = load(path)
    assert np.array_equal(np.asarray(again.vertices, np.float32), vertices)
    assert np.array_equal(again.faces, faces)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(mesh=meshes())
def test_glb_obeys_the_specification(tmp_path, mesh):
    vertices, faces = mesh
    path = tmp_path / "mesh.glb"
    write_mesh(path, vertices, faces, name='a "name" with ünusual letters')
    document, binary = parts(path.read_bytes())
    assert document["asset"]["version"] == "2.0"
    assert document["buffers"] == [{"byteLength": len(binary)}]
    (primitive,) = document["meshes"][0]["primitives"]
    position, normal, index = (
        document["accessors"][at] for at in (*primitive["attributes"].values(), primitive["indices"])
    )
    for accessor in (position, normal, index):
        view = document["bufferViews"][accessor["bufferView"]]
        width = {5126: 4, 5123: 2, 5125: 4}[accessor["componentType"]] * {"VEC3": 3, "SCALAR": 1}[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteLength"] == width * accessor["count"]
        assert view["byteOffset"] + view["byteLength"] <= len(binary)
    stored = np.frombuffer(binary, "<f4", 3 * position["count"]).reshape(-1, 3)
    assert position["min"] == stored.min(0).tolist()
    assert position["max"] == stored.max(0).tolist()
    start = document["bufferViews"][normal["bufferView"]]["byteOffset"]
    normals = np.frombuffer(binary, "<f4", 3 * normal["count"], start).reshape(-1, 3)
    assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-4
    assert index["count"] == faces.size
    assert document["bufferViews"][index["bufferView"]]["target"] == 34963


def parts(content):
    """The JSON and the binary chunk of a GLB, with its lengths checked."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    at, found = 12, []
    for kind in (b"JSON", b"BIN\0"):
        size, name = struct.unpack_from("<I4s", content, at)
        assert name == kind
        assert size % 4 == 0
        found.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    assert at == len(content)
    return json.loads(found[0]), found[1]


def test_large_meshes_have_wide_indices(tmp_path):
    vertices = np.random.default_rng(0).normal(size=(70_000, 3)).astype(np.float32)
    faces = np.array([[0, 1, 69_999]])
    write_mesh(tmp_path / "large.glb", vertices, faces, name="large")
    assert load(tmp_path / "large.glb").faces.tolist() == faces.tolist()
    assert parts((tmp_path / "large.glb").read_bytes())[0]["accessors"][2]["componentType"] == 5125


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", ["nan", "infinite", "beyond", "below", "empty", "no face"])
def test_what_is_no_mesh_is_refused_and_nothing_is_written(tmp_path, suffix, damage):
    vertices, faces = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]])
    if damage in ("nan", "infinite"):
        vertices[1, 1] = np.nan if damage == "nan" else np.inf
    elif damage in ("beyond", "below"):
        faces[0, 0] = 3 if damage == "beyond" else -1
    else:
        vertices, faces = (vertices[:0], faces) if damage == "empty" else (vertices, faces[:0])
    with pytest.raises(DataError):
        write_mesh(tmp_path / f"mesh{suffix}", vertices, faces, name="bad")
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(DataError, match="No such mesh format"):
        write_mesh(tmp_path / "mesh.stl", np.eye(3), np.array([[0, 1, 2]]), name="x")
