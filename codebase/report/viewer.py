"""Data of the page's 3D viewer: poses and meshes, quantised to a millimetre and packed as base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from codebase.errors import DataError
from codebase.report.skeletons import side_of
from codebase.skeleton import H36M


@dataclass(frozen=True)
class Scene:
    """One sample in the viewer; root-centred, im frame, mm. The truth and `vertices` may be missing."""

    label: str
    truth_im_mm: Float[ndarray, "17 3"] | None
    predicted_im_mm: Float[ndarray, "17 3"]
    vertices_im_mm: Float[ndarray, "vertices 3"] | None = None


def pack(scenes: Sequence[Scene], faces: Int[ndarray, "faces 3"] | None = None) -> dict[str, Any]:
    """What `viewer.js` reads: little-endian int16 mm (points) and uint16 (faces, once for all meshes), base64.

    Raises:
        DataError: the mesh has more vertices than 16 bits count.
    """
    if faces is not None and faces.max() >= 1 << 16:
        raise DataError(f"The body has {faces.max() + 1} vertices.", expected=f"at most {1 << 16}, for the page")
    return {
        "bones": [[parent, child, side_of(child)] for parent, child in H36M.bones],
        "faces": None if faces is None else _base64(faces.astype("<u2")),
        "scenes": [
            {
                "label": scene.label,
                "truth": None if scene.truth_im_mm is None else _millimetres(scene.truth_im_mm),
                "guess": _millimetres(scene.predicted_im_mm),
                "mesh": None if scene.vertices_im_mm is None else _millimetres(scene.vertices_im_mm),
            }
            for scene in scenes
        ],
    }


def _millimetres(points_mm: np.ndarray) -> str:
    return _base64(np.clip(np.rint(points_mm), -32000, 32000).astype("<i2"))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
