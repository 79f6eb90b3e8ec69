"""Predictions on the test split: novel views, poses, bodies from embeddings and from images; and plain baselines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from codebase.body.model import BodyLayer, load_body
from codebase.config import Config
from codebase.data.batches import CropStore, in_turn
from codebase.data.embeddings import read_embeddings
from codebase.data.exports import KEYS, Predicted, camera_frame, write_meshes, write_results
from codebase.data.index import Index, read_index
from codebase.data.latents import latents_of, mirrored_of
from codebase.data.pairs import warn_of_single_cameras
from codebase.errors import DataError
from codebase.files import create_h5
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.hmr import bodies_of
from codebase.models.hmr import restore as restore_hmr
from codebase.models.pose import pose_of
from codebase.models.pose import restore as restore_pose
from codebase.models.smpl import body_of
from codebase.models.smpl import restore as restore_smpl
from codebase.provenance import file_digest
from codebase.skeleton import H36M_CAMERAS
from codebase.training.designs import require_same_design
from codebase.training.encoders import load_enc_dec, require_same_encoder
from codebase.training.notes import BEGINS_WITH, read_note
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast, place
from codebase.training.runtime import prepare
from codebase.training.state import Checkpoint, load_checkpoint
from codebase.training.view_errors import measure, ordered_pairs, paint

VERSION = 5
FORMAT = "posemill.predictions"
log = logging.getLogger("posemill.predict")


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
        meshes: folder of meshes in `predict.mesh_formats`.

    Raises:
        DataError: a file is missing, not in its format, or does not belong to the others.
    """
    device = prepare(config.runtime, 0)
    index = read_index(index_test)
    store = CropStore(crops, index.key)
    batch_size = config.predict.batch_size
    net, trained = load_enc_dec(enc_dec, config.enc_dec, store.size)
    learned = {"pose": pose, "smpl": smpl, "hmr": hmr}
    found = {name: load_checkpoint(path) for name, path in learned.items()}
    for name, path in learned.items():
        require_same_design(found[name], config, name, path)
    layer = BodyLayer(load_body(body)).to(device)
    subjects = [read_embeddings(path) for path in embeddings]
    for name, path in (("pose", pose), ("smpl", smpl)):
        require_same_encoder(found[name], path, subjects)
    names = ("L_3d", "L_app", "L_3d_mirrored")
    found_latents = (*latents_of(subjects, index.key), mirrored_of(subjects, index.key))
    latents = dict(zip(names, map(torch.from_numpy, found_latents), strict=True))
    predictor = Predictor(store, latents, layer, device, batch_size)
    from_images, earlier = predictor.hmr(found["hmr"])
    bodies = {"smpl": predictor.smpl(found["smpl"]), "hmr": from_images}
    with create_h5(output, format_name=FORMAT) as file:
        _write_frames(file, index, store)
        file.attrs["checkpoints"] = json.dumps(
            {
                name: file_digest(path)
                for name, path in {"enc_dec": enc_dec, "pose": pose, "smpl": smpl, "hmr": hmr}.items()
            }
        )
        if BEGINS_WITH in found["hmr"].extra:
            file.attrs[f"hmr/{BEGINS_WITH}"] = read_note(found["hmr"].extra[BEGINS_WITH])
        file["pose/joints_im_mm"] = predictor.pose(found["pose"])
        for name, bodies_found in bodies.items():
            bodies_found.write(file, f"{name}/")
        if earlier:
            for name, parts in zip(("rotmats", "betas"), zip(*earlier, strict=True), strict=True):
                file[f"hmr/earlier/{name}"] = torch.stack(parts).numpy()
        _write_baseline(file, found, layer)
        _write_novel_views(file, place(net, device), trained.config["precision"], store, config)
    rows = camera_frame(bodies["hmr"], store, layer)
    # a rig of somebody's own has cameras 1 to 4 too, which are not Human3.6M's
    own = config.dataset.kind == "extract" and config.extract.door == "rig"
    serials = {} if own else H36M_CAMERAS
    write_results(csv, rows, index, serials)
    write_meshes(meshes, rows, index, layer, config.predict.meshes, serials, config.predict.mesh_formats)
    log.info("wrote predictions of %d frames to %s", len(index), output)


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
        both = (self.latents["L_3d"], self.latents["L_3d_mirrored"])
        return self._each(lambda rows: pose_of(net, *(each[rows].to(self.device) for each in both)).cpu()).numpy()

    def smpl(self, found: Checkpoint) -> Predicted:
        """Bodies of the head on embeddings."""
        head = restore_smpl(found.config, found.part("smpl")).to(self.device)
        codes = [self.latents[name] for name in ("L_3d", "L_3d_mirrored", "L_app")]
        raw = self._each(lambda rows: body_of(head, *(each[rows].to(self.device) for each in codes)).cpu())
        return self._bodies(raw)

    def hmr(self, found: Checkpoint) -> tuple[Predicted, list[tuple[Tensor, Tensor]]]:
        """Bodies of the network on images, and rotations and betas after each correction but the last."""
        size, shape = self.store.size, found.extra.get("size", torch.tensor(self.store.size)).flatten().tolist()
        if set(shape) != {size}:
            trained = " x ".join(map(str, shape))
            raise DataError(
                f"HMR was trained on crops of {trained} px, these have {size} px.",
                expected=f"crops of {trained} px", mend="train it on these crops, or cut them again",
            )  # fmt: skip
        if found.config.get("frame") == "camera":
            raise DataError(
                "HMR answers in the camera's frame, and crops of the workflow are turned towards the root.",
                expected="one of the stage train_hmr", mend="predict with it as docs/course.md says",
            )  # fmt: skip
        model = place(restore_hmr(found.config, found.part("hmr"), size), self.device)

        shown = ("image", "background") if model.sees_background else ("image",)

        def answer(rows: Int64[ndarray, " batch"]) -> Tensor:
            seen = self.store.gather(rows, shown)
            with autocast(found.config["precision"], self.device):
                return model(*(as_image(seen[name].to(self.device)) for name in shown))[0].transpose(0, 1).cpu()

        *earlier, last = self._each(answer).unbind(dim=1)
        return self._bodies(last), [bodies_of(one) for one in earlier]

    @torch.inference_mode()
    def _each(self, answer: Callable[[Int64[ndarray, " batch"]], Tensor]) -> Tensor:
        return torch.cat([answer(rows) for rows in in_turn(np.arange(len(self.store)), self.batch_size)])

    @torch.inference_mode()
    def _bodies(self, raw: Float[Tensor, "rows parameters"]) -> Predicted:
        rotmats, betas = bodies_of(raw.to(self.device))
        return Predicted.of(self.layer, rotmats, betas)


def _write_frames(file: h5py.File, index: Index, store: CropStore) -> None:
    for name in KEYS:
        file[f"frames/{name}"] = getattr(index, name)
    file["frames/R_world_im"] = store.R_world_im
    file["frames/root_world_mm"] = store.root_world_mm
    file["frames/has_joints"] = store.has_joints
    file["truth/joints_im_mm"] = store.joints_im_mm
    file.attrs["counts"] = json.dumps(index.counts)


@torch.inference_mode()
def _write_baseline(file: h5py.File, found: Mapping[str, Checkpoint], layer: BodyLayer) -> None:
    """What needs no image: the labelled subjects' mean pose, and the training bodies' mean shape in their mean pose."""
    file["baseline/joints_im_mm"] = found["pose"].extra["mean_joints_im_mm"].numpy().astype(np.float32)
    mean = [found["hmr"].extra[name][None].to(layer.faces.device) for name in ("mean_rotmats", "mean_betas")]
    Predicted.of(layer, *mean).write(file, "baseline/smpl_", single=True)


def _write_novel_views(file: h5py.File, net: EncoderDecoder, precision: str, store: CropStore, config: Config) -> None:
    """Every test image from every other camera of its instant; appearance from the image itself.

    Where no instant has two cameras the group is left out: poses and bodies need no second one.
    """
    warn_of_single_cameras(store.key, "no novel view of it is predicted")
    source, target = ordered_pairs(store)
    if not len(source):
        log.warning(
            "no novel view is predicted: for some, add cameras to dataset.cameras or subjects to split.test, or see "
            "the exclusions in the index"
        )
        return
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
