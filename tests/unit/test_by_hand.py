"""The model file of `test` is found by name, or the ones that exist are listed."""

import pytest

from codebase.by_hand import find_model
from codebase.errors import DataError


def test_a_model_is_found_as_given_or_in_the_run(tmp_path):
    run = tmp_path / "runs/hmr"
    run.mkdir(parents=True)
    (run / "model_20.pt").touch()
    assert find_model(run / "model_20.pt", tmp_path) == run / "model_20.pt"
    name = (run / "model_20.pt").relative_to(run)
    assert find_model(name, run) == run / "model_20.pt"


def test_a_missing_model_lists_those_that_exist(tmp_path):
    (tmp_path / "model_20.pt").touch()
    with pytest.raises(DataError, match=r"model_20\.pt"):
        find_model(tmp_path / "model_40000.pt", tmp_path)
