"""All training stages in this process, or in its team under torchrun; keeps the gradients of the first steps.

Computed in double precision, where what is left between one process and two is no rounding; with --single as users do.

python -m tests.spread_stages [--single] CONFIG OUT STAGE ...: writes OUT/{stage}/model_{steps}.pt and
OUT/{stage}/gradients.pt.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch

from codebase.config import read_config
from codebase.paths import Paths
from codebase.training import optim
from codebase.training.team import leave, team

BODY = Path(__file__).resolve().parent.parent / "assets" / "free_body.npz"
KEPT = 4  # calls of the optimiser's step; one step of train_prior makes two
seen: list[torch.Tensor] = []


def watch() -> None:
    """Keep the gradients that each step of an optimiser sees."""
    clip = torch.nn.utils.clip_grad_norm_

    def keep(params, limit):
        params = list(params)
        if len(seen) < KEPT:
            seen.append(torch.cat([p.grad.flatten() for p in params]).clone())
        return clip(params, limit)

    optim.nn.utils.clip_grad_norm_ = keep


def compute_in_double() -> None:
    """Make torch take every number as a double, also where the code asks for single precision."""
    from_numpy, register_buffer = torch.from_numpy, torch.nn.Module.register_buffer

    def double(value):
        return value.double() if value is not None and value.is_floating_point() else value

    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    torch.from_numpy = lambda array: double(from_numpy(array))
    torch.nn.Module.register_buffer = lambda self, name, value, *more, **named: register_buffer(
        self, name, double(value), *more, **named
    )


def main() -> None:
    """Run the stages one after another."""
    words = sys.argv[1:]
    if words[0] == "--single":
        del words[0]
    else:
        compute_in_double()
    config, out = read_config(Path(words[0])), Path(words[1])
    paths = Paths(config)
    watch()
    subjects = sorted({*config.split.train.subjects, *config.split.val.subjects})
    crops, latents = ([each(s) for s in subjects] for each in (paths.crops, paths.embeddings))
    splits = {"index_train": paths.index("train"), "index_val": paths.index("val")}
    own = {
        "enc_dec": splits | {"crops": crops},
        "pose": splits | {"embeddings": latents},
        "image_pose": splits | {"crops": crops},
        "prior": {"body": BODY},
        "smpl": splits | {"crops": crops, "embeddings": latents, "prior": paths.checkpoint("prior"), "body": BODY},
        "hmr": splits
        | {
            "crops": crops,
            "bodies": [paths.truth(s) for s in subjects],
            "prior": [paths.checkpoint("prior")],
            "body": BODY,
        },
    }
    for stage in words[2:]:
        seen.clear()
        output = out / stage / paths.checkpoint(stage).name
        importlib.import_module(f"codebase.stages.train_{stage}").run(config, **own[stage], output=output)
        if team().first:
            torch.save(list(seen), out / stage / "gradients.pt")
    leave()


if __name__ == "__main__":
    main()
