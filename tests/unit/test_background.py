"""The median of frames is numpy's, for any count; damaged frames are passed over."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.data import background
from codebase.data import median as medians
from codebase.data.human36m import META
from codebase.data.median import median, median_of_file
from codebase.errors import DataError
from codebase.files import read_json
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


@given(st.integers(1, 40), st.integers(1, 70), st.integers(2, 256), st.integers(0, 999))
def test_people_are_left_out_of_the_median_where_anyone_else_is_seen(frames, pixels, values, seed):
    random = np.random.default_rng(seed)
    stack = random.integers(0, values, (frames, 3 * pixels), dtype=np.uint8)
    people = (random.random((frames, pixels)) < random.random(pixels)).astype(np.uint8)
    people[:, 0] = 1
    found = median(stack, people)
    for column in range(3 * pixels):
        free = stack[people[:, column // 3] == 0, column]
        counted = free if len(free) else stack[:, column]
        assert found[column] == int(np.floor(np.median(counted) + 0.5))


@pytest.mark.parametrize("masked", [False, True])
def test_a_file_in_blocks_gives_the_same(tmp_path, monkeypatch, masked):
    random = np.random.default_rng(0)
    stack = random.integers(0, 256, (9, 3 * 7001), dtype=np.uint8)
    people = random.integers(0, 2, (9, 7001), dtype=np.uint8) if masked else None
    stack.tofile(tmp_path / "frames")
    random.integers(0, 1, 1).tofile(tmp_path / "people") if people is None else people.tofile(tmp_path / "people")
    expected = median(stack, people)
    monkeypatch.setattr(medians, "_LONGEST_BLOCK", 4096)
    np.testing.assert_array_equal(median(stack, people), expected)
    found = median_of_file(tmp_path / "frames", 3 * 7001, tmp_path / "people" if masked else None)
    np.testing.assert_array_equal(found, expected)


def standing_still(folder):
    """A tree in which the person stands at one place in 3 of 5 frames, and is away in the others."""
    tree = write_tree(folder, acts=(2,), cameras=(1, 2), frames=5)
    for where in tree.folders[:2]:
        for frame in (2, 3):
            for suffix in (".jpg", ".png"):
                where.file(tree.root, frame, suffix).write_bytes(where.file(tree.root, 1, suffix).read_bytes())
        for frame in (4, 5):
            empty = np.full((96, 96, 3), 40 + 20 * where.camera, np.uint8)
            cv2.imwrite(str(where.file(tree.root, frame)), empty, [cv2.IMWRITE_JPEG_QUALITY, 98])
            cv2.imwrite(str(where.file(tree.root, frame, ".png")), np.zeros((96, 96), np.uint8))
    return tree


def test_masked_people_vanish_and_others_are_reported(tmp_path, caplog):
    tree = standing_still(tmp_path / "tree")
    person = cv2.imread(str(tree.folders[0].file(tree.root, 1, ".png")), cv2.IMREAD_GRAYSCALE) > 127
    backgrounds.run(config(tree, tmp_path), subject=1, output=tmp_path / "plain.npy")
    assert "S1 camera 1" in caplog.text
    assert "mask_people" in caplog.text
    report = read_json(tmp_path / "plain.json")
    assert report["cameras"]["1"]["frames"] == report["cameras"]["1"]["masks"] == 5
    assert report["cameras"]["1"]["person_max"] == pytest.approx(0.6)
    assert report["cameras"]["1"]["person_mean"] == pytest.approx(0.6 * person.mean())
    assert report["cameras"]["1"]["mostly_covered"] == pytest.approx(person.mean())
    caplog.clear()
    own = config(tree, tmp_path, backgrounds={"every": 1, "mask_people": True})
    backgrounds.run(own, subject=1, output=tmp_path / "masked.npy")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    plain, masked = (np.load(tmp_path / f"{name}.npy").astype(int) for name in ("plain", "masked"))
    assert np.abs(plain[0][person] - 60).max() > 50
    assert np.abs(masked[0][person] - 60).max() <= 2
    assert np.abs(masked - [[[[60]]], [[[80]]]]).max() < 50  # beside the masks, JPEG's blurred edges stay


def test_a_mask_of_another_size_is_passed_over_and_said(tmp_path, caplog):
    tree = write_tree(tmp_path / "tree", frames=3)
    path = tree.folders[0].file(tree.root, 1, ".png")
    cv2.imwrite(str(path), np.full((tree.height, tree.width - 3), 255, np.uint8))
    backgrounds.run(config(tree, tmp_path, backgrounds={"every": 1}), subject=1, output=tmp_path / "room.npy")
    assert f"passed over the mask {path.name}: The mask has {tree.width - 3} x {tree.height} pixels" in caplog.text
    assert read_json(tmp_path / "room.json")["cameras"]["1"]["masks"] == 5


def test_without_masks_nobody_is_reported(tmp_path):
    tree = write_tree(tmp_path / "tree", acts=(2,), cameras=(1,), frames=3, masks=False)
    backgrounds.run(config(tree, tmp_path), subject=1, output=tmp_path / "b.npy")
    assert read_json(tmp_path / "b.json")["cameras"]["1"]["masks"] == 0


def test_a_run_that_was_killed_goes_on_with_the_next_camera(tmp_path, monkeypatch):
    tree = write_tree(tmp_path / "tree", acts=(2,), frames=3)
    own, output = config(tree, tmp_path), tmp_path / "b.npy"
    backgrounds.run(own, subject=1, output=tmp_path / "whole.npy")
    read, seen = background.read_frame, []

    def recorded(path):
        seen.append(path)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(background, "read_frame", recorded)
    with pytest.raises(KeyboardInterrupt):
        backgrounds.run(own, subject=1, output=output)
    assert not output.exists()
    assert len(list((tmp_path / "b.state").glob("*.json"))) == 2
    monkeypatch.setattr(background, "read_frame", lambda path: seen.append(path) or read(path))
    seen.clear()
    backgrounds.run(own, subject=1, output=output)
    assert {path.parent.name[-2:] for path in seen} == {"03", "04"}
    np.testing.assert_array_equal(np.load(output), np.load(tmp_path / "whole.npy"))
    assert not (tmp_path / "b.state").exists()


def test_a_camera_whose_frames_changed_is_done_again(tmp_path, monkeypatch):
    tree = write_tree(tmp_path / "tree", acts=(2,), frames=3)
    own, output = config(tree, tmp_path), tmp_path / "b.npy"
    monkeypatch.setattr(background.shutil, "rmtree", lambda path: None)  # as if killed before the end
    backgrounds.run(own, subject=1, output=output)
    tree.folders[1].file(tree.root, 1).touch()
    seen = []
    read = background.read_frame
    monkeypatch.setattr(background, "read_frame", lambda path: seen.append(path) or read(path))
    backgrounds.run(own, subject=1, output=output)
    assert {path.parent.name for path in seen} == {tree.folders[1].name}
