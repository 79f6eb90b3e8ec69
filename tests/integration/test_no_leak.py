"""Nothing of validation or test people reaches the weights: seen on the batches themselves, and on what is learned.

Every stage is handed the files of everybody, so that only the index's rows stand between training and S9 and S11.
"""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from codebase.config import EncDecConfig
from codebase.data.embeddings import read_embeddings, write_embeddings
from codebase.data.index import read_index
from codebase.data.store import CropStore
from codebase.models.prior import Prior
from codebase.training import loop
from codebase.training.state import load_checkpoint, save_checkpoint
from tests.people import BODY, People, make_people

TRAIN, VAL, TEST = (1, 5), (8,), (9, 11)
EVERYBODY = (*TRAIN, *VAL, *TEST)
STEPS = 6
QUIET = {"steps": STEPS, "batch_size": 8, "warmup_steps": 1, "log_every": 3, "validate_every": 3}
SECTIONS = {
    "enc_dec": QUIET
    | {"encoder_blocks": [1, 1], "encoder_widths": [8, 16], "decoder_widths": [16, 8, 8], "points": 6, "appearance": 4,
       "palette": 3, "precision": "fp32", "validation_pairs": 8},
    "pose": QUIET | {"hidden": 16},
    "image_pose": QUIET | {"hidden": 16, "precision": "fp32"},
    "smpl": QUIET | {"width": 16, "silhouette_from": 1, "silhouette_samples": 2},
    "prior": {"width": 32},
    "hmr": QUIET | {"widths": [8, 8, 16, 16], "width": 16, "precision": "fp32", "label_subjects": [1, 5]},
    "runtime": {"threads": 1, "device": "cpu"},
}  # fmt: skip
STAGES = ("enc_dec", "pose", "image_pose", "smpl", "hmr")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    made = make_people(
        tmp_path_factory.mktemp("people"), train=TRAIN, val=VAL, test=TEST, cameras=(1, 2, 3), sections=SECTIONS
    )
    save_checkpoint(
        made.paths.checkpoint("prior"), modules={"prior": Prior(32)}, step=1, config=made.config.prior, history=[],
        extra={"mean_rotmats": torch.eye(3).repeat(24, 1, 1)},
    )  # fmt: skip
    return made


def run(people: People, stage: str, output: Path, files: Mapping[str, list[Path]]) -> dict[str, Tensor]:
    """Weights and `extra` that a stage makes of everybody's files; `files` has crops, embeddings and bodies."""
    of_stage = {
        "enc_dec": ("crops",), "pose": ("embeddings",), "image_pose": ("crops",), "smpl": ("embeddings", "crops"),
        "hmr": ("crops", "bodies"),
    }  # fmt: skip
    more: dict[str, Any] = {name: files[name] for name in of_stage[stage]}
    if stage in ("smpl", "hmr"):
        more["body"] = BODY
    if stage == "smpl":
        more["prior"] = people.paths.checkpoint("prior")
    splits = {"index_train": people.paths.index("train"), "index_val": people.paths.index("val")}
    importlib.import_module(f"codebase.stages.train_{stage}").run(people.config, **splits, **more, output=output)
    found = load_checkpoint(output)
    return found.model | {f"extra/{name}": value for name, value in found.extra.items()}


def everybodys(people: People) -> dict[str, list[Path]]:
    return {
        "crops": people.crops(*EVERYBODY), "embeddings": people.embeddings(*EVERYBODY),
        "bodies": people.truth(*EVERYBODY),
    }  # fmt: skip


class Recorder:
    """A stream of batches that keeps what it hands out."""

    def __init__(self, stream: Any, kept: list[dict[str, Tensor]]) -> None:
        self.stream, self.kept = stream, kept

    def __next__(self) -> dict[str, Tensor]:
        batch = next(self.stream)
        self.kept.append({name: value.clone() for name, value in batch.items()})
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Every batch that the training loop draws."""
    kept: list[dict[str, Tensor]] = []
    fit = loop.fit
    monkeypatch.setattr(
        loop, "fit", lambda *args, batches, **named: fit(*args, batches=Recorder(batches, kept), **named)
    )
    return kept


class Origins:
    """Whose picture, code or pose something is, by its content: keys of all rows of all people that have it."""

    def __init__(self, people: People) -> None:
        store = CropStore(people.crops(*EVERYBODY))
        pixels = store.gather(np.arange(len(store)), ("image", "mask", "joints_im_mm"))
        latents = [read_embeddings(path) for path in people.embeddings(*EVERYBODY)]
        self.keys: dict[str, dict[bytes, set[int]]] = {}
        for name, values in pixels.items():
            self._add(name, values.numpy(), store.key)
        for item in latents:
            self._add("L_3d", item.L_3d, item.key)

    def _add(self, name: str, rows: np.ndarray, keys: np.ndarray) -> None:
        table = self.keys.setdefault(name, {})
        for row, key in zip(rows, keys.tolist(), strict=True):
            table.setdefault(row.tobytes(), set()).add(key)

    def of(self, name: str, values: Tensor) -> Iterator[set[int]]:
        """Keys of each row of what a batch calls `target_image`, `twice/L_3d`, `views/mask` and so on."""
        kind = next(known for known in self.keys if name.endswith(known))
        shape = {"image": 3, "mask": 2, "L_3d": 2, "joints_im_mm": 2}[kind]
        flat = values.flatten(0, values.ndim - shape - 1) if values.ndim > shape + 1 else values
        for row in flat.numpy():
            assert row.tobytes() in self.keys[kind], f"{name}: what no file holds"
            yield self.keys[kind][row.tobytes()]


def subjects_of(keys: set[int]) -> set[int]:
    return {key // 10**12 for key in keys}


# Streams of a batch that know labels: whose may stand there.
LABELS = {"pose": {1}, "image_pose": {1}, "smpl": {1}, "hmr": {1, 5}}


def with_batches(people: People, batches: str) -> People:
    """The same people, whose views are drawn as a paper drew them."""
    theirs = {"batches": batches, "colour_augmentation": 0, "consistency_weight": 0}
    section = EncDecConfig.model_validate(people.config.enc_dec.model_dump() | theirs)
    config = people.config.model_copy(update={"enc_dec": section})
    return People(config, people.paths)


@pytest.mark.parametrize(
    ("stage", "batches"),
    [*((stage, "ours") for stage in STAGES), ("enc_dec", "gaggi2019"), ("enc_dec", "rhodin2018")],
)
def test_batches_hold_rows_of_the_training_index_and_labels_of_the_labelled(people, seen, tmp_path, stage, batches):
    """Fails where a store ignores its index, an index names somebody else, or labels of others are drawn; partners and
    groups of the papers' batches included.
    """
    asked = people if batches == "ours" else with_batches(people, batches)
    run(asked, stage, tmp_path / f"model_{STEPS}.pt", everybodys(people))
    assert len(seen) == STEPS
    origins, allowed = Origins(people), set(read_index(people.paths.index("train")).key.tolist())
    drawn: set[int] = set()
    for batch in seen:
        known = {name: v for name, v in batch.items() if name.endswith(tuple(origins.keys)) and "has_" not in name}
        assert known
        for name, values in known.items():
            for keys in origins.of(name, values):
                assert keys & allowed, f"{name} of S{subjects_of(keys)}"
                assert subjects_of(keys) <= set(TRAIN), f"{name} of S{subjects_of(keys)}"
                if name == "joints_im_mm":
                    assert subjects_of(keys) <= LABELS[stage]
                drawn |= keys
    assert subjects_of(drawn) == (set(TRAIN) if stage in ("enc_dec", "smpl", "hmr") else {1})


def spoil(people: People, folder: Path) -> dict[str, list[Path]]:
    """Everybody's files, in which those of validation and test people hold noise of another size."""
    rng, files = np.random.default_rng(0), everybodys(people)
    spoiled = {kind: list(paths) for kind, paths in files.items()}
    for number, subject in enumerate(EVERYBODY):
        if subject in TRAIN:
            continue
        for kind in files:
            spoiled[kind][number] = folder / kind / files[kind][number].name
            spoiled[kind][number].parent.mkdir(exist_ok=True)
        crops = shutil.copy(files["crops"][number], spoiled["crops"][number])
        with h5py.File(crops, "r+") as file:
            file["image"][:] = rng.integers(0, 256, file["image"].shape, np.uint8)
            file["joints_im_mm"][:] = 1e4 * rng.normal(size=file["joints_im_mm"].shape)
            file["rooms/0"][:] = 0
        bodies = shutil.copy(files["bodies"][number], spoiled["bodies"][number])
        with h5py.File(bodies, "r+") as file:
            file["betas"][:] = 5.0
        latents = read_embeddings(files["embeddings"][number])
        noise = {name: (50 * rng.normal(size=getattr(latents, name).shape)).astype(np.float32)
                 for name in ("L_3d", "L_3d_mirrored", "L_app", "joints_im_mm")}  # fmt: skip
        write_embeddings(spoiled["embeddings"][number], replace(latents, **noise))
    return spoiled


@pytest.mark.parametrize("stage", STAGES)
def test_what_validation_and_test_people_look_like_changes_no_weight(people, tmp_path, stage):
    """Means, scales, palettes, backgrounds and the mean body too: fails where any is taken over more than the training
    split. Bit for bit.
    """
    one, other = (
        run(people, stage, tmp_path / name / f"model_{STEPS}.pt", files(people))
        for name, files in (("as_is", everybodys), ("spoiled", lambda made: spoil(made, tmp_path)))
    )
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_no_training_job_of_the_dag_is_given_files_of_test_people(in_house: Callable[..., Any]) -> None:
    """Fails where a rule hands a training more than its split; sweep and rivals included."""
    sweep = "labels={representations: [embedding, from_scratch, old], amounts: [S1, 10%], seeds: [0]}"
    rivals = "rivals={old: {preset: configs/presets/gaggi2019.yaml, enc_dec: {perceptual: none}}}"
    done = in_house("snakemake", "-n", "-p", "--config", "name=leak", sweep, rivals, timeout=500)
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"Shell command: python -m codebase (train-\S+ .*) 2>", done.stdout)
    assert {command.split()[0] for command in commands} == {
        f"train-{stage.replace('_', '-')}" for stage in (*STAGES, "prior")
    }
    people_of = {command: set(map(int, re.findall(r"/S(\d+)\.(?:h5|pkl)", command))) for command in commands}
    assert not [command for command, given in people_of.items() if given & {9, 11}]
    assert all(1 in given for command, given in people_of.items() if not command.startswith("train-prior"))
