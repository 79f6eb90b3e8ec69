"""Damaged, hostile and incomplete official sources: one clear reason each, and the rest goes on."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import signal
import tarfile

import numpy as np
import pytest

from codebase.data.doors.folder_writer import FolderWriter
from codebase.data.human36m import MASK_SUFFIX, list_frames, parse_folder, read_frame, read_meta
from codebase.errors import UserError
from codebase.paths import Paths
from tests.official.runs import folder_of, make_config, reasons, run
from tests.official.writer import (
    CAMERA_NAMES,
    number_of,
    pack,
    write_cdf,
    write_masks,
    write_metadata,
    write_official,
    write_video,
)

FRAMES = 30
FIRST = folder_of(1, 2, 1, 1)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """S11 stands in for the real one with the known flaw."""
    return write_official(tmp_path_factory.mktemp("filmed"), subjects=(1, 11), cameras=(1, 2), frames=FRAMES, size=96)


@pytest.fixture
def official(filmed, tmp_path):
    """A copy that a test may spoil."""
    root = shutil.copytree(filmed.root, tmp_path / "source")
    return type(filmed)(root, filmed.lenses, filmed.takes)


def configured(source, tmp_path, **sections):
    sections["dataset"] = {"subjects": (1, 11, 9), "cameras": (1, 2)} | sections.get("dataset", {})
    return make_config(source, tmp_path / "results", subjects=(1, 11, 9), **sections)


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def only_left_out(content, name, *words, kind="folder"):
    """That one thing is left out, with these words in its reason, and everything else is there."""
    found = reasons(content, kind)
    assert list(found) == [name]
    assert all(word in found[name] for word in words), found[name]
    expected = 4 - (kind == "folder")
    assert len(content["folders"]) == expected


def spoil_size(path):
    write_video(path, [np.zeros((64, 64, 3), np.uint8)] * FRAMES)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b""), ["no readable video"]),
        (lambda path: path.write_bytes(b"no video at all"), ["no readable video"]),
        (cut, ["no readable video"]),
        (lambda path: path.unlink(), ["Videos/", "not in the source"]),
        (spoil_size, ["64 x 64"]),
    ],
    ids=["empty", "no video", "cut short", "missing", "another size"],
)
@pytest.mark.parametrize("subject", [1, 11])
def test_a_video_that_cannot_be_used(official, tmp_path, subject, spoil, words):
    spoil(official.video(subject, 2, 2, 1))
    content = run(configured(official.root, tmp_path), subject)
    flaw = ["known flaw of Human3.6M: S11 Directions"] if subject == 11 else []
    only_left_out(content, folder_of(subject, 2, 2, 1), *words, *flaw)


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b""), cut], ids=["empty", "cut short"])
def test_poses_that_cannot_be_used(official, tmp_path, spoil):
    spoil(official.poses(1, 2, 1))
    content = run(configured(official.root, tmp_path))
    assert set(reasons(content)) == {folder_of(1, 2, 1, camera) for camera in (1, 2)}
    assert all("CDF" in reason or "Pose" in reason for reason in reasons(content).values())


@pytest.mark.parametrize(
    ("spoil", "words", "count"),
    [
        (lambda path: path.write_bytes(b""), "no readable MATLAB", FRAMES),
        (cut, "no readable MATLAB", FRAMES),
        (lambda path: path.unlink(), "no masks of this video", FRAMES),
        (lambda path: write_masks(path, [np.ones((98, 96), bool)] * 20), "there are 20", FRAMES - 20),
        (lambda path: write_masks(path, [np.ones((50, 96), bool)] * FRAMES), "96 x 50 pixels", FRAMES),
    ],
    ids=["empty", "cut short", "missing", "too few", "another size"],
)
def test_frames_stay_where_masks_cannot_be_used(official, tmp_path, spoil, words, count):
    spoil(official.masks(1, 2, 1, 1))
    content = run(configured(official.root, tmp_path))
    only_left_out(content, FIRST, words, kind="mask")
    assert content["counts"]["left_out_masks"] == count
    assert content["folders"][FIRST]["frames"] == FRAMES


def test_one_unreadable_mask_costs_that_mask(official, tmp_path):
    masks = [np.ones((98, 96), np.uint8)] * FRAMES
    masks[4] = np.full((98, 96), 9, np.uint8)
    write_masks(official.masks(1, 2, 1, 1), masks)
    config = configured(official.root, tmp_path)
    only_left_out(run(config), FIRST, "unreadable: 5", kind="mask")
    expected = [number for number in range(1, FRAMES + 1) if number != 5]
    assert list_frames(Paths(config).dataset / FIRST, FIRST, MASK_SUFFIX).tolist() == expected


def test_fewer_poses_than_frames(official, tmp_path):
    write_cdf(official.poses(1, 2, 1), official.takes[1, 2, 1].joints32_mm[:21])
    config = configured(official.root, tmp_path)
    content = run(config)
    lost = reasons(content, "frame")
    assert set(lost) == {folder_of(1, 2, 1, camera) for camera in (1, 2)}
    assert "no pose for these frames (there are 21): 22, 23" in lost[FIRST]
    assert content["counts"]["left_out_frames"] == 2 * 9
    assert content["facts"]["frames_with_pose"] == {"found": 4 * FRAMES - 18, "published": None}
    assert list_frames(Paths(config).dataset / FIRST, FIRST).tolist() == list(range(1, 22))


def test_fewer_frames_than_metadata_says(official, tmp_path):
    take = official.takes[1, 2, 1]
    write_video(official.video(1, 2, 1, 1), take.frames[1][:23])
    config = configured(official.root, tmp_path)
    content = run(config)
    only_left_out(content, FIRST, "ends after 23 of 30 frames: 24, 25", kind="frame")
    assert content["counts"]["left_out_frames"] == 7
    (difference,) = content["facts"]["frame_count_differences"]
    assert "23 frames, metadata.xml says 30" in difference
    meta = read_meta(Paths(config).dataset / FIRST)
    np.testing.assert_allclose(meta.pose3d_world_mm, take.joints_mm[:23], atol=1e-3)


def test_a_video_that_breaks_off_keeps_the_frames_before(official, tmp_path):
    path = official.video(1, 2, 1, 1)
    write_video(path, official.takes[1, 2, 1].frames[1], front=True)
    cut(path, 0.7)
    config = configured(official.root, tmp_path)
    content = run(config)
    (lost,) = reasons(content, "frame").values()
    assert "of 30 frames" in lost or "damaged" in lost
    kept = list_frames(Paths(config).dataset / FIRST, FIRST)
    assert 5 < len(kept) < FRAMES
    assert content["counts"]["left_out_frames"] == FRAMES - len(kept)
    for number in kept.tolist():
        assert number_of(read_frame(parse_folder(FIRST).file(Paths(config).dataset, number))) == number


def test_a_jump_in_time_ends_a_video_whose_count_is_wrong_too(official, tmp_path):
    frames = official.takes[1, 2, 1].frames[1]
    stamps = [index for index in range(FRAMES) if index not in (11, 12, 13)]
    write_video(official.video(1, 2, 1, 1), [frames[index] for index in stamps], stamps=stamps)
    write_video(official.video(1, 2, 1, 2), official.takes[1, 2, 1].frames[2], stamps=[*range(9), *range(12, 33)])
    config = configured(official.root, tmp_path)
    content = run(config)
    assert "time stamps jump after frame 11" in str(reasons(content, "frame"))
    assert list_frames(Paths(config).dataset / FIRST, FIRST).tolist() == list(range(1, 12))
    assert content["counts"]["left_out_frames"] == FRAMES - 11
    assert content["folders"][folder_of(1, 2, 1, 2)]["frames"] == FRAMES  # all are there, whatever the clock said


def test_a_wrong_camera_leaves_its_folders_out(official, tmp_path):
    wrong = dict(official.lenses)
    wrong[1, 1], wrong[1, 2] = (
        type(lens)(other.R, other.T_mm, lens.f_px, lens.c_px, lens.k, lens.p, lens.width, lens.height)
        for lens, other in ((wrong[1, 1], wrong[1, 2]), (wrong[1, 2], wrong[1, 1]))
    )
    write_metadata(type(official)(official.root, wrong, official.takes), official.root / "metadata.xml")
    content = run(configured(official.root, tmp_path))
    assert content["folders"] == {}
    assert all("camera or joint order wrong" in reason for reason in reasons(content).values())
    assert list(run(configured(official.root, tmp_path), 11)["folders"]), "the other subject's cameras are right"


def test_a_broken_file_of_projected_poses_costs_only_the_check(official, tmp_path):
    cut(official.poses(1, 2, 1, "D2_Positions", 1))
    official.poses(1, 2, 1, "D2_Positions", 2).unlink()
    folders = run(configured(official.root, tmp_path))["folders"]
    assert "CDF" in folders[FIRST]["notes"]["unchecked"]
    assert not {"unchecked", "projection_gap_px"} & set(folders[folder_of(1, 2, 1, 2)]["notes"])
    assert folders[folder_of(1, 2, 2, 1)]["notes"]["projection_gap_px"] < 1e-3


def test_missing_metadata_is_one_message_for_the_user(official, tmp_path):
    (official.root / "metadata.xml").unlink()
    with pytest.raises(UserError, match=r"(?s)metadata\.xml is not in the source.*docs/datasets\.md"):
        run(configured(official.root, tmp_path))


def evil(name, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


EVIL = {
    "../S1/Videos/a.mp4": "leads outside", "S1/Videos/../../../../evil.mp4": "leads outside",
    "/S1/Videos/a.mp4": "leads outside", "S1/Videos/link.mp4": "link", "S1/Videos/hard.mp4": "link",
    "S1/Videos/device.mp4": "no regular file", "S1/Videos/pipe.mp4": "no regular file",
    "S1\\Videos\\a.mp4": "leads outside",
}  # fmt: skip
TYPES = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}


def test_hostile_members_of_archives_are_refused_and_named(official, tmp_path):
    (tmp_path / "victim").write_text("whole")
    pack(official, tmp_path / "archives")
    shutil.copy(official.root / "metadata.xml", tmp_path / "archives")
    target = tmp_path / "archives/Videos_S1.tgz"
    with tarfile.open(target, "w:gz") as tar:
        for name in EVIL:
            kind = TYPES.get(name.rpartition("/")[2].removesuffix(".mp4"), tarfile.REGTYPE)
            member = evil(name, kind, str(tmp_path / "victim") if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "")
            member.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"evil"))
        tar.add(official.root / "S1/Videos", arcname="S1/Videos")
        # a link under the name of a wanted video, behind the true one
        tar.addfile(evil(f"S1/Videos/{official.video(1, 2, 1, 1).name}", tarfile.SYMTYPE, str(tmp_path / "victim")))
    before = {path for path in tmp_path.rglob("*") if (tmp_path / "results") not in path.parents}
    content = run(configured(tmp_path / "archives", tmp_path))
    assert len(content["folders"]) == 4
    refused = content["facts"]["troubles"]
    for name, reason in EVIL.items():
        assert any(repr(name) in line and reason in line for line in refused), name
    assert {p for p in tmp_path.rglob("*") if (tmp_path / "results") not in p.parents} == before | {
        tmp_path / "results"
    }
    assert (tmp_path / "victim").read_text() == "whole"
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_symlink() or "evil" in path.name]


def test_an_archive_with_nothing_but_hostile_members(official, tmp_path):
    (tmp_path / "archives").mkdir()
    shutil.copy(official.root / "metadata.xml", tmp_path / "archives")
    with tarfile.open(tmp_path / "archives/Videos_S1.tgz", "w:gz") as tar:
        tar.addfile(evil("S1/Videos/a.mp4", tarfile.SYMTYPE, "/etc/passwd"))
    content = run(configured(tmp_path / "archives", tmp_path))
    assert content["folders"] == {}
    assert "it is a link" in str(content["facts"]["troubles"])
    assert all("it is a link" in reason for reason in reasons(content).values())


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00" + bytes(30)])
def test_an_archive_that_is_none_is_named(official, tmp_path, content):
    pack(official, tmp_path / "archives")
    shutil.copy(official.root / "metadata.xml", tmp_path / "archives")
    (tmp_path / "archives/Videos_S1.tgz").write_bytes(content)
    found = run(configured(tmp_path / "archives", tmp_path))
    assert found["folders"] == {}
    assert all("Videos_S1.tgz is unreadable" in reason for reason in reasons(found).values())
    assert len(run(configured(tmp_path / "archives", tmp_path), 11)["folders"]) == 4


def test_an_archive_that_is_cut_short_gives_what_it_has(official, tmp_path):
    pack(official, tmp_path / "archives")
    shutil.copy(official.root / "metadata.xml", tmp_path / "archives")
    cut(tmp_path / "archives/Videos_S1.tgz", 0.6)
    config = configured(tmp_path / "archives", tmp_path)
    content = run(config)
    assert 1 <= len(content["folders"]) < 4
    assert len(content["folders"]) + content["counts"]["left_out_folders"] == 4
    assert all("Videos_S1.tgz is broken" in reason for reason in reasons(content).values())
    # the whole archive: only what was missing is made
    pack(official, tmp_path / "archives")
    assert len(run(config)["folders"]) == 4


def _killed(config, frames):
    written = FolderWriter.frame

    def frame(self, number, image):
        nonlocal frames
        frames -= 1
        if frames < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        written(self, number, image)

    FolderWriter.frame = frame
    run(config)


@pytest.mark.parametrize("frames", [0, 7, FRAMES - 1, FRAMES, 2 * FRAMES + 5])
def test_a_killed_run_leaves_no_half_folder_and_goes_on(official, tmp_path, frames):
    config = configured(official.root, tmp_path)
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(config, frames))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    root = Paths(config).dataset
    there = sorted(path.name for path in root.glob("s_*"))
    assert len(there) == frames // FRAMES
    assert all(len(list_frames(root / name, name)) == FRAMES for name in there)
    assert not Paths(config).extracted(1).exists()
    before = {path: path.stat().st_mtime_ns for path in root.glob("s_*/*")}
    content = run(config)
    assert content["counts"]["frames"] == 4 * FRAMES
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(root.glob("extracted/.S1/half/*"))


def test_left_out_folders_are_tried_again_and_old_ones_do_not_stay(official, tmp_path):
    config = configured(official.root, tmp_path)
    good = official.video(1, 2, 1, 1).read_bytes()
    assert len(run(config)["folders"]) == 4
    official.video(1, 2, 1, 1).write_bytes(good[: len(good) // 2])
    only_left_out(run(config), FIRST, "no readable video")
    assert not (Paths(config).dataset / FIRST).exists(), "frames of a video that is no longer usable"
    official.video(1, 2, 1, 1).write_bytes(good)
    assert len(run(config)["folders"]) == 4


def test_a_link_that_leads_nowhere_is_named(official, tmp_path):
    path = official.video(1, 2, 1, 1)
    path.unlink()
    path.symlink_to(tmp_path / "gone.mp4")
    content = run(configured(official.root, tmp_path))
    only_left_out(content, FIRST, "not in the source", f"{path.name} is no file")


def test_poses_that_an_archive_lacks_cost_their_sequence(official, tmp_path):
    official.poses(1, 2, 1).unlink()
    pack(official, tmp_path / "archives")
    shutil.copy(official.root / "metadata.xml", tmp_path / "archives")
    (tmp_path / "archives/Poses_D3_Positions_mono_S1.tgz").unlink()
    content = run(configured(tmp_path / "archives", tmp_path))
    assert set(reasons(content)) == {folder_of(1, 2, 1, camera) for camera in (1, 2)}
    assert all("D3_Positions/" in reason for reason in reasons(content).values())
    assert len(content["folders"]) == 2


def test_camera_names_are_the_files(official):
    assert official.video(1, 2, 1, 2).name.endswith(f".{CAMERA_NAMES[1]}.mp4")
