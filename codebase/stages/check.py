"""Stage check: are the artefacts what docs/conventions.md says? Finite, complete, plausible, from their sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from codebase.config import Config
from codebase.data.embeddings import read_embeddings
from codebase.data.index import read_index
from codebase.data.pairs import without_pair
from codebase.errors import DataError, UserError
from codebase.files import open_h5, write_json
from codebase.logs import log
from codebase.stages._checks import (
    Against,
    Figures,
    check_backgrounds,
    check_bodies,
    check_digest,
    check_networks,
    check_poses,
    finite,
    indices,
    no_empty_row,
    require,
)

VERSION = 2


def run(config: Config, *, what: str, files: Sequence[Path], against: Sequence[Path], output: Path) -> None:
    """Check artefacts, log what was found, and write a marker that says the same whenever the same files pass.

    Args:
        what: index, backgrounds, bodies, crops, checkpoint, embeddings or predictions.
        files: the artefacts of that kind.
        against: what they were made from (indices, crops, checkpoints), as far as it is to be compared.

    Raises:
        DataError: one is missing, of another format, or wrong; says which and why.
        UserError: `what` is unknown.
    """
    checks: dict[str, Callable[[Config, Path, Against], Figures]] = {
        "index": check_index, "backgrounds": check_backgrounds, "bodies": check_bodies, "crops": _crops,
        "checkpoint": _checkpoint, "embeddings": check_embeddings, "predictions": check_predictions,
    }  # fmt: skip
    if what not in checks:
        raise UserError(f"There is no check of {what!r}.", expected=", ".join(checks))
    for path in files:
        try:
            found = checks[what](config, path, against)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            # what h5py and numpy raise on a file with holes is of many kinds
            raise DataError(f"The file is damaged: {error}", where=path, mend="delete it and make it again") from error
        log.info("%s: %s", path, ", ".join(f"{name} {value:.6g}" for name, value in found.items()))
    write_json(output, {"what": what, "files": [path.name for path in files], "passed": True})


def check_index(config: Config, path: Path, against: Against) -> Figures:
    """Rows sorted and unique, references within bounds, labels of plausible people."""
    index = read_index(path)
    require(len(index) > 0, path, "The index has no row.")
    require(bool((np.diff(index.key) > 0).all()), path, "Rows are not sorted, or not unique.")
    require(index.instant.min() >= 0 and index.instant.max() < len(index.joints_world_mm), path, "instant is wrong.")
    require(index.view.min() >= 0 and index.view.max() < len(index.views.camera), path, "view is wrong.")
    strangers = set(index.subject.tolist()) - set(config.dataset.subjects)
    require(not strangers, path, f"Subjects {sorted(strangers)} are not in dataset.subjects.")
    labelled = np.unique(index.instant[index.has_joints])
    no_empty_row(index.joints_world_mm[labelled], path, "joints_world_mm")
    for name in ("R", "T_mm", "f_px", "c_px"):
        finite(getattr(index.views, name), path, f"views/{name}")
    rotated = index.views.R @ np.swapaxes(index.views.R, 1, 2)
    require(bool(np.allclose(rotated, np.eye(3), atol=1e-3)), path, "views/R is no rotation.")
    asymmetry = check_poses(index.joints_world_mm[labelled], path, "joints_world_mm")
    excluded = {
        f"excluded_{kind}s": sum(item.count for item in index.exclusions if item.kind == kind)
        for kind in ("folder", "frame", "mask")
    }
    return {"rows": len(index), "instants": len(np.unique(index.instant)), "asymmetry": asymmetry, **excluded}


def check_embeddings(config: Config, path: Path, against: Against) -> Figures:
    """Finite, made from the crops and the checkpoint that lie there, and not the same for every image."""
    found = read_embeddings(path)
    spread = 0.0
    for name in ("L_3d", "L_app", "R_world_im"):
        finite(getattr(found, name), path, name)
    finite(found.joints_im_mm[found.has_joints], path, "joints_im_mm")
    no_empty_row(found.L_3d, path, "L_3d")
    for source in against:
        if source.suffix == ".pt":
            check_digest(path, "checkpoint", found.checkpoint_digest, source)
        elif source.stem == path.stem:
            check_digest(path, "file of crops", found.crops_digest, source)
    if len(found) > 1:
        spread = float(found.L_3d.std(axis=0).mean())
        require(spread > 1e-6, path, "L_3d is the same for every image: the encoder says nothing.")
    return {"rows": len(found), "spread": spread}


def check_predictions(config: Config, path: Path, against: Against) -> Figures:
    """Every array finite, one row for each frame of the index, made by the checkpoints that lie there."""
    with open_h5(path, format_name="posemill.predictions") as file:
        require("frames/frame" in file, path, "frames/frame is missing.")
        rows = len(file["frames/frame"])
        require(rows > 0, path, "There is no row.")
        file.visititems(lambda name, item: finite(item[:], path, name) if _must_be_finite(name, item) else None)
        truth = file["truth/joints_im_mm"][:]
        finite(truth[file["frames/has_joints"][:]], path, "truth/joints_im_mm of the labelled rows")
        for name in ("pose/joints_im_mm", "smpl/joints_im_mm", "hmr/joints_im_mm"):
            require(name in file, path, f"{name} is missing.")
            shape = file[name].shape
            require(shape == truth.shape, path, f"{name} has shape {shape}, the truth {truth.shape}.")
            no_empty_row(file[name][:], path, name)
        require(len(truth) == rows, path, "truth/joints_im_mm has another number of rows than frames.")
        runs = {getattr(config, network).name: network for network in ("enc_dec", "pose", "smpl", "hmr")}
        check_networks(path, str(file.attrs.get("checkpoints", "{}")), against, runs)
        views = "novel_view" in file
    for index in indices(against):
        require(len(index) == rows, path, f"It has {rows} rows, the index {len(index)}.")
        paired = len(without_pair(index.key)) < len(np.unique(index.subject))
        require(views or not paired, path, "novel_view is missing, though two cameras saw the same instants.")
    return {"rows": rows}


def _crops(config: Config, path: Path, against: Against) -> Figures:
    from codebase.stages._tensor_checks import check_crops  # torch only where there are tensors

    return check_crops(config, path, against)


def _checkpoint(config: Config, path: Path, against: Against) -> Figures:
    from codebase.stages._tensor_checks import check_checkpoint

    return check_checkpoint(config, path, against)


def _must_be_finite(name: str, item: object) -> bool:
    # without a mask there is no foreground, so errors on it are NaN; true poses of labelled rows are looked at alone
    of_masks = ("novel_view/mse_foreground", "novel_view/mse_background_only")
    is_float = isinstance(item, h5py.Dataset) and np.issubdtype(item.dtype, np.floating)
    return is_float and name not in (*of_masks, "truth/joints_im_mm")
