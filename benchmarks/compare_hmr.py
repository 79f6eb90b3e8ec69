"""Claim: bodies from images by preset v2 are better than by the course project's system of 2021, and than the mean.

    python -m benchmarks.compare_hmr CONFIG [key=value ...] [--variants NAME ...] [--seeds 0 1 2]
        [--set VARIANT.key=value ...] [--output DIR] [--embedding DIR]

Trains the stage train_hmr for each variant and seed on the index, crops and true bodies of a finished run of CONFIG (or
of the one that data_from names), and measures it on the validation and the test split: after each correction v2v_l2 and
PVE, after the last one joints, too, and what an answer that knows no image (the mean of the training bodies) has.

A rival is the preset eth2021 as it is, with an encoder that knows ImageNet, or with one that is trained; `--set
v2.steps=1500` gives each its share of time. A run lies in {output}/{variant}_seed{n}, default {root}/compare_hmr; it is
resumed where it stopped, and a finished one is not made again. table.md and table.json there are of all finished runs
of these seeds. Settings are chosen on the validation rows; the test rows tell what the chosen ones are worth.

`--embedding` names the folder of `benchmarks.ablate_smpl`, whose bodies from embeddings (joints of S1 alone) are set
beside those from images (bodies of S1 alone, and of all labelled subjects).
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.ablate_enc_dec import cell
from codebase import metrics
from codebase.body.model import BodyLayer, load_body
from codebase.config import Config, read_config, validate_config
from codebase.config.base import apply_overrides, read_mapping
from codebase.data.batches import CropStore, in_turn
from codebase.data.bodies import Bodies, bodies_in_im
from codebase.data.index import read_index
from codebase.errors import ConfigError
from codebase.files import read_json, write_json, write_text
from codebase.models.hmr import Hmr, bodies_of, restore
from codebase.paths import Paths
from codebase.processes import limit_threads
from codebase.stages import train_hmr
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast, pick_device, place
from codebase.training.smpl_lesson import joints_about_root_m
from codebase.training.state import Checkpoint, load_checkpoint

PRESETS = Path(__file__).resolve().parent.parent / "configs" / "presets"
M_TO_MM = 1000.0
CHUNK = 64
log = logging.getLogger("posemill.compare_hmr")


class Variant(NamedTuple):
    """A way to train: the section `hmr` of a preset over the config's, and changes on top."""

    preset: str
    changes: dict[str, Any]
    words: str


_IMAGENET = {"backbone": "efficientnet_lite0"}
VARIANTS: dict[str, Variant] = {
    "v2": Variant("v2", {}, "preset v2"),
    "eth2021": Variant("eth2021", {}, "eth2021, frozen ResNet-152 of random weights"),
    "eth2021_imagenet": Variant("eth2021", _IMAGENET, "eth2021, frozen EfficientNet-Lite0 of ImageNet"),
    "eth2021_trained": Variant(
        "eth2021", {"backbone": "resnet18", "frozen": False}, "eth2021, ResNet-18 trained from scratch"
    ),
    "eth2021_tuned": Variant(
        "eth2021", _IMAGENET | {"frozen": False}, "eth2021, EfficientNet-Lite0 of ImageNet, trained on"
    ),
    "v2_S1": Variant("v2", {"label_subjects": (1,)}, "preset v2, bodies of S1 alone"),
}
# of the tables: key, heading, digits
COLUMNS = (
    ("v2v_l2_m2", "v2v_l2, m²", 4),
    ("v2v_l2_m2/iteration_1", "after one correction", 4),
    ("v2v_l2_m2/iteration_2", "after two", 4),
    ("pve_mm", "PVE", 1),
    ("pa_pve_mm", "PA-PVE", 1),
    ("mpjpe_mm", "MPJPE", 1),
    ("n_mpjpe_mm", "N-MPJPE", 1),
    ("pa_mpjpe_mm", "PA-MPJPE", 1),
)
SHARED = [key for key, *_ in COLUMNS if key in ("pve_mm", "pa_pve_mm", "mpjpe_mm", "pa_mpjpe_mm")]
EMBEDDING = "smpl on embeddings, joints of S1 and masks of all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="VARIANT.key=value", dest="settings")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--prior", type=Path, help="checkpoint for hmr.prior_weight, default the run's own")
    parser.add_argument("--embedding", type=Path, help="folder of benchmarks.ablate_smpl, default {root}/ablate_smpl")
    options = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = read_config(options.config, options.overrides)
    limit_threads(config.runtime.threads)
    folder = options.output or Paths(config).root / "compare_hmr"
    settings, bench = parse_settings(options.settings), Bench(config, options.prior)
    for seed in options.seeds:
        for name in options.variants:
            bench.run(changed(config, name, seed, settings.get(name, {})), folder / f"{name}_seed{seed}")
            print(report(folder, options.seeds, options.embedding or Paths(config).root / "ablate_smpl"), flush=True)


def parse_settings(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What `--set` says, by variant.

    Raises:
        ConfigError: a text is no VARIANT.key=value, or there is no such variant.
    """
    found = apply_overrides(texts)
    wrong = [name for name, keys in found.items() if name not in VARIANTS or not isinstance(keys, dict)]
    if wrong:
        raise ConfigError(
            f"--set {wrong[0]} names no variant with a key.", expected="VARIANT.key=value, as in v2.steps=1500",
            mend=f"variants: {', '.join(VARIANTS)}",
        )  # fmt: skip
    return found


def changed(config: Config, name: str, seed: int, settings: Mapping[str, Any]) -> Config:
    """The config of a variant: its labelled subjects are the config's, unless the variant says otherwise."""
    variant = VARIANTS[name]
    preset = read_mapping(PRESETS / f"{variant.preset}.yaml").get("hmr", {})
    section = config.hmr.model_dump() | preset | variant.changes | dict(settings) | {"seed": seed, "name": name}
    return validate_config(Config, config.model_dump() | {"hmr": section}, where=name)


@dataclass(frozen=True)
class Judged:
    """A split's rows with true bodies."""

    store: CropStore
    rows: np.ndarray
    truth: Bodies

    @classmethod
    def load(cls, paths: Paths, name: str) -> Judged:
        """Of a run that has crops and true bodies."""
        subjects = getattr(paths.config.split, name).subjects
        store = CropStore([paths.crops(s) for s in subjects], read_index(paths.index(name)).key)
        return cls(store, *bodies_in_im([paths.truth(s) for s in subjects], store.columns, store.R_world_im))


class Bench:
    """What all runs share: data, true bodies, the body."""

    def __init__(self, config: Config, prior: Path | None = None) -> None:
        self.config, self.paths = config, Paths(config)
        self.prior = prior or self.paths.checkpoint("prior")

    @cached_property
    def layer(self) -> BodyLayer:
        """The body."""
        return BodyLayer(load_body(self.config.dataset.body))

    @cached_property
    def splits(self) -> dict[str, Judged]:
        """What is measured on."""
        return {name: Judged.load(self.paths, name) for name in ("val", "test")}

    def run(self, config: Config, folder: Path) -> dict[str, Any]:
        """Train a variant, unless it is there, and measure it."""
        output, done = folder / f"model_{config.hmr.steps}.pt", folder / "figures.json"
        spent = self.train(config, folder, output)
        checkpoint = load_checkpoint(output)
        if done.is_file() and (known := read_json(done)).get("digest") == checkpoint.digest:
            return known
        model = restore(checkpoint.config, checkpoint.part("hmr"), self.splits["test"].store.size)
        model = place(model, pick_device(config.runtime.device))
        found: dict[str, Any] = {"digest": checkpoint.digest, "steps": config.hmr.steps}
        found |= spent | {"rate": config.hmr.learning_rate, "batch": config.hmr.batch_size}
        for name, judged in self.splits.items():
            answers = answers_of(model, checkpoint.config["precision"], judged)
            found |= {f"{name}/{key}": value for key, value in measured(answers, judged.truth, self.layer).items()}
            mean = measured([mean_of(checkpoint)], judged.truth, self.layer)
            found |= {f"{name}/mean_body/{key}": value for key, value in mean.items()}
        write_json(done, found)
        log.info("%s: %s", folder.name, {k: round(v, 4) for k, v in found.items() if k.startswith("val/v2v")})
        return found

    def train(self, config: Config, folder: Path, output: Path) -> dict[str, Any]:
        """Train, or go on, or do nothing where it is done; returns the minutes that all attempts took together."""
        path, section = folder / "spent.json", hashlib.sha256(config.hmr.model_dump_json().encode()).hexdigest()[:12]
        spent = read_json(path) if path.is_file() else {}
        mine = spent.setdefault(section, {"cpu_minutes": 0.0, "minutes": 0.0, "done": False})
        cpu, clock = time.process_time(), time.monotonic()
        subjects = sorted({*config.split.train.subjects, *config.split.val.subjects})
        finished = mine["done"] and output.is_file()
        try:
            train_hmr.run(
                config, index_train=self.paths.index("train"), index_val=self.paths.index("val"),
                crops=[self.paths.crops(s) for s in subjects], bodies=[self.paths.truth(s) for s in subjects],
                body=config.dataset.body, output=output, prior=[self.prior] if config.hmr.prior_weight else [],
            )  # fmt: skip
            mine["done"] = True
        finally:
            if not finished:
                mine["cpu_minutes"] += (time.process_time() - cpu) / 60
                mine["minutes"] += (time.monotonic() - clock) / 60
                write_json(path, spent)
        return mine


@torch.inference_mode()
def answers_of(model: Hmr, precision: str, judged: Judged) -> list[Bodies]:
    """Bodies after each correction, im frame, as the stage predict finds them."""
    device, parts = next(model.parameters()).device, []
    for rows in in_turn(judged.rows, 2 * CHUNK):
        with autocast(precision, device):  # type: ignore[arg-type]
            raw = model(as_image(judged.store.gather(rows, ("image",))["image"].to(device)))[0].cpu()
        parts.append(raw)
    each = [bodies_of(one) for one in torch.cat(parts, dim=1)]
    return [Bodies(betas.numpy(), rotmats.numpy()) for rotmats, betas in each]


def mean_of(checkpoint: Checkpoint) -> Bodies:
    """What knows no image: the mean shape and pose of the bodies that were learned from."""
    return Bodies(*(checkpoint.extra[f"mean_{name}"].float()[None].numpy() for name in ("betas", "rotmats")))


def measured(answers: Sequence[Bodies], truth: Bodies, layer: BodyLayer) -> dict[str, float]:
    """Means over rows: v2v_l2 and PVE after each correction; after the last one PA-PVE and errors of joints, too.

    An answer of a single body is one for every row.
    """
    found: dict[str, list[np.ndarray]] = {}
    for rows in in_turn(np.arange(len(truth)), CHUNK):
        true = truth.take(rows)
        target = Meshes.of(layer, true)
        for number, answer in enumerate(answers, start=1):
            mine = answer if len(answer) == 1 else answer.take(rows)
            meshes = Meshes.of(layer, mine, len(true))
            squared = metrics.v2v_l2(meshes.placed_m, target.placed_m)
            here = {"v2v_l2_m2": squared, "pve_mm": M_TO_MM * metrics.pve(meshes.about_m, target.about_m)}
            for key, values in here.items():
                found.setdefault(f"{key}/iteration_{number}", []).append(values)
        here["v2v_l2_m2_pelvis_given"] = metrics.v2v_l2(meshes.about_m, target.about_m)
        here["pa_pve_mm"] = M_TO_MM * metrics.pa_mpjpe(meshes.about_m, target.about_m)
        joints, true_joints = (joints_mm(layer, one) for one in (mine, true))
        for name in ("mpjpe", "n_mpjpe", "pa_mpjpe"):
            here[f"{name}_mm"] = getattr(metrics, name)(np.broadcast_to(joints, true_joints.shape), true_joints)
        for key, values in here.items():
            found.setdefault(key, []).append(values)
    return {key: float(np.concatenate(parts).mean()) for key, parts in found.items()}


class Meshes(NamedTuple):
    """Vertices, metres: where SMPL puts them with the same translation for all, which is what the course's v2v_l2
    compares, and about the pelvis joint, as the stage evaluate takes them.
    """

    placed_m: np.ndarray
    about_m: np.ndarray

    @classmethod
    def of(cls, layer: BodyLayer, bodies: Bodies, count: int | None = None) -> Meshes:
        """Of bodies, in the frame of their global orientations; `count` times a single one."""
        betas, rotmats = torch.from_numpy(bodies.betas), torch.from_numpy(bodies.rotmats)
        with torch.no_grad():
            placed, pelvis = layer.vertices(betas, rotmats), layer.joints24(betas, rotmats)[:, :1]
        shape = (count or len(placed), *placed.shape[1:])
        return cls(*(np.broadcast_to(mesh.numpy(), shape) for mesh in (placed, placed - pelvis)))


def joints_mm(layer: BodyLayer, bodies: Bodies) -> np.ndarray:
    """The regressed Human3.6M joints about their root."""
    found = joints_about_root_m(layer, torch.from_numpy(bodies.betas), torch.from_numpy(bodies.rotmats))
    return M_TO_MM * found.numpy().astype(np.float64)


def report(folder: Path, seeds: Sequence[int], embedding: Path) -> str:
    """Write table.md and table.json of all variants that are done, and return the tables."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in VARIANTS:
        done = [folder / f"{name}_seed{seed}" / "figures.json" for seed in seeds]
        if runs := [read_json(path) for path in done if path.is_file()]:
            found[name] = runs
    known = sorted(embedding.glob("both_seed*/figures.json"))
    from_embeddings = [read_json(path) for path in known]
    write_json(folder / "table.json", {"runs": found, EMBEDDING: from_embeddings})
    text = f"{table(found)}\n{claims(found)}\n{labels_table(found, from_embeddings)}"
    write_text(folder / "table.md", text)
    return text


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A row a split and variant: means over seeds with their deviation, and what its training took."""
    heads = ["split", "variant", "seeds", "steps x images", "core minutes", *(heading for _, heading, _ in COLUMNS)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for split in ("val", "test"):
        for runs in list(found.values())[:1]:
            lines.append(_row([split, "the mean body for everybody", "", "", ""], runs[:1], f"{split}/mean_body"))
        for name, runs in found.items():
            took = cell([run["cpu_minutes"] for run in runs], 1, 1)
            size = f"{runs[0]['steps']} x {runs[0]['batch']}"
            lines.append(_row([split, VARIANTS[name].words, str(len(runs)), size, took], runs, split))
    return "\n".join(lines) + "\n"


def _row(begin: Sequence[str], runs: Sequence[Mapping[str, Any]], prefix: str) -> str:
    corrected = not prefix.endswith("/mean_body")
    known = [
        [run[f"{prefix}/{key}"] for run in runs if f"{prefix}/{key}" in run and (corrected or "iteration" not in key)]
        for key, *_ in COLUMNS
    ]
    cells = [cell(values, digits, 1) for values, (*_, digits) in zip(known, COLUMNS, strict=True)]
    return f"| {' | '.join([*begin, *cells])} |"


def mean(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    """Over seeds."""
    return float(np.mean([run[key] for run in runs]))


def claims(found: Mapping[str, Sequence[Mapping[str, Any]]], key: str = "v2v_l2_m2") -> str:
    """How v2 stands to the mean body and to its best rival on the test split; the rival is chosen on validation."""
    if "v2" not in found:
        return "v2 is not done.\n"
    ours = mean(found["v2"], f"test/{key}")
    share = ours / mean(found["v2"], f"test/mean_body/{key}")
    lines = [f"v2's {key} on test is {share:.3f} of the mean body's."]
    rivals = {name: mean(runs, f"val/{key}") for name, runs in found.items() if VARIANTS[name].preset != "v2"}
    if rivals:
        best = min(rivals, key=rivals.__getitem__)
        less = 1 - ours / mean(found[best], f"test/{key}")
        lines.append(f"It is {less:.1%} below that of the rival that is best on validation ({VARIANTS[best].words}).")
    return " ".join(lines) + "\n"


def labels_table(found: Mapping[str, Sequence[Mapping[str, Any]]], from_embeddings: Sequence[Mapping[str, Any]]) -> str:
    """Test errors of bodies from images and from embeddings, by what is labelled."""
    heads = {key: heading for key, heading, _ in COLUMNS if key in SHARED}
    rows = {EMBEDDING: from_embeddings}
    rows |= {VARIANTS[name].words: found[name] for name in ("v2_S1", "v2") if name in found}
    lines = [f"| bodies from | seeds | {' | '.join(heads.values())} |", "|---" * (len(heads) + 2) + "|"]
    for words, runs in rows.items():
        if runs:
            cells = [cell([run[f"test/{key}"] for run in runs], 1, 1) for key in heads]
            lines.append(f"| {words} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
