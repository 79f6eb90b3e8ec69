"""Claim: each ingredient of the image-to-body network earns its place, and its later corrections help.

    python -m benchmarks.ablate_hmr CONFIG [key=value ...] [--only NAME ...] [--seeds 0 1 2] [--results DIR] [--prior F]
        [--enc-dec F]

Trains the stage train_hmr of CONFIG, and again with each of its ingredients taken away or a candidate added, on the
index, crops and true bodies of a finished run of CONFIG (or of the one that data_from names), and measures on the
validation and the test split. What CONFIG has already is not added again, and what it lacks is not taken away.

A run lies in {results}/{variant}_seed{n}, default {root}/ablate_hmr; it is resumed where it stopped, and left alone
where it is done. Tables of all finished runs of these seeds are then in table.md and table.json: the figures, and the
error after each correction. Settings are chosen on the validation rows; the test rows tell what the chosen are worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import configured
from benchmarks.hmr_runs import Bench
from benchmarks.tables import cell, markdown
from benchmarks.variants import BASE, ablation_parser, in_words, slug
from codebase.config import Config, validate_config
from codebase.files import read_json, write_json, write_text
from codebase.paths import Paths


@dataclass(frozen=True)
class Times:
    """A change that depends on the config: each number of a list, so many times as large."""

    factor: float

    def __str__(self) -> str:
        return f"x {self.factor}"


_SCRATCH = {"start": "scratch", "encoder_rate": 1.0}
# from the most promising on
CANDIDATES: dict[str, dict[str, Any]] = {
    "attention, one token": {"regressor": "attention", "points": False},
    "attention, a token a joint": {"regressor": "attention", "points": False, "queries": "joints", "width": 256},
    "attention, narrower, a lower rate": {
        "regressor": "attention",
        "points": False,
        "width": 256,
        "learning_rate": 0.0005,
    },
    "joints in 2D": {"joints_2d_weight": 1.0},
    "occlusion": {"occlusion": 0.5},
    "spots of colour": {"colour_spots": 6},
    "deeper encoder": _SCRATCH | {"blocks": Times(2)},
    "wider encoder": _SCRATCH | {"widths": Times(1.5)},
    "prior 0.01": {"prior_weight": 0.01},
    "scale 0.1": {"scale": 0.1},
    "ImageNet's Lite0": _SCRATCH | {"backbone": "efficientnet_lite0", "encoder_rate": 0.1, "enlarge": 2},
    "joints in 2D, weak perspective": {"joints_2d_weight": 1.0, "projection": "weak"},
    "prior 0.1": {"prior_weight": 0.1},
    "v2v L1": {"v2v_l1_weight": 5.0},
}
TAKEN_AWAY: dict[str, dict[str, Any]] = {
    "no places": {"places": False, "places_weight": 0.0},
    "one correction": {"iterations": 1},
    "loss on the last correction": {"supervise": "last"},
    "no flip": {"flip": 0.0},
    "no turn": {"turn_rad": 0.0},
    "no colour changes": {"colour": 0.0},
    "no spots of colour": {"colour_spots": 0},
    "no other backgrounds": {"background": 0.0},
    "pooled features": {"features": "pooled"},
    "regressor of 2018": {"style": "hmr2018"},
    "axis-angle": {"rotation": "axis_angle"},
    "no loss on joints": {"joints_weight": 0.0},
    "no loss on vertices": {"vertices_weight": 0.0},
    "no loss on rotations": {"rotations_weight": 0.0},
    "no loss on betas": {"betas_weight": 0.0},
}
# of a network that begins with the encoder of enc_dec
TAKEN_OVER: dict[str, dict[str, Any]] = {
    "encoder from scratch": _SCRATCH,
    "encoder frozen": {"frozen": True},
    "no points of L_3d": {"points": False},
    "encoder frozen, no points of L_3d": {"frozen": True, "points": False},
    "encoder at the full rate": {"encoder_rate": 1.0},
    "encoder at a tenth of the rate": {"encoder_rate": 0.1},
    "statistics followed": {"statistics": "batch"},
}
VARIANTS: dict[str, dict[str, Any]] = {BASE: {}} | TAKEN_OVER | CANDIDATES | TAKEN_AWAY
# of the table: key, heading, digits
COLUMNS = (("pve_mm", "PVE", 1), ("pa_pve_mm", "PA-PVE", 1), ("mpjpe_mm", "MPJPE", 1), ("v2v_l2_m2", "v2v_l2, m²", 5))
SPLITS = ("val", "test")


def main() -> None:
    parser = ablation_parser(__doc__, VARIANTS, "ablate_hmr")
    parser.add_argument("--enc-dec", type=Path, help="checkpoint for hmr.start: enc_dec, default the run's own")
    parser.add_argument("--prior", type=Path, help="checkpoint for hmr.prior_weight, default the run's own")
    config, options = configured(parser)
    folder, bench = options.results or Paths(config).root / "ablate_hmr", Bench(config, options.prior, options.enc_dec)
    for seed in options.seeds:
        for name in options.only:
            changed = variant(config, name, seed)
            if changed is not None:
                bench.run(changed, folder / changed.hmr.name)
                print(report(config, folder, options.seeds), flush=True)


def variant(config: Config, name: str, seed: int) -> Config | None:
    """The config of a variant; None where it would change nothing."""
    section = config.hmr.model_dump() | changes(config, name)
    if name != BASE and section == config.hmr.model_dump():
        return None
    if name in TAKEN_OVER and config.hmr.start == "scratch":
        return None
    section |= {"seed": seed, "name": f"{slug(name)}_seed{seed}"}
    return validate_config(Config, config.model_dump() | {"hmr": section}, where=name)


def changes(config: Config, name: str) -> dict[str, Any]:
    """What a variant changes of the section."""
    return {
        key: tuple(round(value.factor * n) for n in getattr(config.hmr, key)) if isinstance(value, Times) else value
        for key, value in VARIANTS[name].items()
    }


def report(config: Config, folder: Path, seeds: Sequence[int]) -> str:
    """Write table.md and table.json of all variants of this config that are done, and return the tables."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in VARIANTS:
        for changed in (variant(config, name, seed) for seed in seeds):
            if changed is not None and (known := _figures(changed, folder)):
                found.setdefault(name, []).append(known)
    write_json(folder / "table.json", {"base": config.hmr.model_dump(mode="json"), "seeds": list(seeds), "runs": found})
    text = f"{table(found)}\n{corrections(found)}"
    write_text(folder / "table.md", text)
    return text


def _figures(config: Config, folder: Path) -> dict[str, Any]:
    """Of a variant's finished run; empty where there is none, or one of another schedule."""
    done, section = folder / config.hmr.name / "figures.json", config.hmr
    known = read_json(done) if done.is_file() else {}
    schedule = {"steps": section.steps, "batch": section.batch_size, "rate": section.learning_rate}
    return known if schedule.items() <= known.items() else {}


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A row a variant: what it changes, and means over seeds, with their deviation where there are several."""
    shown = [(f"{split}/{key}", f"{split} {heading}", digits) for split in SPLITS for key, heading, digits in COLUMNS]
    heads = ["variant", "changed", *(heading for _, heading, _ in shown), "core minutes"]
    rows = []
    for runs in list(found.values())[:1]:  # the same for all, of the training bodies alone
        known = [(f"{split}/mean_body/{key}", digits) for split in SPLITS for key, _, digits in COLUMNS]
        rows.append(["the mean body", "", *(cell([runs[0][key]], digits) for key, digits in known), ""])
    for name, runs in found.items():
        cells = [cell([run[key] for run in runs], digits) for key, _, digits in shown]
        rows.append([name, in_words(VARIANTS[name]), *cells, cell([run["cpu_minutes"] for run in runs], 1)])
    return markdown(heads, rows)


def corrections(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A row a variant: the PVE on validation after each correction, mm."""
    counts = [_count(run) for runs in found.values() for run in runs]
    numbers = range(1, max(counts, default=0) + 1)
    rows = []
    for name, runs in found.items():
        keys = [f"val/pve_mm/iteration_{number}" for number in numbers]
        rows.append([name, *(cell([run[key] for run in runs if key in run], 1) for key in keys)])
    return markdown(["variant", *(f"val PVE after {number}" for number in numbers)], rows)


def _count(run: Mapping[str, Any]) -> int:
    return sum(key.startswith("val/pve_mm/iteration_") for key in run)


if __name__ == "__main__":
    main()
