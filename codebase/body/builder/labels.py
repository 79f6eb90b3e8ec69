"""Body parts and facial landmarks for whoever paints the body."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from codebase.skeleton import SMPL

PARTS = (
    "neck", "face", "scalp", "torso", "upper_arm", "forearm", "hand", "pelvis", "thigh", "shin", "foot", "ear", "lips",
    "eye",
)  # fmt: skip

# Points along a brow, from the middle of the face and from the eye's height, in units of the eyes' distance.
BROW = {"inner": (0.24, 0.26), "mid": (0.55, 0.36), "outer": (0.80, 0.24)}
# Edges of the lips above and below the slit, in units of the mouth's width.
LIPS = (0.15, -0.20)

_PART_OF_JOINT = {
    "neck": "neck", "head": "face", "spine1": "torso", "spine2": "torso", "spine3": "torso", "collar": "torso",
    "shoulder": "upper_arm", "elbow": "forearm", "wrist": "hand", "hand": "hand", "pelvis": "pelvis", "hip": "thigh",
    "knee": "shin", "ankle": "foot", "foot": "foot",
}  # fmt: skip


def part_labels(
    template: Float[np.ndarray, "V 3"],
    weights: Float[np.ndarray, "V 24"],
    joints: Float[np.ndarray, "24 3"],
    marks: dict[str, Float[np.ndarray, "3"]],
    eyes: Int[np.ndarray, " E"],
) -> Int[np.ndarray, " V"]:
    """Index into PARTS for each vertex, from skinning weights, then finer on the head.

    Args:
        template: T-pose.
        weights: skinning weights.
        joints: SMPL's joints.
        marks: landmarks by name.
        eyes: vertices on the eyeballs.
    """
    names = [_PART_OF_JOINT[name.partition("_")[2] or name] for name in SMPL.names]
    part = np.array([PARTS.index(name) for name in names])[weights.argmax(1)]
    head = np.isin(part, [PARTS.index("face"), PARTS.index("neck")])
    part[head & hair_mask(template, marks)] = PARTS.index("scalp")
    # the chin and jaw move with the head; below and behind them the skin is neck
    ear = marks["ear_left"]
    side = np.abs(template[:, 0])
    is_ear = (
        (side > 0.84 * ear[0]) & (np.abs(template[:, 1] - ear[1]) < 0.035) & (np.abs(template[:, 2] - ear[2]) < 0.026)
    )
    part[is_ear & (part == PARTS.index("face"))] = PARTS.index("ear")
    lips = (template - 0.5 * (marks["lip_top"] + marks["lip_bottom"])) / (
        0.5 * (marks["mouth_left"] - marks["mouth_right"])[0], 0.5 * (marks["lip_top"] - marks["lip_bottom"])[1], 0.03
    )  # fmt: skip
    part[head & ((lips**2).sum(1) < 1)] = PARTS.index("lips")
    part[eyes] = PARTS.index("eye")
    return part.astype(np.uint8)


def hair_mask(points: Float[np.ndarray, "V 3"], marks: dict[str, Float[np.ndarray, "3"]]) -> np.ndarray:
    """Above the line that runs from the hairline over the top of the ears to the nape."""
    forehead, nape, ear = marks["hairline"], marks["nape"], marks["ear_left"]
    z = points[:, 2]
    over_ear = ear[1] + 0.03
    front = (
        over_ear + (forehead[1] - over_ear) * np.clip((z - ear[2] - 0.02) / (forehead[2] - ear[2] - 0.03), 0, 1) ** 1.2
    )
    back = nape[1] + (over_ear - nape[1]) * np.clip((z - nape[2] - 0.02) / (ear[2] - 0.015 - nape[2] - 0.02), 0, 1) ** 2
    return points[:, 1] > np.where(z > ear[2] - 0.015, front, back)


def landmarks(
    closed: Float[np.ndarray, "N 3"],
    skin: Int[np.ndarray, " n"],
    eyes: dict[str, np.ndarray],
    origin: Float[np.ndarray, "3"],
) -> dict[str, Float[np.ndarray, "3"]]:
    """Positions on the mean body in its T-pose (the head is the same in MakeHuman's rest pose, but for `origin`).

    Args:
        closed: the closed mean surface in MakeHuman's rest pose (with unused helper vertices).
        skin: the vertices that the surface uses.
        eyes: vertices on the eyeballs (L, R), the eyelids (lid.L, lid.R) and the mouth's slit.
        origin: what to add to reach the T-pose's place.
    """
    marks: dict[str, np.ndarray] = {}
    surface = closed[skin]
    for side, letter, sign in (("left", "L", 1.0), ("right", "R", -1.0)):
        lid = closed[eyes[f"lid.{letter}"]]
        marks[f"eye_inner_{side}"], marks[f"eye_outer_{side}"] = lid[np.argsort(sign * lid[:, 0])[[0, -1]]]
        marks[f"lid_lower_{side}"], marks[f"lid_upper_{side}"] = lid[np.argsort(lid[:, 1])[[0, -1]]]
        middle = 0.5 * (lid.min(0) + lid.max(0))
        marks[f"eye_{side}"] = on_face(surface, middle[0], middle[1])
    span = float(marks["eye_left"][0] - marks["eye_right"][0])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for name, (x, y) in BROW.items():
            marks[f"brow_{name}_{side}"] = on_face(surface, sign * x * span, marks[f"eye_{side}"][1] + y * span)
    mouth = closed[eyes["mouth"]]
    marks["mouth_right"], marks["mouth_left"] = mouth[np.argsort(mouth[:, 0])[[0, -1]]]
    height, width = mouth[:, 1].mean(), float(np.ptp(mouth[:, 0]))
    for name, offset in (("mouth", 0.0), ("lip_top", LIPS[0]), ("lip_bottom", LIPS[1])):
        marks[name] = on_face(surface, 0.0, height + offset * width)
    profile = surface[(np.abs(surface[:, 0]) < 0.004) & (surface[:, 2] > marks["mouth"][2] - 0.03)]
    marks["nose_tip"] = profile[profile[:, 2].argmax()]
    below = profile[profile[:, 1] < height - 0.025]
    marks["chin"] = below[below[:, 2].argmax()]
    _add_scalp(marks, surface)
    return {name: point + origin for name, point in marks.items()}


def on_face(surface: Float[np.ndarray, "N 3"], x: float, y: float) -> Float[np.ndarray, "3"]:
    """The point of the face at (x, y), its depth from the four nearest vertices that look forward."""
    front = surface[surface[:, 2] > 0.0]
    distance = np.hypot(front[:, 0] - x, front[:, 1] - y)
    near = np.argsort(distance)[:4]
    return np.array([x, y, np.average(front[near, 2], weights=1 / (distance[near] + 1e-4))])


def _add_scalp(marks: dict[str, np.ndarray], surface: np.ndarray) -> None:
    middle = surface[np.abs(surface[:, 0]) < 0.006]
    crown = middle[middle[:, 1].argmax()]
    eye, chin = marks["eye_left"][1], marks["chin"][1]
    front, back = middle[middle[:, 2] > crown[2]], middle[middle[:, 2] < crown[2]]
    # artists' canon: brow to nose base is as far as hairline to brow; a third less, for the ridge is not the brow
    brow = marks["brow_mid_left"][1]
    marks["crown"] = crown
    marks["hairline"] = front[np.abs(front[:, 1] - (brow + 0.6 * (brow - marks["nose_tip"][1]))).argmin()]
    marks["nape"] = back[np.abs(back[:, 1] - (chin + 0.2 * (eye - chin))).argmin()]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        band = surface[np.abs(surface[:, 1] - 0.5 * (eye + marks["nose_tip"][1])) < 0.025]
        marks[f"ear_{side}"] = band[np.argsort(-sign * band[:, 0])[:12]].mean(0)


def nearest_vertices(points: Float[np.ndarray, "L 3"], template: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, " L"]:
    """Vertex id nearest to each landmark."""
    return np.linalg.norm(template[None] - points[:, None], axis=-1).argmin(1)


def touched_by(matrix: sparse.csr_matrix, columns: np.ndarray) -> Int[np.ndarray, " n"]:
    """Rows that draw more than half of their weight from the given columns."""
    return np.flatnonzero(np.asarray(matrix[:, columns].sum(1)).ravel() > 0.5)
