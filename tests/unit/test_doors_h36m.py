"""Doors of Human3.6M's re-packagings: what independent writers made comes back, broken input is named."""

from __future__ import annotations

import pickle
import shutil

import h5py
import numpy as np
import pytest

from codebase.config import Config
from codebase.data.bodies import bodies_in_im
from codebase.data.doors.align import CameraPoses, place_cameras, rigid
from codebase.data.doors.course_files import _by_order
from codebase.data.doors.folders import thinned
from codebase.data.doors.official import video
from codebase.data.doors.official.door import find_metadata
from codebase.data.doors.plain_npz import read_pickled
from codebase.data.human36m import Folder, list_frames, read_frame, read_meta
from codebase.errors import DataError, UserError
from codebase.geometry import project, world_to_camera
from codebase.paths import Paths
from codebase.stages import check
from tests.doors import packagings
from tests.official.runs import run
from tests.official.writer import number_of, write_official


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return write_official(
        tmp_path_factory.mktemp("official"), subjects=(1, 8), acts=(2, 12), cameras=(1, 2, 4), frames=10
    )


def config_of(folder, source, door, **keys):
    every = keys.get("every", 1)
    return Config.model_validate({
        "name": "run", "results": folder, "backgrounds": {"every": every},
        "dataset": {"kind": "extract", "subjects": (1, 8), "acts": (2, 12), "subacts": (1, 2), "cameras": (1, 2, 4)},
        "split": {"train": {"subjects": (1,), "every": every}, "val": {"subjects": (1,), "every": every},
                  "test": {"subjects": (8,), "every": every}},
        "extract": {"door": door, "source": source, **keys},
    })  # fmt: skip


def reasons(content):
    return " | ".join(f"{item['name']}: {item['reason']}" for item in content["left_out"])


def turned_alike(found, truth):
    """Two sets of points, equal but for one rigid motion."""
    R, shift, misfit = rigid(truth.reshape(-1, 3), found.reshape(-1, 3))
    return R, shift, misfit


class TestFetch:
    @pytest.fixture
    def source(self, official, tmp_path):
        return packagings.write_fetch(official, tmp_path / "fetch")

    def test_with_metadata_the_world_is_the_datasets(self, official, source, tmp_path):
        config = config_of(tmp_path, source, "h36m_fetch", metadata=official.root / "metadata.xml")
        content = run(config)
        assert content["counts"]["folders"] == 2 * 2 * 3
        assert content["counts"]["frames"] == 12 * 4
        root = Paths(config).dataset
        for (subject, act, subact), take in official.takes.items():
            for number in (1, 2, 4) if subject == 1 else ():
                folder, lens = Folder(1, act, subact, number), official.lenses[1, number]
                meta = read_meta(root / folder.name)
                frames = list_frames(root / folder.name, folder.name)
                assert frames.tolist() == [1, 4, 5, 9]
                truth = packagings.world_joints(take)[frames - 1]
                np.testing.assert_allclose(meta.pose3d_world_mm[frames - 1], truth, atol=1e-6)
                assert np.isnan(meta.pose3d_world_mm[[1, 2, 5]]).all()
                points = truth.reshape(-1, 3)
                seen = world_to_camera(points, meta.R, meta.T_mm)
                pixels = project(seen, meta.f_px, meta.c_px, meta.distortion)
                np.testing.assert_allclose(pixels, lens.project(points), atol=1e-3)
                assert (meta.width, meta.height) == (lens.width, lens.height)
                assert number_of(read_frame(folder.file(root, 9))) == 9

    def test_without_metadata_cameras_are_placed_by_poses(self, official, source, tmp_path):
        config = config_of(tmp_path, source, "h36m_fetch")
        content = run(config)
        assert content["counts"]["folders"] == 12
        assert "not Human3.6M's own" in content["facts"]["world"]
        root, found, truth = Paths(config).dataset, [], []
        metas = {n: read_meta(root / Folder(1, 2, 1, n).name) for n in (1, 2, 4)}
        for act, subact in ((2, 1), (2, 2), (12, 1)):
            meta = read_meta(root / Folder(1, act, subact, 1).name)
            found.append(meta.pose3d_world_mm[[0, 3, 4, 8]])
            truth.append(packagings.world_joints(official.takes[1, act, subact])[[0, 3, 4, 8]])
        R, shift, misfit = turned_alike(np.concatenate(found), np.concatenate(truth))
        assert misfit < 1e-6
        for number, meta in metas.items():
            lens = official.lenses[1, number]
            np.testing.assert_allclose(meta.T_mm, R @ lens.T_mm + shift, atol=1e-5)
            np.testing.assert_allclose(meta.R, lens.R @ R.T, atol=1e-8)
        assert (R @ [0, 0, 1])[2] > np.cos(np.deg2rad(10))  # up stays up, nearly

    def test_what_is_broken_is_left_out_by_name(self, official, source, tmp_path):
        home = source / "processed" / "S1"
        (home / "Directions-1" / "annot.h5").write_bytes(b"\x89HDF\r\n\x1a\n and then nothing")
        with h5py.File(home / "Directions-2" / "annot.h5", "r+") as file:
            pose = file["pose/3d"][:]
            pose[1] = np.nan  # the first camera's second frame
            file["pose/3d"][:] = pose
            for name in ("pose/3d", "frame", "camera", "subject", "action", "subaction"):
                values = file[name][:]
                del file[name]
                file[name] = np.concatenate([values, values[:1]])  # a camera's frame a second time
        (home / "Photo-1" / "imageSequence" / "54138969" / "img_000004.jpg").write_bytes(b"")
        shutil.rmtree(home / "Photo-2" / "imageSequence" / "55011271")
        content = run(config_of(tmp_path, source, "h36m_fetch", metadata=official.root / "metadata.xml"))
        text = reasons(content)
        assert "annot.h5: The file is no readable HDF5" in text
        assert "rows of annot.h5 repeat a frame of the same camera" in text
        assert "the file is empty" in text
        assert "no frame of the folder could be read" in text
        assert content["counts"]["folders"] == 12 - 3 - 1

    def test_a_source_without_the_subject_is_one_clear_error(self, source, tmp_path):
        config = config_of(tmp_path, source, "h36m_fetch")
        with pytest.raises(UserError, match="no folder S5"):
            run(config, subject=5)

    def test_masks_come_from_a_tree_or_by_difference(self, official, source, tmp_path):
        content = run(config_of(tmp_path / "a", source, "h36m_fetch", masks="difference"))
        assert content["counts"]["masks"] + content["counts"]["left_out_masks"] == content["counts"]["frames"]
        content = run(config_of(tmp_path / "b", source, "h36m_fetch", masks_root=tmp_path / "nowhere"))
        assert content["counts"]["masks"] == 0
        assert "there is no mask file" in reasons(content)


class TestVideoPose3d:
    def test_a_jpg_tree_comes_back(self, official, tmp_path):
        npz = packagings.write_videopose3d(official, tmp_path / "npz" / "data_3d_h36m.npz")
        frames = packagings.write_jpg_tree(official, tmp_path / "frames")
        config = config_of(
            tmp_path, npz, "videopose3d", frames=frames, metadata=official.root / "metadata.xml", every=3
        )
        content = run(config)
        assert content["counts"]["folders"] == 12
        assert content["counts"]["frames"] == 12 * 4
        self._check(official, Paths(config).dataset, [1, 4, 7, 10])

    def test_official_videos_come_back(self, official, tmp_path, monkeypatch):
        npz = packagings.write_videopose3d(official, tmp_path / "data_3d_h36m.npz")
        config = config_of(tmp_path, npz, "videopose3d", frames=official.root, metadata=official.root / "metadata.xml")
        assert run(config)["counts"]["frames"] == 12 * 10
        self._check(official, Paths(config).dataset, list(range(1, 11)))
        # a second run decodes nothing, not even to learn how large the pictures are
        with monkeypatch.context() as patched:
            patched.setattr(video, "_decoded", None)
            assert run(config)["counts"]["frames"] == 12 * 10

    def _check(self, official, root, frames):
        for (subject, act, subact), take in official.takes.items():
            if subject == 1:
                folder, lens = Folder(1, act, subact, 4), official.lenses[1, 4]
                meta = read_meta(root / folder.name)
                assert list_frames(root / folder.name, folder.name).tolist() == frames
                np.testing.assert_allclose(meta.pose3d_world_mm, packagings.world_joints(take), atol=1e-3)
                np.testing.assert_allclose(meta.R, lens.R, atol=1e-9)
                assert number_of(read_frame(folder.file(root, frames[-1]))) == frames[-1]

    def test_a_pickle_that_would_run_something_runs_nothing(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (exec, (f"open({str(tmp_path / 'was_here')!r}, 'w').close()",))

        np.savez(tmp_path / "evil.npz", positions_3d={"S1": Evil()})
        with pytest.raises(DataError, match=r"asks for builtins\.exec"):
            read_pickled(tmp_path / "evil.npz", "positions_3d")
        assert not (tmp_path / "was_here").exists()

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", pickle.dumps({"S1": 1})])
    def test_a_broken_npz_is_one_clear_error(self, content, tmp_path):
        path = tmp_path / "data_3d_h36m.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match="not read"):
            read_pickled(path, "positions_3d")

    def test_sequences_that_the_npz_lacks_and_longer_videos_are_listed(self, official, tmp_path):
        npz = packagings.write_videopose3d(official, tmp_path / "data_3d_h36m.npz")
        content = read_pickled(npz, "positions_3d")
        first, second = sorted(content["S1"])[:2]
        del content["S1"][first]
        content["S1"][second] = content["S1"][second][:7]
        np.savez(npz, positions_3d=content)
        found = run(
            config_of(tmp_path, npz, "videopose3d", frames=official.root, metadata=official.root / "metadata.xml")
        )
        assert f"has no {first!r}" in reasons(found)
        assert "there are 7 poses, and no more" in reasons(found)
        assert found["counts"]["folders"] == 9

    def test_metadata_is_found_beside_the_npz(self, official, tmp_path):
        npz = packagings.write_videopose3d(official, tmp_path / "data_3d_h36m.npz")
        shutil.copy(official.root / "metadata.xml", tmp_path)
        for source in (npz, tmp_path):
            assert find_metadata(config_of(tmp_path, source, "videopose3d").extract) == tmp_path / "metadata.xml"

    def test_without_metadata_it_says_where_the_cameras_are(self, official, tmp_path):
        npz = packagings.write_videopose3d(official, tmp_path / "data_3d_h36m.npz")
        with pytest.raises(UserError, match=r"metadata\.xml"):
            run(config_of(tmp_path, npz, "videopose3d"))


class TestCourse:
    @pytest.mark.parametrize(("underscores", "digits", "metadata"), [(False, 5, True), (True, 1, False)])
    def test_bodies_come_back_as_joints_and_smpl(self, official, tmp_path, underscores, digits, metadata):
        source = packagings.write_course(official, tmp_path / "course", underscores=underscores, digits=digits)
        keys = {"intrinsics": source / "cameras.json"}
        if metadata and not underscores:
            keys["metadata"] = official.root / "metadata.xml"
        config = config_of(tmp_path, source, "course", **keys)
        content = run(config)
        assert content["counts"]["folders"] == 12
        assert content["counts"]["frames"] == 12 * 10
        root, found, truth = Paths(config).dataset, [], []
        for act in (2, 12):
            by_name = {take.prefix: take for (s, a, _), take in official.takes.items() if (s, a) == (1, act)}
            order = sorted(by_name, key=lambda name: float(name.split(" ")[1]) if " " in name else 1.5)
            for subact, name in enumerate(order, start=1):
                if "metadata" in keys:
                    name = official.takes[1, act, subact].prefix
                meta = read_meta(root / Folder(1, act, subact, 2).name)
                found.append(meta.pose3d_world_mm)
                truth.append(by_name[name].joints_mm)
        R, shift, misfit = turned_alike(np.concatenate(found), np.concatenate(truth))
        assert misfit < 0.05
        if "metadata" in keys:
            np.testing.assert_allclose(R, np.eye(3), atol=1e-5)
        meta, lens = read_meta(root / Folder(1, 2, 1, 4).name), official.lenses[1, 4]
        np.testing.assert_allclose(meta.T_mm, R @ lens.T_mm + shift, atol=0.1)
        np.testing.assert_allclose(meta.distortion, lens.opencv[1])
        self._check_bodies(Paths(config).bodies / "S1.h5", root)

    def test_the_check_takes_frames_without_a_body(self, official, tmp_path):
        source = packagings.write_course(official, tmp_path / "course", test_subjects=(8,))
        (source / "S1" / f"{official.takes[1, 2, 1].prefix}.54138969" / "00003.npz").unlink()
        for number in ("55011271", "60457274"):
            (source / "S1" / f"{official.takes[1, 2, 1].prefix}.{number}" / "00003.npz").unlink()
        config = config_of(tmp_path, source, "course", intrinsics=source / "cameras.json")
        for subject in (1, 8):
            run(config, subject=subject)
        files = [Paths(config).bodies / f"S{subject}.h5" for subject in (1, 8)]
        check.run(config, what="bodies", files=files, against=[], output=tmp_path / "checked.json")
        with h5py.File(files[0], "r+") as file:
            file["act_02_subact_01/pose_rad"][0, 5] = np.nan
        with pytest.raises(UserError, match="not finite"):
            check.run(config, what="bodies", files=files, against=[], output=tmp_path / "checked.json")

    def _check_bodies(self, path, root):
        """The body's joints, out of bodies/S1.h5, stand where the meta file says."""
        import torch

        from codebase.body.model import BodyLayer, load_body
        from tests.official.writer import BODY

        layer = BodyLayer(load_body(BODY))
        with h5py.File(path) as file:
            group = file["act_02_subact_01"]
            frames = np.arange(1, 11)
            keys = {name: np.full(10, value) for name, value in (("subject", 1), ("action", 2), ("subaction", 1))}
            known, bodies = bodies_in_im([path], keys | {"frame": frames}, np.broadcast_to(np.eye(3), (10, 3, 3)))
            assert known.tolist() == list(range(10))
            joints = layer.joints17(
                torch.from_numpy(bodies.betas), torch.from_numpy(bodies.rotmats), torch.from_numpy(group["transl_m"][:])
            )
        meta = read_meta(root / Folder(1, 2, 1, 1).name)
        np.testing.assert_allclose(1000 * joints.numpy(), meta.pose3d_world_mm, atol=0.1)

    def test_test_frames_have_no_body_and_say_so(self, official, tmp_path):
        source = packagings.write_course(official, tmp_path / "course", test_subjects=(8,))
        config = config_of(tmp_path, source, "course", intrinsics=source / "cameras.json")
        content = run(config, subject=8)
        assert content["counts"]["folders"] == 0
        assert "no body (a test frame)" in reasons(content)
        with h5py.File(Paths(config).bodies / "S8.h5") as file:
            assert not [key for key in file if key.startswith("act_")]

    def test_what_is_broken_is_left_out_by_name(self, official, tmp_path):
        source = packagings.write_course(official, tmp_path / "course")
        home = source / "S1"
        name = official.takes[1, 2, 1].prefix
        (home / f"{name}.54138969" / "00003.npz").write_bytes(b"PK broken")
        shutil.copy(home / f"{name}.54138969" / "00004.npz", home / f"{name}.54138969" / "4.npz")
        shutil.copytree(home / f"{name}.55011271", home / f"{name.replace(' ', '_')}_.55011271")
        (home / "Juggling.54138969").mkdir()
        content = run(config_of(tmp_path, source, "course", intrinsics=source / "cameras.json"))
        text = reasons(content)
        assert "the npz cannot be read" in text
        assert "two npz have the same frame number" in text
        assert "no act of Human3.6M has files called 'Juggling'" in text
        assert content["counts"]["folders"] == 12
        assert content["counts"]["frames"] == 12 * 10 - 2

    def test_names_without_the_table_are_numbered_in_order(self):
        found = _by_order({"Directions", "Directions 1", "WalkingDog 2", "WalkingDog", "Discussion 3", "Discussion 2"})
        assert found == {
            "Directions 1": (2, 1), "Directions": (2, 2), "WalkingDog": (15, 1), "WalkingDog 2": (15, 2),
            "Discussion 2": (3, 1), "Discussion 3": (3, 2),
        }  # fmt: skip


def test_cameras_that_share_too_little_or_disagree_are_refused(official):
    take = official.takes[1, 2, 1]
    joints = packagings.world_joints(take)
    seen = {n: packagings.in_camera(joints, official.lenses[1, n]) for n in (1, 2, 4)}
    late = np.roll(seen[2], 4, axis=0) + np.linspace(0, 900, 10)[:, None, None]
    poses = {
        1: CameraPoses(np.arange(10), seen[1]), 2: CameraPoses(np.arange(10), late),
        4: CameraPoses(np.arange(100, 110), seen[4]), 5: CameraPoses(np.zeros(0, int), np.zeros((0, 17, 3))),
    }  # fmt: skip
    found, refused = place_cameras(poses)
    assert set(found) == {1}
    assert set(refused) == {2, 4, 5}
    assert "differ by" in refused[2]
    assert "shares 0 instants" in refused[4]
    assert "no pose" in refused[5]


def test_many_poses_of_every_fifth_frame_still_place_cameras():
    instant = np.concatenate([act * 1_000_000 + 1 + 5 * np.arange(700) for act in range(200, 1700, 50)])
    poses = {1: CameraPoses(instant, np.zeros((len(instant), 17, 3)))}
    poses[2] = CameraPoses(instant[1500:], np.zeros((len(instant) - 1500, 17, 3)))
    kept = {camera: one.instant for camera, one in thinned(poses).items()}
    assert 1000 < len(kept[1]) < 4000
    assert set(kept[2]) == set(kept[1]) & set(instant[1500:])
