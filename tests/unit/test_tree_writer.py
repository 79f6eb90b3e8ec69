"""The writer of dataset trees: folders whole or not at all, never twice, never outside; all losses told."""

from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase.data.doors import DOORS, open_door
from codebase.data.doors.tree import open_tree
from codebase.data.extracted import read_extracted
from codebase.data.human36m import MASK_SUFFIX, META, Folder, list_frames, read_frame, read_mask, read_meta
from codebase.errors import DataError, UserError
from tests.trees import camera, poses

FOLDERS = [Folder(1, 2, 1, number) for number in (1, 2)]
IMAGE = np.zeros((20, 30, 3), np.uint8)
IMAGE[:, 15:] = (250, 10, 60)


def opened(root, digest="a", **changes):
    settings = {"subject": 1, "acts": (2,), "subacts": (1,), "cameras": (1, 2), "door": "test", "jpeg_quality": 95}
    return open_tree(root / "dataset", digest=digest, **(settings | changes))


def meta(out):
    out.meta(pose3d_world_mm=poses(1, 2, 1, 3), width=30, height=20, **camera(1, width=30, height=20))


def write(tree, folder=FOLDERS[0], frames=(1, 3), **how):
    with tree.folder(folder, **how) as out:
        for number in frames:
            out.frame(number, IMAGE)
            out.mask(number, IMAGE[..., 0])
        meta(out)


def finish(tree):
    return tree.finish(tree.root / "extracted/S1.json")


def test_a_folder_is_what_was_written(tmp_path):
    tree = opened(tmp_path)
    write(tree)
    path = tree.root / FOLDERS[0].name
    assert list_frames(path, path.name).tolist() == list_frames(path, path.name, MASK_SUFFIX).tolist() == [1, 3]
    assert np.abs(read_frame(FOLDERS[0].file(tree.root, 3)).astype(int) - IMAGE).mean() < 5
    np.testing.assert_array_equal(read_mask(FOLDERS[0].file(tree.root, 3, MASK_SUFFIX)), IMAGE[..., 0])
    assert len(read_meta(path).pose3d_world_mm) == 3
    content = finish(tree)
    assert content == read_extracted(tree.root, 1)
    assert content["counts"]["frames"] == content["counts"]["masks"] == 2
    assert content["left_out"] == [
        {"name": FOLDERS[1].name, "reason": "the source holds nothing of it", "kind": "folder", "count": 1}
    ]


def test_bytes_of_a_jpeg_are_kept_and_booleans_are_masks(tmp_path):
    _, jpeg = cv2.imencode(".jpg", IMAGE)
    tree = opened(tmp_path)
    with tree.folder(FOLDERS[0]) as out:
        out.frame(7, jpeg.tobytes())
        out.mask(7, IMAGE[..., 0] > 100)
        meta(out)
    assert FOLDERS[0].file(tree.root, 7).read_bytes() == jpeg.tobytes()
    np.testing.assert_array_equal(read_mask(FOLDERS[0].file(tree.root, 7, MASK_SUFFIX)), 255 * (IMAGE[..., 0] > 100))


def fail_with(error):
    def fill(out):
        out.frame(1, IMAGE)
        raise error

    return fill


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (fail_with(DataError("it is broken", where="a.mp4")), "it is broken"),
        (lambda out: meta(out), "no frame"),
        (lambda out: out.frame(1, IMAGE), META),
        (lambda out: out.frame(0, IMAGE), "Frame 0"),
    ],
    ids=["an error", "no frame", "no meta", "a number without a name"],
)
def test_a_folder_that_fails_is_left_out_with_the_reason(tmp_path, fill, reason):
    tree = opened(tmp_path)
    write(tree)
    for folder in FOLDERS:
        with tree.folder(folder) as out:
            fill(out)
    content = finish(tree)
    assert content["folders"] == {}
    assert [item["name"] for item in content["left_out"]] == [folder.name for folder in FOLDERS]
    assert all(reason in item["reason"] for item in content["left_out"])
    assert not list(tree.root.glob("s_*"))


def test_other_errors_are_raised_and_leave_nothing(tmp_path):
    tree = opened(tmp_path)
    with pytest.raises(ZeroDivisionError), tree.folder(FOLDERS[0]) as out:
        fail_with(ZeroDivisionError())(out)
    assert not list(tree.root.glob("s_*"))
    assert not tree.has(FOLDERS[0])


def test_a_folder_is_made_again_for_another_config_or_source(tmp_path):
    write(opened(tmp_path), stamp="v1")
    again = opened(tmp_path)
    assert again.has(FOLDERS[0], stamp="v1")
    assert not again.has(FOLDERS[0], stamp="v2")
    assert not again.has(FOLDERS[1], stamp="v1")
    other = opened(tmp_path, digest="b")
    assert not other.has(FOLDERS[0], stamp="v1")
    write(other, frames=(5,), stamp="v1")
    assert list_frames(other.root / FOLDERS[0].name, FOLDERS[0].name).tolist() == [5]
    (other.root / FOLDERS[0].name / META).unlink()
    assert not other.has(FOLDERS[0], stamp="v1")


def test_losses_and_notes_of_a_folder_outlive_the_run(tmp_path):
    tree = opened(tmp_path)
    with tree.folder(FOLDERS[0]) as out:
        out.frame(1, IMAGE)
        meta(out)
        out.note(seen=4)
        tree.leave_out(FOLDERS[0].name, "three\n are gone", "frame", 3)
    tree.leave_out(FOLDERS[1].name, "not there", "folder")
    first = finish(tree)
    again = opened(tmp_path)
    assert again.notes(FOLDERS[0]) == {"seen": 4}
    again.leave_out(FOLDERS[1].name, "not there", "folder")
    again.leave_out(FOLDERS[1].name, "not there", "folder")
    assert finish(again) == first
    assert first["counts"]["left_out_frames"] == 3
    assert {item["reason"] for item in first["left_out"]} == {"three are gone", "not there"}


def test_workers_write_through_their_own_copies(tmp_path):
    tree = opened(tmp_path)
    for folder in FOLDERS:
        copy = pickle.loads(pickle.dumps(tree))
        write(copy, folder)
        copy.leave_out(f"{folder.name}/a.jpg", "broken", "frame")
    assert finish(tree)["counts"] == {
        "folders": 2, "frames": 4, "masks": 4, "left_out_folders": 0, "left_out_frames": 2, "left_out_masks": 0,
    }  # fmt: skip


def test_a_full_disk_is_the_users_and_leaves_no_folder_out(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    tree = opened(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left") as error, tree.folder(FOLDERS[0]) as out:
        out.frame(1, IMAGE)
    assert not isinstance(error.value, DataError)
    monkeypatch.undo()
    write(tree)
    assert [item["name"] for item in finish(tree)["left_out"]] == [FOLDERS[1].name]


def test_scratch_lies_inside_and_is_emptied(tmp_path):
    tree = opened(tmp_path)
    assert (tmp_path / "dataset") in tree.scratch.parents
    (tree.scratch / "big").write_bytes(b"x")
    assert not list(opened(tmp_path).scratch.iterdir())
    finish(tree)
    assert not list(tree.root.glob("extracted/.S1/scratch"))


@given(st.integers(1, 999_999))
def test_every_number_has_a_name(tmp_path_factory, number):
    tree = opened(tmp_path_factory.mktemp("numbers"))
    write(tree, frames=(number,))
    assert list_frames(tree.root / FOLDERS[0].name, FOLDERS[0].name).tolist() == [number]


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "extracted/S1.json"
    path.parent.mkdir()
    assert read_extracted(tmp_path, 1) is None
    for content in ("{}", "[", json.dumps({"format": "posemill.extracted", "version": 9})):
        path.write_text(content)
        with pytest.raises(DataError, match=r"S1\.json"):
            read_extracted(tmp_path, 1)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_opens(door):
    assert callable(open_door(door))
