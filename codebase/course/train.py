"""train.py on the course's tree: the shared loop, the course's checkpoints, figures of train and validation."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codebase.body.model import BodyArrays, BodyLayer, load_body
from codebase.config import HmrConfig
from codebase.config.course import CourseConfig
from codebase.config.root import RuntimeConfig
from codebase.course.checkpoints import Keeper, begin_from, read_checkpoint
from codebase.course.find import find_model
from codebase.course.measure import SELECTION, measure
from codebase.course.samples import CourseSamples
from codebase.data.batches import Frames
from codebase.data.course import CourseFrames, read_course
from codebase.errors import DataError
from codebase.files import read_json, write_csv, write_json
from codebase.models.hmr import build, restore, start_from
from codebase.provenance import file_digest
from codebase.published import hmr_file
from codebase.stages.train_hmr import prior_of
from codebase.training import loop, optim
from codebase.training.global_norm import whole_batch_norms
from codebase.training.hmr_lesson import Lesson, prepare_images
from codebase.training.precision import place
from codebase.training.runtime import prepare
from codebase.training.state import Batch, RunState, load_checkpoint, run_digest
from codebase.training.team import team

VERSION = 2
METRICS, MISSING, BEGUN = "metrics.json", "missing_images.csv", "begun_from.json"
log = logging.getLogger("posemill.course")


def train(config: CourseConfig, *, model_file: Path | None = None, budget_s: float | None = None) -> None:
    """Train as the YAML says, into its out_dir; an interrupted run resumes exactly.

    Writes model_{it}.pt every checkpoint_every steps, model_best.pt by the validation, metrics.json at the end; in
    out_dir/run lie the loop's own files: state, history.jsonl, progress.json.

    Args:
        config: the YAML.
        model_file: a checkpoint to go on from; where this very run, begun from it, was interrupted, it resumes instead.
        budget_s: seconds after which to save and leave with OutOfTimeError.

    Raises:
        DataError: data, body or model file are missing or not in their format.
        OutOfTimeError: the budget is spent, or a signal came.
    """
    out, size = config.out_dir, (config.data.resy, config.data.resx)
    begin = find_model(model_file, out) if model_file else None
    judge = prior_of(config.section(1), *filter(None, [config.prior]))
    device = prepare(runtime_of(config), config.section(1).seed)
    body = load_body(config.data.bm_path)
    section, samples = _read(config, body)
    mean_rotmats, mean_betas = samples["train"].mean_body()
    model = build(section, size, mean_rotmats=mean_rotmats, mean_betas=mean_betas)
    backbone = start_from(model, section)
    log.info("encoder: %s", backbone)
    model = whole_batch_norms(place(model, device))
    lesson = Lesson(section, model, body, 2000.0, judge).to(device)
    optimizer = optim.make(section, model)
    batches = Frames(
        np.arange(len(samples["train"])), samples["train"].gather, batch_size=section.batch_size, seed=section.seed,
        device=device, share=team().share,
    )  # fmt: skip
    layer = BodyLayer(body).to(device)
    keeper = Keeper(
        out, section, model, optimizer, batches, len(samples["train"]), size, backbone, body_name(body),
        SELECTION[config.training.model_selection_metric],
    )  # fmt: skip

    def update(batch: Batch, step: int) -> dict[str, Tensor]:
        loss, parts = lesson(prepare_images(section, batch))
        return parts | {"gradient_norm": optim.step(loss, optimizer, section.gradient_clip)}

    output = out / "run" / f"model_{section.steps}.pt"
    digest = _digest(config, section, samples)
    if begin is not None:
        digest = _begin(begin, output.parent, config, section, samples, batches)
    loop.fit(
        section, modules={"hmr": model}, optimizers={"hmr": optimizer}, batches=batches, update=update,
        validate=lambda: measure(
            model, section, samples["val"], np.arange(len(samples["val"])), layer, section.batch_size
        ),
        output=output, digest=digest, budget_s=budget_s, after=keeper.after,
        extra={"mean_rotmats": mean_rotmats, "mean_betas": mean_betas, "size": torch.tensor(size)},
    )  # fmt: skip
    if team().first:
        _measure_splits(config, output, samples, layer, backbone)


def runtime_of(config: CourseConfig) -> RuntimeConfig:
    """Device and threads as the YAML says them."""
    workers = max(1, min(config.training.num_workers, os.cpu_count() or 1))
    return RuntimeConfig(device=config.device, threads=workers, workers=workers)


def body_name(body: BodyArrays) -> str:
    """What a checkpoint says of the body that it was trained with."""
    return f"{body.name} (sha256 {body.digest})"


def note_missing(path: Path, frames: CourseFrames, rows: list[int], reasons: list[str]) -> None:
    """Write the list of pictures that were not there; none: an older list goes away."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_csv(path, [
        {"id": frames.id[row], "image": str(frames.image[row]), "reason": reason}
        for row, reason in zip(rows, reasons, strict=True)
    ])  # fmt: skip


def _read(config: CourseConfig, body: BodyArrays) -> tuple[HmrConfig, dict[str, CourseSamples]]:
    """The section for as many frames as there are, and the samples of the training and the validation split."""
    frames = {split: _usable(config, split) for split in ("train", "val")}
    section = config.section(len(frames["train"]))
    _warn_of_overlap(config)
    size = (config.data.resy, config.data.resx)
    return section, {split: CourseSamples(found, body, section, size) for split, found in frames.items()}


def _usable(config: CourseConfig, split: str) -> CourseFrames:
    """Frames of a split that have a picture and a body; what has not is counted, and pictures listed."""
    data = config.data
    subjects = getattr(data, f"{split}_subjects")
    frames = read_course(
        data.dataset_folder, data.img_folder, subjects, intrinsics=data.intrinsics,
        workers=runtime_of(config).workers,
    )  # fmt: skip
    missing = np.flatnonzero(~frames.has_image).tolist()
    rows = np.flatnonzero(frames.has_image & frames.has_body)
    if team().first:
        list_of = config.out_dir / f"{split}_{MISSING}"
        note_missing(list_of, frames, missing, ["missing"] * len(missing))
        if missing:
            log.warning("%d pictures of the %s split are missing: left out, listed in %s", len(missing), split, list_of)
    if not len(rows):
        raise DataError(
            f"No frame of the {split} split has a picture and a body.", where=data.dataset_folder,
            expected=f"npz with betas and root_orient of {', '.join(subjects)}, and pictures in {data.img_folder}",
            mend="correct data.dataset_folder and data.img_folder",
        )  # fmt: skip
    without = int((~frames.has_body).sum())
    more = f"; {without} without a body left out" if without else ""
    log.info("%s split: %d frames of %s%s", split, len(rows), ", ".join(subjects), more)
    return frames.take(rows)


def _warn_of_overlap(config: CourseConfig) -> None:
    both = sorted(set(config.data.train_subjects) & set(config.data.val_subjects))
    if both:
        log.warning(
            "%s train and validate: model_best.pt and val/ show how people are remembered, not how new ones are seen; "
            "to mend: data.val_subjects of their own", ", ".join(both),
        )  # fmt: skip
    wrong = {"in_ch": (config.model.in_ch, 3), "out_ch": (config.model.out_ch, 82)}
    for key, (said, is_so) in wrong.items():
        if said not in (None, is_so):
            log.warning("model.%s is %s, which changes nothing: it is %d", key, said, is_so)


def _begin(
    begin: Path,
    run_dir: Path,
    config: CourseConfig,
    section: HmrConfig,
    samples: dict[str, CourseSamples],
    batches: Frames,
) -> str:
    """See to it that the loop finds the state of a model file, or of this very run that began from it; its digest."""
    for content in _contents(run_dir, begin):
        digest = _digest(config, section, samples, content)
        state = RunState(run_dir, digest, config=section, modules={}, optimizers={}, batches=batches).path
        if state.is_file():
            break
    team().wait()
    # also beside a finished model, which may be another run's; the loop takes one of this very run as it is
    if team().first and not state.is_file():
        write_json(run_dir / BEGUN, {str(begin.resolve()): file_digest(begin)})
        begin_from(read_checkpoint(begin), state, section=section, size=samples["train"].size)
    team().wait()
    return digest


def _contents(run_dir: Path, begin: Path) -> list[str]:
    """Digests of what the run begins from: of the model file when it began, where it did, and of the file as it is.

    They differ where the run itself has written over it since, as over model_best.pt.
    """
    noted = run_dir / BEGUN
    then = read_json(noted).get(str(begin.resolve())) if noted.is_file() else None
    return [*filter(None, [then]), file_digest(begin)]


def _digest(config: CourseConfig, section: HmrConfig, samples: dict[str, CourseSamples], begun: str = "") -> str:
    """12 hex digits that name this run: section, sizes, frames, body, weights, and what it begins from."""
    files = [config.data.bm_path, *filter(None, (hmr_file(section), config.prior if section.prior_weight else None))]
    parts = [run_digest(section, version=VERSION, inputs=files), *(found.frames.digest for found in samples.values())]
    parts.append(f"{config.data.resy} {config.data.resx} {config.training.model_selection_metric}")
    parts += [begun] if begun else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _measure_splits(
    config: CourseConfig, output: Path, samples: dict[str, CourseSamples], layer: BodyLayer, backbone: str
) -> None:
    """Measure the last network on the validation split, and on as many frames of the training split."""
    found = load_checkpoint(output)
    section = config.section(len(samples["train"]))
    model = place(restore(found.config, found.part("hmr"), samples["val"].size), layer.faces.device)
    figures: dict[str, object] = {"it": found.step, "backbone": backbone, "root": section.root}
    for split, count in (("val", len(samples["val"])), ("train", min(len(samples["val"]), len(samples["train"])))):
        rows = np.unique(np.linspace(0, len(samples[split]) - 1, count).round().astype(int))
        named = measure(model, section, samples[split], rows, layer, section.batch_size)
        figures |= {f"{split}/{name}": value for name, value in named.items()} | {f"{split}/frames": len(rows)}
    write_json(config.out_dir / METRICS, figures)
    report(figures, config.out_dir / METRICS)


def report(figures: dict[str, object], path: Path) -> None:
    """Log figures, one a line."""
    for name, value in figures.items():
        log.info("%s: %s", name, f"{value:.5f}" if isinstance(value, float) else value)
    log.info("wrote %s", path)
