"""An exact hard z-buffer on the CPU.

Pixels are decided in homogeneous coordinates (Olano and Greer, 1997): the ray of a pixel centre meets a triangle
where the three determinants of the ray with the triangle's edges have one sign. They are affine in the pixel, give
perspective-correct barycentrics and inverse depth directly, and stay right for triangles that reach behind the
camera, so nothing is clipped. Pixel centres lie at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, Int32
from numpy import ndarray

from codebase.render.jit import kernel

NEAR = 1e-3


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion; pixel (u, v) sees the direction ((u - cx) / fx, (v - cy) / fy, 1)."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def window(self, left: int, top: int, width: int, height: int, samples: int = 1) -> Pinhole:
        """The camera of a window of the image, with `samples` x `samples` regular samples in each pixel."""
        shift = (samples - 1) / 2
        return Pinhole(
            self.fx * samples,
            self.fy * samples,
            (self.cx - left) * samples + shift,
            (self.cy - top) * samples + shift,
            width * samples,
            height * samples,
        )


@dataclass(frozen=True)
class Raster:
    """What each pixel sees.

    Attributes:
        face: index of the nearest face, -1 where there is none.
        inverse_depth: 1 / z in the unit of the vertices, 0 where there is no face.
    """

    face: Int32[ndarray, "height width"]
    inverse_depth: Float32[ndarray, "height width"]


@kernel
def edge_functions(a, b, c, fx, fy, cx, cy, out):  # type: ignore[no-untyped-def]
    """Rows of `out` [3,3]: barycentric weight i at pixel (u, v) is proportional to out[i] . (u, v, 1).

    Returns the determinant of the triangle; the sum of the weights over it is the inverse depth.
    """
    for i in range(3):
        p, q = (b, c) if i == 0 else ((c, a) if i == 1 else (a, b))
        nx = p[1] * q[2] - p[2] * q[1]
        ny = p[2] * q[0] - p[0] * q[2]
        nz = p[0] * q[1] - p[1] * q[0]
        out[i, 0], out[i, 1], out[i, 2] = nx / fx, ny / fy, nz - nx * cx / fx - ny * cy / fy
        if i == 0:
            det = nx * a[0] + ny * a[1] + nz * a[2]
    return det


@kernel
def _bounds(a, b, c, fx, fy, cx, cy, width, height):  # type: ignore[no-untyped-def]
    """Pixel rectangle that surely holds the triangle; empty where nothing of it is in front."""
    if a[2] < NEAR and b[2] < NEAR and c[2] < NEAR:
        return 0, -1, 0, -1
    if a[2] < NEAR or b[2] < NEAR or c[2] < NEAR:
        return 0, width - 1, 0, height - 1
    ua, ub, uc = a[0] / a[2] * fx + cx, b[0] / b[2] * fx + cx, c[0] / c[2] * fx + cx
    va, vb, vc = a[1] / a[2] * fy + cy, b[1] / b[2] * fy + cy, c[1] / c[2] * fy + cy
    # compare as floats first: far-out coordinates do not fit an integer
    left, right = max(min(ua, ub, uc), 0.0), min(max(ua, ub, uc), width - 1.0)
    top, bottom = max(min(va, vb, vc), 0.0), min(max(va, vb, vc), height - 1.0)
    if not (left <= right and top <= bottom):
        return 0, -1, 0, -1
    return int(np.ceil(left)), int(np.floor(right)), int(np.ceil(top)), int(np.floor(bottom))


@kernel
def _raster(vertices, faces, fx, fy, cx, cy, cull, face_out, inverse_out):  # type: ignore[no-untyped-def]
    height, width = face_out.shape
    edge = np.empty((3, 3))
    for index in range(faces.shape[0]):
        a, b, c = vertices[faces[index, 0]], vertices[faces[index, 1]], vertices[faces[index, 2]]
        left, right, top, bottom = _bounds(a, b, c, fx, fy, cx, cy, width, height)
        if left > right or top > bottom:
            continue
        det = edge_functions(a, b, c, fx, fy, cx, cy, edge)
        # y points down and z away, so a face turned outwards towards the camera has a negative determinant
        if det == 0.0 or (cull and det > 0.0):
            continue
        edge /= det
        for v in range(top, bottom + 1):
            w0 = edge[0, 0] * left + edge[0, 1] * v + edge[0, 2]
            w1 = edge[1, 0] * left + edge[1, 1] * v + edge[1, 2]
            w2 = edge[2, 0] * left + edge[2, 1] * v + edge[2, 2]
            for u in range(left, right + 1):
                if w0 >= 0.0 and w1 >= 0.0 and w2 >= 0.0:
                    inverse = w0 + w1 + w2
                    if inverse > inverse_out[v, u] and inverse * NEAR <= 1.0:
                        inverse_out[v, u] = inverse
                        face_out[v, u] = index
                w0 += edge[0, 0]
                w1 += edge[1, 0]
                w2 += edge[2, 0]


def rasterise(
    vertices_cam: Float[ndarray, "vertices 3"],
    faces: Int[ndarray, "faces 3"],
    camera: Pinhole,
    *,
    cull: bool = False,
) -> Raster:
    """The nearest face and inverse depth at each pixel centre.

    Args:
        vertices_cam: camera frame (x right, y down, z forward), any one unit.
        cull: skip faces turned away from the camera (right for closed meshes, and twice as fast).
    """
    face = np.full((camera.height, camera.width), -1, np.int32)
    inverse = np.zeros((camera.height, camera.width), np.float32)
    vertices = np.ascontiguousarray(vertices_cam, np.float64)
    faces = np.ascontiguousarray(faces, np.int32)
    _raster(vertices, faces, camera.fx, camera.fy, camera.cx, camera.cy, cull, face, inverse)
    return Raster(face, inverse)


@kernel
def _interpolate(face, vertices, faces, attributes, fx, fy, cx, cy, out):  # type: ignore[no-untyped-def]
    edge = np.empty((3, 3))
    for v in range(face.shape[0]):
        for u in range(face.shape[1]):
            index = face[v, u]
            if index < 0:
                continue
            i, j, k = faces[index, 0], faces[index, 1], faces[index, 2]
            edge_functions(vertices[i], vertices[j], vertices[k], fx, fy, cx, cy, edge)
            w0 = edge[0, 0] * u + edge[0, 1] * v + edge[0, 2]
            w1 = edge[1, 0] * u + edge[1, 1] * v + edge[1, 2]
            w2 = edge[2, 0] * u + edge[2, 1] * v + edge[2, 2]
            total = w0 + w1 + w2
            for channel in range(attributes.shape[1]):
                value = w0 * attributes[i, channel] + w1 * attributes[j, channel] + w2 * attributes[k, channel]
                out[v, u, channel] = value / total


def interpolate(
    raster: Raster,
    vertices_cam: Float[ndarray, "vertices 3"],
    faces: Int[ndarray, "faces 3"],
    attributes: Float[ndarray, "vertices channels"],
    camera: Pinhole,
) -> Float32[ndarray, "height width channels"]:
    """Perspective-correct interpolation of vertex attributes at each pixel, 0 where there is no face."""
    out = np.zeros((camera.height, camera.width, attributes.shape[1]), np.float32)
    vertices = np.ascontiguousarray(vertices_cam, np.float64)
    faces = np.ascontiguousarray(faces, np.int32)
    values = np.ascontiguousarray(attributes, np.float64)
    _interpolate(raster.face, vertices, faces, values, camera.fx, camera.fy, camera.cx, camera.cy, out)
    return out


@kernel
def _vertex_normals(vertices, faces, out):  # type: ignore[no-untyped-def]
    for index in range(faces.shape[0]):
        i, j, k = faces[index, 0], faces[index, 1], faces[index, 2]
        a0, a1, a2 = (
            vertices[j, 0] - vertices[i, 0], vertices[j, 1] - vertices[i, 1], vertices[j, 2] - vertices[i, 2],
        )  # fmt: skip
        b0, b1, b2 = (
            vertices[k, 0] - vertices[i, 0], vertices[k, 1] - vertices[i, 1], vertices[k, 2] - vertices[i, 2],
        )  # fmt: skip
        n0, n1, n2 = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0
        for corner in (i, j, k):
            out[corner, 0] += n0
            out[corner, 1] += n1
            out[corner, 2] += n2
    for index in range(out.shape[0]):
        norm = np.sqrt(out[index, 0] ** 2 + out[index, 1] ** 2 + out[index, 2] ** 2)
        if norm > 0.0:
            out[index] /= norm


def vertex_normals(
    vertices: Float[ndarray, "vertices 3"], faces: Int[ndarray, "faces 3"]
) -> Float[ndarray, "vertices 3"]:
    """Unit normals of the vertices, the faces' normals weighted by area; 0 for a vertex without a face."""
    out = np.zeros((len(vertices), 3))
    _vertex_normals(np.ascontiguousarray(vertices, np.float64), np.ascontiguousarray(faces, np.int32), out)
    return out
