"""Rigs of other people's making: pictures, lenses, worlds and units other than the tree's, from synthetic people.

Lenses go through OpenCV here; the package has formulas of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.doors.people import People, Shot

WIDTH, HEIGHT = 200, 176
DIST = (-0.21, 0.11, 0.0013, -0.0021, 0.004)
# The tree's world (x, y, z up, mm) as (x, z, -y): y up; metres
Y_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)


@dataclass(frozen=True)
class RigCamera:
    """A camera of the rig in the rig's world: x_cam = R x + t, t in m."""

    name: str
    size: tuple[int, int]
    K: np.ndarray
    dist: np.ndarray
    R: np.ndarray
    t_m: np.ndarray

    def entry(self) -> dict:
        return {"name": self.name, "size": list(self.size), "K": self.K.tolist(), "dist": self.dist.tolist(),
                "R": self.R.tolist(), "t": self.t_m.tolist()}  # fmt: skip

    def pixels(self, points_tree_mm: np.ndarray) -> np.ndarray:
        """Where points of the tree's world stand in the picture, by OpenCV."""
        points = points_tree_mm.reshape(-1, 3) @ Y_UP.T / 1000
        return cv2.projectPoints(points, cv2.Rodrigues(self.R)[0], self.t_m, self.K, self.dist)[0][:, 0]


def rig_camera(shot: Shot, name: str, *, dist: tuple[float, ...] = DIST) -> RigCamera:
    """The same place as a synthetic camera, another lens and sensor."""
    focal = 1.18 * shot.f_px[0] * WIDTH / 160
    K = np.array([[focal, 0, 0.52 * WIDTH], [0, 1.01 * focal, 0.48 * HEIGHT], [0, 0, 1]])
    R = shot.R @ Y_UP.T
    centre_m = Y_UP @ shot.T_mm / 1000
    return RigCamera(name, (WIDTH, HEIGHT), K, np.array(dist), R, -R @ centre_m)


def film(image: np.ndarray, shot: Shot, camera: RigCamera, interpolation: int) -> np.ndarray:
    """What the rig's camera sees of an ideal picture."""
    columns, rows = np.meshgrid(np.arange(camera.size[0]), np.arange(camera.size[1]))
    places = np.stack([columns, rows], -1).reshape(-1, 1, 2).astype(float)
    rays = cv2.undistortPoints(places, camera.K, camera.dist, None, None, None, (3, 100, 1e-12))[:, 0]
    source = (rays * shot.f_px + shot.c_px).astype(np.float32).reshape(camera.size[1], camera.size[0], 2)
    return cv2.remap(image, source[..., 0], source[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE)


def write_rig(
    folder: Path,
    people: People,
    *,
    cameras: tuple[int, ...] = (1, 2, 3),
    joints_of: tuple[int, ...] = (1,),
    masks_of: tuple[int, ...] = (1,),
    first: int = 0,
    videos: bool = False,
    frames_skipped: tuple[int, ...] = (),
    dist: tuple[float, ...] = DIST,
    numbers: tuple[int, ...] | None = None,
) -> Path:
    """Write a rig a subject, S{n}/rig.json (each session was calibrated anew), and return the folder.

    World y up, metres; pictures PNG or MP4, counted from `first`.
    """
    names = {camera: f"cam_{'abcdefgh'[place]}" for place, camera in enumerate(cameras)}
    for subject in people.subjects:
        home = folder / f"S{subject}"
        home.mkdir(parents=True, exist_ok=True)
        lenses = {
            camera: rig_camera(people.shot(subject, people.acts[0], camera), names[camera], dist=dist)
            for camera in cameras
        }
        sequences = []
        for act in people.acts:
            one: dict = {"subject": subject, "act": act, "fps": 3, "views": {}}
            for camera in cameras:
                one["views"][names[camera]] = _write_view(
                    home, people.shot(subject, act, camera), lenses[camera], f"act{act}", first, videos,
                    subject in masks_of, frames_skipped,
                )  # fmt: skip
            if subject in joints_of:
                one["joints"] = {"file": f"act{act}.npz"}
                joints = people.shot(subject, act, cameras[0]).joints_world_mm @ Y_UP.T / 1000
                np.savez(home / f"act{act}.npz", joints=joints)
            sequences.append(one)
        entries = [
            lenses[camera].entry() | {"number": number}
            for camera, number in zip(cameras, numbers or cameras, strict=True)
        ]
        rig = {"world": {"up": "y", "unit": "m"}, "cameras": entries, "sequences": sequences}
        (home / "rig.json").write_text(json.dumps(rig, indent=1))
    return folder


def _write_view(
    folder: Path, shot: Shot, camera: RigCamera, name: str, first: int, videos: bool, with_masks: bool,
    skipped: tuple[int, ...],
) -> dict:  # fmt: skip
    place = folder / name / camera.name
    place.mkdir(parents=True, exist_ok=True)
    pictures = [film(frame, shot, camera, cv2.INTER_LINEAR) for frame in shot.frames]
    masks = [film(mask.astype(np.uint8) * 255, shot, camera, cv2.INTER_LINEAR) for mask in shot.masks]
    for number, (picture, mask) in enumerate(zip(pictures, masks, strict=True), start=first):
        if number in skipped:
            continue
        if not videos:
            cv2.imwrite(str(place / f"{number:04d}.png"), picture[..., ::-1])
        if with_masks:
            cv2.imwrite(str(place / f"mask_{number:04d}.png"), mask)
    view: dict = {"first": first}
    if videos:
        write_video(place.with_suffix(".mp4"), pictures)
        view |= {"video": f"{name}/{camera.name}.mp4"}
    else:
        view |= {"images": f"{name}/{camera.name}/%04d.png"}
    if with_masks:
        view["masks"] = f"{name}/{camera.name}/mask_%04d.png"
    return view


def write_video(path: Path, pictures: list[np.ndarray], fps: int = 3) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *pictures[0].shape[1::-1], "yuv420p", 8_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
