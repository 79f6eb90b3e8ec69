"""A body file in SMPL layout as plain arrays, and linear blend skinning without torch.

Frame: SMPL's (x to the body's left, y up, z forward), metres. Files are read by `codebase.body.raw`, official SMPL
pickles through `codebase.body.pickles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from codebase.body.raw import JOINTS, POSE_FEATURES, SHAPES, checked_arrays, read_arrays
from codebase.body.regressors import fit_h36m_regressor
from codebase.provenance import file_digest
from codebase.skeleton import SMPL

LINEAR = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")


@dataclass(frozen=True)
class BodyArrays:
    """A body in SMPL layout, float32.

    Attributes:
        name: the file's stem.
        digest: 16 hex digits of the file's SHA-256, for provenance.
        v_template: vertices of the mean body in the T-pose.
        shapedirs: vertex offsets per unit of each shape coefficient (beta).
        posedirs: vertex offsets per unit of each pose feature, (R - I) of joints 1 to 23, row-major.
        J_regressor: SMPL's 24 joints from T-posed vertices.
        J17_regressor: the 17 Human3.6M joints from posed vertices.
        J17_is_fitted: whether the latter was fitted when the file was read, because it brings none.
        weights: skinning weights.
        parents: parent of each joint, -1 for the root.
        faces: triangles.
        part: body part of each vertex, index into part_names; empty if the file has none.
        part_names: names of the parts.
        landmarks: named points on the template, metres.
        landmark_vertices: the vertex nearest to each.
    """

    name: str
    digest: str
    v_template: Float32[np.ndarray, "V 3"]
    shapedirs: Float32[np.ndarray, "V 3 10"]
    posedirs: Float32[np.ndarray, "V 3 207"]
    J_regressor: Float32[np.ndarray, "24 V"]
    J17_regressor: Float32[np.ndarray, "17 V"]
    J17_is_fitted: bool
    weights: Float32[np.ndarray, "V 24"]
    parents: Int[np.ndarray, "24"]
    faces: Int[np.ndarray, "F 3"]
    part: UInt8[np.ndarray, " P"]
    part_names: tuple[str, ...] = ()
    landmarks: Mapping[str, Float32[np.ndarray, "3"]] = field(default_factory=dict)
    landmark_vertices: Mapping[str, int] = field(default_factory=dict)

    @property
    def linear(self) -> dict[str, np.ndarray]:
        """The arrays that say where vertices go, by the names of the file."""
        return {key: getattr(self, key) for key in LINEAR}

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Template (3V), shapedirs (10, 3V), posedirs (207, 3V), weights (24, V): coordinate planes for `lbs_numpy`."""
        flat = [
            np.ascontiguousarray(array.transpose(2, 1, 0).reshape(len(array[0, 0]), -1))
            for array in (self.shapedirs, self.posedirs)
        ]
        return np.ascontiguousarray(self.v_template.T).ravel(), flat[0], flat[1], np.ascontiguousarray(self.weights.T)

    @cached_property
    def joint_shape_map(self) -> tuple[Float32[np.ndarray, "24 3"], Float32[np.ndarray, "24 3 10"]]:
        """T-pose joints are linear in the betas: offset and slope."""
        exact = self.J_regressor.astype(np.float64)
        slope = np.einsum("jv,vxl->jxl", exact, self.shapedirs.astype(np.float64))
        return (exact @ self.v_template).astype(np.float32), slope.astype(np.float32)


def load_body(path: Path) -> BodyArrays:
    """Read a body file: `.npz` in SMPL layout, or an official SMPL or SMPL+H `.pkl`.

    A file without a regressor of the 17 Human3.6M joints (all licensed ones) gets one that is fitted to it.

    Raises:
        DataError: no such file, not such a file, arrays missing, sizes that disagree, numbers that are not finite.
    """
    arrays = checked_arrays(read_arrays(path), path)
    names = [str(name) for name in arrays["landmark_names"]]
    return BodyArrays(
        name=path.stem,
        digest=file_digest(path),
        parents=arrays["parents"],
        **{key: arrays[key] for key in LINEAR},
        J17_regressor=arrays["J17_regressor"] if "J17_regressor" in arrays else fit_h36m_regressor(arrays),
        J17_is_fitted="J17_regressor" not in arrays,
        faces=arrays["f"],
        part=arrays["part"].astype(np.uint8),
        part_names=tuple(str(name) for name in arrays["part_names"]),
        landmarks=dict(zip(names, arrays["landmarks"].astype(np.float32), strict=True)),
        landmark_vertices=dict(zip(names, arrays["landmark_vertices"].tolist(), strict=True)),
    )


def rotation_matrices(axis_angle_rad: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """Rodrigues' formula; exact at zero."""
    vector = np.asarray(axis_angle_rad)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(*vector.shape[:-1], 3, 3)
    half = np.sinc(angle / (2 * np.pi))  # sin(a/2) / (a/2)
    return np.eye(3, dtype=vector.dtype) + np.sinc(angle / np.pi) * cross + 0.5 * half**2 * (cross @ cross)


def joint_transforms(
    rotations: Float[np.ndarray, "B 24 3 3"], joints: Float[np.ndarray, "B 24 3"]
) -> tuple[Float[np.ndarray, "B 24 3 4"], Float[np.ndarray, "B 24 3"]]:
    """T-pose-to-posed maps [R | t] of each joint, and the posed joints.

    Args:
        rotations: of each joint relative to its parent.
        joints: T-pose joints.
    """
    turned, posed = rotations.copy(), joints.copy()
    for child, parent in enumerate(SMPL.parents):
        if parent >= 0:
            turned[:, child] = turned[:, parent] @ rotations[:, child]
            offset = joints[:, child] - joints[:, parent]
            posed[:, child] = posed[:, parent] + (turned[:, parent] @ offset[..., None])[..., 0]
    shift = posed - (turned @ joints[..., None])[..., 0]
    return np.concatenate((turned, shift[..., None]), -1), posed


def lbs_numpy(
    body: BodyArrays,
    betas: Float[np.ndarray, "b 10"],
    rotations: Float[np.ndarray, "B 24 3 3"],
    transl_m: Float[np.ndarray, "B 3"] | None = None,
    *,
    batch: int = 16,
) -> tuple[Float32[np.ndarray, "B V 3"], Float32[np.ndarray, "B 24 3"]]:
    """Posed vertices and SMPL joints of many frames, as smplx computes them.

    Args:
        body: the arrays.
        betas: shape of each frame, or one shape for all.
        rotations: of each joint relative to its parent (the first is the global orientation).
        transl_m: added to everything, metres.
        batch: frames at a time, small enough for the cache.
    """
    count = len(rotations)
    vertices = np.empty((count, len(body.v_template), 3), np.float32)
    joints24 = np.empty((count, JOINTS, 3), np.float32)
    betas = np.broadcast_to(betas.astype(np.float32), (count, SHAPES)) if len(betas) != 1 else betas.astype(np.float32)
    move = np.zeros((count, 3), np.float32) if transl_m is None else transl_m.astype(np.float32)
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        shape = betas if len(betas) == 1 else betas[part]
        _skin(body, shape, rotations[part].astype(np.float32), move[part], vertices[part], joints24[part])
    return vertices, joints24


def _skin(
    body: BodyArrays,
    betas: np.ndarray,
    rotations: np.ndarray,
    move: np.ndarray,
    vertices: np.ndarray,
    joints24: np.ndarray,
) -> None:
    template, shapedirs, posedirs, weights = body.planes
    offset, slope = body.joint_shape_map
    count, plane = len(rotations), len(body.v_template)
    rest_joints = np.broadcast_to(offset + np.einsum("jxl,bl->bjx", slope, betas), (count, JOINTS, 3))
    maps, posed = joint_transforms(rotations, rest_joints)
    maps[..., 3] += move[:, None]
    joints24[:] = posed + move[:, None]
    feature = (rotations[:, 1:] - np.eye(3, dtype=np.float32)).reshape(count, POSE_FEATURES)
    x, y, z = np.moveaxis((feature @ posedirs + (template + betas @ shapedirs)).reshape(count, 3, plane), 1, 0)
    blended = (maps.transpose(0, 2, 3, 1).reshape(-1, JOINTS) @ weights).reshape(count, 3, 4, plane)
    for axis in range(3):
        row = blended[:, axis]
        vertices[..., axis] = row[:, 0] * x + row[:, 1] * y + row[:, 2] * z + row[:, 3]
