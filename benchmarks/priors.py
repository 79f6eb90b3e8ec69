"""Claim: on held-out poses the discriminator tells more broken bodies from real ones than a mixture or the first GAN.

    python -m benchmarks.priors CONFIG [prior.count=5000 ...] [--output FOLDER] [--kinds discriminator mixture16 ...]

Trains each kind of prior by the stage train_prior (skipped where it is done) and prints its last validation: AUC
against all ways of breaking and against each, true positive rates at 1 and 5 % of false positives. The discriminator
learned from the same ways of breaking, of other poses; the mixtures and the GAN saw none of them.
`python -m benchmarks.ablate_smpl CONFIG --prior FOLDER/mixture16/model_25.pt` says what one does to bodies.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from benchmarks.command import config_parser, configured
from benchmarks.tables import line, markdown
from codebase.config import Config, validate_config
from codebase.models.implausible import SHAPE, WAYS
from codebase.paths import Paths
from codebase.stages import train_prior
from codebase.stages.evaluate import prior_figures

GAN: dict[str, Any] = {
    "kind": "gan2018", "width": 1024, "batch_size": 64, "learning_rate": 1e-3, "decay": "none", "warmup_steps": 0,
    "gradient_clip": 1e6,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "discriminator": {},
    "gaussian": {"kind": "mixture", "components": 1, "steps": 2},
    "mixture8": {"kind": "mixture", "components": 8, "steps": 20},
    "mixture16": {"kind": "mixture", "components": 16, "steps": 25},
    "gan2018": GAN,
}
COLUMNS = ("auc", "tpr_at_1_percent_fpr", "tpr_at_5_percent_fpr", "log_loss", *(f"auc/{w}" for w in (*WAYS, SHAPE)))


def main() -> None:
    parser = config_parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--output", type=Path, help="folder, default {root}/priors")
    config, options = configured(parser, logging.WARNING)
    folder = options.output or Paths(config).root / "priors"
    heads = [name.replace("tpr_at_", "TPR at ").replace("_percent_fpr", " %").replace("_", " ") for name in COLUMNS]
    print(markdown(["prior", *heads], []), end="")
    for kind in options.kinds:
        found = trained(config, kind, folder / kind)
        cells = [f"{found[name]:.3f}" for name in (f"prior/{column}" for column in COLUMNS)]
        print(line([kind, *cells]), flush=True)


def trained(config: Config, kind: str, folder: Path) -> dict[str, float]:
    """Figures of a kind of prior, trained with the settings of the config's section but for KINDS."""
    section = config.prior.model_dump() | KINDS[kind]
    changed = validate_config(Config, config.model_dump() | {"prior": section}, where=kind)
    output = folder / f"model_{changed.prior.steps}.pt"
    train_prior.run(changed, body=config.dataset.body, output=output)
    return prior_figures(output)


if __name__ == "__main__":
    main()
