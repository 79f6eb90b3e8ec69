"""Bodies that move before cameras, in the formats that come after the dataset tree: index, crops, truth, embeddings.

Drawn directly into their crops (one shaded colour a person, one a room): tests of the stages on bodies need no frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codebase.body.arrays import BodyArrays, lbs_numpy, load_body, rotation_matrices
from codebase.config import Config
from codebase.data.crops import FORMAT, VERSION, CropRows, digest
from codebase.data.embeddings import Embeddings, write_embeddings
from codebase.data.index import Index, Views, write_index
from codebase.data.packbits import pack
from codebase.data.rooms import LEVELS
from codebase.files import create_h5
from codebase.geometry import crop_intrinsics, world_to_camera
from codebase.paths import Paths
from codebase.render.raster import Pinhole, interpolate, rasterise, vertex_normals
from codebase.skeleton import H36M, SMPL
from codebase.synthetic.motion import make_clip
from tests.trees import camera

BODY = Path(__file__).resolve().parent.parent / "assets" / "free_body.npz"
POINTS, APPEARANCE = 17, 6


@dataclass(frozen=True)
class People:
    """A run whose dataset, index, crops, truth and embeddings are there."""

    config: Config
    paths: Paths

    def crops(self, *subjects: int) -> list[Path]:
        return [self.paths.crops(s) for s in subjects]

    def truth(self, *subjects: int) -> list[Path]:
        return [self.paths.truth(s) for s in subjects]

    def embeddings(self, *subjects: int) -> list[Path]:
        return [self.paths.embeddings(s) for s in subjects]


def make_people(
    folder: Path,
    *,
    train: tuple[int, ...] = (1,),
    val: tuple[int, ...] = (8,),
    test: tuple[int, ...] = (9,),
    acts: tuple[int, ...] = (2, 14),
    frames: int = 4,
    cameras: tuple[int, ...] = (1, 2),
    size: int = 32,
    sections: dict | None = None,
) -> People:
    """Everything that the stages on bodies read; embeddings are the true joints (and noise), seen by each camera."""
    body = load_body(BODY)
    config = Config.model_validate({
        "name": "people", "results": folder, "runtime": {"threads": 1}, "crops": {"size": size},
        "dataset": {"subjects": (*train, *val, *test), "acts": acts, "subacts": (1,), "cameras": cameras},
        "split": {"train": {"subjects": train}, "val": {"subjects": val}, "test": {"subjects": test}},
        **(sections or {}),
    })  # fmt: skip
    people = People(config, Paths(config))
    indices = {s: _Subject(s, body, acts, frames, cameras) for s in (*train, *val, *test)}
    for split, subjects in (("train", train), ("val", val), ("test", test)):
        write_index(people.paths.index(split), _index([indices[s] for s in subjects]))
    for subject, person in indices.items():
        person.write_truth(people.paths.truth(subject))
        person.write_crops(people.paths.crops(subject), config)
        person.write_embeddings(people.paths.embeddings(subject))
    return people


class _Subject:
    def __init__(
        self, number: int, body: BodyArrays, acts: tuple[int, ...], frames: int, cameras: tuple[int, ...]
    ) -> None:
        self.number, self.body, self.frames = number, body, frames
        self.rng = np.random.default_rng(number)
        self.betas = self.rng.normal(0, 1, 10).astype(np.float32)
        offset, slope = body.joint_shape_map
        rest = offset + slope @ self.betas
        self.clips = {
            a: make_clip(a, 1, seed=number, frames=frames, fps=2, rest_joints_m=rest, sole_offset_m=0.09) for a in acts
        }
        keys = [(a, f, c) for a in acts for f in range(1, frames + 1) for c in cameras]
        self.action, self.frame, self.camera = np.array(keys, np.int32).T
        cams = {c: camera(c, width=1000, height=1000) for c in cameras}
        self.cameras = {name: np.stack([cams[c][name] for c in self.camera.tolist()]) for name in cams[cameras[0]]}
        pose = np.stack([self.clips[a].pose_rad[f - 1] for a, f, _ in keys])
        transl = np.stack([self.clips[a].transl_m[f - 1] for a, f, _ in keys])
        vertices, _ = lbs_numpy(body, self.betas[None], rotation_matrices(pose), transl)
        self.pose, self.vertices_mm = pose, 1000 * np.asarray(vertices)
        self.joints_mm = (body.J17_regressor @ self.vertices_mm).astype(np.float32)

    def rows(self) -> CropRows:
        count = len(self.frame)
        own = {"action": self.action, "subaction": np.ones(count, np.int32), "camera": self.camera, "frame": self.frame}
        straight = np.zeros((count, 5))
        return CropRows(
            **own, has_mask=np.ones(count, bool), joints_world_mm=self.joints_mm, **self.cameras, distortion=straight
        )

    def write_truth(self, path: Path) -> None:
        with create_h5(path, format_name="posemill.bodies") as file:
            file["betas"] = self.betas
            for act, clip in self.clips.items():
                file[f"act_{act:02d}_subact_01/pose_rad"] = clip.pose_rad
                file[f"act_{act:02d}_subact_01/transl_m"] = clip.transl_m

    def write_crops(self, path: Path, config: Config) -> None:
        rows, size = self.rows(), config.crops.size
        affine = rows.crop_from_image(config.crops)
        f_px, c_px = crop_intrinsics(affine, rows.f_px, rows.c_px)
        person, room = self.rng.uniform(80, 255, 3), self.rng.uniform(0, 160, 3)
        image, mask = np.empty((len(rows), size, size, 3), np.uint8), np.zeros((len(rows), size, size), np.uint8)
        for row in range(len(rows)):
            cam = Pinhole(*f_px[row], *c_px[row], size, size)
            points = world_to_camera(self.vertices_mm[row], rows.R[row], rows.T_mm[row])
            faces = np.asarray(self.body.faces, np.int32)
            found = rasterise(points, faces, cam)
            shade = interpolate(found, points, faces, vertex_normals(points, faces), cam) @ np.array([-0.3, -0.4, -0.5])
            inside = found.face >= 0
            image[row] = np.where(inside[..., None], person * np.clip(0.5 + 0.5 * shade, 0, 1)[..., None], room)
            mask[row] = 255 * inside
        with create_h5(path, format_name=FORMAT, version=VERSION) as file:
            file["image"] = image
            packed = [pack(item) for item in mask]
            file["mask_bytes"] = np.frombuffer(b"".join(packed), np.uint8)
            file["mask_start"] = np.cumsum([0, *map(len, packed)])
            file["rooms/0"] = np.broadcast_to(LEVELS * np.floor(room), (8, 8, 3)).astype(np.uint16)
            file["room"], file["crop_from_room"] = (
                np.zeros(len(rows), np.int32),
                np.tile([1.0, 1, 0, 0], (len(rows), 1)),
            )
            file.attrs["storage"] = "raw"
            for name in ("action", "subaction", "camera", "frame", "has_mask", "has_joints", "joints_im_mm",
                         "root_world_mm", "R_world_im", "R", "T_mm", "f_px", "c_px"):  # fmt: skip
                file[name] = getattr(rows, name)
            file["crop_from_image"] = affine
            file.attrs["subject"], file.attrs["size"], file.attrs["box_mm"] = self.number, size, config.crops.box_mm
            file.attrs["digest"] = digest(rows, self.number, affine)

    def write_embeddings(self, path: Path) -> None:
        rows = self.rows()
        noise = self.rng.normal(0, 0.02, (len(rows), POINTS, 3))
        mirrored = rows.joints_im_mm[:, H36M.mirrored] * [-1, 1, 1] / 400 + noise
        looks = np.random.default_rng(self.number).normal(0, 1, APPEARANCE)
        columns = {name: getattr(rows, name) for name in ("action", "subaction", "camera", "frame")}
        write_embeddings(path, Embeddings(
            subject=self.number, L_3d=(rows.joints_im_mm / 400 + noise).astype(np.float32),
            L_3d_mirrored=mirrored.astype(np.float32),
            L_app=np.broadcast_to(looks, (len(rows), APPEARANCE)).astype(np.float32), **columns,
            has_joints=rows.has_joints, joints_im_mm=rows.joints_im_mm, R_world_im=rows.R_world_im,
            checkpoint_digest="none", crops_digest="none",
        ))  # fmt: skip

    def true_rotations(self) -> np.ndarray:
        """World rotations (rows, 24, 3, 3)."""
        return np.asarray(rotation_matrices(self.pose.reshape(-1, 3))).reshape(-1, len(SMPL), 3, 3)


def _index(subjects: list[_Subject]) -> Index:
    parts: dict[str, list[np.ndarray]] = {}
    views: dict[str, list] = {}
    joints, instants = [], 0
    for person in subjects:
        keys = sorted({(a, c) for a, c in zip(person.action.tolist(), person.camera.tolist(), strict=True)})
        first = sum(map(len, views.get("action", [])))
        view = [first + keys.index(k) for k in zip(person.action.tolist(), person.camera.tolist(), strict=True)]
        example = [int(np.flatnonzero((person.action == a) & (person.camera == c))[0]) for a, c in keys]
        columns = {
            "subject": np.full(len(keys), person.number), "action": [a for a, _ in keys],
            "subaction": np.ones(len(keys)), "camera": [c for _, c in keys],
            "width": np.full(len(keys), 1000), "height": np.full(len(keys), 1000),
        }  # fmt: skip
        for name, values in columns.items():
            views.setdefault(name, []).append(np.asarray(values, np.int32))
        for name, values in (*person.cameras.items(), ("distortion", np.zeros((len(person.frame), 5)))):
            views.setdefault(name, []).append(values[example])
        _, kept, instant = np.unique(
            person.action.astype(int) * 1000 + person.frame, return_index=True, return_inverse=True
        )
        joints.append(person.joints_mm[kept])
        rows = person.rows()
        row_columns = {
            "subject": np.full(len(rows), person.number), "action": rows.action, "subaction": rows.subaction,
            "camera": rows.camera, "frame": rows.frame, "instant": instants + instant, "view": view,
        }  # fmt: skip
        for name, values in row_columns.items():
            parts.setdefault(name, []).append(np.asarray(values, np.int32))
        parts.setdefault("has_mask", []).append(rows.has_mask)
        parts.setdefault("has_joints", []).append(rows.has_joints)
        instants += len(kept)
    return Index(
        **{name: np.concatenate(values) for name, values in parts.items()},
        joints_world_mm=np.concatenate(joints),
        views=Views(**{name: np.concatenate(values) for name, values in views.items()}),
        exclusions=(),
        counts={str(p.number): {"rows": len(p.frame)} for p in subjects},
    )
