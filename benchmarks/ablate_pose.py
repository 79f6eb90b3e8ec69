"""Claim: each ingredient of the pose network earns its place.

    python -m benchmarks.ablate_pose CONFIG [key=value ...] [--only NAME ...] [--seeds 0 1 2] [--results DIR]

Trains the stage train_pose of CONFIG, and again with each of its ingredients taken away or exchanged, on the index and
the embeddings of a finished run of CONFIG (or of the one that data_from names), and measures on the validation and the
test split. What would change nothing is left out.

A run lies in {results}/{variant}_seed{n}, default {root}/ablate_pose; it is resumed where it stopped, and left alone
where it is done. Table and figures of the runs asked for are in table.md and table.json: means over seeds, and the
deviation between seeds. Settings are chosen on the validation rows; the test rows tell what the chosen ones are worth.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.command import configured
from benchmarks.runs import codes_of, joints, trained_pose
from benchmarks.tables import cell, markdown
from benchmarks.variants import BASE, ablation_parser, in_words, slug
from codebase.config import Config, validate_config
from codebase.data.index import read_index
from codebase.files import write_json, write_text
from codebase.models import pose
from codebase.paths import Paths
from codebase.stages import train_pose
from codebase.training.pose_figures import pose_figures

# the network of BASE, whose poses are not averaged with those of the mirror image
ONE_IMAGE = "as configured, the image alone"
_PAPERS = {"network": "rhodin2018", "hidden": 2048, "layers": 2, "dropout": 0.5, "members": 1, "targets": "mm"}
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    ONE_IMAGE: {},
    "no mirrored labels": {"mirror": 0.0},
    "no noise": {"noise": 0.0},
    "noise 0.8": {"noise": 0.8},
    "noise 1.6": {"noise": 1.6},
    "no dropout": {"dropout": 0.0},
    "dropout 0.4": {"dropout": 0.4},
    "no turns": {"turn": 0.0},
    "all turned": {"turn": 1.0},
    "two networks": {"members": 2},
    "one network": {"members": 1},
    "one hidden layer": {"layers": 1},
    "squared error": {"loss": "squares"},
    "none of these": {"mirror": 0.0, "turn": 0.0, "noise": 0.0, "dropout": 0.0, "members": 1},
    "layers of 2018": _PAPERS | {"targets": "pose"},
    "network of 2019": _PAPERS | {"mirror": 0.0, "turn": 0.0, "noise": 0.0, "weight_decay": 0.0},
}
SPLITS = ("val", "test")
# of the table: key, heading
COLUMNS = (("n_mpjpe_mm", "N-MPJPE"), ("mpjpe_mm", "MPJPE"), ("pa_mpjpe_mm", "PA-MPJPE"))
MEAN_POSE = "mean_pose_n_mpjpe_mm"
log = logging.getLogger("posemill.ablate_pose")


def main() -> None:
    config, options = configured(ablation_parser(__doc__, VARIANTS, "ablate_pose", seeds=(0, 1, 2)))
    folder = options.results or Paths(config).root / "ablate_pose"
    rows = {name: known_rows(config, name) for name in SPLITS}
    found: dict[str, list[dict[str, float]]] = {}
    for seed in options.seeds:
        for name in options.only:
            changed = variant(config, name, seed)
            if changed is None:
                continue
            output = folder / changed.pose.name / f"model_{changed.pose.steps}.pt"
            net, mean_mm = trained_pose(changed, output)
            if name == ONE_IMAGE:
                net.mirrors = False
            figures = {f"{split}/{k}": v for split in SPLITS for k, v in measured(net, mean_mm, rows[split]).items()}
            found.setdefault(name, []).append(figures)
            log.info("%s, seed %d: val N-MPJPE %.1f", name, seed, figures["val/n_mpjpe_mm"])
    base = config.pose.model_dump(mode="json")
    write_json(folder / "table.json", {"base": base, "seeds": options.seeds, "runs": found})
    write_text(folder / "table.md", text := table(found))
    print(text)


def variant(config: Config, name: str, seed: int) -> Config | None:
    """The config of a variant; None where it would change nothing."""
    section = config.pose.model_dump() | VARIANTS[name]
    same = section == config.pose.model_dump()
    if (name == ONE_IMAGE and not config.pose.mirror) or (same and name not in (BASE, ONE_IMAGE)):
        return None
    section |= {"seed": seed, "name": f"{slug(BASE if same else name)}_seed{seed}"}
    return validate_config(Config, config.model_dump() | {"pose": section}, where=name)


def known_rows(config: Config, name: str) -> dict[str, Tensor]:
    """The rows of a split whose poses are known: see train_pose.rows_of."""
    rows = train_pose.rows_of(codes_of(config, name), read_index(Paths(config).index(name)).key)
    known = torch.from_numpy(train_pose.known(rows))
    return {key: values[known] for key, values in rows.items()}


@torch.inference_mode()
def measured(net: pose.PoseNet | pose.PoseMlp2018, mean_mm: np.ndarray, rows: Mapping[str, Tensor]) -> dict[str, float]:
    """Errors of a network on a split, mm, and that of the mean pose."""
    return pose_figures(joints(net, rows["L_3d"], rows["L_3d_mirrored"]), rows["joints_im_mm"].numpy(), mean_mm)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A row a variant: what it changes, and means over seeds, with their deviation where there are several."""
    headings, rows = [f"{split} {heading}" for split in SPLITS for _, heading in COLUMNS], []
    for name, runs in found.items():
        if name == BASE:
            means = [cell([run[f"{split}/{MEAN_POSE}"] for run in runs[:1]], 1) for split in SPLITS]
            rows.append(["the mean pose", "", means[0], "", "", means[1], "", ""])
        cells = [cell([run[f"{split}/{key}"] for run in runs], 1) for split in SPLITS for key, _ in COLUMNS]
        rows.append([name, in_words(VARIANTS[name]), *cells])
    return markdown(["variant", "changed", *headings], rows)


if __name__ == "__main__":
    main()
