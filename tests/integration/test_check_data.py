"""check-data: what it says of a good tree, and that it names every mistake of a broken one."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from codebase import cli
from codebase.data.human36m import META
from codebase.geometry import world_to_camera
from codebase.skeleton import H36M
from tests.captures import change, exchange, folders, on_frames, on_masks, render, swap_joints

MPII = ("head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
        "left_wrist", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "root", "spine",
        "head")  # fmt: skip


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("capture") / "tree"
    render(root)
    return root


@pytest.fixture
def tree(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / "tree")


def check(root, tmp_path, *more):
    """Exit code and JSON of check-data."""
    file = tmp_path / "found.json"
    code = cli.main(["check-data", str(root), "--sheets", str(tmp_path / "sheets"), "--workers", "1",
                     "--json", str(file), *map(str, more)])  # fmt: skip
    return code, json.loads(file.read_text(encoding="utf-8"))


def suspicions(root, tmp_path, *more):
    code, found = check(root, tmp_path, *more)
    assert code == 0
    return [sentence for subject in found["subjects"] for sentence in subject["suspicions"]]


def test_of_a_good_tree_nothing_looks_wrong(rendered, tmp_path, capsys):
    code, found = check(rendered, tmp_path)
    assert code == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "usable: 96 of 96 frames; nothing looks wrong"
    assert "\x1b[" not in said
    (subject,) = found["subjects"]
    assert subject["suspicions"] == []
    assert subject["folders"] == {"expected": 12, "found": 12}
    assert (subject["frames"], subject["masks"], subject["poses"]) == (96, 96, 96)
    assert all(camera["on_person"] > 0.95 and camera["by_masks"] for camera in subject["cameras"])
    sheet = cv2.imread(str(tmp_path / "sheets" / "S1.jpg"))
    assert sheet.shape[0] > 4 * 230
    # bones of both sides and the mask's outline are drawn
    for colour in ((0, 140, 255), (255, 120, 30), (120, 230, 0)):
        assert (np.abs(sheet.astype(int) - colour).max(axis=2) < 60).sum() > 200


def test_cameras_of_different_sizes_and_missing_pictures_have_a_sheet(tree, tmp_path):
    def wider(image):
        return np.pad(image, [(0, 0), (0, 120), *[(0, 0)] * (image.ndim - 2)])

    on_frames(tree, wider, 2)
    on_masks(tree, wider, 2)
    for folder in folders(tree, 2):
        change(folder, img_width=320.0)
    # no instant that all cameras show
    shutil.rmtree(folders(tree, 3)[0])
    for folder in folders(tree, 4)[1:]:
        shutil.rmtree(folder)
    code, _ = check(tree, tmp_path)
    assert code == 0
    sheet = cv2.imread(str(tmp_path / "sheets" / "S1.jpg"))
    assert sheet.shape[1] > 3 * (230 * 320 / 200 + 230)


def test_without_masks_what_moves_tells(tree, tmp_path):
    for path in tree.rglob("*.png"):
        path.unlink()
    assert suspicions(tree, tmp_path) == []
    exchange(tree, 1, 2)
    sentences = suspicions(tree, tmp_path)
    assert any("camera 1 of S1" in s and "camera 2's matrices fit these frames" in s for s in sentences)
    assert all("what moves" in s for s in sentences)


def _everywhere(**values):
    return lambda root: [change(folder, **values) for folder in folders(root)]


def _camera_frame(root):
    for folder in folders(root):
        from codebase.data.human36m import read_meta

        meta = read_meta(folder)
        joints = world_to_camera(meta.pose3d_world_mm.reshape(-1, 3), meta.R, meta.T_mm)
        change(folder, pose3d_world=joints.reshape(-1, 17, 3))


def _translation(root):
    for folder in folders(root):
        from codebase.data.human36m import read_meta

        meta = read_meta(folder)
        change(folder, T=(-meta.R @ meta.T_mm)[None])


MISTAKES = {
    "exchanged cameras": (lambda root: exchange(root, 1, 3), ["camera 1 of S1", "camera 3's matrices fit"]),
    "transposed R": (_everywhere(R=lambda R: R.T), ["cameras 1, 2, 3, 4 of S1", "R is transposed"]),
    "one transposed R": (
        lambda root: [change(f, R=lambda R: R.T) for f in folders(root, 2)], ["camera 2 of S1: only", "transposed"],
    ),
    "T as translation": (_translation, ["T is the translation of x = R X + T"]),
    "T in metres": (_everywhere(T=lambda T: T / 1000), ["T is in metres"]),
    "joints in metres": (_everywhere(pose3d_world=lambda p: p / 1000), ["pose3d_world is in metres"]),
    "all in metres": (
        _everywhere(pose3d_world=lambda p: p / 1000, T=lambda T: T / 1000), ["must be in mm, not metres"],
    ),
    "camera coordinates": (_camera_frame, ["pose3d_world holds camera coordinates", "mm apart"]),
    "OpenGL's axes": (_everywhere(R=lambda R: np.diag([1.0, -1, -1]) @ R), ["OpenGL"]),
    "y up": (
        _everywhere(pose3d_world=lambda p: p @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]).T),
        ["pose3d_world is y up", "people stand along"],
    ),
    "swapped joints": (_everywhere(pose3d_world=swap_joints), ["left and right are exchanged"]),
    "MPII's order": (
        _everywhere(pose3d_world=lambda p: p[:, [H36M.index(name) for name in MPII]]), ["MPII's order"],
    ),
    "swapped knees": (
        _everywhere(pose3d_world=lambda p: p[:, [0, 1, 5, 3, 4, 2, *range(6, 17)]]), ["knees are exchanged"],
    ),
    "inverted masks": (lambda root: on_masks(root, lambda m: 255 - m, 2), ["camera 2 of S1", "look inverted"]),
    "masks of 0 and 1": (lambda root: on_masks(root, lambda m: m // 255), ["largest value is 1"]),
    "masks of another size": (lambda root: on_masks(root, lambda m: m[:-30]), ["masks of 200 x 170 beside images"]),
    "mirrored images": (
        lambda root: (on_frames(root, lambda i: i[:, ::-1]), on_masks(root, lambda m: m[:, ::-1])),
        ["images are mirrored"],
    ),
    "shrunk images": (
        lambda root: (
            on_frames(root, lambda i: i[::2, ::2]), on_masks(root, lambda m: m[::2, ::2]),
            _everywhere(img_width=100.0, img_height=100.0)(root),
        ),
        ["f and c belong to images about 2 times as wide"],
    ),
    "images on their heads": (
        lambda root: (on_frames(root, lambda i: i[::-1, ::-1]), on_masks(root, lambda m: m[::-1, ::-1])),
        ["fall into the mask"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name, tree, tmp_path):
    breaks, expected = MISTAKES[name]
    breaks(tree)
    _, found = check(tree, tmp_path)
    said = " | ".join(sentence for subject in found["subjects"] for sentence in subject["suspicions"])
    for words in expected:
        assert words in said, said


def test_a_copied_camera_is_named(tree, tmp_path):
    for folder in folders(tree, 2):
        other = folder.parent / folder.name.replace("ca_02", "ca_01")
        shutil.copy(other / META, folder)
        for path in other.glob("*.jpg"):
            shutil.copy(path, folder / path.name.replace("ca_01", "ca_02"))
    assert any("one is a copy of the other" in sentence for sentence in suspicions(tree, tmp_path))


def test_a_png_named_jpg_is_used_and_said(tree, tmp_path):
    path = next(folders(tree)[0].glob("*_000003.jpg"))
    _, png = cv2.imencode(".png", cv2.imread(str(path)))
    path.write_bytes(png.tobytes())
    sentences = suspicions(tree, tmp_path)
    assert len(sentences) == 1
    assert "1 of the opened .jpg files are no JPEGs" in sentences[0]
    assert "they are used" in sentences[0]


def test_missing_and_damaged_parts_stand_beside_the_expected(tree, tmp_path, capsys):
    first, second = folders(tree)[:2]
    shutil.rmtree(first)
    (second / META).write_bytes(b"")
    third = folders(tree)[2]
    next(third.glob("*_000002.jpg")).write_bytes(b"")
    next(third.glob("*_000005.png")).write_bytes(b"no picture")
    code, found = check(tree, tmp_path)
    assert code == 0
    reasons = {item["name"]: (item["kind"], item["reason"]) for item in found["subjects"][0]["left_out"]}
    assert reasons[first.name] == ("folder", "the folder does not exist")
    assert reasons[second.name][0] == "folder"
    assert reasons[f"{third.name}/{third.name}_000002.jpg"] == ("frame", "the file is empty")
    assert reasons[f"{third.name}/{third.name}_000005.png"][0] == "mask"
    said = capsys.readouterr().out
    assert "cameras 1 2 3 4" in said
    assert "cameras - - 3 4" in said
    assert f"usable: {found['usable_frames']} of" in said
    assert found["usable_frames"] == 96 - 16 - 1


def test_nothing_usable_is_one_error_and_exit_code_2(tree, tmp_path, capsys):
    for folder in folders(tree):
        (folder / META).unlink()
    code, found = check(tree, tmp_path)
    assert code == 2
    assert not found["usable"]
    assert capsys.readouterr().err.count("error:") == 1


def test_an_unknown_folder_gets_the_nearest_guess(rendered, tmp_path, capsys):
    code, _ = check(rendered.parent, tmp_path)
    assert code == 2
    assert f"{rendered} looks like dataset tree" in capsys.readouterr().err
    (tmp_path / "odd" / "s_1_act_2_subact_1_ca_1").mkdir(parents=True)
    code, found = check(tmp_path / "odd", tmp_path)
    assert code == 2
    assert "is almost a name of the dataset tree" in found["error"]
    assert check(tmp_path / "nowhere", tmp_path)[0] == 2


def test_a_narrow_terminal_and_colours(rendered, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr("codebase.check_data._has_colours", lambda: True)
    assert check(rendered, tmp_path)[0] == 0
    import re

    said = capsys.readouterr().out
    assert "\x1b[32m" in said
    body = [re.sub(r"\x1b\[\d+m", "", line) for line in said.splitlines()]
    beside = [line for line in body if " | " in line]
    assert beside
    assert max(map(len, beside)) <= 70
