"""The parts of the official door, each on files that fit and on files that do not: metadata, poses, masks, videos."""

from __future__ import annotations

import re
import string

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from codebase.data.doors.official.masks import fit, open_masks
from codebase.data.doors.official.metadata import OfficialCamera, read_metadata, rotation
from codebase.data.doors.official.poses import camera_to_world, check_projection, read_poses
from codebase.data.doors.official.sources import SUFFIXES, Item, parse
from codebase.data.doors.official.video import survey
from codebase.errors import DataError
from codebase.geometry import project, world_to_camera
from tests.official.writer import (
    PLACES,
    Lens,
    Official,
    file_prefix,
    number_of,
    stamped,
    write_cdf,
    write_masks,
    write_metadata,
    write_video,
)

ANGLES = st.floats(-3.1, 3.1)
SMALL = st.floats(-0.3, 0.3)


@st.composite
def lenses(draw):
    """A camera about 5 m from the middle of a room that it looks at, with any roll."""
    away = Rotation.from_euler("zx", [draw(ANGLES), draw(st.floats(1.2, 1.9))])
    R = (away * Rotation.from_euler("z", draw(ANGLES))).as_matrix().T
    T_mm = np.array([0, 0, 900.0]) - 5000 * R[2]
    f, c = (np.array([draw(st.floats(low, high)) for _ in range(2)]) for low, high in ((900, 1300), (450, 550)))
    k = np.array([draw(SMALL) for _ in range(3)])
    p = np.array([draw(st.floats(-0.003, 0.003)) for _ in range(2)])
    return Lens(R, T_mm, f, c, k, p, draw(st.integers(100, 2000)), draw(st.integers(100, 2000)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@given(st.lists(lenses(), min_size=4, max_size=4), st.integers(1, 11))
def test_cameras_of_w0_project_as_they_filmed(folder, filmed, subject):
    official = Official(folder, {(subject, number): lens for number, lens in enumerate(filmed, start=1)})
    write_metadata(official, folder / "metadata.xml")
    cameras = read_metadata(folder / "metadata.xml").cameras
    room = np.random.default_rng(subject).uniform([-900, -900, 0], [900, 900, 1800], (40, 3))
    for number, lens in enumerate(filmed, start=1):
        found = cameras[subject, number]
        pixels = project(world_to_camera(room, found.R, found.T_mm), found.f_px, found.c_px, found.distortion)
        np.testing.assert_allclose(pixels, lens.project(room), atol=1e-3)
        assert (found.width, found.height) == (lens.width, lens.height)


@given(ANGLES, ANGLES, ANGLES)
def test_the_angles_are_those_of_turns_about_x_then_y_then_z(a, b, c):
    expected = Rotation.from_euler("XYZ", [a, b, c]).as_matrix()
    np.testing.assert_allclose(rotation(np.array([a, b, c])), expected, atol=1e-12)


def test_sequences_are_found_by_the_table(folder):
    write_metadata(Official(folder), folder / "metadata.xml")
    found = read_metadata(folder / "metadata.xml")
    assert len(found.prefixes) == 11 * 32
    for (subject, action, subaction), prefix in found.prefixes.items():
        assert prefix == file_prefix(subject, action, subaction)
    assert found.camera_names == {1: "54138969", 2: "55011271", 3: "58860488", 4: "60457274"}
    assert found.frames[5, 2, 1] == (7, 7, 7, 7)
    assert found.poses[5, 2, 1] == 28


def spoiled(text, what):
    return {
        "empty": "", "cut short": text[: len(text) // 2], "another XML": "<a><b/></a>",
        "w0 too short": re.sub(r"<w0>\[\S+ ", "<w0>[", text), "w0 of words": re.sub(r"<w0>\[\S+ ", "<w0>[one ", text),
        "w0 not finite": re.sub(r"<w0>\[\S+ ", "<w0>[nan ", text), "no w0": re.sub("<w0>.*</w0>", "", text),
        "no cameras": text.replace("dbcameras", "cameras"), "a column too few": text.replace("<td>S11</td>", "", 1),
        "a column of another name": text.replace("<td>S11</td>", "<td>Andrei</td>", 1),
        "no sizes": re.sub(r"<td>\[\d+ \d+;.*?</td>", "<td />", text),
        "sizes of three cameras": re.sub(r"(<td>\[\d+ \d+);\d+ \d+", r"\1", text),
        "entities": text.replace("<a>", '<!DOCTYPE a [<!ENTITY x "y">]><a>', 1),
    }[what]  # fmt: skip


@pytest.mark.parametrize(
    "what",
    ["empty", "cut short", "another XML", "w0 too short", "w0 of words", "w0 not finite", "no w0", "no cameras",
     "a column too few", "a column of another name", "no sizes", "sizes of three cameras", "entities"],
)  # fmt: skip
def test_metadata_that_does_not_fit_is_refused_with_the_file(tmp_path, what):
    path = tmp_path / "metadata.xml"
    write_metadata(Official(tmp_path), path)
    good = path.read_text()
    path.write_text(spoiled(good, what))
    assert path.read_text() != good
    with pytest.raises(DataError, match=r"metadata\.xml"):
        read_metadata(path)


def test_missing_metadata_says_where_it_comes_from(tmp_path):
    with pytest.raises(DataError, match=r"docs/datasets\.md"):
        read_metadata(tmp_path / "metadata.xml")


@given(arrays(np.float32, (3, 32, 3), elements=st.floats(-5000, 5000, width=32)))
def test_17_joints_stand_at_their_places_among_32(folder, joints):
    write_cdf(folder / "pose.cdf", joints)
    np.testing.assert_array_equal(read_poses(folder / "pose.cdf", size=3), joints[:, PLACES])
    write_cdf(folder / "pose.cdf", joints[..., :2])
    np.testing.assert_array_equal(read_poses(folder / "pose.cdf", size=2), joints[:, PLACES, :2])


def test_poses_that_do_not_fit_are_refused_with_the_file(tmp_path):
    path = tmp_path / "pose.cdf"
    joints = np.random.default_rng(0).normal(0, 1000, (20, 32, 3))
    write_cdf(path, joints)
    good = path.read_bytes()
    with pytest.raises(DataError, match=r"1, frames, 64.*", check=lambda error: "pose.cdf" in str(error)):
        read_poses(path, size=2)
    for content in (b"", b"no CDF", good[:40], good[: len(good) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"pose\.cdf"):
            read_poses(path, size=3)
    write_cdf(path, joints, variable="Other")
    with pytest.raises(DataError, match="Pose"):
        read_poses(path, size=3)
    with pytest.raises(DataError, match="does not exist"):
        read_poses(tmp_path / "gone.cdf", size=3)


def official_camera(lens):
    distortion = np.array([lens.k[0], lens.k[1], lens.p[0], lens.p[1], lens.k[2]])
    return OfficialCamera(lens.R, lens.T_mm, lens.f_px, lens.c_px, distortion, lens.width, lens.height)


@given(lenses(), lenses())
def test_a_wrong_camera_or_order_of_joints_is_seen(lens, other):
    camera = official_camera(lens)
    joints = np.random.default_rng(1).uniform([-800, -800, 0], [800, 800, 1800], (6, 17, 3))
    pixels = lens.project(joints)
    assert check_projection(joints, pixels, camera) < 1e-3
    np.testing.assert_allclose(camera_to_world((joints - lens.T_mm) @ lens.R.T, camera), joints, atol=1e-8)
    with pytest.raises(DataError, match="camera or joint order wrong"):
        check_projection(joints[:, ::-1], pixels, camera)
    if np.abs(other.R - lens.R).max() > 0.1:
        with pytest.raises(DataError, match="camera or joint order wrong"):
            check_projection(joints, pixels, official_camera(other))
    # joints that nobody knows are not compared
    joints[2, 5] = np.nan
    assert check_projection(joints, pixels, camera) < 1e-3


@given(st.integers(1, 6), st.integers(3, 30), st.integers(3, 30), st.integers(0, 2**32 - 1))
def test_masks_come_back_upright_and_in_order(folder, count, height, width, seed):
    masks = list(np.random.default_rng(seed).random((count, height, width)) < 0.5)
    write_masks(folder / "masks.mat", masks)
    with open_masks(folder / "masks.mat") as found:
        assert len(found) == count
        for number, mask in enumerate(masks, start=1):
            np.testing.assert_array_equal(found.read(number), mask)


def test_masks_that_do_not_fit_are_refused_with_the_file(tmp_path):
    path = tmp_path / "masks.mat"
    write_masks(path, list(np.random.default_rng(0).random((5, 60, 50)) < 0.5))
    good = path.read_bytes()
    for content in (b"", b"no HDF5", good[:600], good[: len(good) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"masks\.mat"), open_masks(path) as masks:
            masks.read(5)
    with h5py.File(path, "w") as file:
        file["Masks"] = np.zeros((5, 50, 60), np.uint8)
    with pytest.raises(DataError, match="cell array"), open_masks(path):
        pass
    with h5py.File(path, "w") as file:
        file["#refs#/a"] = np.full((4, 4), 7, np.uint8)
        cells = file.create_dataset("Masks", (2, 1), h5py.ref_dtype)
        cells[0, 0] = file["#refs#/a"].ref
    with open_masks(path) as masks:
        with pytest.raises(DataError, match="0 and 1"):
            masks.read(1)
        with pytest.raises(DataError, match="frame 2"):
            masks.read(2)


def test_a_mask_two_rows_short_keeps_its_place(tmp_path):
    mask = np.ones((1000, 1000), bool)
    fitted = fit(mask, 1002, 1000)
    assert fitted[:1000].all()
    assert not fitted[1000:].any()
    assert fit(np.ones((1002, 1000), bool), 1000, 1000).shape == (1000, 1000)
    assert fit(mask, 500, 500) is None


def pictures(count, side=96):
    """Grey noise that drifts, with numbers: frames that differ, and that a codec has to predict."""
    rng = np.random.default_rng(count)
    base = rng.integers(40, 215, (side, side + count, 3), dtype=np.uint8)
    return [stamped(base[:, i : i + side], i + 1) for i in range(count)]


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("every", [1, 3, 7])
@pytest.mark.parametrize("threads", [1, 2])
def test_frames_have_their_numbers(tmp_path, front, every, threads):
    write_video(tmp_path / "v.mp4", pictures(31), front=front)
    video = survey(tmp_path / "v.mp4")
    assert (len(video), video.announced, video.gap, video.width, video.height) == (31, 31, 0, 96, 96)
    found = [(number, number_of(image)) for number, image in video.frames(every=every, threads=threads)]
    assert found == [(number, number) for number in range(1, 32, every)]
    assert video.damage == ""
    assert [number for number, _ in video.frames(every=every, stop=8)] == list(range(1, 9, every))
    assert video.damage == ""


@pytest.mark.parametrize(("codec", "container"), [("mpeg4", "mp4"), ("mpeg4", "avi"), ("libx264", "h264")])
def test_other_codecs_and_containers_keep_the_numbers(tmp_path, codec, container):
    path = tmp_path / "v.mp4"
    write_video(path, pictures(31), codec=codec, container=container)
    video = survey(path)
    assert (len(video), video.timed, video.gap) == (31, container != "h264", 0)
    for stop in (None, 9):
        found = [(number, number_of(image)) for number, image in video.frames(every=2, stop=stop)]
        assert found == [(number, number) for number in range(1, (stop or 31) + 1, 2)]
        assert video.damage == ""


def test_lost_frames_without_time_stamps_make_all_numbers_unsure(tmp_path):
    write_video(tmp_path / "v.mp4", pictures(31), container="h264")
    video = survey(tmp_path / "v.mp4")
    video.stamps.append(31)  # as if one packet more had gone in than frames come out
    with pytest.raises(DataError, match="31 of 32 frames"):
        list(video.frames(every=5))


def test_a_broken_video_ends_where_it_breaks(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, pictures(60), front=True)
    good = path.read_bytes()
    for content in (good[: len(good) * 2 // 3], good[: len(good) // 2] + bytes(3000) + good[len(good) // 2 + 3000 :]):
        path.write_bytes(content)
        video = survey(path)
        assert video.announced == 60
        found = [(number, number_of(image)) for number, image in video.frames(every=1)]
        assert 10 < len(found) < 60
        assert all(number == seen for number, seen in found)
        assert "cannot be decoded" in video.damage
        assert f"frame {len(found) + 1} " in video.damage


def test_what_is_no_video_is_refused_with_the_file(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, pictures(30))
    good = path.read_bytes()
    for content in (b"", b"no video", good[: len(good) // 2]):  # whose table of frames stood at the end
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"v\.mp4"):
            survey(path)


def test_a_jump_in_time_is_seen(tmp_path):
    write_video(tmp_path / "v.mp4", pictures(20), stamps=[*range(9), *range(12, 23)])
    video = survey(tmp_path / "v.mp4")
    assert (len(video), video.gap) == (20, 9)


@given(
    st.integers(1, 11), st.sampled_from(sorted(SUFFIXES)),
    st.text(string.ascii_letters + " 123_", min_size=1).filter(str.strip), st.sampled_from(["", "54138969"]),
)  # fmt: skip
def test_paths_say_what_a_file_is(subject, kind, prefix, camera):
    parents = {"cdf": "MyPoseFeatures/", "mat": "MySegmentsMat/", "mp4": ""}[SUFFIXES[kind]]
    name = f"{prefix}.{camera}" if camera else prefix
    path = f"S{subject}/{parents}{kind}/{name}.{SUFFIXES[kind]}"
    for start in ("", "./", "h36m/", "/data/h36m/extracted/"):
        assert parse(start + path) == (subject, Item(kind, prefix, camera))
    assert parse("X" + path) is None
    assert parse(path + ".part") is None


@pytest.mark.parametrize(
    "path",
    ["", "S1", "S1/Videos", "S1/Videos/a.cdf", "S1/TOF/a.cdf", "S1/MyPoseFeatures/D3_Angles/a.cdf", "SX/Videos/a.mp4"],
)
def test_other_paths_are_not_ours(path):
    assert parse(path) is None
