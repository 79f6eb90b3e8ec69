"""What the tests and benchmarks of silhouettes share: bodies before cameras, and the covered area by many samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from codebase.body.arrays import BodyArrays, lbs_numpy, load_body, rotation_matrices
from codebase.render.raster import Pinhole, rasterise

BODY = Path(__file__).resolve().parent.parent / "assets" / "free_body.npz"


@lru_cache(maxsize=1)
def free_body() -> BodyArrays:
    return load_body(BODY)


@dataclass(frozen=True)
class Scene:
    """A mesh about the origin, in the camera's axes, its place, and the camera."""

    points: np.ndarray
    faces: np.ndarray
    place: np.ndarray
    f_px: np.ndarray
    c_px: np.ndarray
    size: tuple[int, int]

    @property
    def vertices(self) -> np.ndarray:
        return self.points + self.place

    def camera(self, samples: int = 1) -> Pinhole:
        height, width = self.size
        return Pinhole(*self.f_px.tolist(), *self.c_px.tolist(), width, height).window(0, 0, width, height, samples)

    def covered(self, vertices: np.ndarray, samples: int = 1) -> np.ndarray:
        """By the z-buffer."""
        return rasterise(vertices, self.faces, self.camera(samples), cull=samples > 1).face >= 0

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple:
        """Arguments of `silhouette`, the vertices as a leaf."""
        vertices = torch.as_tensor(self.vertices, dtype=dtype)[None].requires_grad_()
        f_px, c_px = (torch.as_tensor(value, dtype=dtype)[None] for value in (self.f_px, self.c_px))
        return vertices, torch.from_numpy(self.faces.astype(np.int64)), f_px, c_px, self.size

    def moves(self) -> dict[str, np.ndarray]:
        """Velocities of all vertices."""
        one = np.ones((len(self.points), 1))
        turns = {f"turn about {name}": np.cross(axis, self.points) for name, axis in zip("xyz", np.eye(3), strict=True)}
        shifts = {f"shift in {name}": one * axis for name, axis in zip("xyz", np.eye(3), strict=True)}
        return {**shifts, "scale": self.points, **turns}

    def change_of_area(
        self, move: np.ndarray, weight: np.ndarray, samples: int, step_px: float | None = None
    ) -> tuple[float, float]:
        """Derivative of the weighted covered area, px, and the same with all parts of the outline counted positive.

        The step is small, by default a few samples: where gaps close within it, a difference is no derivative.
        """
        fastest = np.abs(move).max() * self.f_px.max() / self.place[2]
        step = (4 / samples if step_px is None else step_px) / (0.5 * fastest)
        ahead, behind = (self.covered(self.vertices + s * step * move, samples) for s in (1, -1))
        fine = np.kron(weight, np.ones((samples, samples))) / samples**2
        change = (ahead.astype(np.int8) - behind) * fine
        return float(change.sum() / (2 * step)), float(np.abs(change).sum() / (2 * step))


def posed_body(seed: int, *, strength: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A random body in a random pose, upright and about the origin in a camera's axes, and its faces."""
    rng, body = np.random.default_rng(seed), free_body()
    pose = rng.normal(0, strength, (1, 24, 3))
    pose[:, 0] = 0
    betas = rng.normal(0, 1, (1, 10))
    points = lbs_numpy(body, betas, rotation_matrices(pose), np.zeros((1, 3)))[0][0]
    turn = Rotation.from_rotvec(rng.normal(0, 0.2, 3)) * Rotation.from_euler("yx", [rng.uniform(0, 6.3), np.pi])
    return turn.apply(points - points.mean(axis=0)), np.ascontiguousarray(body.faces, np.int32)


def skew(axis_angle: torch.Tensor) -> torch.Tensor:
    """Matrices whose exponentials are the rotations."""
    x, y, z = axis_angle.unbind(-1)
    nil = torch.zeros_like(x)
    return torch.stack([nil, -z, y, z, nil, -x, -y, x, nil], dim=-1).view(-1, 3, 3)


def sphere(rows: int = 14, sides: int = 18, bumps: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """A closed, bumpy, not symmetric body about the origin, radius about 1, and its faces, all turned one way."""
    polar = np.linspace(0, np.pi, rows)[1:-1, None]
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    unit = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.sin(turn)], -1)
    unit *= 1 + bumps * np.sin(3 * turn + 2 * polar)[..., None]
    points = np.concatenate([unit.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]]) * [0.7, 1.0, 0.8]
    faces = []
    for i in range(rows - 3):
        for j in range(sides):
            a, b, c, d = (r * sides + s % sides for r in (i, i + 1) for s in (j, j + 1))
            faces += [[a, b, c], [b, d, c]]
    top, last = (rows - 2) * sides, (rows - 3) * sides
    for j in range(sides):
        faces += [[top, (j + 1) % sides, j], [top + 1, last + j, last + (j + 1) % sides]]
    return points, np.array(faces, np.int32)


def before_camera(points: np.ndarray, faces: np.ndarray, seed: int, size: tuple[int, int], reach: float = 0.9) -> Scene:
    """A mesh at a random distance, filling about `reach` of the image's height; it may leave the image a little."""
    rng = np.random.default_rng(seed)
    distance = rng.uniform(3, 9) * np.ptp(points[:, 1]) / 1.7
    focal = reach * size[0] * distance / np.ptp(points[:, 1]) * rng.uniform(0.7, 1.1) * rng.uniform(0.95, 1.05, 2)
    centre = (np.array(size[::-1]) - 1) / 2 + rng.uniform(-2, 2, 2)
    place = np.array([*(rng.uniform(-0.05, 0.05, 2) * distance / 4), distance])
    return Scene(points, faces, place, focal, centre, size)
