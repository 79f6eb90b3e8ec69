"""All stages with networks on a device that is not the CPU, in a process of its own: `python -m ... FOLDER`.

Every training stops after its first step and goes on as the first of two processes, whose other one says nothing: so
that what they would tell each other by the GPUs' own way is a tensor of the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tests import other_device

DEVICE = other_device.register()

# after the device is registered, which changes torch.inference_mode
from codebase.data import batches  # noqa: E402
from codebase.errors import OutOfTimeError  # noqa: E402
from codebase.stages import (  # noqa: E402
    embed,
    predict,
    train_enc_dec,
    train_hmr,
    train_image_pose,
    train_pose,
    train_prior,
    train_smpl,
)
from codebase.training import precision, runtime, team  # noqa: E402
from tests.people import BODY, People, make_people  # noqa: E402

SHORT = {"steps": 2, "batch_size": 4, "log_every": 1, "validate_every": 2, "warmup_steps": 1}
SECTIONS = {
    "enc_dec": SHORT | {
        "points": 8, "appearance": 8, "encoder_blocks": (1, 1), "encoder_widths": (8, 16), "decoder_widths": (16, 8),
        "views": 3, "mirror": 0.5, "rotation_deg": 5, "colour_augmentation": 0.5, "colour_spots": 2, "pose_colours": 1,
        "erase": 0.3, "ssim_weight": 1, "edges_weight": 1, "scales_weight": 1, "image_weight": 1,
        "validation_pairs": 4,
    },
    "pose": SHORT | {"hidden": 16},
    "image_pose": SHORT | {"start": "enc_dec", "hidden": 16},
    "prior": SHORT | {"width": 16, "count": 64},
    "smpl": SHORT | {"width": 16, "silhouette_from": 0, "silhouette_samples": 2, "silhouette_loss": "cross_entropy"},
    "hmr": SHORT | {"start": "enc_dec", "width": 16, "prior_weight": 0.1, "joints_2d_weight": 1.0, "occlusion": 0.5},
}  # fmt: skip


class FirstOfTwo(team.Team):
    """The first of two processes; it has nobody to average gradients with."""

    def __init__(self) -> None:
        super().__init__(0, 2, "the control group, of the CPU")  # type: ignore[arg-type]

    def wrap(self, net: torch.nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(function, net)


def on_the_device(value: Tensor, *_: object, group: object = None) -> None:
    if group is None and value.device != DEVICE:
        raise RuntimeError(f"a collective of GPUs got a tensor on {value.device}")


def gathered(into: list[Tensor], value: Tensor) -> None:
    on_the_device(value)
    for one in into:
        one.copy_(value)


def train(stage: Callable[..., None], output: Path, **paths: Any) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    team._team = team.Team()
    try:
        stage(output=output, budget_s=0.0, **paths)
    except OutOfTimeError:
        team._team = FirstOfTwo()
        stage(output=output, **paths)
        return output
    raise AssertionError("it did not stop")


def run_all(people: People, folder: Path) -> None:
    config, paths = people.config, people.paths
    split = {"config": config, "index_train": paths.index("train"), "index_val": paths.index("val")}
    crops, latents = people.crops(1, 8), [folder / f"S{subject}.pkl" for subject in (1, 8, 9)]
    prior = train(train_prior.run, folder / "prior/model_2.pt", config=config, body=BODY)
    enc_dec = train(train_enc_dec.run, folder / "enc_dec/model_2.pt", **split, crops=crops)
    team._team = team.Team()
    for subject, output in zip((1, 8, 9), latents, strict=True):
        embed.run(config, checkpoint=enc_dec, crops=paths.crops(subject), output=output)
    pose = train(train_pose.run, folder / "pose/model_2.pt", **split, embeddings=latents[:2])
    both = split | {"crops": crops, "body": BODY}
    smpl = train(train_smpl.run, folder / "smpl/model_2.pt", **both, embeddings=latents[:2], prior=prior)
    hmr = train(
        train_hmr.run, folder / "hmr/model_2.pt", **both, bodies=people.truth(1, 8), prior=[prior], enc_dec=enc_dec
    )
    train(train_image_pose.run, folder / "image_pose/model_2.pt", **split, crops=crops, enc_dec=enc_dec)
    team._team = team.Team()
    predict.run(
        config, index_test=paths.index("test"), crops=people.crops(9), embeddings=latents[2:], enc_dec=enc_dec,
        pose=pose, smpl=smpl, hmr=hmr, body=BODY, output=folder / "predictions.h5", csv=folder / "results.csv",
        meshes=folder / "meshes",
    )  # fmt: skip


def main() -> None:
    runtime.pick_device = lambda wanted: DEVICE  # type: ignore[assignment]
    precision.has_bf16 = lambda device: False  # type: ignore[assignment]
    runtime.join = lambda device: device  # type: ignore[assignment]
    dist.all_reduce, dist.all_gather = on_the_device, gathered  # type: ignore[assignment]
    dist.broadcast, dist.barrier = on_the_device, lambda group: None  # type: ignore[assignment]
    begin = batches.Stream.__init__

    def ahead(self: batches.Stream, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        self.ahead = True  # as on a GPU, the next batch is made beside the step

    batches.Stream.__init__ = ahead  # type: ignore[method-assign]
    folder = Path(sys.argv[1])
    people = make_people(folder / "people", acts=(2,), frames=2, sections=SECTIONS)
    with other_device.Here():
        run_all(people, folder)


if __name__ == "__main__":
    main()
