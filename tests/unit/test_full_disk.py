"""A full disk: one message that names the file, no remains, and what stood there before stays."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from codebase.errors import UserError
from codebase.files import atomic_path, create_h5, write_text
from codebase.report.picture_file import write_picture
from tests.small_disk import small_disk

BIG = 8 << 20


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MiB, new for each test: a failed writer may hold its deleted file open until collected."""
    with small_disk(tmp_path, mib=4) as made:
        if not made:
            pytest.skip("no right to mount a small file system here")
        yield tmp_path


def with_numpy(path):
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, np.ones(BIG, np.uint8))


def with_torch(path):
    with atomic_path(path) as temporary:
        torch.save({"weights": torch.ones(BIG, dtype=torch.uint8)}, temporary)


def with_pickle(path):
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        pickle.dump(np.ones(BIG, np.uint8), handle, protocol=5)


def with_hdf5(path):
    with create_h5(path, format_name="any") as file:
        file["pixels"] = np.ones(BIG, np.uint8)


def with_text(path):
    write_text(path, "x" * BIG)


def with_opencv(path):
    noise = np.random.default_rng(0).integers(0, 255, (1600, 1600, 3), dtype=np.uint8)
    write_picture(path, noise)


@pytest.mark.parametrize("write", [with_numpy, with_torch, with_pickle, with_hdf5, with_text, with_opencv])
def test_the_message_names_file_and_bytes_and_nothing_remains(disk, write):
    path = disk / "results" / f"{write.__name__}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_text("before")
    with pytest.raises(UserError) as caught:
        write(path)
    said = str(caught.value)
    assert "the disk is full" in said
    assert str(path) in said
    assert "bytes of it were written" in said
    assert "results=" in said
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "before"
    path.unlink()


def test_other_errors_are_not_taken_for_it(tmp_path):
    with pytest.raises(RuntimeError, match="unable to think"), atomic_path(tmp_path / "a"):
        raise RuntimeError("unable to think")
    assert not list(tmp_path.iterdir())
    with pytest.raises(PermissionError), atomic_path(tmp_path / "b"):
        raise PermissionError(13, "not yours")


def test_a_training_on_a_full_disk_ends_with_exit_code_2_and_keeps_its_state(disk):
    folder = disk / "run"
    code = (
        "import sys; sys.argv = ['x', sys.argv[1], 'steps=100000', 'seconds=0', 'save=1'];\n"
        "from codebase.errors import UserError\nfrom tests.small_run import main\n"
        "import pathlib, threading, time\n"
        "def fill():\n"
        "    while not list(pathlib.Path(sys.argv[1]).glob('state/*/state.pt')): time.sleep(0.01)\n"
        "    f = open(pathlib.Path(sys.argv[1]).parent / 'filler', 'wb', buffering=0)\n"
        "    try:\n"
        "        while True: f.write(bytes(4096))\n"
        "    except OSError: pass\n"
        "threading.Thread(target=fill, daemon=True).start()\n"
        "try: main()\nexcept UserError as error: print(error); sys.exit(2)\n"
    ).replace("\\\n", "\n")
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=Path(__file__).resolve().parents[2], capture_output=True,
        text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stdout
    (state,) = folder.glob("state/*/state.pt")
    assert torch.load(state, weights_only=True)["progress"]["step"] > 0
    assert not list(folder.glob("state/*/.*"))
