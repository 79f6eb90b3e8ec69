"""The index: which rows, in which order, and what is left out and why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from codebase.data.human36m import MASK_SUFFIX, META
from codebase.data.index import VERSION, frame_key, read_index
from codebase.errors import DataError, UserError
from codebase.files import create_h5
from codebase.stages import check, index
from tests.trees import config, poses, write_tree

IMAGE = st.tuples(*[st.integers(1, 99)] * 3, st.integers(1, 99), st.integers(1, 999_999))


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree", frames=4)


def build(tree, folder, **changes):
    settings = config(tree, folder, **changes)
    files = {name: folder / f"index_{name}.h5" for name in ("train", "val", "test")}
    index.run(settings, **{f"output_{name}": path for name, path in files.items()})
    return settings, files


@given(st.lists(IMAGE, min_size=2, max_size=20, unique=True))
def test_keys_identify_images_and_order_them_as_the_index(images):
    keys = frame_key(*np.array(images).T)
    assert keys.dtype == np.int64
    assert len(set(keys.tolist())) == len(images)
    by_key = [images[i] for i in np.argsort(keys)]
    assert by_key == sorted(images, key=lambda i: (i[0], i[1], i[2], i[4], i[3]))


def test_every_image_is_a_row_with_its_camera_and_pose(tree, tmp_path):
    settings, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert len(found) == 2 * 4 * 4
    assert not found.exclusions
    assert (np.diff(found.key) > 0).all()
    assert found.has_mask.all()
    for row in (0, 5, 31):
        pose = poses(found.subject[row], found.action[row], found.subaction[row], 4)[found.frame[row] - 1]
        np.testing.assert_allclose(found.joints_world_mm[found.instant[row]], pose, atol=1e-3)
        assert found.views.camera[found.view[row]] == found.camera[row]
        assert found.views.folder(int(found.view[row])).action == found.action[row]
    assert set(found.subject) == set(settings.split.train.subjects)
    assert set(read_index(files["test"]).subject) == set(settings.split.test.subjects)


def test_every_nth_frame_of_some_acts(tree, tmp_path):
    _, files = build(tree, tmp_path, split__train={"subjects": (1,), "acts": (3,), "every": 3})
    found = read_index(files["train"])
    assert set(found.frame) == {1, 4}
    assert set(found.action) == {3}


def test_unreadable_frames_are_excluded_and_counted(tree, tmp_path):
    first = tree.folders[0]
    good = first.file(tree.root, 1).read_bytes()
    first.file(tree.root, 1).write_bytes(b"no image")
    first.file(tree.root, 2).write_bytes(good[:-40])
    first.file(tree.root, 3, MASK_SUFFIX).write_bytes(b"")
    first.file(tree.root, 4, MASK_SUFFIX).unlink()
    (tree.root / tree.folders[1].name / META).unlink()
    settings, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert found.counts["1"] == {
        "rows": 2 * 4 * 4 - 4 - 2, "excluded_folders": 1, "excluded_frames": 2, "excluded_masks": 1,
    }  # fmt: skip
    kinds = {item.name.rpartition("/")[2]: item.kind for item in found.exclusions}
    assert kinds[f"{first.name}_000001.jpg"] == kinds[f"{first.name}_000002.jpg"] == "frame"
    assert kinds[f"{first.name}_000003.png"] == "mask"
    mine = (found.camera == 1) & (found.action == 2)
    assert found.frame[mine].tolist() == [3, 4]
    assert not found.has_mask[mine].any()
    check.run(settings, what="index", files=list(files.values()), against=[], output=tmp_path / "check.json")


def test_images_of_another_size_than_the_camera_are_excluded(tree, tmp_path):
    raw = {k: v for k, v in loadmat(tree.root / tree.folders[0].name / META).items() if not k.startswith("_")}
    savemat(tree.root / tree.folders[0].name / META, raw | {"img_width": 1000.0})
    _, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert found.counts["1"]["excluded_frames"] == 4
    assert "1000" in found.exclusions[0].reason


def test_a_camera_out_of_step_is_excluded(tree, tmp_path):
    late = tree.folders[2]
    raw = {k: v for k, v in loadmat(tree.root / late.name / META).items() if not k.startswith("_")}
    raw["pose3d_world"][1:] += 5
    savemat(tree.root / late.name / META, raw)
    _, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert [(item.name, item.count) for item in found.exclusions] == [(late.name, 3)]
    assert found.frame[(found.action == late.action) & (found.camera == late.camera)].tolist() == [1]
    assert found.counts["1"]["rows"] == len(found) == 2 * 4 * 4 - 3


def change_meta(tree, folder, change):
    path = tree.root / folder.name / META
    raw = {key: value for key, value in loadmat(path).items() if not key.startswith("_")}
    change(raw)
    savemat(path, raw)


def test_the_first_camera_in_error_does_not_make_the_others_wrong(tree, tmp_path):
    def shift(raw):
        raw["pose3d_world"][:] += 5

    change_meta(tree, tree.folders[0], shift)
    _, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert [(item.name, item.count) for item in found.exclusions] == [(tree.folders[0].name, 4)]
    assert "median" in found.exclusions[0].reason
    pose = poses(1, tree.folders[0].action, 1, 4)
    np.testing.assert_allclose(found.joints_world_mm[found.instant[0]], pose[found.frame[0] - 1], atol=1e-3)


def test_unlabelled_people_stay_and_damaged_poses_go(tree, tmp_path):
    def forget(raw):
        raw["pose3d_world"][0, 1:] = np.nan
        raw["pose3d_world"][1, 4] = np.nan
        raw["pose3d_world"][2] = np.nan

    mine = [folder for folder in tree.folders if (folder.subject, folder.action) == (1, 3)]
    for folder in mine:
        change_meta(tree, folder, forget)
    settings, files = build(tree, tmp_path)
    found = read_index(files["train"])
    rows = (found.subject == 1) & (found.action == 3)
    assert set(found.frame[rows]) == {1, 4}
    assert found.has_joints[rows].tolist() == (found.frame[rows] == 4).tolist()
    assert found.has_joints[~rows].all()
    unknown = found.joints_world_mm[found.instant[~found.has_joints]]
    np.testing.assert_allclose(unknown[:, 0], np.broadcast_to(poses(1, 3, 1, 4)[0, 0], (4, 3)), atol=1e-3)
    assert np.isnan(unknown[:, 1:]).all()
    assert sum(item.count for item in found.exclusions if "finite" in item.reason) == 2 * len(mine)
    check.run(settings, what="index", files=list(files.values()), against=[], output=tmp_path / "check.json")


def test_a_camera_without_labels_takes_those_of_the_others(tree, tmp_path):
    def forget(raw):
        raw["pose3d_world"][:, 1:] = np.nan

    change_meta(tree, tree.folders[1], forget)
    _, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert found.has_joints.all()
    assert not found.exclusions
    assert np.isfinite(found.joints_world_mm).all()


@pytest.mark.parametrize(
    ("option", "in_test", "in_train"),
    [("keep", True, True), ("exclude_from_test", False, True), ("exclude", False, False)],
)
def test_sequences_whose_truth_drifts_go_by_option(tmp_path, option, in_test, in_train):
    tree = write_tree(tmp_path / "tree", subjects=(1, 8, 9), acts=(4, 5), subacts=(1, 2), frames=1, cameras=(1, 2))
    split = {"train": {"subjects": (1,)}, "val": {"subjects": (8,)}, "test": {"subjects": (9,)}, "known_flaws": option}
    _, files = build(tree, tmp_path, split=split)
    found = read_index(files["test"])
    sequences = set(zip(found.action.tolist(), found.subaction.tolist(), strict=True))
    assert sequences == {(4, 1), (4, 2), (5, 1), *([(5, 2)] if in_test else [])}
    reasons = [item.reason for item in found.exclusions]
    assert len(reasons) == (0 if in_test else 2)
    assert all("drift" in reason and "Greeting" in reason for reason in reasons)
    assert len(read_index(files["train"])) == 8
    split |= {"train": {"subjects": (1, 9)}, "test": {"subjects": (8,)}, "val": {"subjects": (1,)}}
    _, files = build(tree, tmp_path, split=split)
    assert len(read_index(files["train"])) == (16 if in_train else 14)


def test_a_rendered_subject_9_has_no_flaw(tmp_path):
    tree = write_tree(tmp_path / "tree", acts=(5,), subacts=(2,), frames=1, cameras=(1, 2))
    own = config(tree, tmp_path, split__known_flaws="exclude")
    rendered = own.model_copy(update={"dataset": own.dataset.model_copy(update={"kind": "synthetic"})})
    files = {f"output_{name}": tmp_path / f"{name}.h5" for name in ("train", "val", "test")}
    index.run(rendered, **files)
    assert len(read_index(files["output_test"])) == 2


def test_the_video_that_human36m_lacks_is_named(tmp_path):
    tree = write_tree(tmp_path / "tree", subjects=(1, 8, 11), acts=(2,), subacts=(1, 2), frames=1, cameras=(1, 2))
    gone = [folder for folder in tree.folders if (folder.subject, folder.camera) == (11, 1)]
    for folder in gone:
        folder.file(tree.root, 1).unlink()
    _, files = build(tree, tmp_path)
    reasons = {item.name: item.reason for item in read_index(files["test"]).exclusions}
    assert set(reasons) == {folder.name for folder in gone}
    assert "54138969" in reasons[gone[1].name]
    assert "no frame" in reasons[gone[1].name]
    assert "54138969" not in reasons[gone[0].name]


def test_a_folder_that_is_a_copy_of_another_camera_goes(tree, tmp_path):
    first, second = tree.folders[:2]
    (tree.root / second.name / META).write_bytes((tree.root / first.name / META).read_bytes())
    _, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert [(item.name, item.kind, item.count) for item in found.exclusions] == [(second.name, "folder", 1)]
    assert first.name in found.exclusions[0].reason


def test_where_neither_file_nor_pose_is_nothing_is_missed(tree, tmp_path):
    def forget(raw):
        raw["pose3d_world"][1:3] = np.nan

    for folder in tree.folders[:4]:
        change_meta(tree, folder, forget)
        folder.file(tree.root, 2).unlink()
    _, files = build(tree, tmp_path)
    found = read_index(files["train"])
    assert {item.reason for item in found.exclusions} == {"the pose is not finite: 3"}


def test_frames_with_gaps_keep_their_own_poses(tree, tmp_path):
    for folder in tree.folders[:4]:
        folder.file(tree.root, 2).unlink()
    _, files = build(tree, tmp_path)
    found = read_index(files["train"])
    rows = np.flatnonzero((found.action == tree.folders[0].action) & (found.camera == 1))
    assert found.frame[rows].tolist() == [1, 3, 4]
    expected = poses(1, tree.folders[0].action, 1, 4)[[0, 2, 3]]
    np.testing.assert_allclose(found.joints_world_mm[found.instant[rows]], expected, atol=1e-3)
    assert found.counts["1"]["excluded_frames"] == 4


def test_a_split_without_frames_is_an_error_that_names_it(tree, tmp_path):
    for folder in tree.folders:
        if folder.subject == 9:
            (tree.root / folder.name / META).unlink()
    with pytest.raises(UserError, match=r"(?s)split\.test.*s_09"):
        build(tree, tmp_path)


def test_another_format_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="gone"):
        read_index(tmp_path / "gone.h5")
    with create_h5(tmp_path / "other.h5", format_name="other"):
        pass
    with pytest.raises(DataError, match=r"posemill\.index"):
        read_index(tmp_path / "other.h5")
    with create_h5(tmp_path / "short.h5", format_name="posemill.index", version=VERSION):
        pass
    with pytest.raises(DataError, match="lacks"):
        read_index(tmp_path / "short.h5")


def test_poses_in_metres_do_not_pass_the_check(tree, tmp_path):
    settings, _ = build(tree, tmp_path)
    with pytest.raises(DataError, match="mm"):
        check.check_poses(poses(1, 2, 1, 4) / 1000, tmp_path, "joints")
    swapped = poses(1, 2, 1, 4)
    swapped[:, [5, 12]] = swapped[:, [12, 5]]
    with pytest.raises(DataError, match="mirror"):
        check.check_poses(swapped, tmp_path, "joints")
    with pytest.raises(UserError, match="nonsense"):
        check.run(settings, what="nonsense", files=[], against=[], output=tmp_path / "check.json")
