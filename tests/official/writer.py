"""Files of exactly Human3.6M's official formats, filmed from synthetic people. Shares no code with their reader.

Frames carry their number as bars that survive a codec, so that a frame in a wrong place is seen with certainty. Lenses
distort: the rendered (ideal) frames are warped by OpenCV, joints are projected by OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from codebase.body.arrays import load_body
from codebase.synthetic.capture import film, open_session, perform
from tests.official.files import box, pack, write_cdf, write_masks, write_video
from tests.official.tables import ACTS, CAMERA_NAMES, file_prefix, write_metadata

__all__ = [
    "ACTS", "BODY", "CAMERA_NAMES", "PLACES", "Lens", "Official", "Recording", "box", "file_prefix", "number_of",
    "pack", "stamped", "write_cdf", "write_masks", "write_metadata", "write_official", "write_video",
]  # fmt: skip

BODY = Path(__file__).resolve().parents[2] / "assets" / "free_body.npz"
# where the 17 joints stand among the 32
PLACES = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
BITS = 12
# k1, k2, k3 and p1, p2 of the four lenses: of the size of Human3.6M's
RADIAL = ((-0.207, 0.248, -0.003), (-0.194, 0.240, 0.007), (-0.208, 0.255, -0.002), (-0.198, 0.218, -0.009))
TANGENTIAL = ((-0.0014, -0.0010), (-0.0027, -0.0016), (-0.0008, 0.0015), (-0.0018, -0.0006))


def camera_matrix(camera: Any) -> np.ndarray:
    """OpenCV's matrix of anything with f_px and c_px."""
    (fx, fy), (cx, cy) = camera.f_px, camera.c_px
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@dataclass
class Lens:
    """A camera as filmed with: x_cam = R (x - T), then OpenCV's distortion."""

    R: np.ndarray
    T_mm: np.ndarray
    f_px: np.ndarray
    c_px: np.ndarray
    k: np.ndarray
    p: np.ndarray
    width: int
    height: int

    @property
    def opencv(self) -> tuple[np.ndarray, np.ndarray]:
        return camera_matrix(self), np.array([self.k[0], self.k[1], self.p[0], self.p[1], self.k[2]])

    def project(self, points_mm: np.ndarray) -> np.ndarray:
        turn, _ = cv2.Rodrigues(self.R)
        matrix, distortion = self.opencv
        flat = np.ascontiguousarray(points_mm.reshape(-1, 3))
        pixels, _ = cv2.projectPoints(flat, turn, -self.R @ self.T_mm, matrix, distortion)
        return pixels.reshape(*points_mm.shape[:-1], 2)


@dataclass
class Recording:
    """One sequence: its name in files, 17 and 32 joints in the world (mm), and per camera frames (RGB) and masks."""

    prefix: str
    joints_mm: np.ndarray
    joints32_mm: np.ndarray
    frames: dict[int, list[np.ndarray]] = field(default_factory=dict)
    masks: dict[int, list[np.ndarray]] = field(default_factory=dict)


@dataclass
class Official:
    """The extracted official tree under `root`, and what it was made of."""

    root: Path
    lenses: dict[tuple[int, int], Lens] = field(default_factory=dict)
    takes: dict[tuple[int, int, int], Recording] = field(default_factory=dict)

    def video(self, subject: int, action: int, subaction: int, camera: int) -> Path:
        return self._file(subject, "Videos", action, subaction, camera, "mp4")

    def masks(self, subject: int, action: int, subaction: int, camera: int, kind: str = "bs") -> Path:
        return self._file(subject, f"MySegmentsMat/ground_truth_{kind}", action, subaction, camera, "mat")

    def poses(self, subject: int, action: int, subaction: int, kind: str = "D3_Positions", camera: int = 0) -> Path:
        return self._file(subject, f"MyPoseFeatures/{kind}", action, subaction, camera, "cdf")

    def _file(self, subject: int, kind: str, action: int, subaction: int, camera: int, suffix: str) -> Path:
        name = self.takes[subject, action, subaction].prefix + (f".{CAMERA_NAMES[camera - 1]}" if camera else "")
        return self.root / f"S{subject}" / kind / f"{name}.{suffix}"


def write_official(
    root: Path,
    *,
    subjects: tuple[int, ...] = (1,),
    acts: tuple[int, ...] = (2,),
    subacts: tuple[int, ...] = (1, 2),
    cameras: tuple[int, ...] = (1, 2, 3, 4),
    frames: int = 12,
    size: int = 128,
) -> Official:
    """Film people and write everything: videos, three kinds of poses, masks and boxes, metadata.xml.

    Cameras 1 and 4 have two rows more than the others, which have `size` x `size` pixels.
    """
    official = Official(root)
    body = load_body(BODY)
    for subject in subjects:
        session = open_session(body, subject, seed=3, size=size + 2, cameras=cameras)
        for number in cameras:
            seen = session.views[number].camera
            # the lenses are the same for all subjects
            first = official.lenses.get((subjects[0], number), seen)
            k, p = np.array(RADIAL[number - 1]), np.array(TANGENTIAL[number - 1])
            height = size + 2 if number in (1, 4) else size
            official.lenses[subject, number] = Lens(seen.R, seen.T_mm, first.f_px, first.c_px, k, p, size, height)
        for action in acts:
            for subaction in subacts:
                take = perform(session, action, subaction, frames=frames, fps=10.0)
                prefix = file_prefix(subject, action, subaction)
                record = Recording(prefix, take.joints_world_mm, all_joints(take.joints_world_mm))
                for index in range(frames):
                    for number, (image, mask) in film(session, take, index).items():
                        lens = official.lenses[subject, number]
                        ideal = camera_matrix(session.views[number].camera)
                        filmed = warped(image, ideal, lens, cv2.INTER_LINEAR)
                        record.frames.setdefault(number, []).append(stamped(filmed, index + 1))
                        cut = warped(mask, ideal, lens, cv2.INTER_NEAREST)
                        record.masks.setdefault(number, []).append(cut >= 128)
                official.takes[subject, action, subaction] = record
    write_files(official)
    write_metadata(official, root / "metadata.xml")
    return official


def all_joints(joints_mm: np.ndarray) -> np.ndarray:
    """32 joints: the 17 at their places, doubles and ends of limbs in between."""
    rng = np.random.default_rng(len(joints_mm))
    full = joints_mm[:, :1] + rng.normal(0, 300, (len(joints_mm), 32, 3))
    full[:, PLACES] = joints_mm
    for double, of in ((11, 0), (16, 13), (24, 13), (20, 19), (28, 27)):
        full[:, double] = full[:, of]
    return full


def stamped(image: np.ndarray, number: int) -> np.ndarray:
    """Write `number` into the upper edge as bars, black for 0 and white for 1."""
    side = image.shape[1] // (BITS + 1)
    image = image.copy()
    for bit in range(BITS):
        image[:side, bit * side : (bit + 1) * side] = 255 * (number >> bit & 1)
    return image


def number_of(image: np.ndarray) -> int:
    """The number that `stamped` wrote."""
    side = image.shape[1] // (BITS + 1)
    middles = [
        image[side // 4 : -(-3 * side // 4), b * side + side // 4 : (b + 1) * side - side // 4] for b in range(BITS)
    ]
    return sum(int(middle.mean() > 127) << bit for bit, middle in enumerate(middles))


def warped(image: np.ndarray, ideal_matrix: np.ndarray, lens: Lens, method: int) -> np.ndarray:
    """What the lens makes of the picture of an ideal camera at the same place."""
    matrix, distortion = lens.opencv
    v, u = np.mgrid[: lens.height, : lens.width].astype(np.float64)
    places = np.stack([u, v], -1).reshape(-1, 1, 2)
    ideal = cv2.undistortPoints(places, matrix, distortion, P=ideal_matrix).reshape(lens.height, lens.width, 2)
    return cv2.remap(image, ideal.astype(np.float32), None, method, borderMode=cv2.BORDER_REPLICATE)


def write_files(official: Official) -> None:
    """Videos, poses and masks of all takes."""
    for (subject, action, subaction), take in official.takes.items():
        at = (subject, action, subaction)
        write_cdf(official.poses(*at), take.joints32_mm)
        for number, frames in take.frames.items():
            lens = official.lenses[subject, number]
            write_video(official.video(*at, number), frames)
            write_cdf(official.poses(*at, "D3_Positions_mono", number), (take.joints32_mm - lens.T_mm) @ lens.R.T)
            write_cdf(official.poses(*at, "D2_Positions", number), lens.project(take.joints32_mm))
            write_masks(official.masks(*at, number), take.masks[number])
            write_masks(official.masks(*at, number, "bb"), [box(mask) for mask in take.masks[number]])
