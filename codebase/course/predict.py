"""test.py on the course's tree: results.csv, submission.zip, and figures where the test frames have bodies."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import roma
import torch

from codebase.body.model import BodyLayer, load_body
from codebase.config import HmrConfig
from codebase.config.course import CourseConfig
from codebase.course.checkpoints import CourseCheckpoint, read_checkpoint
from codebase.course.find import find_model
from codebase.course.measure import Answers, Figures, answer
from codebase.course.samples import CourseSamples, Rows
from codebase.course.submission import write_submission
from codebase.course.train import MISSING, body_name, note_missing, report, runtime_of
from codebase.data.batches import in_turn
from codebase.data.course import CourseFrames, read_course
from codebase.errors import DataError
from codebase.files import write_csv, write_json
from codebase.models.hmr import Hmr, bodies_of, restore
from codebase.training.precision import place
from codebase.training.runtime import prepare

RESULTS, METRICS = "results.csv", "metrics_test.json"
COLUMNS = ("root_loc", "root_orient", "betas", "pose_body", "pose_hand")
log = logging.getLogger("posemill.course")


def test(config: CourseConfig, config_file: Path, model_file: Path) -> None:
    """Predict the test subjects with a checkpoint, into out_dir.

    Args:
        config: the YAML; the network is built as the checkpoint says.
        config_file: the YAML's file, which goes into the submission.
        model_file: path, name in out_dir, or http(s) address.

    Raises:
        DataError: data or model file are missing or not in their format; or, after everything else is written, some
            pictures were missing or unreadable: they are listed in out_dir/missing_images.csv.
    """
    checkpoint = read_checkpoint(find_model(model_file, config.out_dir))
    data, section = config.data, HmrConfig.model_validate(checkpoint.own["section"])
    device = prepare(runtime_of(config), section.seed)
    frames = read_course(
        data.dataset_folder, data.img_folder, data.test_subjects, intrinsics=data.intrinsics,
        workers=runtime_of(config).workers,
    )  # fmt: skip
    body = load_body(data.bm_path)
    if checkpoint.own["body"] != body_name(body):
        log.warning(
            "the model was trained with the body %s, data.bm_path is %s", checkpoint.own["body"], body_name(body)
        )
    samples = CourseSamples(frames, body, section, checkpoint.size)
    model = place(restore(checkpoint.own["section"], checkpoint.weights, checkpoint.size), device)
    figures = Figures(samples, BodyLayer(body).to(device))
    rows, broken = _predict_all(model, section, samples, figures, config)
    write_submission(config.out_dir, config_file)
    _measure(config, checkpoint, figures, model, section)
    note_missing(config.out_dir / MISSING, frames, list(broken), [error.what for error in broken.values()])
    log.info("wrote %d of %d rows to %s", rows, len(frames), config.out_dir / RESULTS)
    if broken:
        first = next(iter(broken))
        raise DataError(
            f"{len(broken)} of {len(frames)} pictures could not be read, the first: {frames.image[first]}",
            where=config.out_dir / MISSING, expected="a picture for each npz; the other frames are predicted",
            mend="bring the pictures that are listed there, and run again",
        )  # fmt: skip


def _predict_all(
    model: Hmr, section: HmrConfig, samples: CourseSamples, figures: Figures, config: CourseConfig
) -> tuple[int, dict[int, DataError]]:
    """Write results.csv; returns the number of its rows, and the rows whose picture could not be read."""
    lines: list[dict[str, object]] = []
    broken: dict[int, DataError] = {}
    for part in in_turn(np.arange(len(samples)), config.training.batch_size):
        images, bad = samples.images(part)
        broken |= {int(part[place]): error for place, error in bad.items()}
        good = np.array([place for place in range(len(part)) if place not in bad], int)
        if not len(good):
            continue
        found = answer(model, section, samples, part[good], torch.from_numpy(images[good]).float() / 255)
        lines += _lines(samples.frames, part[good], found)
        whole = np.flatnonzero(samples.frames.has_body[part[good]])
        if len(whole):
            root = None if found.root_loc_m is None else found.root_loc_m[whole]
            figures.add(part[good][whole], Answers(found.betas[:, whole], found.rotmats[:, whole], root))
    if not lines:
        raise DataError("No picture of the test subjects could be read.", where=config.data.img_folder,
                        mend="correct data.img_folder")  # fmt: skip
    write_csv(config.out_dir / RESULTS, lines)
    return len(lines), broken


def _lines(frames: CourseFrames, rows: Rows, found: Answers) -> list[dict[str, object]]:
    """Rows of results.csv: lists as strings, metres and axis-angle, camera frame."""
    vectors = roma.rotmat_to_rotvec(found.rotmats[-1]).flatten(1).double().numpy().round(6)
    root = frames.root_loc_m[rows] if found.root_loc_m is None else found.root_loc_m
    values = (
        root.round(6),
        vectors[:, :3],
        found.betas[-1].double().numpy().round(6),
        vectors[:, 3:66],
        vectors[:, 66:],
    )
    return [
        {"id": frames.id[row]}
        | {name: str(column[place].tolist()) for name, column in zip(COLUMNS, values, strict=True)}
        for place, row in enumerate(rows.tolist())
    ]


def _measure(
    config: CourseConfig, checkpoint: CourseCheckpoint, figures: Figures, model: Hmr, section: HmrConfig
) -> None:
    """Write metrics_test.json where test frames have bodies; an older one goes away where they have none."""
    path = config.out_dir / METRICS
    if not figures.rows:
        path.unlink(missing_ok=True)
        log.info("the test frames have no bodies: nothing to measure")
        return
    mean_rotmats, mean_betas = bodies_of(model.regressor.mean[None].cpu())
    named = figures.means(mean_rotmats, mean_betas)
    found: dict[str, object] = {
        "it": int(checkpoint.content["it"]), "model_file": checkpoint.path.name,
        "backbone": str(checkpoint.own["backbone"]), "root": section.root, "frames": sum(map(len, figures.rows)),
    }  # fmt: skip
    found |= {f"test/{name}": value for name, value in named.items()}
    write_json(path, found)
    report(found, path)
