"""The ablation of the pose network: what each variant changes, what it measures, and that it is done but once."""

import sys

import yaml

from benchmarks import ablate_pose as ablation
from codebase.config import Config
from codebase.files import read_json
from codebase.stages import train_pose
from tests.people import make_people

TINY = {"steps": 3, "batch_size": 8, "warmup_steps": 1, "log_every": 1, "validate_every": 3, "hidden": 16}


def test_every_variant_changes_keys_that_there_are():
    config = Config(name="some")
    found = {name: ablation.variant(config, name, 3) for name in ablation.VARIANTS}
    assert {name for name, one in found.items() if one is None} == {"one network"}, "the config is so"
    for name, one in found.items():
        if one is not None:
            changed = {key: value for key, value in one.pose if value != getattr(config.pose, key) and key != "name"}
            meant = {key: value for key, value in ablation.VARIANTS[name].items() if value != getattr(config.pose, key)}
            assert changed == meant | {"seed": 3}
    assert found[ablation.ONE_IMAGE] == found[ablation.BASE], "one network, whose poses are taken in two ways"
    names = [one.pose.name for name, one in found.items() if one is not None and name != ablation.ONE_IMAGE]
    assert len(set(names)) == len(names)
    plain = config.model_copy(update={"pose": config.pose.model_copy(update={"mirror": 0.0})})
    assert ablation.variant(plain, ablation.ONE_IMAGE, 0) is None
    assert ablation.variant(plain, "no mirrored labels", 0) is None


def test_each_variant_is_trained_once_and_told_by_the_table(tmp_path, monkeypatch, capsys):
    people = make_people(tmp_path, test=(9, 11), frames=3, size=16, sections={"pose": TINY})
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(people.config.model_dump(mode="json")))
    only = [ablation.BASE, ablation.ONE_IMAGE, "network of 2019"]
    command = ["ablate_pose", str(config), "--seeds", "0", "1", "--only", *only, "--results", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    ablation.main()
    table = (tmp_path / "out" / "table.md").read_text()
    assert capsys.readouterr().out == table + "\n"
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [
        f"| {name}" for name in ("the mean pose", *only)
    ]
    runs = read_json(tmp_path / "out" / "table.json")["runs"]
    assert {name: len(each) for name, each in runs.items()} == dict.fromkeys(only, 2)
    first, other = runs[ablation.BASE]
    assert first["test/n_mpjpe_mm"] != other["test/n_mpjpe_mm"], "of another seed"
    assert first["val/n_mpjpe_mm"] != runs[ablation.ONE_IMAGE][0]["val/n_mpjpe_mm"], "not averaged"
    assert first["val/mean_pose_n_mpjpe_mm"] == runs["network of 2019"][0]["val/mean_pose_n_mpjpe_mm"]
    assert len(list((tmp_path / "out").glob("*/model_3.pt"))) == 4, "two networks from two seeds"

    def refuse(*_args, **_kwargs):
        raise AssertionError("a step was taken again")

    monkeypatch.setattr(train_pose.optim, "step", refuse)
    ablation.main()
    assert (tmp_path / "out" / "table.md").read_text() == table


def test_the_table_tells_means_and_deviations_between_seeds():
    run = {f"{split}/{key}": 100.0 for split in ablation.SPLITS for key, _ in ablation.COLUMNS}
    run |= {f"{split}/{ablation.MEAN_POSE}": 200.0 for split in ablation.SPLITS}
    lines = ablation.table({ablation.BASE: [run, run | {"val/n_mpjpe_mm": 110.0}], "no turns": [run]}).splitlines()
    assert lines[2] == "| the mean pose |  | 200.0 |  |  | 200.0 |  |  |"
    assert lines[3].startswith(f"| {ablation.BASE} |  | 105.0 ± 7.1 | 100.0 ± 0.0 |")
    assert lines[4].startswith("| no turns | turn 0.0 | 100.0 | 100.0 |")
