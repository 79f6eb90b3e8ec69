"""A small dataset that is rendered here, and an encoder-decoder that the real stage trains on a part of its instants.

Four dressed people who sit and walk before four cameras. Every fourth instant is kept from training: what tests say of
the network, they measure there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codebase.config import Config
from codebase.data.index import Index, read_index, write_index
from codebase.data.store import CropStore
from codebase.models.encoder_decoder import EncoderDecoder, restore
from codebase.paths import Paths
from codebase.stages import backgrounds, crops, index, synthesize, train_enc_dec
from codebase.training.state import load_checkpoint

SUBJECTS = (1, 5, 6, 7)
ENC_DEC = {
    "steps": 600, "batch_size": 8, "learning_rate": 0.003, "warmup_steps": 20, "log_every": 100, "validate_every": 600,
    "save_every": 1000, "points": 32, "appearance": 16, "palette": 12, "encoder_blocks": [1, 1, 1, 1],
    "encoder_widths": [24, 48, 64, 96], "decoder_widths": [96, 64, 32], "colour_augmentation": 0.5,
    "precision": "fp32",
}  # fmt: skip


@dataclass(frozen=True)
class Learned:
    """What there is after training.

    Attributes:
        config: of the dataset and of the training.
        crops: files of the subjects.
        index_train, index_held: instants that were learned from, and the others.
        store: crops of the others.
        net: frozen, in eval mode.
    """

    config: Config
    crops: tuple[Path, ...]
    index_train: Path
    index_held: Path
    store: CropStore
    net: EncoderDecoder


def make_dataset(folder: Path, *, size: int = 32) -> Config:
    """Render, index and cut; files lie where `Paths` of the config say."""
    config = Config.model_validate({
        "name": "learned", "results": folder, "runtime": {"threads": 1}, "crops": {"size": size},
        "dataset": {"subjects": (*SUBJECTS, 8, 9), "acts": (9, 14), "subacts": (1, 2)},
        "split": {"train": {"subjects": SUBJECTS, "every": 1}, "val": {"subjects": (8,)}, "test": {"subjects": (9,)}},
        "synthesize": {"image_size": 128, "frames": 8, "fps": 2.0}, "backgrounds": {"every": 1}, "enc_dec": ENC_DEC,
    })  # fmt: skip
    paths = Paths(config)
    for subject in SUBJECTS:
        synthesize.run(config, subject=subject, output=paths.dataset / f"truth/S{subject}.h5")
        backgrounds.run(config, subject=subject, output=paths.background(subject))
    index.run(config, output_train=paths.index("train"))
    for subject in SUBJECTS:
        crops.run(
            config, subject=subject, index=[paths.index("train")], background=paths.background(subject),
            output=paths.crops(subject),
        )  # fmt: skip
    return config


def part_of(whole: Index, rows: np.ndarray) -> Index:
    """The index of some rows alone."""
    columns = ("subject", "action", "subaction", "camera", "frame", "instant", "view", "has_mask", "has_joints")
    return replace(whole, **{name: getattr(whole, name)[rows] for name in columns})


def train(config: Config, folder: Path) -> Learned:
    """Run the stage train_enc_dec on three quarters of the instants."""
    paths = Paths(config)
    files = tuple(paths.crops(subject) for subject in SUBJECTS)
    whole = read_index(paths.index("train"))
    held = whole.frame % 4 == 0
    index_train, index_held = folder / "index_learn.h5", folder / "index_held.h5"
    write_index(index_train, part_of(whole, ~held))
    write_index(index_held, part_of(whole, held))
    output = folder / "runs/enc_dec" / f"model_{config.enc_dec.steps}.pt"
    train_enc_dec.run(config, index_train=index_train, index_val=index_held, crops=files, output=output)
    found = load_checkpoint(output)
    store = CropStore(files, read_index(index_held).key)
    return Learned(config, files, index_train, index_held, store, restore(found.config, found.model, store.size))
