"""The dataset tree: names, meta files of both MATLAB kinds, damaged images."""

from __future__ import annotations

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from codebase.data.human36m import (
    META,
    Folder,
    damage,
    list_frames,
    parse_folder,
    read_frame,
    read_mask,
    read_meta,
    write_meta,
)  # fmt: skip
from codebase.data.scan import scan, select_frames
from codebase.errors import DataError, UserError
from tests.trees import camera, config, poses, write_tree

NUMBERS = st.integers(1, 99)


@pytest.fixture
def folder(tmp_path):
    write_meta(tmp_path, pose3d_world_mm=poses(1, 2, 1, 4), width=96, height=90, **camera(2, width=96, height=90))
    return tmp_path


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_a_folders_name_reads_back(subject, action, subaction, number):
    folder = Folder(subject, action, subaction, number)
    assert parse_folder(folder.name) == folder


@pytest.mark.parametrize("name", ["s_1_act_02_subact_01_ca_01", "s_01_act_02_subact_01_ca_01x", "S1", "", "truth"])
def test_other_names_are_no_folders(name):
    assert parse_folder(name) is None


def test_names_are_the_documented_ones(tmp_path):
    path = Folder(1, 2, 1, 1).file(tmp_path, 1)
    assert path == tmp_path / "s_01_act_02_subact_01_ca_01" / "s_01_act_02_subact_01_ca_01_000001.jpg"


def test_meta_reads_back(folder):
    meta, expected = read_meta(folder), camera(2, width=96, height=90)
    np.testing.assert_array_equal(meta.pose3d_world_mm, poses(1, 2, 1, 4))
    np.testing.assert_array_equal(meta.R, expected["R"])
    np.testing.assert_array_equal(meta.T_mm, expected["T_mm"])
    np.testing.assert_array_equal(meta.c_px, expected["c_px"])
    assert (meta.width, meta.height) == (96, 90)
    raw = loadmat(folder / META)
    assert (raw["T"].shape, raw["f"].shape, raw["c"].shape) == ((1, 3), (1, 2), (1, 2))
    assert meta.distortion.tolist() == [0] * 5


def test_distortion_reads_back_and_may_be_missing(tmp_path):
    lens = np.array([-0.2, 0.24, -0.002, -0.001, 0.01])
    shot = camera(2, width=96, height=90)
    write_meta(tmp_path, pose3d_world_mm=poses(1, 2, 1, 4), width=96, height=90, distortion=lens, **shot)
    assert loadmat(tmp_path / META)["distortion"].shape == (1, 5)
    np.testing.assert_array_equal(read_meta(tmp_path).distortion, lens)
    _spoil(tmp_path, distortion=None)
    assert read_meta(tmp_path).distortion.tolist() == [0] * 5


@pytest.mark.parametrize("frames", [1, 3, 4])
def test_matlab_7_3_shows_its_axes_reversed(tmp_path, frames):
    write_meta(tmp_path, pose3d_world_mm=poses(1, 2, 1, frames), width=96, height=90, **camera(2, width=96, height=90))
    expected, raw = read_meta(tmp_path), loadmat(tmp_path / META)
    with h5py.File(tmp_path / META, "w", userblock_size=512) as file:
        for key in ("pose3d_world", "R", "T", "f", "c", "img_width", "img_height"):
            file[key] = raw[key].T
    found = read_meta(tmp_path)
    np.testing.assert_array_equal(found.pose3d_world_mm, expected.pose3d_world_mm)
    np.testing.assert_array_equal(found.R, expected.R)
    np.testing.assert_array_equal(found.T_mm, expected.T_mm)


def _spoil(folder, **changes):
    raw = {key: value for key, value in loadmat(folder / META).items() if not key.startswith("_")}
    for key, value in changes.items():
        if value is None:
            del raw[key]
        else:
            raw[key] = value
    savemat(folder / META, raw)


@pytest.mark.parametrize("key", ["pose3d_world", "R", "T", "f", "c", "img_width", "img_height"])
def test_a_missing_key_is_named_with_the_file(folder, key):
    _spoil(folder, **{key: None})
    with pytest.raises(DataError, match=f"(?s)'{key}'.*{META}"):
        read_meta(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pose3d_world", np.zeros((4, 16, 3))), ("pose3d_world", np.zeros((4, 51))), ("R", np.eye(4)),
        ("R", np.diag([1.0, 1, -1])), ("R", 2 * np.eye(3)), ("T", np.zeros(2)), ("f", np.zeros(2)),
        ("c", np.full(2, np.nan)), ("img_width", 0.0), ("R", "none"), ("distortion", np.zeros(4)),
        ("distortion", np.full(5, np.inf)),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_the_file(folder, key, value):
    _spoil(folder, **{key: value})
    with pytest.raises(DataError, match=f"(?s){key}.*{META}"):
        read_meta(folder)


@pytest.mark.parametrize("content", [b"", b"not matlab at all", b"\x89HDF\r\n\x1a\n", b"MATLAB 5.0" + bytes(200)])
def test_a_broken_meta_file_is_named(folder, content):
    (folder / META).write_bytes(content)
    with pytest.raises(DataError, match=META):
        read_meta(folder)


def test_frames_are_listed_and_nothing_else(tmp_path):
    name = Folder(1, 2, 1, 1).name
    for entry in (f"{name}_000010.jpg", f"{name}_000002.jpg", f"{name}_00002.jpg", f"{name}_000003.png", "x.jpg",
                  f"{name}_0000a4.jpg", f"{name}_000000.jpg", "näme", META, f"{name}_000004.jpg.part"):  # fmt: skip
        (tmp_path / entry).touch()
    assert list_frames(tmp_path, name).tolist() == [2, 10]
    assert list_frames(tmp_path, name, ".png").tolist() == [3]
    assert list_frames(tmp_path / "nowhere", name).tolist() == []


def test_frames_are_rgb_and_masks_grey(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(tmp_path / "red.png"), red)
    assert read_frame(tmp_path / "red.png")[3, 3].tolist() == [255, 0, 0]
    assert read_frame(tmp_path / "red.png", reduce=4).shape == (4, 4, 3)
    assert read_mask(tmp_path / "red.png").shape == (16, 16)


def _damages(path, good):
    yield path, b"", "empty"
    yield path, b"no image", "no readable image"
    yield path, good[: len(good) // 2], "cut short"


def test_damaged_images_are_told(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (61, 83, 3), dtype=np.uint8))
    good = path.read_bytes()
    assert damage(path)[0] == ""
    assert all(0 <= found - true < 8 for found, true in zip(damage(path)[1], (83, 61), strict=True))
    for file, content, reason in _damages(path, good):
        file.write_bytes(content)
        assert reason in damage(file)[0]
        if reason != "cut short":  # which decoders fill up silently
            with pytest.raises(DataError, match=r"a\.jpg"):
                read_frame(file)
    huge = bytearray(good)
    place = huge.index(b"\xff\xc0")
    huge[place + 5 : place + 9] = b"\xff\xff\xff\xff"  # the header claims 65535 x 65535 pixels
    path.write_bytes(huge)
    assert "no readable image" in damage(path)[0]
    assert "No such file" in damage(tmp_path / "gone.jpg")[0]
    with pytest.raises(DataError, match=r"gone\.jpg"):
        read_frame(tmp_path / "gone.jpg")


def test_damaged_folders_are_excluded_with_a_reason(tmp_path):
    tree = write_tree(tmp_path / "tree", frames=2)
    first, second, third, fourth = tree.folders[:4]
    (tree.root / first.name / META).unlink()
    for path in (tree.root / second.name).glob("*.jpg"):
        path.unlink()
    _spoil(tree.root / third.name, R=None)
    _spoil(tree.root / fourth.name, pose3d_world=np.zeros((0, 17, 3)))
    dataset = config(tree, tmp_path).dataset
    found = scan(dataset, tree.root, tree.root)
    reasons = {item.name: item.reason for item in found.exclusions}
    assert list(reasons) == [first.name, second.name, third.name, fourth.name]
    assert META in reasons[first.name]
    assert "no frame" in reasons[second.name]
    assert "'R'" in reasons[third.name]
    assert len(found.views) == len(tree.folders) - 4
    assert str(tmp_path) not in "".join(reasons.values())


def test_each_unusable_frame_is_counted_with_its_reason(tmp_path):
    tree = write_tree(tmp_path / "tree", subjects=(1, 8, 9), acts=(2,), cameras=(1,), frames=8)
    pose = poses(1, 2, 1, 8)
    pose[1, 5] = np.nan
    pose[2] += 40 * camera(1, width=96, height=96)["R"][2] * -1000
    folder = tree.root / tree.folders[0].name
    _spoil(folder, pose3d_world=pose[:6])
    tree.folders[0].file(tree.root, 4).unlink()
    view = scan(config(tree, tmp_path).dataset, tree.root, tree.root).views[0]
    frames, left_out = select_frames(view, 1)
    assert frames.tolist() == [1, 5, 6]
    counts = {item.reason: item.count for item in left_out}
    assert [next(n for r, n in counts.items() if word in r) for word in ("no file", "no pose", "finite", "behind")] == [
        1, 2, 1, 1,
    ]  # fmt: skip
    assert select_frames(view, 4)[0].tolist() == [1, 5]


def test_a_tree_without_anything_usable_says_what_is_there(tmp_path):
    tree = write_tree(tmp_path / "tree", frames=1)
    dataset = config(tree, tmp_path).dataset
    with pytest.raises(UserError, match="does not exist"):
        scan(dataset, tmp_path / "nowhere", tmp_path / "nowhere")
    (tmp_path / "other" / "S1").mkdir(parents=True)
    with pytest.raises(UserError, match=r"(?s)s_01_act_02_subact_01_ca_01_000001\.jpg.*S1"):
        scan(dataset, tmp_path / "other", tmp_path / "other")
