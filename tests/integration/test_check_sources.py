"""check-data on sources that are no dataset tree: told apart by names and content, the expected beside the found."""

from __future__ import annotations

import json
import shutil

import pytest

from codebase import cli
from tests.doors.packagings import write_course, write_fetch, write_videopose3d
from tests.official.writer import pack, write_official


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return write_official(tmp_path_factory.mktemp("official") / "official", subjects=(1,), frames=6, size=64)


def check(root, tmp_path, *more):
    file = tmp_path / "found.json"
    code = cli.main(["check-data", str(root), "--workers", "1", "--json", str(file), *map(str, more)])
    return code, json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture
def expected(tmp_path):
    """A config that asks for what the official files hold."""
    path = tmp_path / "run.yaml"
    path.write_text(
        "{name: a, dataset: {kind: extract, subjects: [1, 8, 9], acts: [2], subacts: [1, 2]}, extract: {source: x},"
        " split: {train: {subjects: [1]}, val: {subjects: [8]}, test: {subjects: [9]}},"
        " pose: {label_subjects: [1]}, smpl: {label_subjects: [1]}}",
        encoding="utf-8",
    )
    return ("--config", path)


def states(found):
    return {row[1].strip("|-` "): row[2] for row in found["rows"]}


def test_the_extracted_official_tree(official, tmp_path, expected):
    code, found = check(official.root, tmp_path, *expected)
    assert (code, found["kind"], found["door"]) == (0, "official", "official")
    assert {"Videos  8", "D3_Positions  2", "ground_truth_bs  8"} <= states(found).keys()
    assert "bad" not in states(found).values()
    assert found["missing"] == ["S8: nothing of it is there", "S9: nothing of it is there"]


def test_archives_under_any_name(official, tmp_path, capsys):
    for plain in (False, True):
        folder = tmp_path / str(plain)
        pack(official, folder, plain_names=plain)
        shutil.copy(official.root / "metadata.xml", folder)
        code, found = check(folder, tmp_path)
        assert (code, found["kind"]) == (0, "archives")
        assert not found["missing"]
        assert "in archive" in " ".join(states(found))
    (folder / "metadata.xml").unlink()
    assert check(folder, tmp_path)[0] == 2
    assert capsys.readouterr().err.count("error:") == 1


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


DAMAGE = {
    "video": (lambda o: _cut(o.video(1, 2, 1, 1)), "the video is cut short"),
    "empty video": (lambda o: o.video(1, 2, 1, 1).write_bytes(b""), "no readable mp4"),
    "poses": (lambda o: _cut(o.poses(1, 2, 1)), "D3_Positions/"),
    "masks": (lambda o: _cut(o.masks(1, 2, 1, 2)), "ground_truth_bs/"),
    "missing video": (lambda o: o.video(1, 2, 2, 3).unlink(), "1 of 8 files of Videos"),
    "metadata": (lambda o: _cut(o.root / "metadata.xml"), "metadata.xml"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_official_files_are_named(name, official, tmp_path, expected):
    breaks, words = DAMAGE[name]
    copy = type(official)(shutil.copytree(official.root, tmp_path / "official"), official.lenses, official.takes)
    breaks(copy)
    code, found = check(copy.root, tmp_path, *expected)
    assert code == (2 if name == "metadata" else 0)
    assert any(words in line for line in found["missing"]), found["missing"]


def test_other_packagings(official, tmp_path):
    fetch = write_fetch(official, tmp_path / "fetch", frames=(1, 4, 5))
    write_videopose3d(official, tmp_path / "data_3d_h36m.npz")
    vp = tmp_path / "vp"
    vp.mkdir()
    shutil.move(tmp_path / "data_3d_h36m.npz", vp)
    course = write_course(official, tmp_path / "course")
    for root, kind in ((fetch, "h36m_fetch"), (vp, "videopose3d"), (course, "course")):
        code, found = check(root, tmp_path)
        assert (code, found["kind"]) == (0, kind)
    annotated = next(fetch.rglob("annot.h5"))
    annotated.write_bytes(annotated.read_bytes()[:100])
    assert any("annot.h5" in line for line in check(fetch, tmp_path)[1]["missing"])
    npz = next(course.rglob("*.npz"))
    npz.write_bytes(b"")
    assert any(npz.name in line for line in check(course, tmp_path)[1]["missing"])
    (vp / "data_3d_h36m.npz").write_bytes(b"PK")
    assert check(vp, tmp_path)[0] == 2


def test_a_rig(tmp_path, capsys):
    rig = {
        "cameras": [
            {"name": n, "size": [8, 8], "K": [[9, 0, 4], [0, 9, 4], [0, 0, 1]], "R": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
             "t": [t, 0, 0]} for n, t in (("a", 0), ("b", 9))
        ],
        "sequences": [{"subject": 1, "act": 2, "views": {n: {"images": f"{n}/%06d.png"} for n in "ab"}}],
    }  # fmt: skip
    for name, count in (("a", 3), ("b", 2)):
        (tmp_path / "rig" / name).mkdir(parents=True)
        for frame in range(1, count + 1):
            (tmp_path / "rig" / name / f"{frame:06d}.png").write_bytes(b"x")
    for place in ("", "S1"):
        folder = tmp_path / "rig" / place
        folder.mkdir(exist_ok=True)
        if place:
            for name in "ab":
                shutil.move(tmp_path / "rig" / name, folder / name)
            (tmp_path / "rig/rig.json").unlink()
        (folder / "rig.json").write_text(json.dumps(rig))
        code, found = check(tmp_path / "rig", tmp_path)
        assert (code, found["kind"]) == (0, "rig")
        assert found["usable"]
        assert any("1 pictures fewer" in line for line in found["missing"])
    (folder / "rig.json").write_text("{")
    assert check(tmp_path / "rig", tmp_path)[0] == 2
    assert "Traceback" not in capsys.readouterr().err
