"""The schema: strict, helpful, and in step with the paths and digests that hang on it."""

from __future__ import annotations

import pytest
import yaml

from codebase.config import Config, read_config, stage_digest, to_yaml
from codebase.config.root import STAGE_SECTIONS
from codebase.errors import ConfigError
from codebase.paths import Paths


@pytest.fixture
def path(tmp_path):
    (tmp_path / "c.yaml").write_text("name: here\npose: {steps: 10}\n")
    return tmp_path / "c.yaml"


def test_a_config_reads_back_from_its_yaml(path, tmp_path):
    config = read_config(path)
    (tmp_path / "whole.yaml").write_text(to_yaml(config))
    assert read_config(tmp_path / "whole.yaml") == config


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("pose.stepps=3", ["pose.stepps", "'steps'"]),
        ("posse={}", ["posse", "'pose'"]),
        ("dataset.subject=[1]", ["dataset.subject", "'subjects'"]),
        ("pose.steps=-3", ["pose.steps"]),
        ("pose.steps=many", ["pose.steps", "many"]),
        ("dataset.kind=tree", ["dataset.root"]),
        ("dataset.cameras=[]", ["dataset.cameras"]),
        ("dataset.acts=[2, 2]", ["dataset.acts"]),
        ("split.test.subjects=[1]", ["[1]", "split.test"]),
        ("split.val.subjects=[2]", ["[2]", "split.val"]),
        ("pose.label_subjects=[9]", ["[9]", "pose.label_subjects"]),
        ("name=../up", ["name"]),
        ("pose.steps", ["pose.steps", "="]),
        ("name.x=3", ["name"]),
    ],
)
def test_a_wrong_key_or_value_is_named(path, override, words):
    with pytest.raises(ConfigError) as error:
        read_config(path, [override])
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("content", ["- 1", "a: [", "", "\x00"])
def test_what_is_no_mapping_is_refused(path, content):
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        read_config(path)
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        read_config(path.with_name("gone.yaml"))


def test_overrides_are_yaml_and_reach_any_depth(path):
    config = read_config(path, ["pose.steps=7", "split.train.every=2", "split.train.subjects=[1, 5]", "pose.seed=3"])
    assert (config.pose.steps, config.pose.seed, config.split.train.every) == (7, 3, 2)
    assert config.split.train.subjects == (1, 5)


def test_a_stages_digest_hangs_on_its_sections_only(path):
    config = read_config(path)
    changes = {"dataset.acts=[2, 3]", "crops.size=96", "enc_dec.steps=9", "pose.steps=9", "runtime.workers=2", "name=b"}
    for stage, sections in STAGE_SECTIONS.items():
        for change in changes:
            differs = stage_digest(read_config(path, [change]), stage) != stage_digest(config, stage)
            assert differs == (change.partition(".")[0] in sections), (stage, change)


def test_a_frozen_config_does_not_change(path):
    with pytest.raises(ValueError, match="frozen"):
        read_config(path).name = "other"


def test_every_section_is_described_by_defaults(path):
    raw = yaml.safe_load(to_yaml(read_config(path)))
    assert set(raw) == set(Config.model_fields)


def test_paths_lie_in_the_runs_folder(path):
    paths = Paths(read_config(path, ["results=out"]))
    assert str(paths.checkpoint("pose")) == "out/here/runs/pose/model_10.pt"
    assert str(paths.crops("{subject}")) == "out/here/crops/S{subject}.h5"
    tree = Paths(read_config(path, ["dataset.kind=tree", "dataset.root=/data", "dataset.masks_root=/masks"]))
    assert (str(tree.dataset), str(tree.masks), tree.bodies) == ("/data", "/masks", None)


@pytest.mark.parametrize(
    ("override", "key"), [("enc_dec.encoder_widths=[8, 16]", "encoder_widths"), ("hmr.widths=[8]", "hmr.widths")]
)
def test_stages_without_a_width_are_refused(tmp_path, override, key):
    path = tmp_path / "c.yaml"
    path.write_text("name: c\n")
    with pytest.raises(ConfigError, match=key):
        read_config(path, [override])
