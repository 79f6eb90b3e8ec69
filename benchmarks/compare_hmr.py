"""Claim: bodies from images by preset v2 are better than by the course project's system of 2021, and than the mean.

    python -m benchmarks.compare_hmr CONFIG [key=value ...] [--variants NAME ...] [--seeds 0 1 2]
        [--set VARIANT.key=value ...] [--output DIR] [--enc-dec FILE] [--embedding DIR]

Trains the stage train_hmr for each variant and seed on the index, crops and true bodies of a finished run of CONFIG (or
of the one that data_from names), and measures it on the validation and the test split: after each correction v2v_l2 and
PVE, after the last one joints, too, and what an answer that knows no image (the mean of the training bodies) has.

A rival is the preset eth2021 as it is, with an encoder that knows ImageNet, or with one that is trained; `--set
v2.steps=1500` gives each its share of time. A run lies in {output}/{variant}_seed{n}, default {root}/compare_hmr; it is
resumed where it stopped, and a finished one is not made again. table.md and table.json there are of all finished runs
of these seeds. Settings are chosen on the validation rows; the test rows tell what the chosen ones are worth.

v2 begins with the encoder of that run's enc_dec (`--enc-dec`: of another checkpoint), which saw the frames of all
training subjects without labels; v2_scratch is the same without it.

`--embedding` names the folder of `benchmarks.ablate_smpl`, whose bodies from embeddings (joints of S1 alone) are set
beside those from images (bodies of S1 alone, and of all labelled subjects).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.command import config_parser, configured
from benchmarks.hmr_runs import Bench
from benchmarks.tables import cell, markdown
from codebase.config import Config, validate_config
from codebase.config.base import apply_overrides, read_mapping
from codebase.errors import ConfigError
from codebase.files import read_json, write_json, write_text
from codebase.paths import Paths

PRESETS = Path(__file__).resolve().parent.parent / "configs" / "presets"


class Variant(NamedTuple):
    """A way to train: the section `hmr` of a preset over the config's, and changes on top."""

    preset: str
    changes: dict[str, Any]
    words: str


_IMAGENET = {"backbone": "efficientnet_lite0"}
VARIANTS: dict[str, Variant] = {
    "v2": Variant("v2", {}, "preset v2"),
    "v2_scratch": Variant("v2", {"start": "scratch", "encoder_rate": 1.0}, "preset v2, its encoder from scratch"),
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
    parser = config_parser(__doc__)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="VARIANT.key=value", dest="settings")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--prior", type=Path, help="checkpoint for hmr.prior_weight, default the run's own")
    parser.add_argument("--enc-dec", type=Path, help="checkpoint for hmr.start: enc_dec, default the run's own")
    parser.add_argument("--embedding", type=Path, help="folder of benchmarks.ablate_smpl, default {root}/ablate_smpl")
    config, options = configured(parser)
    folder = options.output or Paths(config).root / "compare_hmr"
    settings, bench = parse_settings(options.settings), Bench(config, options.prior, options.enc_dec)
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
    rows = []
    for split in ("val", "test"):
        for runs in list(found.values())[:1]:
            rows.append(_row([split, "the mean body for everybody", "", "", ""], runs[:1], f"{split}/mean_body"))
        for name, runs in found.items():
            took = cell([run["cpu_minutes"] for run in runs], 1)
            size = ", ".join(dict.fromkeys(f"{run['steps']} x {run['batch']}" for run in runs))
            rows.append(_row([split, VARIANTS[name].words, str(len(runs)), size, took], runs, split))
    return markdown(heads, rows)


def _row(begin: Sequence[str], runs: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    corrected = not prefix.endswith("/mean_body")
    known = [
        [run[f"{prefix}/{key}"] for run in runs if f"{prefix}/{key}" in run and (corrected or "iteration" not in key)]
        for key, *_ in COLUMNS
    ]
    return [*begin, *(cell(values, digits) for values, (*_, digits) in zip(known, COLUMNS, strict=True))]


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
    known = {EMBEDDING: from_embeddings}
    known |= {VARIANTS[name].words: found[name] for name in ("v2_S1", "v2_scratch", "v2") if name in found}
    rows = [
        [words, str(len(runs)), *(cell([run[f"test/{key}"] for run in runs], 1) for key in heads)]
        for words, runs in known.items()
        if runs
    ]
    return markdown(["bodies from", "seeds", *heads.values()], rows)


if __name__ == "__main__":
    main()
