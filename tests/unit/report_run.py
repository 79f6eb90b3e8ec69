"""A small finished run in the documented formats, for the tests of the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch

from codebase.body.arrays import lbs_numpy, load_body, rotation_matrices
from codebase.config import Config, to_yaml
from codebase.data.human36m import Folder, write_meta
from codebase.data.index import Index, Views, write_index
from codebase.data.scan import Exclusion
from codebase.files import create_h5, write_json, write_text
from codebase.geometry import project, world_to_camera, world_to_im
from codebase.paths import Paths
from codebase.skeleton import H36M

BODY = Path("assets/free_body.npz")
SIZE, CROP, FRAMES = 128, 64, 3
# body (y up, facing +z) to world (z up)
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


@dataclass(frozen=True)
class Run:
    config: Config
    paths: Paths

    @property
    def arguments(self) -> dict:
        return {
            "metrics": self.paths.metrics,
            "predictions": self.paths.predictions,
            "index_test": self.paths.index("test"),
            "checkpoints": [self.paths.checkpoint(stage) for stage in ("enc_dec", "pose", "prior", "smpl", "hmr")],
            "body": BODY,
            "output": self.paths.report,
        }


def make_run(folder: Path, *, vertices: bool = True) -> Run:
    """Subjects 9 and 11, acts 2 and 14, two cameras, three frames; a head's error grows with the row."""
    config = Config.model_validate(
        {
            "name": "tiny",
            "results": folder,
            "dataset": {"subjects": (1, 8, 9, 11), "acts": (2, 14), "subacts": (1,), "cameras": (1, 3)},
            "split": {"train": {"subjects": (1,)}, "val": {"subjects": (8,)}, "test": {"subjects": (9, 11)}},
            "report": {"examples": 4},
        }
    )
    run = Run(config, Paths(config))
    rng = np.random.default_rng(0)
    write_text(run.paths.run_config, to_yaml(config))
    indices = {
        "train": _index((1,), rng, ()),
        "val": _index((8,), rng, ()),
        "test": _index((9, 11), rng, LEFT_OUT),
    }
    for split, (index, _) in indices.items():
        write_index(run.paths.index(split), index)
    index, bodies = indices["test"]
    _write_frames(run.paths.dataset, index)
    _write_predictions(run.paths.predictions, index, bodies, rng)
    write_json(run.paths.metrics, _metrics(vertices=vertices))
    _write_checkpoints(run, rng)
    return run


LEFT_OUT = (
    Exclusion("s_11_act_02_subact_01_ca_01", "no <b>frames</b>", 11, "folder"),
    Exclusion("s_11_act_02_subact_01_ca_02", "the pose is not finite: 1, 2, 3", 11, "frame", 3),
)


def _index(subjects, rng, exclusions):  # type: ignore[no-untyped-def]
    body = load_body(BODY)
    views = [(s, a, 1, c) for s in subjects for a in (2, 14) for c in (1, 3)]
    cameras = {1: _camera(0.5), 3: _camera(2.6)}
    instants = [(s, a, f) for s in subjects for a in (2, 14) for f in range(1, FRAMES + 1)]
    pose = rng.normal(0, 0.12, (len(instants), 24, 3))
    rotmats = rotation_matrices(pose)
    rotmats[:, 0] = np.stack([_about_z(rng.uniform(-3, 3)) @ UPRIGHT for _ in instants])
    betas = rng.normal(0, 0.6, (len(instants), 10))
    vertices, _ = lbs_numpy(body, betas, rotmats)
    joints = np.einsum("jv,bvx->bjx", body.J17_regressor, vertices) * 1000
    joints += np.array([120.0, -80.0, 930.0]) - joints[:, :1]
    rows = [
        (s, a, 1, c, f, instants.index((s, a, f)), views.index((s, a, 1, c))) for s, a, f in instants for c in (1, 3)
    ]
    columns = dict(
        zip(
            ("subject", "action", "subaction", "camera", "frame", "instant", "view"),
            np.array(rows, np.int32).T.copy(),
            strict=True,
        )
    )
    stacked = np.array(views, np.int32).T
    R, T = (np.stack([cameras[c][k] for *_, c in views]) for k in (0, 1))
    count = len(views)
    table = Views(
        *stacked,
        R=R,
        T_mm=T,
        f_px=np.full((count, 2), 1.15 * SIZE),
        c_px=np.full((count, 2), (SIZE - 1) / 2),
        width=np.full(count, SIZE, np.int32),
        height=np.full(count, SIZE, np.int32),
        distortion=np.zeros((count, 5)),
    )
    index = Index(
        **columns,
        has_mask=np.ones(len(rows), bool),
        has_joints=np.ones(len(rows), bool),
        joints_world_mm=joints.astype(np.float32),
        views=table,
        exclusions=exclusions,
        counts={str(s): {"rows": 2 * 2 * FRAMES} for s in subjects},
    )
    return index, (betas, rotmats)


def _about_z(angle):  # type: ignore[no-untyped-def]
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _camera(azimuth):  # type: ignore[no-untyped-def]
    """A camera 5 m away, 1.5 m high, that looks at the room's centre at 0.9 m: R, T."""
    centre = np.array([5000 * np.cos(azimuth), 5000 * np.sin(azimuth), 1500.0])
    forward = np.array([0, 0, 900.0]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward]), centre


def _write_frames(root: Path, index: Index) -> None:
    for row in range(len(index.views.camera)):
        folder, mine = index.views.folder(row), index.view == row
        (root / folder.name).mkdir(parents=True)
        camera = {key: getattr(index.views, key)[row] for key in ("R", "T_mm", "f_px", "c_px")}
        poses = index.joints_world_mm[index.instant[mine]].astype(np.float64)
        write_meta(root / folder.name, pose3d_world_mm=poses, **camera, width=SIZE, height=SIZE)
    for row in range(len(index)):
        view = index.view[row]
        folder = Folder(*(int(getattr(index, key)[row]) for key in ("subject", "action", "subaction", "camera")))
        camera = (index.views.R[view], index.views.T_mm[view])
        joints = world_to_camera(index.joints_world_mm[index.instant[row]].astype(np.float64), *camera)
        points = project(joints, index.views.f_px[view], index.views.c_px[view])
        image = np.linspace(90, 190, SIZE)[:, None, None].repeat(SIZE, 1).repeat(3, 2).astype(np.uint8)
        for parent, child in H36M.bones:
            ends = [tuple(np.rint(points[k] * 16).astype(int).tolist()) for k in (parent, child)]
            cv2.line(image, *ends, (40, 70, 150), 5, cv2.LINE_AA, shift=4)
        path = folder.file(root, int(index.frame[row]))
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)


def _write_predictions(path: Path, index: Index, bodies, rng) -> None:  # type: ignore[no-untyped-def]
    body = load_body(BODY)
    joints = index.joints_world_mm[index.instant].astype(np.float64)
    to_im = world_to_im(joints[:, 0], index.views.R[index.view], index.views.T_mm[index.view])
    truth = (joints - joints[:, :1]) @ to_im.transpose(0, 2, 1)
    mean = truth.mean(axis=0)
    worse = np.linspace(0.05, 0.9, len(truth))[:, None, None]
    betas, rotmats = bodies[0][index.instant], bodies[1][index.instant].copy()
    rotmats[:, 0] = to_im @ rotmats[:, 0]
    with create_h5(path, format_name="posemill.predictions") as file:
        for key in ("subject", "action", "subaction", "camera", "frame"):
            file[f"frames/{key}"] = getattr(index, key)
        file["truth/joints_im_mm"] = truth.astype(np.float32)
        file["baseline/joints_im_mm"] = mean.astype(np.float32)
        file["pose/joints_im_mm"] = (truth + worse * (mean - truth) + rng.normal(0, 12, truth.shape)).astype(np.float32)
        for head, noise in (("smpl", 0.12), ("hmr", 0.06)):
            turned = rotmats @ rotation_matrices(rng.normal(0, noise, (len(truth), 24, 3)) * worse)
            vertices, _ = lbs_numpy(body, betas, turned)
            guess = np.einsum("jv,bvx->bjx", body.J17_regressor, vertices) * 1000
            file[f"{head}/betas"] = betas.astype(np.float32)
            file[f"{head}/rotmats"] = turned.astype(np.float32)
            file[f"{head}/joints_im_mm"] = (guess - guess[:, :1]).astype(np.float32)
        _write_novel(file, index, rng)


def _write_novel(file: h5py.File, index: Index, rng) -> None:  # type: ignore[no-untyped-def]
    source = np.arange(0, len(index), 2, dtype=np.int32)
    mse = rng.uniform(0.004, 0.02, len(source)).astype(np.float32)
    mse[0] = np.nan  # no pixel of the person in the target's mask
    for key, value in {
        "source": source,
        "target": source + 1,
        "mse_foreground": mse,
        "mse_background_only": mse * 2,
        "mse_all": mse / 4,
        "examples/pair": np.array([3, 1, 5], np.int32),
    }.items():
        file[f"novel_view/{key}"] = value
    for name in ("input", "target", "background", "prediction"):
        file[f"novel_view/examples/{name}"] = rng.integers(0, 255, (3, CROP, CROP, 3)).astype(np.uint8)


def _metrics(*, vertices: bool) -> dict[str, float]:
    values = {
        "enc_dec/psnr_foreground_db": 15.4,
        "enc_dec/psnr_background_only_db": 12.1,
        "pose/mpjpe_mm": 121.0,
        "pose/n_mpjpe_mm": 112.5,
        "pose/mean_pose_n_mpjpe_mm": 151.0,
        "smpl/n_mpjpe_mm": 118.0,
        "hmr/n_mpjpe_mm": 160.0,
    }
    if vertices:
        values |= {
            "smpl/pve_mm": 130.2,
            "smpl/mean_body_pve_mm": 170.4,
            "hmr/pve_mm": 140.0,
            "hmr/v2v_l2_m2": 0.0102,
            "hmr/mean_v2v_l2_m2": 0.0151,
        }
    names = ("act_02_Directions", "act_14_Walking", "S9", "S11")
    parts = {f"{key}/{part}": value for part in names for key, value in values.items()}
    return {"index/test_rows": 24.0} | values | parts


def _write_checkpoints(run: Run, rng) -> None:  # type: ignore[no-untyped-def]
    for stage in ("enc_dec", "pose", "prior", "smpl", "hmr"):
        history = []
        for step in range(20, 801, 20):
            loss = 2 * np.exp(-step / 200) + 0.3
            entry = {"step": step, "loss": loss + rng.normal(0, 0.03), "pixels": np.exp(-step / 100)}
            entry |= {"val/loss": loss + 0.15} if step % 200 == 0 else {}
            history.append({key: float(value) for key, value in entry.items()} | {"learning_rate_factor": 1.0})
        path = run.paths.checkpoint(stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"model": {"net.weight": torch.zeros(2)}, "step": 800, "config": {}, "history": history, "extra": {}}
        torch.save(content, path)
