"""Every kind of bad input: the run goes on with the rest, what is left out is named, and nothing left is one error."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from codebase import cli
from codebase.config.base import to_yaml
from codebase.data.human36m import MASK_SUFFIX, META, Folder
from codebase.data.index import read_index
from codebase.data.store import CropStore
from codebase.stages import backgrounds, crops, index
from tests.captures import change
from tests.conftest import REPOSITORY
from tests.trees import config, write_tree

FRAMES = 4
WHOLE = 2 * 4 * FRAMES  # images of the one training subject
BROKEN = Folder(1, 2, 1, 2)
NOBODY = 65534


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree", frames=FRAMES)


def spoil(tree, frame, content, suffix=".jpg"):
    BROKEN.file(tree.root, frame, suffix).write_bytes(content)


def _resized(tree, frame):
    image = cv2.imread(str(BROKEN.file(tree.root, frame)))
    cv2.imwrite(str(BROKEN.file(tree.root, frame)), cv2.resize(image, (48, 48)))


def _cut_meta(tree):
    path = tree.root / BROKEN.name / META
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _nan(tree, frame, joints):
    def some(pose):
        pose = pose.copy()
        pose[frame - 1, joints] = np.nan
        return pose

    for number in (1, 2, 3, 4):
        change(tree.root / Folder(1, 2, 1, number).name, pose3d_world=some)


def _copy_camera(tree):
    one = Folder(1, 2, 1, 1)
    shutil.copy(tree.root / one.name / META, tree.root / BROKEN.name)
    for frame in range(1, FRAMES + 1):
        shutil.copy(one.file(tree.root, frame), BROKEN.file(tree.root, frame))


def _remove(tree, *frames):
    for frame in frames:
        BROKEN.file(tree.root, frame).unlink()


# what is done, the exclusion's file (None: the folder) and kind, words of its reason, and the rows that it costs
CASES = {
    "zero-byte jpg": (lambda t: spoil(t, 2, b""), "000002.jpg", "frame", "the file is empty", 1),
    "truncated jpg": (
        lambda t: spoil(t, 2, BROKEN.file(t.root, 2).read_bytes()[:-40]), "000002.jpg", "frame", "cut short", 1,
    ),
    "no picture": (lambda t: spoil(t, 2, b"<html>not found</html>"), "000002.jpg", "frame", "no readable image", 1),
    "wrong-size jpg": (lambda t: _resized(t, 3), "000003.jpg", "frame", "48 x 48 pixels, the meta file says 96", 1),
    "a folder named like a frame": (
        lambda t: (_remove(t, 2), BROKEN.file(t.root, 2).mkdir()), "000002.jpg", "frame", "unreadable", 1,
    ),
    "missing meta": (lambda t: (t.root / BROKEN.name / META).unlink(), None, "folder", "does not exist", FRAMES),
    "short meta": (_cut_meta, None, "folder", "no readable MATLAB file", FRAMES),
    "empty meta": (
        lambda t: (t.root / BROKEN.name / META).write_bytes(b""), None, "folder", "no readable MATLAB file", FRAMES,
    ),
    "meta with fewer poses": (
        lambda t: change(t.root / BROKEN.name, pose3d_world=lambda p: p[:3]), None, "frame", "no pose for these", 1,
    ),
    "partly NaN joints": (lambda t: _nan(t, 2, [5, 6]), None, "frame", "the pose is not finite: 2", 4),
    "NaN roots": (lambda t: _nan(t, 2, list(range(17))), None, "frame", "the pose is not finite: 2", 4),
    "non-consecutive frames": (lambda t: _remove(t, 2, 3), None, "frame", "no file for these frames: 2, 3", 2),
    "a copied camera": (_copy_camera, None, "folder", "one of the two folders is a copy", FRAMES),
    "a broken mask": (lambda t: spoil(t, 1, b"no", MASK_SUFFIX), "000001.png", "mask", "no readable image", 0),
}  # fmt: skip


def run_index(settings, folder):
    files = {name: folder / f"index_{name}.h5" for name in ("train", "val", "test")}
    index.run(settings, **{f"output_{name}": path for name, path in files.items()})
    return files


@pytest.mark.parametrize("name", CASES)
def test_the_run_goes_on_with_the_rest(name, tree, tmp_path):
    breaks, file, kind, words, cost = CASES[name]
    breaks(tree)
    settings = config(tree, tmp_path)
    files = run_index(settings, tmp_path)
    found = read_index(files["train"])
    assert len(found) == WHOLE - cost
    wanted = BROKEN.name if file is None else f"{BROKEN.name}/{BROKEN.name}_{file}"
    reasons = {item.name: item.reason for item in found.exclusions if item.kind == kind}
    assert words in reasons[wanted]
    assert len(reasons) == (4 if "NaN" in name else 1)
    behind, cut = tmp_path / "background.npy", tmp_path / "S1.h5"
    backgrounds.run(settings, subject=1, output=behind)
    crops.run(settings, subject=1, index=list(files.values()), background=behind, output=cut)
    assert len(CropStore([cut])) == WHOLE - cost


def test_an_image_without_a_mask_stays(tree, tmp_path):
    BROKEN.file(tree.root, 3, MASK_SUFFIX).unlink()
    found = read_index(run_index(config(tree, tmp_path), tmp_path)["train"])
    assert len(found) == WHOLE
    (row,) = np.flatnonzero(~found.has_mask)
    assert (found.camera[row], found.frame[row], found.action[row]) == (2, 3, 2)
    assert not found.exclusions


def test_a_root_without_joints_is_an_unlabelled_frame(tree, tmp_path):
    _nan(tree, 2, list(range(1, 17)))
    found = read_index(run_index(config(tree, tmp_path), tmp_path)["train"])
    assert len(found) == WHOLE
    assert (~found.has_joints).sum() == 4
    assert not found.exclusions


def test_a_png_named_jpg_is_an_image(tree, tmp_path):
    """Files are decoded by what they hold: the pixels are right, so leaving them out would help nobody."""
    path = BROKEN.file(tree.root, 2)
    _, png = cv2.imencode(".png", cv2.imread(str(path)))
    path.write_bytes(png.tobytes())
    settings = config(tree, tmp_path)
    files = run_index(settings, tmp_path)
    found = read_index(files["train"])
    assert len(found) == WHOLE
    assert not found.exclusions
    behind, cut = tmp_path / "background.npy", tmp_path / "S1.h5"
    backgrounds.run(settings, subject=1, output=behind)
    crops.run(settings, subject=1, index=list(files.values()), background=behind, output=cut)
    store = CropStore([cut])
    images = store.gather(np.arange(len(store)), ("image",))["image"].numpy().astype(int)
    mine = (store.camera == 2) & (store.action == 2)
    assert np.abs(images[mine & (store.frame == 2)].mean() - images[mine].mean()) < 5


def test_a_camera_with_anothers_matrices_is_left_out(tree, tmp_path):
    """Two cameras cannot stand in one place: whether the pictures are copied too, check-data says."""
    shutil.copy(tree.root / Folder(1, 2, 1, 1).name / META, tree.root / BROKEN.name)
    found = read_index(run_index(config(tree, tmp_path), tmp_path)["train"])
    assert [(item.name, item.kind) for item in found.exclusions] == [(BROKEN.name, "folder")]
    assert len(found) == WHOLE - FRAMES


EVERYWHERE = {
    "zero-byte jpgs": lambda folder: [path.write_bytes(b"") for path in folder.glob("*.jpg")],
    "no meta": lambda folder: (folder / META).unlink(),
    "NaN joints": lambda folder: change(folder, pose3d_world=lambda pose: pose * np.nan),
    "no frames": lambda folder: [path.unlink() for path in folder.glob("*.jpg")],
    "cameras that look away": lambda folder: change(folder, R=lambda R: np.diag([-1.0, 1, -1]) @ R),
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_where_nothing_is_left_there_is_one_error(name, tree, tmp_path, capsys):
    for folder in tree.root.iterdir():
        EVERYWHERE[name](folder)
    settings = config(tree, tmp_path)
    (tmp_path / "run.yaml").write_text(to_yaml(settings), encoding="utf-8")
    words = [f"--output-{split}={tmp_path / split}.h5" for split in ("train", "val", "test")]
    assert cli.main(["index", "--config", str(tmp_path / "run.yaml"), *words]) == 2
    said = capsys.readouterr().err
    assert said.count("error:") == 1
    assert "Traceback" not in said
    assert str(tree.root) in said


# Permissions bind no root, under which tests may run: a child process gives up its rights, then runs the stage.
AS_NOBODY = """
import json, os, sys
from pathlib import Path
from codebase import check_data, cli
from codebase.config import read_config
import codebase.data.index, codebase.logs, codebase.provenance, codebase.stages.index
if os.getuid() == 0:
    os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def open_folder():
    """A folder that other users may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="posemill_"))
    folder.chmod(0o777)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o777)
    shutil.rmtree(folder)


def as_nobody(*words):
    script = AS_NOBODY.format(nobody=NOBODY)
    return subprocess.run(
        [sys.executable, "-c", script, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


LOCKED = {
    "a frame": (lambda t: BROKEN.file(t.root, 2), "frame", "unreadable: Permission denied", 1),
    "a mask": (lambda t: BROKEN.file(t.root, 2, MASK_SUFFIX), "mask", "unreadable: Permission denied", 0),
    "a meta file": (lambda t: t.root / BROKEN.name / META, "folder", "cannot be read: Permission denied", FRAMES),
    "a folder": (lambda t: t.root / BROKEN.name, "folder", "cannot be read: Permission denied", FRAMES),
}


@pytest.mark.parametrize("name", LOCKED)
def test_what_may_not_be_read_is_left_out(name, open_folder):
    tree = write_tree(open_folder / "tree", frames=FRAMES)
    path, kind, words, cost = LOCKED[name]
    path(tree).chmod(0)
    settings = config(tree, open_folder / "results")
    (open_folder / "run.yaml").write_text(to_yaml(settings), encoding="utf-8")
    outputs = [f"--output-{split}={open_folder / split}.h5" for split in ("train", "val", "test")]
    done = as_nobody("index", "--config", str(open_folder / "run.yaml"), *outputs)
    assert done.returncode == 0, done.stderr
    found = read_index(open_folder / "train.h5")
    assert len(found) == WHOLE - cost
    (item,) = found.exclusions
    assert item.kind == kind
    assert words in item.reason
    checked = as_nobody("check-data", str(tree.root), "--sheets", str(open_folder / "sheets"), "--workers", "1")
    assert checked.returncode == 0, checked.stderr
    assert words in " ".join(checked.stdout.split())


def test_a_masks_folder_that_may_not_be_read_costs_the_masks(open_folder):
    tree = write_tree(open_folder / "tree", frames=FRAMES)
    masks = shutil.copytree(tree.root, open_folder / "masks", ignore=shutil.ignore_patterns("*.jpg", "*.mat"))
    (masks / BROKEN.name).chmod(0)
    settings = config(tree, open_folder / "results", dataset__masks_root=masks)
    (open_folder / "run.yaml").write_text(to_yaml(settings), encoding="utf-8")
    outputs = [f"--output-{split}={open_folder / split}.h5" for split in ("train", "val", "test")]
    done = as_nobody("index", "--config", str(open_folder / "run.yaml"), *outputs)
    assert done.returncode == 0, done.stderr
    found = read_index(open_folder / "train.h5")
    assert len(found) == WHOLE
    assert (~found.has_mask).sum() == FRAMES
    (item,) = found.exclusions
    assert (item.kind, item.count) == ("mask", FRAMES)
    assert "Permission denied" in item.reason


@pytest.mark.parametrize("locked", ["tree", ""])
def test_a_tree_that_may_not_be_read_is_one_error(locked, open_folder):
    folder = open_folder / "deep"
    tree = write_tree(folder / "tree", frames=1)
    settings = config(tree, open_folder / "results")
    (open_folder / "run.yaml").write_text(to_yaml(settings), encoding="utf-8")
    (folder / locked).chmod(0)
    outputs = [f"--output-{split}={open_folder / split}.h5" for split in ("train", "val", "test")]
    for words in (("index", "--config", str(open_folder / "run.yaml"), *outputs), ("check-data", str(tree.root))):
        done = as_nobody(*words)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("error:") == 1
        assert "Traceback" not in done.stderr
        assert "cannot be read: Permission denied" in done.stderr


def test_frozen_permissions_are_real(open_folder):
    """The child has no rights: otherwise the tests above would prove nothing."""
    secret = open_folder / "secret"
    secret.write_text("x")
    secret.chmod(0)
    done = as_nobody("check-data", str(secret / "x"))
    assert stat.S_IMODE(secret.stat().st_mode) == 0
    assert done.returncode == 2


def test_a_meta_file_of_another_version_is_named(tree, tmp_path):
    path = tree.root / BROKEN.name / META
    raw = {key: value for key, value in loadmat(path).items() if not key.startswith("_") and key != "R"}
    savemat(path, raw)
    found = read_index(run_index(config(tree, tmp_path), tmp_path)["train"])
    (item,) = found.exclusions
    assert "The key 'R' is missing" in item.reason
