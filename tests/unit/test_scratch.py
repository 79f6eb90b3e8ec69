"""Copies on a local disk: whole, shared, renewed, removed when room is needed, and never in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codebase.data import scratch
from tests.small_disk import small_disk

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def forget():
    """What this process uses ends with the test."""
    yield
    while scratch._in_use:
        scratch._in_use.pop().close()


@pytest.fixture
def files(tmp_path):
    made = [tmp_path / "server" / f"S{n}.h5" for n in (1, 5)]
    made[0].parent.mkdir()
    for n, path in enumerate(made):
        path.write_bytes(bytes([n]) * 300_000)
    return made


def test_copies_are_made_once_and_read_from_there(files, tmp_path, caplog):
    assert scratch.near(files, None) == files
    with caplog.at_level("INFO", logger="posemill"):
        first = scratch.near(files, tmp_path / "local")
        second = scratch.near(files, tmp_path / "local")
    assert first == second != files
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in files]
    assert [path.name for path in first] == ["S1.h5", "S5.h5"]
    assert caplog.text.count("copied") == 2


def test_a_changed_source_is_copied_again_and_a_cut_copy_too(files, tmp_path):
    (first, _) = scratch.near(files, tmp_path / "local")
    files[0].write_bytes(b"new" * 100_000)
    os.utime(files[0], ns=(1, 1))
    (second, other) = scratch.near(files, tmp_path / "local")
    assert second.read_bytes() == files[0].read_bytes()
    assert first != second
    other.write_bytes(b"cut")
    assert scratch.near(files, tmp_path / "local")[1].read_bytes() == files[1].read_bytes()
    (other.parent / "proof.json").unlink()  # a copy that was never finished
    other.write_bytes(bytes(300_000))
    assert scratch.near(files, tmp_path / "local")[1].read_bytes() == files[1].read_bytes()


def test_variables_are_replaced_and_an_unset_one_is_a_warning(files, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    assert scratch.near(files, Path("$NODE_DISK"))[0].is_relative_to(tmp_path / "node")
    monkeypatch.delenv("NODE_DISK")
    assert scratch.near(files, Path("$NODE_DISK")) == files
    assert "not set here" in caplog.text


def test_a_place_that_cannot_be_written_is_a_warning(files, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    assert scratch.near(files, tmp_path / "file") == files
    assert "the files are read where they lie" in caplog.text


def test_processes_share_one_copy(files, tmp_path):
    code = (
        "import logging, sys, pathlib; logging.basicConfig(level=20);"
        "from codebase.data.scratch import near; near([pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", code, str(files[0]), str(tmp_path / "local")]
    crowd = [subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[1] for process in crowd]
    assert all(process.returncode == 0 for process in crowd), said
    assert "".join(said).count("copied") == 1


def test_unused_copies_make_room_and_used_ones_stay(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(scratch, "SPARE", 1 << 20)
    server = tmp_path / "server"
    server.mkdir()
    files = [server / f"S{n}.h5" for n in (1, 5, 6)]
    for n, path in enumerate(files):
        path.write_bytes(bytes([n]) * (3 << 20))
    local = tmp_path / "local"
    local.mkdir()
    with small_disk(local, mib=8) as mounted:
        if not mounted:
            pytest.skip("no right to mount a small file system here")
        first, second = scratch.near(files[:2], local)
        # both are used by this process: no room for a third
        assert scratch.near(files[2:], local) == files[2:]
        assert "has no room" in caplog.text
        forget_all()
        os.utime(first.parent, (2, 2))
        os.utime(second.parent, (1, 1))
        (third,) = scratch.near(files[2:], local)
        assert third.read_bytes() == files[2].read_bytes()
        assert first.exists(), "used later than the other"
        assert not second.exists()
        forget_all()


def forget_all():
    while scratch._in_use:
        scratch._in_use.pop().close()
