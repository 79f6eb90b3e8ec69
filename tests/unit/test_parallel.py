"""Work over processes: in order, and a worker that dies is an error, not a wait for ever."""

import os

import pytest

from codebase.data.parallel import in_order
from codebase.errors import DataError


def double(value: int) -> int:
    return 2 * value


def die_at_three(value: int) -> int:
    if value == 3:
        os._exit(9)
    return value


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order(workers):
    assert list(in_order(double, range(23), workers=workers, what="numbers")) == [2 * n for n in range(23)]


@pytest.mark.timeout(60)
def test_a_dead_worker_ends_the_work():
    with pytest.raises(DataError, match="worker process died"):
        list(in_order(die_at_three, range(10), workers=2, what="numbers"))
