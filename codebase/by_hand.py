"""`train` and `test`: the image-to-body network by hand, on the crops that the workflow made."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

from codebase.config import Config
from codebase.course.find import find_model
from codebase.errors import DataError
from codebase.paths import Paths


def train(config: Config) -> None:
    """Train hmr as the rule `train_hmr` does; an interrupted run resumes.

    Raises:
        DataError: the indices, crops or bodies (or the prior, with hmr.prior_weight, or the encoder-decoder, with
            hmr.start: enc_dec) are not there yet.
    """
    paths = Paths(config)
    subjects = sorted({*config.split.train.subjects, *config.split.val.subjects})
    bodies = [paths.label_bodies / f"S{subject}.h5" for subject in subjects] if paths.label_bodies else []
    crops = [paths.crops(subject) for subject in subjects]
    inputs = {"index_train": paths.index("train"), "index_val": paths.index("val"), "body": config.dataset.body}
    _require([*inputs.values(), *crops], target=paths.index("train"))
    if bodies:
        _require(bodies, target=bodies[0])
    prior = [paths.checkpoint("prior")] if config.hmr.prior_weight else []
    if prior:
        _require(prior, target=prior[0])
    encoder = paths.checkpoint("enc_dec") if config.hmr.start == "enc_dec" else None
    if encoder is not None:
        _require([encoder], target=encoder)
    run = importlib.import_module("codebase.stages.train_hmr").run
    run(
        config, **inputs, crops=crops, bodies=bodies, prior=prior, enc_dec=encoder, output=paths.checkpoint("hmr"),
        budget_s=None,
    )  # fmt: skip


def test(config: Config, model_file: Path) -> None:
    """Predict the test split with the hmr of `model_file`, into the folder {hmr's run}/{stem of the file}/.

    Raises:
        DataError: the model file, or what the other stages make, is not there.
    """
    paths = Paths(config)
    model = find_model(model_file, paths.run_dir("hmr"))
    crops = [paths.crops(subject) for subject in config.split.test.subjects]
    embeddings = [paths.embeddings(subject) for subject in config.split.test.subjects]
    inputs = {stage: paths.checkpoint(stage) for stage in ("enc_dec", "pose", "smpl")}
    inputs |= {"index_test": paths.index("test"), "body": config.dataset.body}
    _require([*inputs.values(), *crops, *embeddings], target=paths.predictions)
    folder = paths.run_dir("hmr") / model.stem
    outputs = {"output": folder / "predictions.h5", "csv": folder / "results.csv", "meshes": folder / "meshes"}
    run = importlib.import_module("codebase.stages.predict").run
    run(config, **inputs, crops=crops, embeddings=embeddings, hmr=model, **outputs)


def _require(files: Iterable[Path], *, target: Path) -> None:
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} input(s) are missing, the first: {missing[0]}",
            mend=f"let the workflow make them: snakemake --profile cluster_profiles/local {target}",
        )
