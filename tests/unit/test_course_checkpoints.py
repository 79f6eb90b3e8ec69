"""Going on from a model file of the course: with the new run's rate, the encoder's share of it, and older files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from codebase.config import HmrConfig
from codebase.course.checkpoints import CourseCheckpoint, begin_from
from codebase.errors import DataError
from codebase.models.hmr import build
from codebase.training import optim
from tests.unit.test_backbones import MEAN

SIZE = (32, 32)


def section(**changes: Any) -> HmrConfig:
    return HmrConfig(**({"width": 8, "widths": (8, 8), "blocks": (1, 1), "learning_rate": 0.01} | changes))


def checkpoint(was: HmrConfig, *, without: tuple[str, ...] = ()) -> CourseCheckpoint:
    """Of a run that had made a step."""
    model = build(was, SIZE, **MEAN)
    optimizer = optim.make(was, model)
    optim.set_rate([optimizer], 0.5)
    known = {key: value for key, value in json.loads(was.model_dump_json()).items() if key not in without}
    own = {"section": known, "size": list(SIZE), "progress": {}, "batches": {}, "generators": {}}
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "it": 1, "posemill": own}
    return CourseCheckpoint(Path("model_1.pt"), content)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_new_rate_counts_and_the_encoder_keeps_its_share(tmp_path, optimizer):
    was, now = (section(optimizer=optimizer, encoder_rate=0.1, learning_rate=rate) for rate in (0.01, 0.004))
    begin_from(checkpoint(was), tmp_path / "state.pt", section=now, size=SIZE)
    model = build(now, SIZE, **MEAN)
    made = optim.make(now, model)
    made.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True)["optimizers"]["hmr"])
    optim.set_rate([made], 1.0)
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    for name, value in model.named_parameters():
        assert rates[id(value)] == pytest.approx(0.0004 if name.startswith("encoder.") else 0.004)


def test_a_file_of_before_a_key_had_its_default(tmp_path):
    new = ("enlarge", "queries", "encoder_rate")
    begin_from(checkpoint(section(), without=new), tmp_path / "state.pt", section=section(), size=SIZE)
    with pytest.raises(DataError, match=r"encoder_rate 1\.0 \(now 0\.5\)"):
        begin_from(checkpoint(section(), without=new), tmp_path / "no.pt", section=section(encoder_rate=0.5), size=SIZE)
