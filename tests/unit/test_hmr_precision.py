"""bf16 and channels_last on the training path of the image-to-body network: every convolution, also after a step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from codebase.body.arrays import load_body
from codebase.config import HmrConfig
from codebase.models.hmr import build
from codebase.stages import train_hmr
from codebase.training import optim
from codebase.training.hmr_lesson import Lesson, prepare_images
from codebase.training.precision import place
from tests.people import BODY, make_people

CHANNELS_LAST = torch.channels_last
ENCODERS = {
    "ours": {"widths": (16, 32), "blocks": (1, 1)}, "resnet18": {"backbone": "resnet18"},
    "lite0": {"backbone": "efficientnet_lite0"}, "attention": {"regressor": "attention", "queries": "joints"},
}  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> train_hmr.Samples:
    people = make_people(tmp_path_factory.mktemp("people"), acts=(2,), size=32)
    return train_hmr.Samples.load(people.crops(1), people.paths.index("train"), people.truth(1))


def lesson_of(samples: train_hmr.Samples, precision: str, changes: dict) -> Lesson:
    torch.manual_seed(0)
    section = HmrConfig(width=32, vertices=20, precision=precision, dropout=0.0, scale=0.1, **changes)
    model = build(section, 32, mean_rotmats=samples.rotmats[0], mean_betas=samples.betas[0])
    return Lesson(section, place(model, torch.device("cpu")), load_body(BODY), samples.store.box_mm)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_convolution_computes_in_bf16_and_channels_last(samples, name):
    lesson = lesson_of(samples, "bf16", ENCODERS[name])
    seen: list[tuple[str, bool, bool, torch.dtype]] = []

    def note(part: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        last = [each.is_contiguous(memory_format=CHANNELS_LAST) for each in (inputs[0], part.weight)]
        seen.append((names[part], *last, output.dtype))

    names = {part: at for at, part in lesson.model.named_modules() if isinstance(part, nn.Conv2d)}
    for part in names:
        part.register_forward_hook(note)
    optimizer = optim.make(lesson.section, lesson.model)
    for _ in range(2):
        loss, _ = lesson(prepare_images(lesson.section, samples.gather(np.arange(len(samples.store)))))
        optim.step(loss, optimizer, 1.0)
    assert len(seen) == 2 * len(names)
    assert [one for one in seen if not (one[1] and one[2] and one[3] == torch.bfloat16)] == []
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(p.dtype == torch.float32 for p in lesson.model.parameters())


@pytest.mark.parametrize("name", ["ours", "attention"])
def test_bf16_answers_what_fp32_does_closely(samples, name):
    found = {}
    for precision in ("fp32", "bf16"):
        lesson = lesson_of(samples, precision, ENCODERS[name])
        batch = prepare_images(lesson.section, samples.gather(np.arange(len(samples.store))), training=False)
        loss, _ = lesson(batch)
        loss.backward()
        found[precision] = loss.detach(), lesson.model.encoder.conv1.weight.grad
    assert found["bf16"][0] == pytest.approx(float(found["fp32"][0]), rel=0.02)
    one, other = (found[precision][1].flatten() for precision in ("fp32", "bf16"))
    assert torch.cosine_similarity(one, other, dim=0) > 0.95
