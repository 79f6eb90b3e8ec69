"""Claim: the stage embed runs at the speed of its encoder: reading crops and writing files add little.

    python -m benchmarks.embed CONFIG [--set key=value ...] [--subject 9] [--repeats 3]

Of a finished run of CONFIG up to train_enc_dec. In turn, so that both meet the same machine: the encoder alone, on one
batch that lies in memory as it takes it, as often as the subject has batches; and the whole stage, in a process that
has everything loaded: opening the crops and the checkpoint, reading, converting, encoding, writing the file. Prints
seconds by the clock and of the processor (which other jobs on the machine disturb less), and the ratios of medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.command import use_threads
from codebase.config import Config, read_config
from codebase.data.store import CropStore
from codebase.paths import Paths
from codebase.stages import embed
from codebase.training.encoders import load_enc_dec
from codebase.training.novel_views import as_image
from codebase.training.precision import autocast, place
from codebase.training.runtime import prepare

Seconds = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    parser.add_argument("--subject", type=int, help="default: the first of split.test")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    config = read_config(options.config, options.set)
    use_threads(config.runtime.threads)
    paths = Paths(config)
    subject = options.subject or config.split.test.subjects[0]
    crops, checkpoint = paths.crops(subject), paths.checkpoint("enc_dec")
    rows = len(CropStore([crops]))
    alone: list[Seconds] = []
    stage: list[Seconds] = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / paths.embeddings(subject).name
        run = partial(embed.run, config, checkpoint=checkpoint, crops=crops, output=output)
        run()  # warm: disk cache, kernels
        for _ in range(options.repeats):
            alone.append(timed(encoder_alone(config, crops, checkpoint)))
            stage.append(timed(run))
    print(f"S{subject}: {rows} frames, {config.runtime.threads} threads, mirrored {config.embed.mirrored}")
    for number, what in enumerate(("clock", "processor")):
        middle = [statistics.median(seconds[number] for seconds in times) for times in (alone, stage)]
        print(
            f"by the {what}: encoder alone {middle[0]:.2f} s ({rows / middle[0]:.0f} frames/s), "
            f"stage {middle[1]:.2f} s ({rows / middle[1]:.0f} frames/s), ratio {middle[0] / middle[1]:.2f}"
        )


def timed(function: Callable[[], None]) -> Seconds:
    """Seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def encoder_alone(config: Config, crops: Path, checkpoint: Path) -> Callable[[], None]:
    """Encodes as many frames as the crops have, one batch over and over."""
    device = prepare(config.runtime, 0)
    store = CropStore([crops])
    net, found = load_enc_dec(checkpoint, config.enc_dec, store.size, crops=crops)
    encoder, size = place(net.encoder, device), config.embed.batch_size
    seen = store.gather(np.arange(min(size, len(store))), ("image", "background"))
    image, background = (as_image(seen[name].to(device)) for name in ("image", "background"))
    flipped = image.flip(-1), background.flip(-1)

    @torch.inference_mode()
    def encode() -> None:
        with autocast(found.config["precision"], device):
            for start in range(0, len(store), size):
                count = min(size, len(store) - start)
                encoder(image[:count], background[:count])
                if config.embed.mirrored:
                    encoder(*(pixels[:count] for pixels in flipped))
        if device.type == "cuda":
            torch.cuda.synchronize()

    encode()
    return encode


if __name__ == "__main__":
    main()
