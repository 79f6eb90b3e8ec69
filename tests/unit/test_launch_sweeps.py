"""Sweeps: their points, names and table, and the data that they share."""

import json

import pytest
from conftest import REPOSITORY, run_in

from codebase.config import read_config, to_yaml
from codebase.errors import ConfigError, DataError
from codebase.launch import local
from codebase.launch.sweep import point_name, read_sweep, split_values, table
from codebase.paths import Paths
from codebase.shared_data import MARKERS, has_same_data, require_same_data


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("POSEMILL_SITE", raising=False)


def test_values_are_split_outside_of_brackets():
    assert split_values("0,1, 2") == ["0", "1", "2"]
    assert split_values("[1],[1,5],{a: [2,3]}") == ["[1]", "[1,5]", "{a: [2,3]}"]
    assert split_values("a,,a") == ["a"]


def test_every_combination_has_a_name_of_its_own_and_shares_the_data():
    found = read_sweep(REPOSITORY / "configs/mini.yaml", [], ["enc_dec.seed=0,1,2", "pose.label_subjects=[1],[1,5]"])
    assert [point.values["enc_dec.seed"] for point in found.points] == ["0", "0", "1", "1", "2", "2"]
    assert len({point.name for point in found.points}) == len({point.root for point in found.points}) == 6
    assert found.points[1].name == "mini-enc_dec.seed-0-pose.label_subjects-1_5"
    assert all("data_from=results/mini" in point.overrides for point in found.points)


def test_values_that_look_alike_in_a_name_do_not_collide():
    words = ["pose.label_subjects=[1,5],[5,1],[1, 5]", "pose.dropout=0.1,0.10"]
    names = [point.name for point in read_sweep(REPOSITORY / "configs/mini.yaml", [], words).points]
    assert len(set(names)) == 6


def test_a_sweep_of_the_data_shares_none():
    found = read_sweep(REPOSITORY / "configs/mini.yaml", [], ["crops.size=32,64"])
    assert (found.data, found.needs_data) == (None, False)
    assert not any("data_from" in word for point in found.points for word in point.overrides)


def test_long_names_become_digests():
    name = point_name("mini", {"enc_dec.encoder_widths": "[" + "64," * 60 + "64]"})
    assert name.startswith("mini-")
    assert len(name) < 20


def test_the_table_of_a_sweep(tmp_path):
    done, not_done = tmp_path / "a", tmp_path / "b"
    done.mkdir()
    (done / "metrics.json").write_text('{"pose/mpjpe_mm": 61.23456, "other": 2}')
    points = [
        {"name": run.name, "root": str(run), "values": {"pose.seed": seed}, "job": ""}
        for run, seed in ((done, "0"), (not_done, "1"))
    ]
    (tmp_path / "sweep.json").write_text(json.dumps({"points": points}))
    header, rows = table(tmp_path)
    assert header == ["run", "pose.seed", "pose/mpjpe_mm"]
    assert rows == [["a", "0", "61.23"], ["b", "1", "-"]]
    assert local.table_text(header, rows).splitlines()[1] == "a            0          61.23"
    for text in ('{"points": []}', '{"points": [{"name": "a"}]}', '{"points": 1}', "[]", "{"):
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(DataError, match="This is no sweep"):
            table(tmp_path)
    with pytest.raises(DataError, match="This is no sweep"):
        table(tmp_path / "nothing")


def test_the_sources_of_shared_data_are_checked(tmp_path):
    """`data_from` with other data, and with none."""
    words = ["check-config", "configs/mini.yaml"]
    assert run_in(REPOSITORY, "codebase", *words, "data_from=results/none").returncode == 0

    base = read_config(REPOSITORY / "configs/mini.yaml", [f"results={tmp_path}"])
    with pytest.raises(DataError, match=r"config\.yaml is missing"):
        require_same_data(base, tmp_path / "mini")
    (tmp_path / "mini/checks").mkdir(parents=True)
    (tmp_path / "mini/config.yaml").write_text(to_yaml(base))
    with pytest.raises(DataError, match=r"index_train\.json is missing"):
        require_same_data(base, tmp_path / "mini")
    for path in (path for name in MARKERS for path in Paths(base).markers(name)):
        path.write_text("{}")
    assert has_same_data(base, tmp_path / "mini")
    other = read_config(REPOSITORY / "configs/mini.yaml", [f"results={tmp_path}", "crops.size=32"])
    with pytest.raises(ConfigError, match="crops would be made"):
        require_same_data(other, tmp_path / "mini")
