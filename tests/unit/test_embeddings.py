"""Embeddings read back; a pickle that holds anything else is refused, and nothing of it runs."""

from __future__ import annotations

import dataclasses
import os
import pickle
from datetime import date
from fractions import Fraction

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase.data.embeddings import Embeddings, read_embeddings, write_embeddings
from codebase.errors import DataError


def embeddings(rows, points=4, features=3, seed=0):
    random = np.random.default_rng(seed)
    return Embeddings(
        subject=9,
        L_3d=random.normal(size=(rows, points, 3)).astype(np.float32),
        L_3d_mirrored=random.normal(size=(rows, points if seed == 0 else 0, 3)).astype(np.float32),
        L_app=random.normal(size=(rows, features)).astype(np.float32),
        **{name: random.integers(1, 9, rows).astype(np.int32) for name in ("action", "subaction", "camera", "frame")},
        has_joints=random.random(rows) < 0.5,
        joints_im_mm=random.normal(size=(rows, 17, 3)).astype(np.float32),
        R_world_im=random.normal(size=(rows, 3, 3)),
        checkpoint_digest="0123",
        crops_digest="abcd",
    )


NAMES = pytest.mark.parametrize("name", ["S9.pkl", "S9.h5"])


@NAMES
@given(rows=st.integers(0, 20), points=st.integers(1, 8), features=st.integers(1, 8))
def test_embeddings_read_back(tmp_path_factory, name, rows, points, features):
    path = tmp_path_factory.mktemp("e") / name
    written = embeddings(rows, points, features)
    write_embeddings(path, written)
    found = read_embeddings(path)
    for field in dataclasses.fields(Embeddings):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(written, field.name))
        assert isinstance(getattr(found, field.name), type(getattr(written, field.name)))
    assert found.L_3d.flags.writeable
    found.L_3d[:] = 0
    np.testing.assert_array_equal(read_embeddings(path).L_3d, written.L_3d)


@NAMES
def test_arrays_of_any_layout_are_written(tmp_path, name):
    written = dataclasses.replace(embeddings(6), L_3d=embeddings(12).L_3d[::2], R_world_im=np.ones((3, 3, 6)).T)
    write_embeddings(tmp_path / name, written)
    np.testing.assert_array_equal(read_embeddings(tmp_path / name).L_3d, written.L_3d)


def test_codes_of_hdf5_are_mapped_and_it_opens_without_us(tmp_path):
    written = embeddings(5)
    write_embeddings(tmp_path / "S9.h5", written)
    assert isinstance(read_embeddings(tmp_path / "S9.h5").L_3d, np.memmap)
    with h5py.File(tmp_path / "S9.h5") as file:
        np.testing.assert_array_equal(file["L_app"], written.L_app)
        assert (file.attrs["format"], file.attrs["subject"]) == ("posemill.embeddings", 9)


def _replaced(change):
    def spoil(file):
        del file["L_3d"]
        change(file)

    return spoil


SPOILT = {
    "an external link": _replaced(lambda file: file.__setitem__("L_3d", h5py.ExternalLink("other.h5", "L_3d"))),
    "a soft link": _replaced(lambda file: file.__setitem__("L_3d", h5py.SoftLink("/R_world_im"))),
    "external storage": _replaced(
        lambda file: file.create_dataset("L_3d", (5, 4, 3), "f4", external=[("/etc/hostname", 0, 240)])
    ),
    "a virtual dataset": _replaced(
        lambda file: file.create_virtual_dataset("L_3d", h5py.VirtualLayout((5, 4, 3), "f4"))
    ),
    "chunks": _replaced(lambda file: file.create_dataset("L_3d", data=np.ones((5, 4, 3), "f4"), chunks=(1, 4, 3))),
    "a hole": _replaced(lambda file: file.create_dataset("L_3d", (5, 4, 3), "f4")),
    "other numbers": _replaced(lambda file: file.create_dataset("L_3d", data=np.ones((5, 4, 3)))),
    "swapped bytes": _replaced(lambda file: file.create_dataset("L_3d", data=np.ones((5, 4, 3), ">f4"))),
    "objects": _replaced(lambda file: file.create_dataset("L_3d", (5,), h5py.string_dtype())),
    "a group": _replaced(lambda file: file.create_group("L_3d")),
    "another shape": _replaced(lambda file: file.create_dataset("L_3d", data=np.ones((4, 4, 3), "f4"))),
    "nothing": _replaced(lambda file: None),
    "something more": lambda file: file.create_dataset("more", data=np.ones(3, "f4")),
    "a digest of numbers": lambda file: file.attrs.__setitem__("crops_digest", 5),
    "another version": lambda file: file.attrs.__setitem__("version", 1),
}


@pytest.mark.parametrize("what", SPOILT)
def test_hdf5_with_anything_else_is_refused(tmp_path, what):
    path = tmp_path / "S9.h5"
    write_embeddings(path, embeddings(5))
    write_embeddings(tmp_path / "other.h5", embeddings(5))
    with h5py.File(path, "r+") as file:
        SPOILT[what](file)
    with pytest.raises(DataError, match=r"(?s)S9\.h5.*posemill\.embeddings"):
        read_embeddings(path)


def test_it_is_a_plain_pickle_of_a_dict(tmp_path):
    write_embeddings(tmp_path / "S9.pkl", embeddings(5))
    content = pickle.loads((tmp_path / "S9.pkl").read_bytes())
    assert content["format"] == "posemill.embeddings"
    assert content["L_3d"].shape == (5, 4, 3)


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def plain(**changes):
    content = {"format": "posemill.embeddings", "version": 3, **dataclasses.asdict(embeddings(3))}
    return content | changes


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(tmp_path, protocol):
    target = tmp_path / "made_by_the_pickle"
    path = tmp_path / "S9.pkl"
    for content in (Bomb(str(target)), plain(L_app=Bomb(str(target))), plain(extra=[Bomb(str(target))])):
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(DataError, match=r"(?s)refused.*S9\.pkl"):
            read_embeddings(path)
        assert not target.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([None, 1], object), np.zeros(3, "f4,i4"), np.array(["a"]), np.zeros(3, complex), Fraction(1, 2),
        np.datetime64("2020-01-01"), date(2020, 1, 1), {1, 2}, print, Embeddings, np.float32(1), np.dtype("f4"), 1j,
        np.zeros(3, np.dtype([("a", "O")])),
    ],
    ids=str,
)  # fmt: skip
def test_other_values_are_refused(tmp_path, value):
    (tmp_path / "S9.pkl").write_bytes(pickle.dumps(plain(L_app=value), protocol=5))
    with pytest.raises(DataError, match=r"S9\.pkl"):
        read_embeddings(tmp_path / "S9.pkl")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"}, {"version": 1}, {"extra": 1}, {"subject": "9"}, {"subject": True}, {"frame": 3},
        {"L_3d": np.zeros((2, 4, 3), np.float32)}, {"L_3d": np.zeros((3, 4, 3))},
        {"L_3d": np.zeros((3, 12), np.float32)},
        {"joints_im_mm": np.zeros((3, 16, 3), np.float32)}, {"frame": np.zeros((), np.int32)}, {"crops_digest": 5},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_shapes_types_and_formats_are_refused(tmp_path, changes):
    (tmp_path / "S9.pkl").write_bytes(pickle.dumps(plain(**changes), protocol=5))
    with pytest.raises(DataError, match=r"(?s)S9\.pkl.*posemill\.embeddings"):
        read_embeddings(tmp_path / "S9.pkl")


@given(st.binary(max_size=200))
def test_noise_is_refused(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("e") / "S9.pkl"
    path.write_bytes(noise)
    with pytest.raises(DataError, match=r"S9\.pkl"):
        read_embeddings(path)


@NAMES
def test_a_file_cut_short_or_missing_is_refused(tmp_path, name):
    path = tmp_path / name
    write_embeddings(path, embeddings(50))
    good = path.read_bytes()
    for length in range(0, len(good), 97):
        path.write_bytes(good[:length])
        with pytest.raises(DataError, match=r"S9\."):
            read_embeddings(path)
    with pytest.raises(DataError, match="does not exist"):
        read_embeddings(tmp_path / f"gone{path.suffix}")


def test_a_hostile_file_cannot_change_how_the_next_one_is_read(tmp_path):
    """The BUILD opcode sets attributes on what the pickle got; that must not be anything shared."""
    evil = (
        b"\x80\x05\x8c\x05numpy\x8c\x05dtype\x93}\x8c\x0c__setstate__K\x05sN\x86"
        b"b."  # class, state (None...) set on the class of the stand-in
    )
    (tmp_path / "evil.pkl").write_bytes(evil)
    with pytest.raises(DataError):
        read_embeddings(tmp_path / "evil.pkl")
    write_embeddings(tmp_path / "S9.pkl", embeddings(3))
    assert len(read_embeddings(tmp_path / "S9.pkl")) == 3
