"""Small dataset trees for tests, valid and damaged: real cameras, a standing skeleton, dots where joints project."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from codebase.config import Config
from codebase.data.human36m import MASK_SUFFIX, Folder, write_meta
from codebase.geometry import project, world_to_camera
from codebase.skeleton import H36M

# A standing person about the root, mm, in the world's frame (z up), facing -y; the person's left is at +x.
STANDING_MM = np.array([
    [0, 0, 0], [-130, 0, 0], [-130, 0, -440], [-130, 0, -880], [130, 0, 0], [130, 0, -440], [130, 0, -880],
    [0, 0, 230], [0, 0, 480], [0, -20, 590], [0, 0, 700], [160, 0, 440], [180, 0, 160], [190, -20, -90],
    [-160, 0, 440], [-180, 0, 160], [-190, -20, -90],
], float)  # fmt: skip


def camera(number: int, *, width: int, height: int) -> dict[str, np.ndarray]:
    """Camera `number` (1 to 4) at a corner of a room, 5 m from its middle and 1.6 m up, looking at the person."""
    angle = np.deg2rad(45 + 90 * (number - 1))
    centre = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), 1600.0])
    forward = np.array([0, 0, 900.0]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    f_px = np.full(2, 1.15 * width)
    return {"R": R, "T_mm": centre, "f_px": f_px, "c_px": np.array([width / 2 + 3.3, height / 2 - 1.7])}


def poses(subject: int, action: int, subaction: int, frames: int) -> np.ndarray:
    """World poses (frames, 17, 3) in mm: the person turns and walks a little, each sequence in its own way."""
    turn = 0.2 * np.arange(frames) + subject + action + 0.5 * subaction
    cos, sin, zero = np.cos(turn), np.sin(turn), np.zeros(frames)
    spin = np.stack([np.stack(r, -1) for r in [(cos, -sin, zero), (sin, cos, zero), (zero, zero, zero + 1)]], -2)
    place = np.stack([200 * cos, 100 * sin, zero + 900], -1)
    return STANDING_MM @ np.swapaxes(spin, 1, 2) + place[:, None]


@dataclass(frozen=True)
class Tree:
    """Where a tree lies and what it was made of."""

    root: Path
    frames: int
    width: int
    height: int
    folders: list[Folder] = field(default_factory=list)


def write_tree(
    root: Path,
    *,
    subjects: tuple[int, ...] = (1, 8, 9),
    acts: tuple[int, ...] = (2, 3),
    subacts: tuple[int, ...] = (1,),
    cameras: tuple[int, ...] = (1, 2, 3, 4),
    frames: int = 3,
    width: int = 96,
    height: int = 96,
    masks: bool = True,
) -> Tree:
    """Write a valid tree. Backgrounds are grey, by camera; the person is a bright box with the subject's colour."""
    tree = Tree(root, frames, width, height)
    for subject in subjects:
        for action in acts:
            for subaction in subacts:
                for number in cameras:
                    folder = Folder(subject, action, subaction, number)
                    write_folder(tree, folder, masks=masks)
                    tree.folders.append(folder)
    return tree


def write_folder(tree: Tree, folder: Folder, *, masks: bool = True) -> None:
    pose = poses(folder.subject, folder.action, folder.subaction, tree.frames)
    camera_of = camera(folder.camera, width=tree.width, height=tree.height)
    path = tree.root / folder.name
    path.mkdir(parents=True, exist_ok=True)
    write_meta(path, pose3d_world_mm=pose, width=tree.width, height=tree.height, **camera_of)
    in_camera = world_to_camera(pose.reshape(-1, 3), camera_of["R"], camera_of["T_mm"])
    pixels = project(in_camera, camera_of["f_px"], camera_of["c_px"]).reshape(tree.frames, -1, 2)
    for frame in range(1, tree.frames + 1):
        image, mask = _draw(tree, folder, pixels[frame - 1])
        cv2.imwrite(str(folder.file(tree.root, frame)), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
        if masks:
            cv2.imwrite(str(folder.file(tree.root, frame, MASK_SUFFIX)), mask)


def _draw(tree: Tree, folder: Folder, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((tree.height, tree.width, 3), 40 + 20 * folder.camera, np.uint8)
    mask = np.zeros((tree.height, tree.width), np.uint8)
    low = np.maximum(np.rint(pixels.min(0)).astype(int), 0)
    high = np.rint(pixels.max(0)).astype(int)
    box = (slice(low[1], high[1] + 1), slice(low[0], high[0] + 1))
    image[box] = (200, 20 * folder.subject, 30)
    mask[box] = 255
    return image, mask


def config(tree: Tree, results: Path, **changes: object) -> Config:
    """A config that reads the tree: the first subjects train, the last but one validates, the last tests."""
    first = tree.folders[0]
    subjects = sorted({f.subject for f in tree.folders})
    raw = {
        "name": "tree",
        "results": results,
        "dataset": {
            "kind": "tree",
            "root": tree.root,
            "subjects": subjects,
            "acts": sorted({f.action for f in tree.folders}),
            "subacts": sorted({f.subaction for f in tree.folders}),
            "cameras": sorted({f.camera for f in tree.folders}),
        },
        "split": {
            "train": {"subjects": subjects[:-2]},
            "val": {"subjects": subjects[-2:-1]},
            "test": {"subjects": subjects[-1:]},
        },
        "backgrounds": {"every": 1},
        "crops": {"size": 32},
        "pose": {"label_subjects": [first.subject]},
        "smpl": {"label_subjects": [first.subject]},
    }
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        target = raw if not key else raw[section]
        target[key or section] = value
    return Config.model_validate(raw)


assert len(H36M) == len(STANDING_MM)
