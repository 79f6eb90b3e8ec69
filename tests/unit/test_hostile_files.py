"""Files with bits flipped, pieces cut out or zeroed: every reader gives something or a message for people, and ends."""

from __future__ import annotations

import ctypes
import platform
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codebase.data.doors.h36m_fetch import read_annotations
from codebase.data.doors.official.masks import open_masks
from codebase.data.doors.official.metadata import read_metadata
from codebase.data.doors.official.poses import read_poses
from codebase.data.doors.official.sources import Item, open_source
from codebase.data.doors.official.video import survey
from codebase.data.doors.rig_source import frame_rate
from codebase.data.doors.videopose3d import read_positions
from codebase.data.human36m import META, damage, read_frame, read_mask, read_meta
from codebase.data.inspect.look import picture_size
from codebase.data.inspect.sources import cut_short
from codebase.errors import DataError, UserError
from tests.doors.packagings import write_fetch, write_videopose3d
from tests.official.writer import pack, write_official
from tests.trees import write_tree

DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "zero", "fill", "insert", "remove"]),
        st.floats(0, 1, exclude_max=True), st.sampled_from([1, 4, 8, 100]),
    ), min_size=1, max_size=4,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def memory_goes_back():
    """Gigabytes that a file claims: after a training in this process (`codebase.training.runtime.prepare`) its heap
    keeps them once they are freed, and a later test could not fork.
    """
    yield
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def spoilt(content: bytes, damage: list[tuple[str, float, int]]) -> bytes:
    """The content with each damage at its place, told as a share of the length."""
    for kind, share, count in damage:
        place = int(share * len(content))
        head, piece, tail = content[:place], content[place : place + count], content[place + count :]
        new = {
            "cut": (head, b"", b""), "flip": (head, bytes(byte ^ 1 << count % 8 for byte in piece), tail),
            "zero": (head, bytes(len(piece)), tail), "fill": (head, b"\xff" * len(piece), tail),
            "insert": (head, piece + piece[::-1], tail), "remove": (head, b"", tail),
        }[kind]  # fmt: skip
        content = b"".join(new)
    return content


def _masks(path):
    with open_masks(path) as masks:
        for frame in range(1, min(len(masks), 20) + 1):
            try:
                masks.read(frame)
            except UserError:
                continue


def _video(path):
    cut_short(path)
    video = survey(path)
    for _ in video.frames(every=2):
        pass


def _archive(path):
    source, scratch = open_source(path.parent, 1), path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    cameras = ("54138969", "55011271")
    source.gather([Item("Videos", f"Directions{end}", camera) for end in ("", " 1") for camera in cameras], scratch)
    assert {each.name for each in path.parent.iterdir()} == {path.name, "scratch"}


def _picture(path):
    damage(path)
    picture_size(path.read_bytes())
    read_frame(path)
    read_mask(path)


READERS = {
    "poses": ("official/**/D3_Positions/*.cdf", lambda path: read_poses(path, size=3)),
    "masks": ("official/**/ground_truth_bs/*.mat", _masks),
    "video": ("official/**/*.mp4", _video),
    "metadata": ("official/metadata.xml", read_metadata),
    "archive": ("archives/Videos_S1.tgz", _archive),
    "annotations": ("fetch/**/annot.h5", lambda path: read_annotations(path, 1)),
    "positions": ("data_3d_h36m.npz", lambda path: read_positions(path, 1)),
    "meta": (f"tree/*/{META}", lambda path: read_meta(path.parent)),
    "frame": ("tree/*/*.jpg", _picture),
    "mask": ("tree/*/*.png", _picture),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    official = write_official(root / "official", subacts=(1,), cameras=(1, 2), frames=5, size=48)
    pack(official, root / "archives")
    write_fetch(official, root / "fetch", frames=(1, 2, 3))
    write_videopose3d(official, root / "data_3d_h36m.npz")
    write_tree(root / "tree", subjects=(1,), acts=(2,), cameras=(1,), frames=2)
    return root


def _one(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


@pytest.mark.parametrize("kind", READERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(damage=DAMAGE)
def test_a_reader_ends_with_a_value_or_a_message(kind, sources, damage):
    pattern, read = READERS[kind]
    good = _one(sources, pattern)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / good.name
        path.write_bytes(spoilt(good.read_bytes(), damage))
        try:
            read(path)
        except UserError as error:
            str(error)  # no traceback: words


@pytest.mark.parametrize("kind", READERS)
def test_the_good_files_are_read(kind, sources, tmp_path):
    """Otherwise the test above would prove little."""
    pattern, read = READERS[kind]
    read(Path(shutil.copy(_one(sources, pattern), tmp_path)))


def _at(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def test_a_cdf_that_leads_in_circles_ends(sources, tmp_path):
    good = _one(sources, READERS["poses"][0]).read_bytes()
    table = int.from_bytes(good[8:16], "big") + 8  # the global record follows the first one
    first = int.from_bytes(good[table + 20 : table + 28], "big")
    spoils = {
        "dimensions": _at(good, table + 56, b"\x7f\xff\xff\xff"),
        "variables": _at(_at(good, table + 60, b"\x7f\xff\xff\xff"), first + 12, first.to_bytes(8, "big")),
    }
    spoils["variable"] = _at(good, first + 340, b"\x7f\xff\xff\xff")
    for name, content in spoils.items():
        path = tmp_path / f"{name}.cdf"
        path.write_bytes(content)
        with pytest.raises(DataError, match="no readable CDF"):
            read_poses(path, size=3)


def test_metadata_of_an_unknown_encoding(sources, tmp_path):
    path = tmp_path / "metadata.xml"
    path.write_bytes(b'<?xml version="1.0" encoding="utf-88"?><a/>')
    with pytest.raises(DataError, match="no valid XML"):
        read_metadata(path)


def test_a_video_whose_names_are_no_text_keeps_its_frames(sources, tmp_path):
    good = _one(sources, READERS["video"][0])
    path = tmp_path / "a.mp4"
    path.write_bytes(good.read_bytes().replace(b"isom", b"is\xe9m").replace(b"VideoHandler", b"Vid\xe9oHandler"))
    assert len(list(survey(path).frames(every=1))) == len(survey(good)) == 5
    assert frame_rate(path) == frame_rate(good) > 0


def test_a_picture_that_claims_gigapixels_is_refused_at_once(tmp_path):
    _, png = cv2.imencode(".png", np.zeros((8, 8), np.uint8))
    path = tmp_path / "a.png"
    path.write_bytes(_at(png.tobytes(), 16, (30_000).to_bytes(4, "big") * 2))
    assert damage(path)[0] == "the file is no readable image"
    with pytest.raises(DataError, match="no readable image"):
        read_mask(path)
