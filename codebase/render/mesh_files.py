"""Meshes for other software: OBJ (text), PLY (binary, little endian) and GLB (glTF 2.0), with smooth normals.

Written here, since each format is a page of well-known bytes; a library would be one more thing to install.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from codebase.errors import DataError
from codebase.files import atomic_path
from codebase.render.raster import vertex_normals

# glTF's numbers for types and uses of data
_FLOAT, _USHORT, _UINT, _VERTICES, _INDICES, _TRIANGLES = 5126, 5123, 5125, 34962, 34963, 4
_SKIN_TONE = [0.72, 0.60, 0.52, 1.0]


def write_mesh(
    path: Path, vertices_m: Float[ndarray, "vertices 3"], faces: Int[ndarray, "faces 3"], *, name: str
) -> None:
    """Write a mesh in the format of the path's suffix.

    Args:
        path: ends in .obj, .ply or .glb.
        vertices_m: metres, y up: what glTF asks for; the other formats have no rule.
        faces: triangles, counter-clockwise seen from outside.
        name: of the object, or a comment where the format has no names.

    Raises:
        DataError: vertices that are not finite, faces that name others than there are, another suffix.
    """
    if path.suffix not in WRITERS:
        raise DataError("No such mesh format.", where=path, expected=f"a name that ends in {', '.join(WRITERS)}")
    points = np.ascontiguousarray(vertices_m, np.float32)
    if not len(points) or not np.isfinite(points).all():
        raise DataError(f"The mesh {name} has vertices that are not finite, or none.", where=path)
    triangles = np.asarray(faces)
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= len(points):
        raise DataError(
            f"The mesh {name} has faces of vertices that do not exist, or none.", where=path,
            expected=f"triangles of {len(points)} vertices",
        )  # fmt: skip
    normals = vertex_normals(points.astype(np.float64), triangles)
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0.0, 1.0, 0.0)  # of a vertex without a face; any unit vector
    content = WRITERS[path.suffix](points, normals.astype(np.float32), triangles.astype(np.int32), name)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _obj(points: ndarray, normals: ndarray, faces: ndarray, name: str) -> bytes:
    lines = [f"# {name}\n"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points.tolist()]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in normals.tolist()]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}\n" for a, b, c in (faces + 1).tolist()]
    return "".join(lines).encode()


def _ply(points: ndarray, normals: ndarray, faces: ndarray, name: str) -> bytes:
    header = ["ply", "format binary_little_endian 1.0", f"comment {name}", f"element vertex {len(points)}"]
    header += [f"property float {key}" for key in ("x", "y", "z", "nx", "ny", "nz")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    rows = np.empty(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    return "\n".join(header).encode() + np.hstack([points, normals]).astype("<f4").tobytes() + rows.tobytes()


def _glb(points: ndarray, normals: ndarray, faces: ndarray, name: str) -> bytes:
    short = len(points) < 65535  # the highest index of a type is reserved
    indices = faces.astype("<u2" if short else "<u4").tobytes()
    parts = [points.astype("<f4").tobytes(), normals.astype("<f4").tobytes(), indices + bytes(-len(indices) % 4)]
    starts = [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    views = [
        {"buffer": 0, "byteOffset": start, "byteLength": length, "target": target}
        for start, length, target in zip(
            starts, (len(parts[0]), len(parts[1]), len(indices)), (_VERTICES, _VERTICES, _INDICES), strict=True
        )
    ]
    bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
    vectors = {"componentType": _FLOAT, "count": len(points), "type": "VEC3"}
    document = {
        "asset": {"version": "2.0", "generator": "PoseMill"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [
            {"attributes": {"POSITION": 0, "NORMAL": 1}, "indices": 2, "material": 0, "mode": _TRIANGLES}
        ]}],
        "materials": [{"pbrMetallicRoughness": {
            "baseColorFactor": _SKIN_TONE, "metallicFactor": 0.0, "roughnessFactor": 0.8
        }}],
        "accessors": [
            {"bufferView": 0} | vectors | bounds,
            {"bufferView": 1} | vectors,
            {"bufferView": 2, "componentType": _USHORT if short else _UINT, "count": faces.size, "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": sum(map(len, parts))}],
    }  # fmt: skip
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(parts)
    whole = 12 + 8 + len(text) + 8 + len(binary)
    head = struct.pack("<4sII", b"glTF", 2, whole) + struct.pack("<I4s", len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


WRITERS: dict[str, Callable[[ndarray, ndarray, ndarray, str], bytes]] = {".obj": _obj, ".ply": _ply, ".glb": _glb}
