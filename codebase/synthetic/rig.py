"""Four cameras placed as Human3.6M's, calibrated a little differently for each subject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.render.raster import Pinhole

# Cameras 1 to 4 = 54138969, 55011271, 58860488, 60457274: centres to a few centimetres (5.3, 5.4, 5.5 and 4.1 m from
# the middle of the room, 1.5 to 1.6 m high), principal points of images of 1000 px. Human3.6M's lenses (1145 px) leave
# a standing person 37 % of the height of its large frames; frames of 256 px cannot spare that, so ours are longer,
# as long as everybody stays in the picture.
CENTRES_MM = {1: (1840, 4960, 1560), 2: (1760, -5080, 1610), 3: (-1850, 5210, 1490), 4: (-1800, -3720, 1570)}
FOCAL_PX = {1: 1520.0, 2: 1525.0, 3: 1560.0, 4: 1270.0}
PRINCIPAL_PX = {1: (512.5, 515.4), 2: (508.8, 508.1), 3: (519.8, 501.4), 4: (515.0, 501.9)}
REFERENCE_SIZE = 1000
AIM_MM = (0.0, 0.0, 900.0)


@dataclass(frozen=True)
class Camera:
    """A camera in the world: x_cam = R (x - T).

    Attributes:
        R: rotation from world to camera.
        T_mm: centre.
        f_px, c_px: focal lengths and principal point, pixel centres at integers.
        size: width and height of the square image, px.
    """

    R: Float[ndarray, "3 3"]
    T_mm: Float[ndarray, "3"]
    f_px: Float[ndarray, "2"]
    c_px: Float[ndarray, "2"]
    size: int

    @property
    def pinhole(self) -> Pinhole:
        """The same camera for the rasteriser."""
        (fx, fy), (cx, cy) = self.f_px.tolist(), self.c_px.tolist()
        return Pinhole(fx, fy, cx, cy, self.size, self.size)


def look_at(centre: Float[ndarray, "3"], target: Float[ndarray, "3"], roll_rad: float = 0.0) -> Float[ndarray, "3 3"]:
    """Rotation from world (z up) to a camera at `centre` whose axis meets `target`."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll_rad), np.sin(roll_rad)
    return np.stack([cos * right + sin * down, cos * down - sin * right, forward])


def make_rig(subject: int, *, seed: int, size: int) -> dict[int, Camera]:
    """The cameras of a subject's session, by camera number.

    The set was calibrated anew for each session: centres differ by centimetres, angles by fractions of a degree.
    """
    rng = np.random.default_rng([seed, subject, 71])
    scale = size / REFERENCE_SIZE
    rig = {}
    for number, centre in CENTRES_MM.items():
        T = np.array(centre) + rng.normal(0, 25, 3)
        target = np.array(AIM_MM) + rng.normal(0, 30, 3)
        f = FOCAL_PX[number] * scale * np.array([1.0, 0.999]) * (1 + rng.normal(0, 0.001))
        # the middle of an image of n pixels lies at (n - 1) / 2
        c = (np.array(PRINCIPAL_PX[number]) + 0.5) * scale - 0.5
        rig[number] = Camera(look_at(T, target, rng.normal(0, 0.005)), T, f, c, size)
    return rig
