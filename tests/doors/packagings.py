"""Re-packagings of Human3.6M as other tools make them, from an `Official` recording. Shares no code with the doors."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from codebase.body.arrays import load_body
from codebase.synthetic.capture import open_session, perform
from tests.official.writer import ACTS, BODY, CAMERA_NAMES, PLACES, Lens, Official, Recording


def in_camera(joints_mm: np.ndarray, lens: Lens) -> np.ndarray:
    return np.einsum("ij,nkj->nki", lens.R, joints_mm - lens.T_mm)


def save_jpg(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])


def write_fetch(official: Official, folder: Path, *, frames: tuple[int, ...] = (1, 4, 5, 9)) -> Path:
    """`processed/S1/Directions-1/`: some frames of each camera, as h36m-fetch's process_all.py lays them out."""
    for (subject, act, subact), take in official.takes.items():
        home = folder / "processed" / f"S{subject}" / f"{ACTS[act - 1]}-{subact}"
        home.mkdir(parents=True, exist_ok=True)
        rows: dict[str, list] = {}
        with h5py.File(home / "annot.h5", "w") as file:
            for number in sorted(take.frames):
                lens, serial, at = official.lenses[subject, number], CAMERA_NAMES[number - 1], np.array(frames) - 1
                pose, pixels = in_camera(take.joints32_mm, lens)[at], lens.project(take.joints32_mm)[at]
                file[f"intrinsics/{serial}"] = fitted(pixels, pose)
                parts = {
                    "pose/2d": pixels, "pose/3d": pose, "pose/3d-univ": 0.95 * pose, "frame": np.array(frames),
                    "camera": np.full(len(frames), int(serial)), "subject": np.full(len(frames), subject),
                    "action": np.full(len(frames), act), "subaction": np.full(len(frames), subact),
                }  # fmt: skip
                for name, values in parts.items():
                    rows.setdefault(name, []).append(values)
                for frame in frames:
                    picture = take.frames[number][frame - 1]
                    save_jpg(home / "imageSequence" / serial / f"img_{frame:06d}.jpg", picture)
            for name, values in rows.items():
                file[name] = np.concatenate(values)
    return folder


def fitted(pixels: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """fx, cx, fy, cy by least squares, without distortion, as that tool does."""
    out = []
    for axis in (0, 1):
        system = np.stack([pose[..., axis].ravel(), pose[..., 2].ravel()], axis=1)
        out += np.linalg.lstsq(system, (pixels[..., axis] * pose[..., 2]).ravel(), rcond=None)[0].tolist()
    return np.array(out)


def short_name(prefix: str) -> str:
    """The npz's name of a sequence."""
    for long, short in (("TakingPhoto", "Photo"), ("WalkingDog", "WalkDog")):
        prefix = prefix.replace(long, short)
    return prefix


def write_videopose3d(official: Official, path: Path) -> Path:
    """data_3d_h36m.npz: a pickled dict of subjects and sequences, metres."""
    positions: dict[str, dict[str, np.ndarray]] = {}
    for (subject, _, _), take in official.takes.items():
        name = short_name(take.prefix)
        positions.setdefault(f"S{subject}", {})[name] = (take.joints32_mm / 1000).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, positions_3d=positions)
    return path


def write_jpg_tree(official: Official, root: Path) -> Path:
    """Frames alone, named as in the common jpg re-packaging."""
    for (subject, act, subact), take in official.takes.items():
        for number, frames in take.frames.items():
            name = f"s_{subject:02d}_act_{act:02d}_subact_{subact:02d}_ca_{number:02d}"
            for frame, picture in enumerate(frames, start=1):
                save_jpg(root / name / f"{name}_{frame:06d}.jpg", picture)
    return root


def write_course(
    official: Official, folder: Path, *, underscores: bool = False, digits: int = 5, test_subjects: tuple[int, ...] = ()
) -> Path:
    """`S{n}/<action>.<serial>/<frame0>.npz`, `S{n}/Images/...`, and cameras.json; bodies of the free body's shape."""
    body = load_body(BODY)
    regressor = np.asarray(body.J_regressor, float)
    sessions = {s: open_session(body, s, seed=3, size=16, cameras=(1,)) for s, _, _ in official.takes}
    for (subject, act, subact), take in official.takes.items():
        session = sessions[subject]
        clip = perform(session, act, subact, frames=len(take.joints_mm), fps=10.0)
        pelvis = (regressor @ (body.v_template + body.shapedirs @ session.betas))[0]
        name = take.prefix.replace(" ", "_") if underscores else take.prefix
        for number, frames in take.frames.items():
            lens, serial = official.lenses[subject, number], CAMERA_NAMES[number - 1]
            home = folder / f"S{subject}" / f"{name}.{serial}"
            home.mkdir(parents=True, exist_ok=True)
            for frame, picture in enumerate(frames):
                turn = lens.R @ Rotation.from_rotvec(clip.pose_rad[frame, 0]).as_matrix()
                place = lens.R @ (clip.transl_m[frame] + pelvis - lens.T_mm / 1000) - pelvis
                content = {"root_loc": place, "scale_img": 1.0, "center_img": np.array([64.0, 64.0])}
                if subject not in test_subjects:
                    content |= {
                        "betas": session.betas, "root_orient": Rotation.from_matrix(turn).as_rotvec(),
                        "pose_body": clip.pose_rad[frame, 1:22].ravel(), "pose_hand": clip.pose_rad[frame, 22:].ravel(),
                    }  # fmt: skip
                np.savez(home / f"{frame:0{digits}d}.npz", **content)
                save_jpg(folder / f"S{subject}" / "Images" / home.name / f"{frame + 1:06d}.jpg", picture)
    write_table(official, folder / "cameras.json")
    return folder


def write_table(official: Official, path: Path) -> None:
    """Intrinsics as the course's code lists them."""
    table = []
    for number in sorted({camera for _, camera in official.lenses}):
        lens = next(lens for (_, camera), lens in official.lenses.items() if camera == number)
        table.append({
            "id": CAMERA_NAMES[number - 1], "center": lens.c_px.tolist(), "focal_length": lens.f_px.tolist(),
            "radial_distortion": lens.k.tolist(), "tangential_distortion": lens.p.tolist(),
            "res_w": lens.width, "res_h": lens.height, "azimuth": 70,
        })  # fmt: skip
    path.write_text(json.dumps(table))


def world_joints(take: Recording) -> np.ndarray:
    return take.joints32_mm[:, PLACES]
