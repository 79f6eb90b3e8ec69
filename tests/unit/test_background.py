"""The median of frames is numpy's, for any count; damaged frames are passed over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.data.background import median
from codebase.data.human36m import META
from codebase.errors import DataError
from codebase.stages import backgrounds
from tests.trees import config, write_folder, write_tree


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 200), st.integers(1, 256), st.integers(0, 999))
def test_median_is_numpys_with_halves_rounded_up(frames, columns, values, seed):
    stack = np.random.default_rng(seed).integers(0, values, (frames, columns), dtype=np.uint8)
    assert median(stack).tolist() == np.floor(np.median(stack, axis=0) + 0.5).astype(int).tolist()


def test_median_of_more_frames_than_a_byte_counts():
    stack = np.concatenate([np.full((300, 70), 255, np.uint8), np.zeros((301, 70), np.uint8)])
    assert (median(stack) == 0).all()
    assert (median(stack[:-2]) == 255).all()
    with pytest.raises(DataError, match="65535"):
        median(stack[:0])


def test_the_room_comes_out_where_people_move(tmp_path):
    tree = write_tree(tmp_path / "tree", acts=(2, 3, 4), frames=15, masks=False)
    backgrounds.run(config(tree, tmp_path), subject=1, output=tmp_path / "b.npy")
    found = np.load(tmp_path / "b.npy")
    assert (found.dtype, found.shape) == (np.uint8, (4, 96, 96, 3))
    for row in range(4):
        corner = found[row, :20].astype(int)
        assert np.abs(corner - (60 + 20 * row)).max() <= 3


def test_cameras_of_another_height_are_padded_and_damage_passed_over(tmp_path, caplog):
    tree = write_tree(tmp_path / "tree", acts=(2,), cameras=(1, 2, 3), frames=3, masks=False)
    lower = type(tree)(tree.root, 3, 96, 80)
    write_folder(lower, tree.folders[0])
    tree.folders[1].file(tree.root, 2).write_bytes(b"no image")
    (tree.root / tree.folders[2].name / META).unlink()
    backgrounds.run(config(tree, tmp_path), subject=1, output=tmp_path / "b.npy")
    found = np.load(tmp_path / "b.npy")
    assert found.shape == (3, 96, 96, 3)
    assert (found[0, 80:] == found[0, 79]).all()
    assert (found[0, 79] > 0).all()
    assert (found[1] > 0).any()
    assert (found[2] == 0).all()
    assert "_000002.jpg" in caplog.text
    assert "camera 3" in caplog.text


def test_every_nth_frame_or_the_first(tmp_path):
    tree = write_tree(tmp_path / "tree", acts=(2,), frames=3, masks=False)
    for folder in tree.folders:
        folder.file(tree.root, 1).unlink()  # no frame with (frame - 1) % 64 == 0 is left
    backgrounds.run(config(tree, tmp_path, backgrounds={"every": 64}), subject=1, output=tmp_path / "b.npy")
    assert (np.load(tmp_path / "b.npy")[:, :10] > 0).all()


@pytest.mark.parametrize("damage", ["frames", "folders"])
def test_a_subject_without_a_usable_frame_does_not_end_the_run(tmp_path, caplog, damage):
    tree = write_tree(tmp_path / "tree", acts=(2,), frames=1, masks=False)
    for folder in tree.folders:
        folder.file(tree.root, 1).write_bytes(b"no image")
        if damage == "folders":
            (tree.root / folder.name / META).unlink()
    backgrounds.run(config(tree, tmp_path), subject=1, output=tmp_path / "b.npy")
    assert (np.load(tmp_path / "b.npy") == 0).all()
    assert "S1" in caplog.text
