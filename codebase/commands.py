"""The stages as the command line sees them: what each takes, which train. A test holds it against their functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A stage's subcommand: its options are the parameters of the stage's `run`, with dashes."""

    help: str
    options: Mapping[str, type]
    lists: Sequence[str] = field(default=())
    optional: Sequence[str] = field(default=())
    trains: bool = False


SPLITS = {"index_train": Path, "index_val": Path}
INDEX_OUTPUTS = {"output_train": Path, "output_val": Path, "output_test": Path}
COMMANDS: dict[str, Command] = {
    "synthesize": Command("render one subject of the miniature Human3.6M", {"subject": int, "output": Path}),
    "extract": Command("fill the dataset tree with one subject of other files", {"subject": int, "output": Path}),
    "backgrounds": Command("median background of a subject's cameras", {"subject": int, "output": Path}),
    "index": Command(
        "index frames, joints and cameras of the splits for which an output is named",
        INDEX_OUTPUTS,
        optional=tuple(INDEX_OUTPUTS),
    ),
    "crops": Command(
        "cut a subject's crops",
        {"subject": int, "index": Path, "background": Path, "output": Path},
        lists=("index",),
    ),
    "fit_bodies": Command(
        "fit bodies to a subject's joints and masks",
        {"subject": int, "index": Path, "body": Path, "every": int, "output": Path},
        lists=("index",),
    ),
    "train_enc_dec": Command(
        "train the encoder-decoder", SPLITS | {"crops": Path, "output": Path}, lists=("crops",), trains=True
    ),
    "embed": Command("embed a subject's crops", {"checkpoint": Path, "crops": Path, "output": Path}),
    "train_pose": Command(
        "train pose from embeddings", SPLITS | {"embeddings": Path, "output": Path}, lists=("embeddings",), trains=True
    ),
    "train_image_pose": Command(
        "train pose from images",
        SPLITS | {"crops": Path, "enc_dec": Path, "output": Path},
        lists=("crops",),
        optional=("enc_dec",),
        trains=True,
    ),
    "measure_labels": Command(
        "measure a representation's trainings of the label sweep",
        {"representation": str, "index_test": Path, "crops": Path, "embeddings": Path, "checkpoints": Path}
        | {"output": Path},
        lists=("crops", "embeddings", "checkpoints"),
        optional=("crops", "embeddings"),
    ),
    "label_sweep": Command(
        "draw the curve of the label sweep",
        {"measured": Path, "output": Path, "picture": Path},
        lists=("measured",),
    ),
    "train_prior": Command("train the prior on poses", {"body": Path, "output": Path}, trains=True),
    "train_smpl": Command(
        "train bodies from embeddings",
        SPLITS | {"embeddings": Path, "crops": Path, "prior": Path, "body": Path, "output": Path},
        lists=("embeddings", "crops"),
        trains=True,
    ),
    "train_hmr": Command(
        "train bodies from images",
        SPLITS | {"crops": Path, "bodies": Path, "body": Path, "prior": Path, "enc_dec": Path, "output": Path},
        lists=("crops", "bodies", "prior"),
        optional=("prior", "enc_dec"),
        trains=True,
    ),
    "predict": Command(
        "predict the test split",
        {"index_test": Path, "crops": Path, "embeddings": Path, "enc_dec": Path, "pose": Path, "smpl": Path}
        | {"hmr": Path, "body": Path, "output": Path, "csv": Path, "meshes": Path},
        lists=("crops", "embeddings"),
    ),
    "evaluate": Command(
        "measure predictions",
        {"predictions": Path, "bodies": Path, "fitted": Path, "body": Path, "crops": Path, "prior": Path}
        | {"enc_dec": Path, "embeddings": Path, "pose": Path, "labels": Path, "output": Path},
        lists=("bodies", "fitted", "crops", "embeddings", "labels"),
        optional=("crops", "fitted", "prior", "enc_dec", "embeddings", "pose", "labels"),
    ),
    "report": Command(
        "write the page",
        {"metrics": Path, "predictions": Path, "index_test": Path, "checkpoints": Path, "body": Path, "labels": Path}
        | {"output": Path},
        lists=("checkpoints", "labels"),
        optional=("labels",),
    ),
    "check": Command(
        "check artefacts; --against: those that they were made from",
        {"what": str, "files": Path, "against": Path, "output": Path},
        lists=("files", "against"),
        optional=("against",),
    ),
}
