"""No stage leaves a tensor on the CPU when it computes elsewhere: seen on a device that exists in Python alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import other_device

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not other_device.available(), reason="this torch registers no device in Python")
def test_every_stage_with_a_network_runs_on_another_device(tmp_path):
    words = [sys.executable, "-m", "tests.stages_elsewhere", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "predictions.h5").is_file()
