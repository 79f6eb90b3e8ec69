"""configs/schema.json and docs/config.md are what the schema of the code generates; configs keep to it."""

import json

import pytest
from conftest import REPOSITORY

from codebase.config import Config, read_config, stage_digest, to_yaml
from codebase.config.course import is_course
from codebase.config_docs import documents
from codebase.errors import ConfigError

GENERATED = documents()


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_generated_files_are_in_step(path):
    written = (REPOSITORY / path).read_text(encoding="utf-8")
    assert written == GENERATED[path], f"{path} is out of step: run `make schema`"


def test_the_table_names_every_key():
    table = (REPOSITORY / "docs/config.md").read_text(encoding="utf-8")
    schema = Config.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    keys = {key for section in sections for key, value in section["properties"].items() if "$ref" not in value}
    assert {key for key in keys if f"| `{key}` |" not in table} == set()


# the course's YAML has a schema of its own (test_course_config.py)
CONFIGS = [path for path in sorted((REPOSITORY / "configs").glob("*.yaml")) if not is_course(path)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_named_as_their_file(path, tmp_path):
    config = read_config(path)
    assert config.name == path.stem
    copy = tmp_path / "copy.yaml"
    copy.write_text(to_yaml(config), encoding="utf-8")
    assert read_config(copy) == config, "the written config reads back as another"


def test_every_test_subject_is_unseen():
    for path in CONFIGS:
        split = read_config(path).split
        assert not set(split.test.subjects) & {*split.train.subjects, *split.val.subjects}


def test_a_leak_between_splits_is_refused(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(json.dumps({"name": "bad", "split": {"train": {"subjects": [9]}}}))
    with pytest.raises(ConfigError, match=r"split\.test"):
        read_config(bad)


def test_runtime_is_in_no_digest():
    mini = REPOSITORY / "configs/mini.yaml"
    one, two = read_config(mini), read_config(mini, ["runtime.workers=7", "runtime.device=cpu", "results=elsewhere"])
    other = read_config(mini, ["pose.learning_rate=0.5"])
    from codebase.config import STAGE_SECTIONS

    assert all(stage_digest(one, stage) == stage_digest(two, stage) for stage in STAGE_SECTIONS)
    changed = {stage for stage in STAGE_SECTIONS if stage_digest(one, stage) != stage_digest(other, stage)}
    assert changed == {"train_pose"}


def test_one_more_subject_leaves_the_others_files_alone():
    mini = REPOSITORY / "configs/mini.yaml"
    one = read_config(mini)
    more = read_config(mini, [f"dataset.subjects={[*one.dataset.subjects, 19]}"])
    from codebase.config import STAGE_SECTIONS

    changed = {stage for stage in STAGE_SECTIONS if stage_digest(one, stage) != stage_digest(more, stage)}
    assert changed == {"index"}
