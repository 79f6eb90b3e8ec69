"""Predictions on the test split: novel views, poses, bodies from embeddings and from images; and plain baselines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import roma
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from codebase.body.model import BodyLayer, load_body
from codebase.config import Config
from codebase.data.batches import CropStore, in_turn
from codebase.data.embeddings import read_embeddings
from codebase.data.index import Index, read_index
from codebase.data.latents import latents_of
from codebase.errors import DataError
from codebase.files import create_h5, write_csv, write_text
from codebase.geometry import world_to_camera
from codebase.models.encoder_decoder import restore as restore_enc_dec
from codebase.models.hmr import restore as restore_hmr
from codebase.models.pose import restore as restore_pose
from codebase.models.smpl import restore as restore_smpl
from codebase.models.smpl import split
from codebase.provenance import file_digest
from codebase.skeleton import H36M, H36M_CAMERAS
from codebase.training.novel_views import as_image, measure, ordered_pairs, paint
from codebase.training.precision import autocast, place
from codebase.training.runtime import prepare
from codebase.training.state import Checkpoint, load_checkpoint

VERSION = 1
FORMAT = "posemill.predictions"
log = logging.getLogger("posemill.predict")
MM_TO_M = 0.001
KEYS = ("subject", "action", "subaction", "camera", "frame")


def run(
    config: Config,
    *,
    index_test: Path,
    crops: list[Path],
    embeddings: list[Path],
    enc_dec: Path,
    pose: Path,
    smpl: Path,
    hmr: Path,
    body: Path,
    output: Path,
    csv: Path,
    meshes: Path,
) -> None:
    """Write predictions.h5, results.csv and a few meshes (docs/conventions.md).

    Args:
        config: the whole config; `predict` and `runtime` are used, and the precision of each network's checkpoint.
        index_test: index of the test split.
        crops, embeddings: of its subjects.
        enc_dec, pose, smpl, hmr: checkpoints.
        body: body file in SMPL layout.
        output: predictions.h5.
        csv: results.csv, the bodies of `hmr` in the camera's frame.
        meshes: folder of OBJ files.

    Raises:
        DataError: a file is missing, not in its format, or does not belong to the others.
    """
    device = prepare(config.runtime, 0)
    index = read_index(index_test)
    store = CropStore(crops, index.key)
    batch_size = config.predict.batch_size
    found = {name: load_checkpoint(path) for name, path in
             {"enc_dec": enc_dec, "pose": pose, "smpl": smpl, "hmr": hmr}.items()}  # fmt: skip
    layer = BodyLayer(load_body(body)).to(device)
    points, appearance = latents_of([read_embeddings(path) for path in embeddings], index.key)
    latents = {"L_3d": torch.from_numpy(points), "L_app": torch.from_numpy(appearance)}
    predictor = Predictor(store, latents, layer, device, batch_size)
    bodies = {"smpl": predictor.smpl(found["smpl"]), "hmr": predictor.hmr(found["hmr"])}
    with create_h5(output, format_name=FORMAT) as file:
        _write_frames(file, index, store)
        file.attrs["checkpoints"] = json.dumps(
            {
                name: file_digest(path)
                for name, path in {"enc_dec": enc_dec, "pose": pose, "smpl": smpl, "hmr": hmr}.items()
            }
        )
        file["pose/joints_im_mm"] = predictor.pose(found["pose"])
        for name, bodies_found in bodies.items():
            bodies_found.write(file, f"{name}/")
        _write_baseline(file, found, layer)
        _write_novel_views(file, found["enc_dec"], store, device, config)
    rows = camera_frame(bodies["hmr"], store, layer)
    write_results(csv, rows, index)
    write_meshes(meshes, rows, index, layer, config.predict.meshes)
    log.info("wrote predictions of %d frames to %s", len(index), output)


@dataclass(frozen=True)
class Predicted:
    """Bodies of some frames.

    Attributes:
        betas: shape.
        rotmats: rotations, the global one first.
        joints_mm: the 17 joints about the root, mm, in the frame of the global orientation.
    """

    betas: Float[Tensor, "rows 10"]
    rotmats: Float[Tensor, "rows 24 3 3"]
    joints_mm: Float[Tensor, "rows 17 3"]

    @classmethod
    def of(cls, layer: BodyLayer, rotmats: Float[Tensor, "rows 24 3 3"], betas: Float[Tensor, "rows 10"]) -> Predicted:
        """Bodies with their joints, on the CPU."""
        joints = layer.joints17(betas, rotmats)
        root = H36M.index("root")
        centred = (joints - joints[:, root : root + 1]) / MM_TO_M
        return cls(betas.cpu(), rotmats.cpu(), centred.cpu())

    def write(self, file: h5py.File, prefix: str, *, single: bool = False) -> None:
        """Write betas, rotmats and joints_im_mm under a prefix; `single` drops the axis of rows."""
        for name, value in {"betas": self.betas, "rotmats": self.rotmats, "joints_im_mm": self.joints_mm}.items():
            array = value.numpy().astype(np.float32)
            file[prefix + name] = array[0] if single else array


class Predictor:
    """Runs the networks over all rows, in batches, without gradients."""

    def __init__(
        self,
        store: CropStore,
        latents: Mapping[str, Tensor],
        layer: BodyLayer,
        device: torch.device,
        batch_size: int,
    ) -> None:
        self.store, self.latents, self.layer, self.device, self.batch_size = store, latents, layer, device, batch_size

    def pose(self, found: Checkpoint) -> Float[ndarray, "rows 17 3"]:
        """Joints of the pose network, mm, root-centred, im frame."""
        net = restore_pose(found.config, found.part("pose")).to(self.device)
        return self._each(lambda rows: net(self.latents["L_3d"][rows].to(self.device)).cpu()).numpy()

    def smpl(self, found: Checkpoint) -> Predicted:
        """Bodies of the head on embeddings."""
        head = restore_smpl(found.config, found.part("smpl")).to(self.device)
        raw = self._each(lambda rows: head(*(self.latents[k][rows].to(self.device) for k in ("L_3d", "L_app"))).cpu())
        return self._bodies(raw)

    def hmr(self, found: Checkpoint) -> Predicted:
        """Bodies of the network on images."""
        size = int(found.extra.get("size", torch.tensor(self.store.size)))
        if size != self.store.size:
            raise DataError(
                f"HMR was trained on crops of {size} px, these have {self.store.size} px.",
                expected=f"crops of {size} px", mend="train it on these crops, or cut them again",
            )  # fmt: skip
        model = place(restore_hmr(found.config, found.part("hmr"), size), self.device)

        def answer(rows: Int64[ndarray, " batch"]) -> Tensor:
            image = as_image(self.store.gather(rows, ("image",))["image"].to(self.device))
            with autocast(found.config["precision"], self.device):
                return model(image)[0][-1].cpu()

        return self._bodies(self._each(answer))

    @torch.inference_mode()
    def _each(self, answer: Callable[[Int64[ndarray, " batch"]], Tensor]) -> Tensor:
        return torch.cat([answer(rows) for rows in in_turn(np.arange(len(self.store)), self.batch_size)])

    @torch.inference_mode()
    def _bodies(self, raw: Float[Tensor, "rows 154"]) -> Predicted:
        rotmats, betas = split(raw.to(self.device))
        return Predicted.of(self.layer, rotmats, betas)


def _write_frames(file: h5py.File, index: Index, store: CropStore) -> None:
    for name in KEYS:
        file[f"frames/{name}"] = getattr(index, name)
    file["frames/R_world_im"] = store.R_world_im
    file["frames/root_world_mm"] = store.root_world_mm
    file["truth/joints_im_mm"] = store.joints_im_mm
    file.attrs["counts"] = json.dumps(index.counts)


@torch.inference_mode()
def _write_baseline(file: h5py.File, found: Mapping[str, Checkpoint], layer: BodyLayer) -> None:
    """What needs no image: the labelled subjects' mean pose, and the training bodies' mean shape in their mean pose."""
    file["baseline/joints_im_mm"] = found["pose"].extra["mean_joints_im_mm"].numpy().astype(np.float32)
    mean = [found["hmr"].extra[name][None].to(layer.faces.device) for name in ("mean_rotmats", "mean_betas")]
    Predicted.of(layer, *mean).write(file, "baseline/smpl_", single=True)


def _write_novel_views(
    file: h5py.File, found: Checkpoint, store: CropStore, device: torch.device, config: Config
) -> None:
    """Every test image from every other camera of its instant; appearance from the image itself."""
    net = place(restore_enc_dec(found.config, found.model, store.size), device)
    source, target = ordered_pairs(store)
    precision = found.config["precision"]
    errors = measure(net, store, source, target, precision=precision, batch_size=config.predict.batch_size)
    group = file.create_group("novel_view")
    group["source"], group["target"] = source.astype(np.int32), target.astype(np.int32)
    group["mse_foreground"], group["mse_all"] = errors.foreground, errors.everywhere
    group["mse_background_only"] = errors.background_only
    count = min(config.predict.examples, len(source))
    shown = np.linspace(0, len(source) - 1, count).round().astype(np.int64)
    painted = paint(net, store, source[shown], target[shown], precision=precision)
    truth = store.gather(target[shown], ("image", "background"))
    examples = {
        "input": store.gather(source[shown], ("image",))["image"].numpy(),
        "target": truth["image"].numpy(),
        "background": truth["background"].numpy(),
        "prediction": np.round(255 * painted).astype(np.uint8),
        "pair": shown.astype(np.int32),
    }
    for name, value in examples.items():
        group[f"examples/{name}"] = value


@dataclass(frozen=True)
class CameraBodies:
    """Bodies where they stand before their cameras: camera frame, metres.

    Attributes:
        root_loc_m: SMPL's translation, with which the Human3.6M root joint stands at its true (given) place.
        rotmats: rotations, the global one from the body's to the camera's frame.
    """

    root_loc_m: Float[Tensor, "rows 3"]
    betas: Float[Tensor, "rows 10"]
    rotmats: Float[Tensor, "rows 24 3 3"]


@torch.inference_mode()
def camera_frame(bodies: Predicted, store: CropStore, layer: BodyLayer) -> CameraBodies:
    """Turn bodies from the im frames into the cameras' frames, at the root's true place."""
    cam_im = torch.from_numpy((store.R @ np.swapaxes(store.R_world_im, 1, 2)).astype(np.float32))
    rotmats = torch.cat([(cam_im @ bodies.rotmats[:, 0])[:, None], bodies.rotmats[:, 1:]], dim=1)
    root_m = MM_TO_M * world_to_camera(store.root_world_mm[:, None], store.R, store.T_mm)[:, 0]
    device = layer.faces.device
    joints = layer.joints17(bodies.betas.to(device), rotmats.to(device)).cpu()
    root_loc = torch.from_numpy(root_m.astype(np.float32)) - joints[:, H36M.index("root")]
    return CameraBodies(root_loc, bodies.betas, rotmats)


def write_results(path: Path, bodies: CameraBodies, index: Index) -> None:
    """Write results.csv: one row a frame, lists as strings."""
    vectors = roma.rotmat_to_rotvec(bodies.rotmats).flatten(1).double().numpy().round(6)
    columns = {
        "root_loc": bodies.root_loc_m.double().numpy().round(6),
        "root_orient": vectors[:, :3],
        "betas": bodies.betas.double().numpy().round(6),
        "pose_body": vectors[:, 3:66],
        "pose_hand": vectors[:, 66:],
    }
    write_csv(
        path,
        [
            {"id": name_of(index, row)} | {column: str(value[row].tolist()) for column, value in columns.items()}
            for row in range(len(index))
        ],
    )


def name_of(index: Index, row: int) -> str:
    """A frame's name: S9/act_02_subact_01.54138969/000001 (unknown cameras by their number)."""
    subject, action, subaction, camera, frame = (int(getattr(index, name)[row]) for name in KEYS)
    serial = H36M_CAMERAS.get(camera, f"ca_{camera:02d}")
    return f"S{subject}/act_{action:02d}_subact_{subaction:02d}.{serial}/{frame:06d}"


@torch.inference_mode()
def write_meshes(folder: Path, bodies: CameraBodies, index: Index, layer: BodyLayer, count: int) -> None:
    """Write evenly chosen bodies as OBJ, metres, y up: the camera's frame with y and z negated, root at its place."""
    folder.mkdir(parents=True, exist_ok=True)
    faces = layer.faces.cpu().numpy() + 1
    lines = "".join(f"f {a} {b} {c}\n" for a, b, c in faces.tolist())
    for row in np.unique(np.linspace(0, len(index) - 1, min(count, len(index))).round().astype(int)).tolist():
        at, device = slice(row, row + 1), layer.faces.device
        betas, rotmats, shift = (part[at].to(device) for part in (bodies.betas, bodies.rotmats, bodies.root_loc_m))
        upright = layer.vertices(betas, rotmats, shift)[0].cpu().numpy() * np.array([1.0, -1.0, -1.0])
        name = name_of(index, row)
        points = "".join(f"v {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in upright.tolist())
        text = f"# {name}, hmr, metres, x right, y up, z towards the camera\n{points}{lines}"
        write_text(folder / f"{name.replace('/', '_')}.obj", text)
