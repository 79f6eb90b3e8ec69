"""Fixtures of tests that fit bodies; a module that wants them names this one in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from codebase.fitting.points import Points
from codebase.fitting.prior import PosePrior
from codebase.synthetic.motion import sample_poses
from tests.posed import BODY


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Fits have small matrices, with which threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def points() -> Points:
    """The joints of the free body."""
    return Points(BODY)


@pytest.fixture(scope="module")
def prior() -> PosePrior:
    """Of few free poses, none of them of tests.posed's people."""
    return PosePrior.of(sample_poses(600, 7, BODY.joint_shape_map[0]), 2)
