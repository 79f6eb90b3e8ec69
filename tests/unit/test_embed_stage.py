"""The batches of the stage embed: all rows once, in order, whether they are read ahead or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codebase.data.store import CropStore
from codebase.stages.embed import _batches


class Numbered(CropStore):
    """A store whose images are the numbers of their rows; those from `broken` on cannot be read."""

    def __init__(self, rows: int, broken: int = 1000) -> None:
        self.rows, self.broken = rows, broken

    def __len__(self) -> int:
        return self.rows

    def gather(self, rows, names):
        if rows[0] >= self.broken:
            raise OSError("damaged")
        return {name: torch.from_numpy(rows) for name in names}


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 20])
@pytest.mark.parametrize("ahead", [False, True])
def test_reading_ahead_changes_neither_rows_nor_order(rows, ahead):
    found = [batch["image"].numpy() for batch in _batches(Numbered(rows), 3, ahead=ahead)]
    assert [len(batch) for batch in found] == [3] * (rows // 3) + [rows % 3] * (rows % 3 > 0)
    assert np.array_equal(np.concatenate([np.zeros(0, int), *found]), np.arange(rows))


def test_what_cannot_be_read_is_an_error_where_the_batch_is_used():
    with pytest.raises(OSError, match="damaged"):
        list(_batches(Numbered(20, broken=6), 3, ahead=True))
