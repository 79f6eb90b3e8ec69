"""Claim: each ingredient of the representation earns its place.

    python -m benchmarks.ablate_enc_dec CONFIG [key=value ...] [--only NAME ...] [--seeds 0 1 2] [--results DIR]

Trains the encoder-decoder of CONFIG, and again with each of its ingredients taken away or a candidate added; then
embeds, trains the pose network with the labels of pose.label_subjects, and measures on the validation and the test
split. The index and crops are those of a finished run of CONFIG up to `crops` (or of the one that data_from names).
What CONFIG has already is not added again, and what it lacks is not taken away.

A run lies in {results}/{variant}_seed{n}; it is resumed where it stopped, and left alone where it is done. Table and
figures of all finished runs of these seeds are then in table.md and table.json. Settings are chosen on the validation
rows; the test rows tell what the chosen ones are worth.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codebase.config import Config, EncDecConfig, read_config, validate_config
from codebase.data.embeddings import read_embeddings
from codebase.data.index import read_index
from codebase.data.latents import latents_of, mirrored_of
from codebase.data.store import CropStore
from codebase.files import read_json, write_json, write_text
from codebase.models import encoder_decoder, pose
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.pose import PoseNet, pose_of
from codebase.models.pose2018 import PoseMlp2018
from codebase.paths import Paths
from codebase.processes import limit_threads
from codebase.stages import embed, train_enc_dec, train_pose
from codebase.training.disentangle import Codes, disentanglement
from codebase.training.pose_figures import pose_figures
from codebase.training.precision import pick_device, place
from codebase.training.state import load_checkpoint
from codebase.training.view_errors import measure, ordered_pairs

BASE = "as configured"
# from the most promising on
CANDIDATES: dict[str, dict[str, Any]] = {
    "some colours by themselves": {"colour_spots": 6},
    "other colours for L_3d": {"pose_colours": 1.0},
    "a third view": {"views": 3},
    "consistency 0.1": {"consistency_weight": 0.1},
    "consistency 0.5": {"consistency_weight": 0.5},
    "mirrored samples": {"mirror": 0.5},
    "averaged weights": {"average_decay": 0.995},
    "a quarter erased": {"erase": 0.25},
    "contrast 0.02": {"contrastive_weight": 0.02},
    "turned in their plane": {"rotation_deg": 10.0},
    "SSIM 0.1": {"ssim_weight": 0.1},
    "coarse scales 0.5": {"scales_weight": 0.5},
}
TAKEN_AWAY: dict[str, dict[str, Any]] = {
    "no background input": {"encoder_background": False},
    "no palette": {"palette": 0},
    "no weight on the person": {"foreground_weight": 0.0, "background_weight": 0.0, "image_weight": 1.0},
    "no colour changes": {"colour_augmentation": 0.0},
    "L2 alone": {"l1_share": 0.0},
    "latents of 2019": {"latent_relu": True, "latent_dropout": 0.3},
    "no swap of appearance": {"swap_appearance": 0.0},
    "no mask loss": {"mask_weight": 0.0},
    "GroupNorm": {"norm": "group"},
}
# of a config that has a candidate already
WITHOUT = {
    f"without {key}": {key: EncDecConfig.model_fields[key].default}
    for key in dict.fromkeys(key for change in CANDIDATES.values() for key in change)
}
VARIANTS: dict[str, dict[str, Any]] = {BASE: {}} | CANDIDATES | TAKEN_AWAY | WITHOUT
POSE_SEEDS = 2
# of the table: key, heading, digits, factor
COLUMNS = (
    ("val/gain_db", "val gain, dB", 2, 1),
    ("val/n_mpjpe_mm", "val N-MPJPE", 1, 1),
    ("val/pa_mpjpe_mm", "val PA-MPJPE", 1, 1),
    ("test/gain_db", "test gain, dB", 2, 1),
    ("test/n_mpjpe_mm", "test N-MPJPE", 1, 1),
    ("test/pa_mpjpe_mm", "test PA-MPJPE", 1, 1),
    ("test/representation/subject_from_l_3d", "subject from L_3d, %", 0, 100),
    ("val/representation/colour_l_3d_shift", "colour shifts L_3d by", 3, 1),
    ("val/representation/colour_pose_moved_mm", "and the pose by, mm", 1, 1),
)
log = logging.getLogger("posemill.ablate_enc_dec")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--results", type=Path, help="folder, default {root}/ablate_enc_dec")
    options = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = read_config(options.config, options.overrides)
    limit_threads(config.runtime.threads)
    folder = options.results or Paths(config).root / "ablate_enc_dec"
    for seed in options.seeds:
        for name in options.only:
            changed = variant(config, name, seed, folder)
            if changed is not None:
                run(changed)
                print(report(config, folder, options.seeds))


def variant(config: Config, name: str, seed: int, folder: Path) -> Config | None:
    """The config of a variant's own run on the same data; None where it would change nothing."""
    section = config.enc_dec.model_dump() | VARIANTS[name]
    if name != BASE and section == config.enc_dec.model_dump():
        return None
    own = {"name": f"{slug(name)}_seed{seed}", "results": folder, "data_from": Paths(config).data_root}
    own |= {"enc_dec": section | {"seed": seed}}
    return validate_config(Config, config.model_dump() | own, where=name)


def slug(name: str) -> str:
    """A variant's name as a folder's."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)


@dataclass(frozen=True)
class Split:
    """A split's crops, the latents of its rows, and L_3d of their mirror images."""

    store: CropStore
    codes: Codes
    mirrored: np.ndarray

    @classmethod
    def load(cls, config: Config, name: str) -> Split:
        """Of a run that has embedded."""
        paths, subjects = Paths(config), getattr(config.split, name).subjects
        store = CropStore([paths.crops(s) for s in subjects], read_index(paths.index(name)).key)
        found = [read_embeddings(paths.embeddings(s)) for s in subjects]
        return cls(store, Codes(*latents_of(found, store.key)), mirrored_of(found, store.key))


def digest(config: Config) -> str:
    """What a run's figures depend on; keys at their default are left out, so that new ones change nothing."""
    parts = [
        getattr(config, name).model_dump(mode="json", exclude_defaults=True) for name in ("enc_dec", "pose", "split")
    ]
    parts += [
        str(Paths(config).data_root.resolve()),
        POSE_SEEDS,
        train_enc_dec.VERSION,
        embed.VERSION,
        train_pose.VERSION,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def run(config: Config) -> dict[str, float]:
    """Train a variant, embed, train its pose networks and measure, unless that is done."""
    done, begun = Paths(config).root / "figures.json", time.monotonic()
    if done.is_file() and (known := read_json(done)).pop("digest") == digest(config):
        return known
    log.info("%s: training", config.name)
    train(config)
    trained_s = time.monotonic() - begun
    nets = [pose_net(config, seed) for seed in range(POSE_SEEDS)]
    checkpoint = load_checkpoint(Paths(config).checkpoint("enc_dec"))
    net = encoder_decoder.restore(checkpoint.config, checkpoint.model, int(checkpoint.extra["crop_size"]))
    net = place(net, pick_device(config.runtime.device))
    found = {"seconds_enc_dec": trained_s}
    for name in ("val", "test"):
        figures = measured(net, nets, Split.load(config, name), config.enc_dec.validation_pairs)
        found |= {f"{name}/{key}": value for key, value in figures.items()}
    write_json(done, found | {"digest": digest(config)})
    log.info(
        "%s: %s", config.name, ", ".join(f"{heading} {found[key]:.3f}" for key, heading, *_ in COLUMNS if key in found)
    )
    return found


def train(config: Config) -> None:
    """The encoder-decoder and the embeddings of all subjects that count."""
    paths = Paths(config)
    learned_from = sorted({*config.split.train.subjects, *config.split.val.subjects})
    checkpoint = paths.checkpoint("enc_dec")
    train_enc_dec.run(
        config, index_train=paths.index("train"), index_val=paths.index("val"),
        crops=[paths.crops(s) for s in learned_from], output=checkpoint,
    )  # fmt: skip
    for subject in config.split.subjects:
        embed.run(config, checkpoint=checkpoint, crops=paths.crops(subject), output=paths.embeddings(subject))


def pose_net(config: Config, seed: int) -> tuple[PoseNet | PoseMlp2018, np.ndarray]:
    """A pose network of a seed of its own, and the mean pose of the labelled rows, mm."""
    section = config.pose.model_dump() | {"seed": seed, "name": f"pose_seed{seed}"}
    config = validate_config(Config, config.model_dump() | {"pose": section}, where="pose")
    paths = Paths(config)
    subjects = sorted({*config.split.train.subjects, *config.split.val.subjects})
    train_pose.run(
        config, index_train=paths.index("train"), index_val=paths.index("val"),
        embeddings=[paths.embeddings(s) for s in subjects], output=paths.checkpoint("pose"),
    )  # fmt: skip
    found = load_checkpoint(paths.checkpoint("pose"))
    return pose.restore(found.config, found.part("pose")), found.extra["mean_joints_im_mm"].numpy()


@torch.inference_mode()
def measured(
    net: EncoderDecoder, nets: Sequence[tuple[PoseNet | PoseMlp2018, np.ndarray]], split: Split, most_pairs: int
) -> dict[str, float]:
    """Figures of one split: novel views, poses (the mean over networks) and disentanglement."""
    views = measure(net, split.store, *ordered_pairs(split.store, most_pairs)).summary()
    found = views | {"gain_db": views["psnr_foreground_db"] - views["psnr_background_only_db"]}
    known = np.isfinite(split.store.joints_im_mm).all(axis=(1, 2))
    target = split.store.joints_im_mm[known].astype(np.float64)
    latents = [torch.from_numpy(each[known]) for each in (split.codes.L_3d, split.mirrored)]
    each = [pose_figures(joints(one, *latents), target, mean) for one, mean in nets]
    found |= {key: float(np.mean([figures[key] for figures in each])) for key in each[0]}
    found["n_mpjpe_of_mean_pose"] = found["n_mpjpe_mm"] / found["mean_pose_n_mpjpe_mm"]
    found["n_mpjpe_mm_between_pose_seeds"] = float(np.std([figures["n_mpjpe_mm"] for figures in each], ddof=1))
    return found | disentanglement(net, split.store, codes=split.codes, pose=lambda points: plain(nets[0][0], points))


def joints(net: PoseNet | PoseMlp2018, points: Tensor, mirrored: Tensor) -> np.ndarray:
    """Joints from L_3d, mm, root-centred, im frame, as the stage predict finds them."""
    batches = zip(points.split(1024), mirrored.split(1024), strict=True)
    return np.concatenate([pose_of(net, *batch).numpy() for batch in batches])


def plain(net: PoseNet | PoseMlp2018, points: np.ndarray) -> np.ndarray:
    """The same without the mirror image."""
    return np.concatenate([net(part).numpy() for part in torch.from_numpy(points).split(1024)])


def report(config: Config, folder: Path, seeds: Sequence[int]) -> str:
    """Write table.md and table.json of all variants that are done, and return the table."""
    found: dict[str, list[dict[str, float]]] = {}
    for name in VARIANTS:
        runs = [changed for seed in seeds if (changed := variant(config, name, seed, folder)) is not None]
        for changed in runs:
            done = Paths(changed).root / "figures.json"
            if done.is_file() and (known := read_json(done)).pop("digest") == digest(changed):
                found.setdefault(name, []).append(known)
    write_json(
        folder / "table.json", {"base": config.enc_dec.model_dump(mode="json"), "seeds": list(seeds), "runs": found}
    )
    text = table(found)
    write_text(folder / "table.md", text)
    return text


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A row a variant: what it changes, and means over seeds, with their deviation where there are several."""
    lines = [f"| variant | changed | {' | '.join(heading for _, heading, *_ in COLUMNS)} |"]
    lines.append("|---" * (len(COLUMNS) + 2) + "|")
    for mean in (runs[0] for runs in list(found.values())[:1]):  # the same for all: of the labels alone
        shown = {f"{split}/n_mpjpe_mm": mean[f"{split}/mean_pose_n_mpjpe_mm"] for split in ("val", "test")}
        cells = [cell([shown[key]], digits, 1) if key in shown else "" for key, _, digits, _ in COLUMNS]
        lines.append(f"| the mean pose |  | {' | '.join(cells)} |")
    for name, runs in found.items():
        changes = ", ".join(f"{key} {value}" for key, value in VARIANTS[name].items())
        cells = [cell([run[key] for run in runs if key in run], digits, factor) for key, _, digits, factor in COLUMNS]
        lines.append(f"| {name} | {changes} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(values: Sequence[float], digits: int, factor: float) -> str:
    """A mean, and the deviation; nothing where nothing was measured."""
    if not values:
        return ""
    spread = f" ± {factor * np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{factor * np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
