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

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command import configured
from benchmarks.runs import codes_of, enc_dec_of, joints, store_of, trained_pose
from benchmarks.tables import cell, markdown
from benchmarks.variants import BASE, ablation_parser, in_words, slug
from codebase.config import Config, EncDecConfig, validate_config
from codebase.data.latents import latents_of, mirrored_of
from codebase.data.store import CropStore
from codebase.files import read_json, write_json, write_text
from codebase.models.encoder_decoder import EncoderDecoder
from codebase.models.pose import PoseNet
from codebase.models.pose2018 import PoseMlp2018
from codebase.paths import Paths
from codebase.stages import embed, train_enc_dec, train_pose
from codebase.training.disentangle import Codes, Shown, another_instant, disentanglement
from codebase.training.pose_figures import pose_figures
from codebase.training.view_errors import measure, ordered_pairs

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
    "stem of ResNet": {"stem": "imagenet"},
}
# of a config that has a candidate already
WITHOUT = {
    f"without {key}": {key: EncDecConfig.model_fields[key].default}
    for key in dict.fromkeys(key for change in CANDIDATES.values() for key in change)
}
VARIANTS: dict[str, dict[str, Any]] = {BASE: {}} | CANDIDATES | TAKEN_AWAY | WITHOUT
POSE_SEEDS = 2
MEASURED = 2  # counts up where `measured` tells more or something else
# of the table: key, heading, digits, factor
COLUMNS = (
    ("val/gain_db", "val gain, dB", 2, 1),
    ("val/n_mpjpe_mm", "val N-MPJPE", 1, 1),
    ("val/pa_mpjpe_mm", "val PA-MPJPE", 1, 1),
    ("test/gain_db", "test gain, dB", 2, 1),
    ("test/dressed_gain_db", "looks of another instant, dB", 2, 1),
    ("test/n_mpjpe_mm", "test N-MPJPE", 1, 1),
    ("test/pa_mpjpe_mm", "test PA-MPJPE", 1, 1),
    ("test/representation/subject_from_l_3d", "subject from L_3d, %", 0, 100),
    ("test/representation/pose_from_l_app_n_mpjpe_mm", "pose from L_app", 1, 1),
    ("val/representation/colour_l_3d_shift", "colour shifts L_3d by", 3, 1),
    ("val/representation/colour_pose_moved_mm", "and the pose by, mm", 1, 1),
)
# the columns that a mean pose has a figure in, and where that stands
MEAN_POSE = {f"{split}/n_mpjpe_mm": f"{split}/mean_pose_n_mpjpe_mm" for split in ("val", "test")} | {
    "test/representation/pose_from_l_app_n_mpjpe_mm": "test/representation/pose_from_mean_n_mpjpe_mm"
}
log = logging.getLogger("posemill.ablate_enc_dec")


def main() -> None:
    config, options = configured(ablation_parser(__doc__, VARIANTS, "ablate_enc_dec"))
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


@dataclass(frozen=True)
class Split:
    """A split's crops, the latents of its rows, and L_3d of their mirror images."""

    store: CropStore
    codes: Codes
    mirrored: np.ndarray

    @classmethod
    def load(cls, config: Config, name: str) -> Split:
        """Of a run that has embedded."""
        store, found = store_of(config, name), codes_of(config, name)
        return cls(store, Codes(*latents_of(found, store.key)), mirrored_of(found, store.key))


def digest(config: Config) -> str:
    """What a run's figures depend on; keys at their default are left out, so that new ones change nothing."""
    parts = [
        getattr(config, name).model_dump(mode="json", exclude_defaults=True) for name in ("enc_dec", "pose", "split")
    ]
    parts += [
        str(Paths(config).data_root.resolve()),
        POSE_SEEDS,
        MEASURED,
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
    net = enc_dec_of(config, Paths(config).checkpoint("enc_dec"))
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
    return trained_pose(config, Paths(config).checkpoint("pose"))


@torch.inference_mode()
def measured(
    net: EncoderDecoder, nets: Sequence[tuple[PoseNet | PoseMlp2018, np.ndarray]], split: Split, most_pairs: int
) -> dict[str, float]:
    """Figures of one split: novel views, poses (the mean over networks) and disentanglement."""
    pairs = ordered_pairs(split.store, most_pairs)
    found = measure(net, split.store, *pairs).summary()
    room = found["psnr_background_only_db"]
    looks = another_instant(Shown.of(split.store))[pairs[0]]
    dressed = measure(net, split.store, *pairs, looks=looks).summary()
    found |= {"gain_db": found["psnr_foreground_db"] - room, "dressed_gain_db": dressed["psnr_foreground_db"] - room}
    known = np.isfinite(split.store.joints_im_mm).all(axis=(1, 2))
    target = split.store.joints_im_mm[known].astype(np.float64)
    latents = [torch.from_numpy(each[known]) for each in (split.codes.L_3d, split.mirrored)]
    each = [pose_figures(joints(one, *latents), target, mean) for one, mean in nets]
    found |= {key: float(np.mean([figures[key] for figures in each])) for key in each[0]}
    found["n_mpjpe_of_mean_pose"] = found["n_mpjpe_mm"] / found["mean_pose_n_mpjpe_mm"]
    found["n_mpjpe_mm_between_pose_seeds"] = float(np.std([figures["n_mpjpe_mm"] for figures in each], ddof=1))
    return found | disentanglement(net, split.store, codes=split.codes, pose=lambda points: plain(nets[0][0], points))


def plain(net: PoseNet | PoseMlp2018, points: np.ndarray) -> np.ndarray:
    """Joints from L_3d as `joints` finds them, without the mirror image."""
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
    rows = []
    for mean in (runs[0] for runs in list(found.values())[:1]):  # the same for all: of the labels alone
        known = {key: mean[instead] for key, instead in MEAN_POSE.items() if instead in mean}
        cells = [cell([known[key]], digits) if key in known else "" for key, _, digits, _ in COLUMNS]
        rows.append(["the mean pose", "", *cells])
    for name, runs in found.items():
        cells = [cell([run[key] for run in runs if key in run], digits, factor) for key, _, digits, factor in COLUMNS]
        rows.append([name, in_words(VARIANTS[name]), *cells])
    return markdown(["variant", "changed", *(heading for _, heading, *_ in COLUMNS)], rows)


if __name__ == "__main__":
    main()
