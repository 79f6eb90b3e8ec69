"""Claim: what each loss of images costs beside a step of the encoder-decoder that it teaches.

    python -m benchmarks.perceptual [--sizes 96 128] [--images 32] [--rounds 5] [--threads 1] [--config CONFIG]

Times, in turns within one run, a whole step of the config's encoder-decoder (forward, losses of pixels, backward, no
optimiser) on as many painted images, and each further loss alone, forward and backward to the painted images; fp32, and
bf16 where the hardware has it. Prints the median ms, of the processor (all threads together), or by the clock where
there is a GPU. Pixels are noise, and a ResNet has random weights here: of time alone these say as much as a file's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.timing import finished, medians
from codebase.config import EncDecConfig, read_config
from codebase.models.encoder_decoder import build
from codebase.models.perceptual import Lite0Features, PerceptualLoss, ResNetFeatures
from codebase.training.image_losses import image_losses
from codebase.training.novel_views import learn_step, paint_pairs
from codebase.training.precision import has_bf16, pick_device, place

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": partial(ResNetFeatures, "resnet18"),
    "resnet50": partial(ResNetFeatures, "resnet50"),
    "efficientnet_lite0": Lite0Features,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/small.yaml"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 128])
    for name, default in (("images", 32), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device("auto")
    clock = finished if device.type == "cuda" else time.process_time
    formats = ["fp32", *(["bf16"] if has_bf16(device) else [])]
    print(f"{options.images} images, {options.threads} threads, {device}; ms a step, median of {options.rounds}")
    section = read_config(options.config).enc_dec
    for size in options.sizes:
        for name in formats:
            asked = section.model_copy(update={"precision": name})
            learning = {way: backward_of(loss) for way, loss in ways(asked, size, options.images, device).items()}
            spent = medians(learning, clock, options.rounds)
            print(f"{size} px, {name}: " + ", ".join(f"{way} {ms:.1f}" for way, ms in spent.items()), flush=True)


def ways(section: EncDecConfig, size: int, images: int, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """What is timed, each a function that returns the loss."""
    net = place(build(section, size), device)
    batch = noise(size, images // 2, device)
    found: dict[str, Callable[[], Tensor]] = {
        "encoder-decoder": lambda: learn_step(partial(paint_pairs, net), batch, section)["loss"]
    }
    painted = torch.rand(images, 3, size, size, device=device, requires_grad=True)
    seen, mask = torch.rand(images, 3, size, size, device=device), torch.rand(images, 1, size, size, device=device)
    for name, features in NETWORKS.items():
        loss = place(PerceptualLoss(features(), "l1", "noise"), device)
        found[name] = partial(one_loss, painted, seen, mask, section, loss)
    for name in ("ssim", "edges", "scales"):
        asked = section.model_copy(update={f"{name}_weight": 1.0})
        found[name] = partial(one_loss, painted, seen, mask, asked, None)
    return found


def one_loss(
    painted: Tensor, seen: Tensor, mask: Tensor, section: EncDecConfig, network: PerceptualLoss | None
) -> Tensor:
    losses = image_losses(painted, seen, mask, section, network)
    return torch.stack(list(losses.values())).sum()


def noise(size: int, pairs: int, device: torch.device) -> dict[str, Tensor]:
    """A batch of pairs as the loop's, of noise: two painted images a pair."""
    found: dict[str, Tensor] = {}
    for view in ("", "target_", "partner_"):
        for name in ("image", "background"):
            found[view + name] = torch.randint(0, 256, (pairs, size, size, 3), dtype=torch.uint8)
        found[view + "mask"] = torch.randint(0, 256, (pairs, size, size), dtype=torch.uint8)
        found[view + "has_mask"] = torch.ones(pairs, dtype=torch.bool)
        found[view + "R_world_im"] = torch.eye(3).repeat(pairs, 1, 1)
    return {name: value.to(device) for name, value in found.items()}


def backward_of(loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A loss forward and backward."""
    return lambda: loss().backward()


if __name__ == "__main__":
    main()
