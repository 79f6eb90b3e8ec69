"""The whole way from MakeHuman to a body in SMPL layout."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import sparse

from codebase.body.builder import correctives, h36m, labels
from codebase.body.builder.mesh import VERTICES, closed_surface, decimate, watertight
from codebase.body.builder.pack import quantised
from codebase.body.builder.regressors import fit_regressor, mean_error_mm
from codebase.body.builder.source import Source, read_source
from codebase.body.builder.tpose import PELVIS_M, dual_quaternion_skinning, rigid_from_global, t_pose_rotations
from codebase.skeleton import SMPL

logger = logging.getLogger(__name__)
HELD_OUT = 0.25
MAGNIFY = {"head": 0.9, "neck": 0.2, "left_hand": -0.15, "right_hand": -0.15, "left_foot": -0.3, "right_foot": -0.3}


class ShapeSpace(NamedTuple):
    """Principal components, scaled so that betas ~ N(0, 1) reproduce the sampled people."""

    mean: Float[np.ndarray, "V 3"]
    directions: Float[np.ndarray, "V 3 10"]
    betas: Float[np.ndarray, "S 10"]
    explained: float


def t_posed(rest: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T-pose each body, its pelvis at PELVIS_M. Returns vertices (S, V, 3) and joints (S, 24, 3)."""
    vertices, posed = np.empty((*rest.shape[:1], len(weights), 3)), np.empty_like(joints)
    for index, (body, skeleton) in enumerate(zip(rest, joints, strict=True)):
        rotations, shift, posed[index] = rigid_from_global(t_pose_rotations(skeleton), skeleton)
        vertices[index] = dual_quaternion_skinning(body, weights, rotations, shift)
    move = PELVIS_M - posed[:, :1]
    return vertices + move, posed + move


def rig_in_t_pose(source: Source) -> Float[np.ndarray, "S 24 3"]:
    """MakeHuman's own joints, carried into the T-pose by the bones of `source.joints`."""
    result = np.empty_like(source.rig_joints)
    for index, (rig, skeleton) in enumerate(zip(source.rig_joints, source.joints, strict=True)):
        rotations, shift, posed = rigid_from_global(t_pose_rotations(skeleton), skeleton)
        result[index] = np.einsum("jxy,jy->jx", rotations, rig) + shift + PELVIS_M - posed[0]
    return result


def principal_components(vertices: Float[np.ndarray, "S V 3"]) -> ShapeSpace:
    """Ten components; the sign of each makes the body taller."""
    mean = vertices.mean(0)
    flat = (vertices - mean).reshape(len(vertices), -1)
    left, scale, right = np.linalg.svd(flat, full_matrices=False)
    spread = scale[:10] / np.sqrt(len(vertices) - 1)
    directions = (right[:10] * spread[:, None]).reshape(10, -1, 3)
    sign = np.sign(directions[:, mean[:, 1].argmax(), 1] - directions[:, mean[:, 1].argmin(), 1])
    directions = np.moveaxis(directions * sign[:, None, None], 0, -1)
    betas = left[:, :10] * np.sqrt(len(vertices) - 1) * sign
    return ShapeSpace(mean, directions, betas, float((scale[:10] ** 2).sum() / (scale**2).sum()))


def build(count: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Arrays of the body file, and the report of how good they are."""
    source = read_source(count, seed)
    logger.info("sampled %d bodies", count)
    faces_closed, combination, eyes = closed_surface(source)
    mean_rest, mean_joints = combination @ source.rest.mean(0), source.joints.mean(0)
    weights_closed = combination @ source.weights
    surface, posed_joints = t_posed(mean_rest[None], mean_joints[None], weights_closed)
    importance = 1 + sum(gain * weights_closed[:, SMPL.index(name)] for name, gain in MAGNIFY.items())
    faces, chosen = decimate(surface[0], faces_closed, importance)
    if not watertight(faces, VERTICES):
        raise ValueError("the decimated surface is not one closed sphere")
    logger.info("decimated to %s", faces.shape)
    matrix = (chosen @ combination).tocsr()
    weights = quantised_weights(matrix @ source.weights)
    vertices, joints = t_posed(np.stack([matrix @ body for body in source.rest]), source.joints, weights)
    rig_joints = rig_in_t_pose(source)
    space = principal_components(vertices)
    origin = posed_joints[0, SMPL.index("head")] - mean_joints[SMPL.index("head")]
    marks = labels.landmarks(mean_rest, np.unique(faces_closed), eyes, origin)
    rest = mean_body(matrix, source, weights)
    posedirs = correctives.drop_negligible(correctives.fit(rest, seed))
    logger.info("fitted pose correctives")
    regressor, regressor17, errors = _regressors(vertices, joints, rig_joints, space, weights, posedirs, marks, seed)
    eyeballs = labels.touched_by(chosen, np.concatenate([eyes["L"], eyes["R"]]))
    names, positions = list(marks), np.stack(list(marks.values()))
    mean_t = joints.mean(0)
    arrays = quantised(
        {
            "v_template": space.mean,
            "shapedirs": space.directions,
            "posedirs": posedirs,
            "J_regressor": regressor,
            "J17_regressor": regressor17,
            "weights": weights,
            "kintree_table": np.array([SMPL.parents, range(24)]),
            "f": faces,
            "part": labels.part_labels(space.mean, weights, mean_t, marks, eyeballs),
            "part_names": np.array(labels.PARTS),
            "landmarks": positions,
            "landmark_names": np.array(names),
            "landmark_vertices": labels.nearest_vertices(positions, space.mean),
        }
    )
    report: dict[str, object] = {
        "vertices": len(space.mean),
        "faces": len(faces),
        "watertight": True,
        "explained_variance": space.explained,
        **errors,
        **_heights(space, seed),
        **correctives.errors(rest, arrays["posedirs"].astype(np.float64), seed + 1),
    }
    return arrays, report


def mean_body(matrix: sparse.csr_matrix, source: Source, weights: np.ndarray) -> correctives.Rest:
    """The mean body in MakeHuman's rest pose with its way to the T-pose."""
    joints = source.joints.mean(0)
    turn, shift, posed = rigid_from_global(t_pose_rotations(joints), joints)
    move = PELVIS_M - posed[0]
    return correctives.Rest(matrix @ source.rest.mean(0), weights, turn, shift + move, posed + move)


def quantised_weights(weights: Float[np.ndarray, "V 24"], grain: int = 256, most: int = 6) -> Float[np.ndarray, "V 24"]:
    """Keep the heaviest `most` joints a vertex, in multiples of 1 / grain that sum to one exactly."""
    kept = np.where(weights >= np.sort(weights, axis=1)[:, -most][:, None], weights, 0.0)
    scaled = kept / kept.sum(1, keepdims=True) * grain
    whole = np.floor(scaled)
    rank = np.argsort(np.argsort(-(scaled - whole), axis=1), axis=1)
    return (whole + (rank < np.round(grain - whole.sum(1, keepdims=True)))) / grain


def _regressors(
    vertices: np.ndarray, joints: np.ndarray, rig_joints: np.ndarray, space: ShapeSpace, weights: np.ndarray,
    posedirs: np.ndarray, marks: dict[str, np.ndarray], seed: int,
) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:  # fmt: skip
    split = int(len(vertices) * (1 - HELD_OUT))
    mean_joints = joints.mean(0)
    regressor = fit_regressor(vertices[:split], joints[:split], space.mean, mean_joints)
    held = mean_error_mm(regressor, vertices[split:], joints[split:])
    # landmarks of each body: the vertex nearest to the mean body's mark, and the mark's offset from it
    followed = {name: vertices[:, (near := np.linalg.norm(space.mean - marks[name], axis=1).argmin())]
                + marks[name] - space.mean[near] for name in ("nose_tip", "crown")}  # fmt: skip
    rest17 = h36m.rest_positions(joints, followed)
    mean17 = h36m.rest_positions(mean_joints, {name: points.mean(0) for name, points in followed.items()})
    posed, posed17 = h36m.posed_bodies(vertices, joints, rest17, weights, posedirs, seed)
    regressor17 = fit_regressor(posed[:split], posed17[:split], space.mean, mean17)
    held17 = mean_error_mm(regressor17, posed[split:], posed17[split:])
    errors: dict[str, object] = {
        "J_regressor_mean_error_mm": float(held.mean()),
        "J_regressor_per_joint_mm": {
            name: round(float(value), 2) for name, value in zip(SMPL.names, held, strict=True)
        },
        "J_regressor_against_rig_joints_mm": float(
            mean_error_mm(regressor, vertices[split:], rig_joints[split:]).mean()
        ),
        "J_regressor_entries": int((regressor > 0).sum()),
        "J17_regressor_posed_mean_error_mm": float(held17.mean()),
        "J17_regressor_posed_per_joint_mm": {
            name: round(float(value), 2) for name, value in zip(h36m.H36M.names, held17, strict=True)
        },
        "J17_regressor_entries": int((regressor17 > 0).sum()),
    }
    return regressor, regressor17, errors


def _heights(space: ShapeSpace, seed: int) -> dict[str, float]:
    """Stature over betas ~ N(0, 1)."""
    betas = np.random.default_rng(seed).standard_normal((2000, 10))
    statures = np.ptp(space.mean[:, 1] + np.einsum("vl,nl->nv", space.directions[:, 1], betas), axis=1)
    return {
        "height_template_m": float(np.ptp(space.mean[:, 1])),
        "height_mean_m": float(statures.mean()),
        "height_std_m": float(statures.std()),
        "height_min_of_2000_m": float(statures.min()),
        "height_max_of_2000_m": float(statures.max()),
    }
