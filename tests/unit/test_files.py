"""Files: whole or not there, and errors that name them."""

from __future__ import annotations

import os
import stat

import pytest

from codebase.errors import DataError, UserError
from codebase.files import atomic_path, create_h5, open_h5, read_json, write_csv, write_json


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_files_get_the_umasks_mode(tmp_path):
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "deep" / "a.json", [])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "a.json").stat().st_mode) == 0o640


def test_json_without_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("content", ["{", "\x00", "{'a': 1}"])
def test_broken_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"b\.json"):
        read_json(tmp_path / "b.json")


def test_csv(tmp_path):
    write_csv(tmp_path / "a.csv", [{"id": "x", "v": [1, 2]}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["id,v", 'x,"[1, 2]"']


def test_hdf5_of_another_format_or_version_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with create_h5(path, format_name="posemill.a", version=2) as file:
        file["x"] = [1, 2]
    with open_h5(path, format_name="posemill.a", version=2) as file:
        assert file["x"][:].tolist() == [1, 2]
    for other, version in (("posemill.a", 1), ("posemill.b", 2)):
        with (
            pytest.raises(DataError, match=r"(?s)posemill\.a.*a\.h5"),
            open_h5(path, format_name=other, version=version),
        ):
            pass
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.h5"), open_h5(path, format_name="posemill.a"):
        pass
    with pytest.raises(DataError, match=r"b\.h5"), open_h5(tmp_path / "b.h5", format_name="posemill.a"):
        pass


def test_a_user_error_says_what_where_what_was_expected_and_how_to_mend_it():
    text = str(UserError("It is wrong.", where="a.h5", expected="right", mend="mend it"))
    assert text.splitlines()[0] == "It is wrong."
    assert [word in text for word in ("a.h5", "right", "mend it")] == [True] * 3
