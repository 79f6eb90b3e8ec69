"""Predicted bodies as meshes: over the frame, and from all sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.body.arrays import BodyArrays, lbs_numpy
from codebase.geometry import world_to_camera, world_to_im
from codebase.report.material import Bodies, Views
from codebase.skeleton import H36M

M_TO_MM = 1000.0


def vertices_im_mm(body: BodyArrays, bodies: Bodies, rows: list[int]) -> Float[ndarray, "rows vertices 3"]:
    """Vertices of some rows: im frame, centred on the Human3.6M root that the body's own regressor gives, mm."""
    vertices_m, _ = lbs_numpy(body, bodies.betas[rows], bodies.rotmats[rows])
    root_m = np.einsum("v,bvx->bx", body.J17_regressor[H36M.index("root")], vertices_m)
    return (vertices_m - root_m[:, None]).astype(np.float64) * M_TO_MM


@dataclass(frozen=True)
class Placed:
    """A mesh before the camera that took the frame, and the same from three other sides; camera frame, mm."""

    front_mm: Float[ndarray, "vertices 3"]
    turned_mm: dict[str, Float[ndarray, "vertices 3"]]


def place(vertices_mm: Float[ndarray, "vertices 3"], views: Views, row: int) -> Placed:
    """Put a root-centred mesh of the im frame at the frame's true root: nothing here predicts the root's place.

    The other sides turn the mesh about the vertical through the root, by the right of the picture first.
    """
    R, T, root = views.R[row], views.T_mm[row], views.root_world_mm[row]
    to_camera = R @ world_to_im(root, R, T).T
    root_cam = world_to_camera(root[None], R, T)[0]
    quarter = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    turned, turn = {}, np.eye(3)
    for name in ("from the right", "from behind", "from the left"):
        turn = quarter @ turn
        turned[name] = vertices_mm @ turn.T @ to_camera.T + root_cam
    return Placed(vertices_mm @ to_camera.T + root_cam, turned)
