"""A training run of a small network through the real loop, as a program that tests start, stop and kill.

python small_run.py FOLDER [steps=40] [seconds=0.02 a step] [batch=16] [budget=SECONDS] [save=5]
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import torch
from torch import nn

from codebase.config import TrainConfig
from codebase.data.batches import Frames
from codebase.errors import OutOfTimeError
from codebase.training import loop, optim
from codebase.training.state import run_digest


def main() -> int:
    """Train; 75 where the loop says that the time is over."""
    folder = Path(sys.argv[1])
    options = {"steps": "40", "seconds": "0.02", "batch": "16", "save": "5"}
    options |= dict(word.split("=") for word in sys.argv[2:])
    steps = int(options["steps"])
    config = TrainConfig(
        steps=steps, batch_size=int(options["batch"]), log_every=1, save_every=int(options["save"]), warmup_steps=2
    )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = optim.adam(config, net)

    def update(batch, step):
        time.sleep(float(options["seconds"]))
        loss = (net(batch["x"]) - batch["x"].sum(dim=1, keepdim=True)).square().mean()
        return {"loss": loss.detach(), "norm": optim.step(loss, optimizer, config.gradient_clip)}

    batches = Frames(
        torch.arange(64).numpy(), lambda rows: {"x": x[torch.from_numpy(rows)]}, batch_size=config.batch_size, seed=1
    )
    try:
        loop.fit(
            config, modules={"net": net}, optimizers={"main": optimizer}, batches=batches, update=update,
            validate=None, output=folder / f"model_{steps}.pt", digest=run_digest(config, version=1, inputs=[]),
            budget_s=float(options["budget"]) if "budget" in options else None,
        )  # fmt: skip
    except OutOfTimeError as error:
        logging.getLogger("posemill").info("%s", error)
        return 75
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    sys.exit(main())
