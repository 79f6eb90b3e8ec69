"""What extract left out stands in the index with extract's reasons."""

from __future__ import annotations

import pytest

from codebase.data.index import read_index
from codebase.paths import Paths
from codebase.stages import index
from tests.official.runs import folder_of, make_config, run
from tests.official.writer import write_cdf, write_masks, write_official


@pytest.fixture(scope="module")
def indices(tmp_path_factory):
    """A source with a flaw of each kind, extracted and indexed: the three indices."""
    root = tmp_path_factory.mktemp("index")
    official = write_official(root / "source", subjects=(1, 8, 11), cameras=(1, 2), frames=9, size=96)
    official.video(11, 2, 2, 1).unlink()
    official.video(1, 2, 1, 2).write_bytes(b"")
    write_cdf(official.poses(1, 2, 2), official.takes[1, 2, 2].joints32_mm[:7])
    write_masks(official.masks(8, 2, 1, 1), official.takes[8, 2, 1].masks[1][:4])
    dataset = {"kind": "extract", "subjects": (1, 8, 11), "acts": (2,), "cameras": (1, 2)}
    config = make_config(official.root, root / "results", subjects=(1, 8, 11), dataset=dataset)
    for subject in (1, 8, 11):
        run(config, subject)
    paths = {split: Paths(config).index(split) for split in ("train", "val", "test")}
    index.run(config, **{f"output_{split}": path for split, path in paths.items()})
    return {split: read_index(path) for split, path in paths.items()}


def excluded(found, name):
    return [(item.kind, item.count, item.reason) for item in found.exclusions if item.name == name]


def test_rows_are_those_that_have_picture_and_pose(indices):
    assert {split: len(found) for split, found in indices.items()} == {
        "train": 9 + 2 * 7, "val": 4 * 9, "test": 3 * 9,
    }  # fmt: skip
    assert all(found.has_joints.all() for found in indices.values())
    assert indices["val"].has_mask.sum() == 4 * 9 - 5


def test_each_loss_has_its_reason_and_stands_once(indices):
    ((kind, count, reason),) = excluded(indices["test"], folder_of(11, 2, 2, 1))
    assert (kind, count) == ("folder", 1)
    assert reason.startswith("known flaw of Human3.6M: S11 Directions, subaction 2")
    assert reason.count("known flaw") == 1
    assert "Videos/" in reason
    ((kind, count, reason),) = excluded(indices["train"], folder_of(1, 2, 1, 2))
    assert (kind, count) == ("folder", 1)
    assert "no readable video" in reason
    for camera in (1, 2):
        ((kind, count, reason),) = excluded(indices["train"], folder_of(1, 2, 2, camera))
        assert (kind, count) == ("frame", 2)
        assert "no pose for these frames (there are 7): 8, 9" in reason
    ((kind, count, reason),) = excluded(indices["val"], folder_of(8, 2, 1, 1))
    assert (kind, count) == ("mask", 5)
    assert "no mask for these frames (there are 4)" in reason
    assert indices["train"].counts["1"] == {
        "rows": 23, "excluded_folders": 1, "excluded_frames": 4, "excluded_masks": 0,
    }  # fmt: skip
