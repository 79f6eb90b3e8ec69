"""Figures on the test split: metrics.json, one flat object whose names carry protocol and unit.

Some values are words: what encoders began with (`enc_dec/encoder_begins_with`, `hmr/encoder_begins_with`) and
`enc_dec/perceptual_network`.

Where no true bodies exist (a tree without SMPL parameters) vertex figures are against fitted ones and named so; where
there are neither they are left out, never zero.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from codebase import metrics
from codebase.body.model import BodyLayer, load_body
from codebase.config import Config
from codebase.data.bodies import Bodies, bodies_in_im
from codebase.data.index import frame_key
from codebase.data.pairs import warn_of_single_cameras
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.files import open_h5, write_json
from codebase.stages import _body_figures as figures
from codebase.stages._fit_figures import fit_figures
from codebase.stages._groups import Groups, PerSample, Rows
from codebase.stages._label_figures import label_figures
from codebase.stages._representation import representation_figures
from codebase.training.notes import BEGINS_WITH, sources
from codebase.training.state import load_checkpoint

VERSION = 7
CORRECTION = "/iteration_"  # behind it the number of the correction, from 1
log = logging.getLogger("posemill.evaluate")
M_TO_MM = 1000.0
_KEY = ("subject", "action", "subaction", "camera", "frame")
_CHUNK = 64


def run(
    config: Config,
    *,
    predictions: Path,
    bodies: list[Path],
    body: Path,
    output: Path,
    crops: Sequence[Path] = (),
    prior: Path | None = None,
    fitted: Sequence[Path] = (),
    enc_dec: Path | None = None,
    embeddings: Sequence[Path] = (),
    pose: Path | None = None,
    labels: Sequence[Path] = (),
) -> None:
    """Write metrics.json.

    Args:
        config: the whole config; `evaluate` and `runtime` are used.
        predictions: predictions.h5.
        bodies: the dataset's own S{n}.h5 of the test subjects; none where there are no true bodies.
        body: body file in SMPL layout.
        output: metrics.json.
        crops: crops/S{n}.h5 of the test subjects, for their masks; without any, silhouettes are not measured.
        prior: the prior's checkpoint, whose held-out figures are repeated; None: they are left out.
        fitted: bodies/S{n}.h5 of the test subjects. Where there are true bodies the fits are measured; where there are
            none vertex errors are against the fits, and named so (against_fitted/...).
        enc_dec: checkpoint of the encoder-decoder, which says from which published weights it was made, and of which
            is measured how well it keeps pose and looks apart; None, or without crops or embeddings: that is left out.
        embeddings: of the test subjects, by `enc_dec`.
        pose: checkpoint of the pose network, for what a change of colour does to poses.
        labels: curve.json of the label sweep, whose figures with this run's own labels are repeated; or nothing.

    Raises:
        DataError: a file is missing or not in its format, or nothing could be measured.
    """
    torch.set_num_threads(config.runtime.threads)
    found: dict[str, float] = {}
    with open_h5(predictions, format_name="posemill.predictions") as file:
        rows = Rows(*(file[f"frames/{name}"][:] for name in ("subject", "action", "subaction")))
        found |= _counts(file) | {"index/test_sequences": float(len(np.unique(rows.sequence)))}
        groups = Groups.of(config)
        key = frame_key(*(file[f"frames/{name}"][:] for name in _KEY))
        warn_of_single_cameras(key, "no figure of novel views is of it")
        if "novel_view" in file:
            found |= groups.summarise(novel_views(file), rows.take(file["novel_view/source"][:]))
        chosen = _chosen(config, file)
        labelled = chosen[np.isfinite(file["truth/joints_im_mm"][:]).all(axis=(1, 2))[chosen]]
        found["index/test_labelled_rows"] = float(len(labelled))
        if len(labelled):
            of_joints = joint_errors(file, labelled)
            of_samples = {name: errors.mean(axis=1) for name, errors in of_joints.items()}
            found |= groups.summarise(of_samples, rows.take(labelled))
            if config.evaluate.per_joint:
                networks = {name: errors for name, errors in of_joints.items() if "/mean_" not in name}
                found |= groups.per_joint(networks, rows.take(labelled))
        else:
            log.info("no true poses: joint figures are left out")
        keys = {name: file[f"frames/{name}"][:] for name in ("subject", "action", "subaction", "frame")}
        known, truth = bodies_in_im(bodies or fitted, keys, file["frames/R_world_im"][:])
        among = np.isin(known, chosen)
        known, truth = known[among], truth.take(np.flatnonzero(among))
        layer = BodyLayer(load_body(body))
        words = {name: str(file.attrs[name]) for name in (f"hmr/{BEGINS_WITH}",) if name in file.attrs}
        if len(known):
            errors = _vertex_figures(file, known, truth, layer, rows, groups)
            found |= errors if bodies else {f"against_fitted/{name}": value for name, value in errors.items()}
        else:
            log.info("no true bodies: vertex figures are left out")
        if crops:
            store = CropStore(crops, key)
            if enc_dec is not None and embeddings:
                found |= representation_figures(config, store, enc_dec=enc_dec, embeddings=embeddings, pose=pose)
            masked = chosen[store.has_mask[chosen]]
            if len(masked):
                found |= groups.summarise(figures.silhouette_ious(file, masked, store, layer), rows.take(masked))
    if bodies and fitted:
        found |= fit_figures(fitted, bodies, layer)
    if prior is not None:
        found |= prior_figures(prior)
    found |= label_figures(config, labels)
    if not np.isfinite(list(found.values())).all():
        raise DataError("A figure is not finite.", where=predictions, mend="delete it and run predict again")
    if enc_dec is not None:
        words |= {f"enc_dec/{name}": said for name, said in sources(load_checkpoint(enc_dec).extra).items()}
    write_json(output, found | words)
    log.info("wrote %d figures to %s", len(found), output)


def _vertex_figures(
    file: h5py.File,
    known: Int[ndarray, " known"],
    truth: Bodies,
    layer: BodyLayer,
    rows: Rows,
    groups: Groups,
) -> dict[str, float]:
    """Figures that need true bodies: vertex errors, also by where people face, and how wrong that is."""
    errors, here = vertex_errors(file, known, truth, layer), rows.take(known)
    corrections = {name: float(values.mean()) for name, values in errors.items() if CORRECTION in name}
    errors = {name: values for name, values in errors.items() if CORRECTION not in name}
    facing_deg = metrics.facing_deg(truth.rotmats[:, 0].astype(np.float64), file["frames/R_world_im"][:][known])
    found = groups.summarise(errors | figures.by_facing(errors, facing_deg), here)
    found |= groups.summarise(figures.heading_errors(file, known, facing_deg), here)
    return found | figures.in_bins(errors, facing_deg) | corrections


def prior_figures(checkpoint: Path) -> dict[str, float]:
    """The prior's last figures on held-out poses, as its training left them in its history: prior/auc and so on."""
    history = load_checkpoint(checkpoint).history
    last = next((entry for entry in reversed(history) if any(name.startswith("val/") for name in entry)), {})
    return {f"prior/{name.removeprefix('val/')}": value for name, value in last.items() if name.startswith("val/")}


def _chosen(config: Config, file: h5py.File) -> Int[ndarray, " chosen"]:
    """Rows of the cameras on which poses and bodies are measured."""
    camera = file["frames/camera"][:]
    wanted = config.evaluate.cameras
    chosen = np.arange(len(camera)) if wanted is None else np.flatnonzero(np.isin(camera, wanted))
    if not len(chosen):
        raise DataError(
            f"The test split has no frame of the cameras {list(wanted or ())}.", where="evaluate.cameras",
            expected=f"cameras among {sorted(set(camera.tolist()))}",
        )  # fmt: skip
    return chosen


def _counts(file: h5py.File) -> dict[str, float]:
    """Rows of the test split, and what the index left out of it."""
    totals: dict[str, float] = {}
    for counts in json.loads(file.attrs["counts"]).values():
        for name, count in counts.items():
            totals[f"index/test_{name}"] = totals.get(f"index/test_{name}", 0.0) + float(count)
    return totals


def novel_views(file: h5py.File) -> dict[str, PerSample]:
    """PSNR of novel views on the person's pixels and on all, and that of showing the empty background, dB."""
    names = {
        "psnr_foreground_db": "mse_foreground",
        "psnr_background_only_db": "mse_background_only",
        "psnr_all_db": "mse_all",
    }
    return {
        f"enc_dec/{name}": metrics.psnr_db(file[f"novel_view/{key}"][:].astype(np.float64))
        for name, key in names.items()
    }


def joint_errors(file: h5py.File, labelled: Int[ndarray, " samples"]) -> dict[str, Float[ndarray, "samples 17"]]:
    """Distances of the joints (mm, root-centred) of each model and of the mean pose and body, after each alignment.

    Their means over joints are MPJPE, N-MPJPE, PA-MPJPE and the orthogonal one. Of the rows `labelled` alone: a pose
    that is not known is measured against nothing.
    """
    truth = file["truth/joints_im_mm"][:][labelled].astype(np.float64)
    sources = {
        "pose/": "pose/joints_im_mm",
        "pose/mean_pose_": "baseline/joints_im_mm",
        "smpl/": "smpl/joints_im_mm",
        "smpl/mean_body_": "baseline/smpl_joints_im_mm",
        "hmr/": "hmr/joints_im_mm",
        "hmr/mean_body_": "baseline/smpl_joints_im_mm",
    }
    errors: dict[str, Float[ndarray, "samples 17"]] = {}
    for prefix, key in sources.items():
        values = file[key][:].astype(np.float64)
        predicted = np.broadcast_to(values[labelled] if values.ndim == 3 else values, truth.shape)
        for name, aligned in metrics.ALIGNMENTS.items():
            errors[f"{prefix}{name}_mm"] = metrics.distances(aligned(predicted, truth), truth)
    return errors


def vertex_errors(
    file: h5py.File, known: Int[ndarray, " samples"], truth: Bodies, layer: BodyLayer
) -> dict[str, PerSample]:
    """Vertex errors of smpl, hmr and the mean body in the mean pose, pelvis joints brought together.

    PVE and PA-PVE in mm; v2v_l2 in m^2 is the mean over vertices and coordinates with the root's place given. Of hmr
    also after each correction.
    """
    sources = {
        "smpl/{}": _read(file, "smpl/{}", known),
        "hmr/{}": _read(file, "hmr/{}", known),
        "mean": _read(file, "baseline/smpl_{}", np.zeros(len(known), int), shared=True),
    }
    if "hmr/earlier/betas" in file:
        betas, rotmats = (file[f"hmr/earlier/{name}"][:][:, known] for name in ("betas", "rotmats"))
        each = [*map(Bodies, betas, rotmats), sources["hmr/{}"]]
        sources |= {f"hmr/{{}}{CORRECTION}{number}": one for number, one in enumerate(each, start=1)}
    parts: dict[str, list[PerSample]] = {}
    for start in range(0, len(known), _CHUNK):
        here = slice(start, start + _CHUNK)
        target = vertices_m(layer, truth.take(here))
        for name, source in sources.items():
            for key, value in _compare(name, vertices_m(layer, source.take(here)), target):
                parts.setdefault(key, []).append(value)
    return {key: np.concatenate(values) for key, values in parts.items()}


@torch.no_grad()
def vertices_m(layer: BodyLayer, bodies: Bodies) -> Float[ndarray, "bodies v 3"]:
    """Vertices about the pelvis joint, metres, in the frame of the global orientations."""
    betas, rotmats = torch.from_numpy(bodies.betas), torch.from_numpy(bodies.rotmats)
    pelvis = layer.joints24(betas, rotmats)[:, :1]
    return (layer.vertices(betas, rotmats) - pelvis).numpy()


def _compare(
    name: str, predicted: Float[ndarray, "batch v 3"], target: Float[ndarray, "batch v 3"]
) -> Iterable[tuple[str, PerSample]]:
    pve_mm = M_TO_MM * metrics.pve(predicted, target)
    pa_pve_mm = M_TO_MM * metrics.pa_mpjpe(predicted, target)
    v2v_l2_m2 = metrics.v2v_l2(predicted, target)
    if CORRECTION in name:
        yield from [(name.format("pve_mm"), pve_mm), (name.format("v2v_l2_m2"), v2v_l2_m2)]
        return
    if name != "mean":
        yield from [
            (name.format("pve_mm"), pve_mm),
            (name.format("pa_pve_mm"), pa_pve_mm),
            (name.format("v2v_l2_m2"), v2v_l2_m2),
        ]
        return
    for stage in ("smpl", "hmr"):
        yield from [
            (f"{stage}/mean_body_pve_mm", pve_mm),
            (f"{stage}/mean_body_pa_pve_mm", pa_pve_mm),
            (f"{stage}/mean_v2v_l2_m2", v2v_l2_m2),
        ]


def _read(file: h5py.File, key: str, which: Int[ndarray, " samples"], *, shared: bool = False) -> Bodies:
    betas, rotmats = file[key.format("betas")][:], file[key.format("rotmats")][:]
    if shared:
        betas, rotmats = betas[None], rotmats[None]
    return Bodies(betas[which], rotmats[which])
