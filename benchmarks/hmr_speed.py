"""What each encoder of the image-to-body network costs: parameters, GFLOP, forward and training times.

    python -m benchmarks.hmr_speed [--config CONFIG] [--device cpu] [--threads 1] [--size 96] [--batch 32] [--rounds 3]
        [--backbones NAME ...] [--output DIR]

The network is that of the config's section `hmr` with each backbone in turn, regressor and all, weights random;
enc_dec is the encoder of the config's section `enc_dec`, with the empty scene where it sees that, and L_3d. GFLOP
are those of one image's forward pass, counted by torch (a product and its sum are two), at 224 px, as the encoders are
mostly quoted, and at `--size`. A training step is the stage's: its losses on the body, backward, clipping, Adam; crops
are noise, augmented beforehand. Times are medians of rounds in which the ways take turns. With one thread of a CPU they
are of the processor, so that other jobs beside it disturb them little; otherwise they are by the clock.

Prints the table; with --output writes hmr_speed.md and hmr_speed.json there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.command import use_threads
from benchmarks.tables import markdown
from benchmarks.timing import finished, medians
from codebase.body.arrays import BodyArrays, load_body
from codebase.config import EncDecConfig, HmrConfig, hmr_network, read_config
from codebase.files import write_json, write_text
from codebase.models.hmr import Hmr, build
from codebase.training import optim
from codebase.training.hmr_lesson import Lesson, prepare_images
from codebase.training.precision import autocast, has_bf16, pick_device

ENC_DEC = "enc_dec"  # the encoder of the representation, which also sees the empty scene and gives L_3d
BACKBONES: tuple[str, ...] = (*get_args(HmrConfig.model_fields["backbone"].annotation), ENC_DEC)
QUOTED_PX = 224
Format = Literal["fp32", "bf16"]
# how a training step computes: precision, and whether channels are last in memory
WAYS: Mapping[str, tuple[Format, bool]] = {
    "fp32": ("fp32", False),
    "fp32, channels_last": ("fp32", True),
    "bf16": ("bf16", False),
    "bf16, channels_last": ("bf16", True),
}


@dataclass(frozen=True)
class Cost:
    """A row of the table; times in ms, None where the hardware does not compute in that format."""

    backbone: str
    encoder_million: float
    million: float
    gflop_quoted: float
    gflop: float
    forward_ms: dict[str, float]
    step_ms: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/small.yaml"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES), metavar="NAME")
    parser.add_argument("--output", type=Path)
    for name, default in (("threads", 1), ("size", 96), ("batch", 32), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    use_threads(options.threads)
    config, device = read_config(options.config), pick_device(options.device)
    body = load_body(config.dataset.body)
    rig = Rig(config.hmr, body, device, options.size, options.batch, options.rounds, timer(device, options.threads))
    rig = replace(rig, enc_dec=config.enc_dec)
    found: list[Cost] = []
    for name in options.backbones:
        found.append(rig.cost(name))
        text = f"{rig.words(options.threads)}\n\n{table(found, options.size, options.batch)}"
        if options.output:  # after each, for the largest take minutes
            rows = {"where": rig.words(options.threads), "rows": list(map(asdict, found))}
            write_text(options.output / "hmr_speed.md", text)
            write_json(options.output / "hmr_speed.json", rows)
    print(text)


def timer(device: torch.device, threads: int) -> Callable[[], float]:
    """Seconds: of the processor where one thread computes, else by the clock, all work of a GPU done."""
    if device.type == "cuda":
        return finished
    return time.process_time if threads == 1 else time.perf_counter


def section_of(section: HmrConfig, backbone: str, enc_dec: EncDecConfig | None = None, **changes: object) -> HmrConfig:
    """The section with another encoder, its weights random; it is trained. `enc_dec` shapes the one of that name."""
    own: dict[str, object] = {"backbone": backbone, "backbone_weights": None, "frozen": False, "start": "scratch"}
    if backbone == ENC_DEC:
        own |= {"start": ENC_DEC, "backbone": "ours", "enlarge": 1}
    return hmr_network(HmrConfig.model_validate(section.model_dump() | own | changes), enc_dec or EncDecConfig())


def network(section: HmrConfig, size: int) -> Hmr:
    """The network of a section from a mean body that says nothing."""
    mean = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
    return build(section, size, **mean)


def gflop(model: Hmr, size: int) -> float:
    """Of the forward pass of one image, a product and its sum counted as two."""
    image = torch.zeros(1, 3, size, size, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(image, image)
    return counter.get_total_flops() / 1e9


def million(module: torch.nn.Module) -> float:
    """Parameters."""
    return sum(p.numel() for p in module.parameters()) / 1e6


@dataclass(frozen=True)
class Rig:
    """Where and on what is measured."""

    section: HmrConfig
    body: BodyArrays
    device: torch.device
    size: int
    batch: int
    rounds: int
    clock: Callable[[], float]
    enc_dec: EncDecConfig = field(default_factory=EncDecConfig)

    @property
    def formats(self) -> list[str]:
        """Ways of training that the hardware has."""
        return [name for name, (precision, _) in WAYS.items() if precision == "fp32" or has_bf16(self.device)]

    def cost(self, backbone: str) -> Cost:
        """All about one encoder."""
        section = section_of(self.section, backbone, self.enc_dec)
        model = network(section, self.size).to(self.device)
        quoted = network(section, QUOTED_PX).to(self.device)
        return Cost(
            backbone, million(model.encoder), million(model), gflop(quoted, QUOTED_PX), gflop(model, self.size),
            medians(self._forwards(model), self.clock, self.rounds),
            medians({name: self._step(backbone, *WAYS[name]) for name in self.formats}, self.clock, self.rounds),
        )  # fmt: skip

    def _forwards(self, model: Hmr) -> dict[str, Callable[[], object]]:
        """Forward passes of one image and of a batch, channels last, as the stages place them."""
        model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found: dict[str, Callable[[], object]] = {}
        for precision in ("fp32", "bf16") if has_bf16(self.device) else ("fp32",):
            for count in (1, self.batch):
                image = torch.rand(count, 3, self.size, self.size, device=self.device)
                image = image.contiguous(memory_format=torch.channels_last)
                found[f"{precision}, {count}"] = partial(forward, model, image, precision)
        return found

    def _step(self, backbone: str, precision: Format, channels_last: bool) -> Callable[[], object]:
        """A training step on a batch of noise."""
        section = section_of(self.section, backbone, self.enc_dec, precision=precision)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = network(section, self.size).to(self.device, memory_format=layout)  # type: ignore[call-overload]
        lesson = Lesson(section, model, self.body, 2000.0).to(self.device)
        batch = prepare_images(section, noise(self.batch, self.size, self.device), half_box_m=lesson.half_box_m)
        for name in {"image", "background"} & set(batch):
            batch[name] = batch[name].contiguous(memory_format=layout)
        return partial(step, lesson, batch, optim.make(section, model), section.gradient_clip)

    def words(self, threads: int) -> str:
        """What the figures were measured on."""
        where = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _processor()
        how = "of the processor" if self.clock is time.process_time else "by the clock"
        return f"{where}, {threads} CPU threads, torch {torch.__version__}; ms {how}, medians of {self.rounds} rounds"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "CPU"


@torch.inference_mode()
def forward(model: Hmr, image: Tensor, precision: Format) -> Tensor:
    """The parameters that a network answers."""
    with autocast(precision, image.device):
        return model(image, image)[0]  # the time does not depend on what the second one shows


def step(lesson: Lesson, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer, clip: float) -> Tensor:
    """Losses, backward, one step; as the stage does it."""
    return optim.step(lesson(batch)[0], optimizer, clip)


def noise(count: int, size: int, device: torch.device) -> dict[str, Tensor]:
    """A batch like the stage's, of noise, people in their rest pose."""
    pixels = {
        name: torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8) for name in ("image", "background")
    }
    found = pixels | {
        "mask": torch.randint(0, 256, (count, size, size), dtype=torch.uint8),
        "has_mask": torch.ones(count, dtype=torch.bool),
        "joints_im_mm": 300 * torch.randn(count, 17, 3),
        "has_body": torch.ones(count, dtype=torch.bool),
        "betas": torch.randn(count, 10),
        "rotmats": torch.eye(3).repeat(count, 24, 1, 1),
    }
    return {name: value.to(device) for name, value in found.items()}


def table(found: Sequence[Cost], size: int, batch: int) -> str:
    """A row an encoder."""
    forwards, steps = (list(getattr(found[0], name)) for name in ("forward_ms", "step_ms"))
    heads = ["backbone", "encoder, M parameters", "with regressor", f"GFLOP at {QUOTED_PX} px", f"at {size} px"]
    heads += [f"forward, {name.replace(', ', ', batch ')}" for name in forwards]
    heads += [f"step of {batch}, {name}" for name in steps]
    rows = []
    for one in found:
        cells = [one.backbone, f"{one.encoder_million:.2f}", f"{one.million:.2f}"]
        cells += [f"{one.gflop_quoted:.2f}", f"{one.gflop:.2f}"]
        cells += [f"{one.forward_ms[name]:.1f}" for name in forwards] + [f"{one.step_ms[name]:.0f}" for name in steps]
        rows.append(cells)
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
