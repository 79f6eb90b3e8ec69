"""The course's YAML: each key means what it says, unknown ones are refused with the nearest, docs name them all."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPOSITORY

from codebase.config.course import CourseConfig, is_course, read_course_config
from codebase.errors import ConfigError
from tests.course import write_yaml

SHIPPED = REPOSITORY / "configs/modelfinal.yaml"


@pytest.fixture
def yaml_of(tmp_path: Path):
    return lambda **changes: write_yaml(tmp_path / "c.yaml", tmp_path, **changes)


def section(path: Path, frames: int = 1000):
    return read_course_config(path).section(frames)


def test_the_shipped_config_reads_and_its_people_are_apart():
    config = read_course_config(SHIPPED)
    assert not set(config.data.train_subjects) & set(config.data.val_subjects)
    assert not {*config.data.train_subjects, *config.data.val_subjects} & set(config.data.test_subjects)
    hmr = config.section(1000)
    assert (hmr.style, hmr.rotation, hmr.heads, hmr.iterations) == ("hmr2018", "axis_angle", True, 3)
    assert hmr.frame == "camera"


def test_the_two_kinds_of_config_are_told_apart():
    assert is_course(SHIPPED)
    for path in (REPOSITORY / "configs").glob("*.yaml"):
        assert is_course(path) == (path.stem == "modelfinal")
    assert not is_course(REPOSITORY / "no_such.yaml")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model__backbone": "resnet50"}, {"backbone": "resnet50"}),
        ({"model__regressor": "simple"}, {"regressor": "simple"}),
        ({"training__print_every": 7}, {"log_every": 7}),
        ({"training__validate_every": 70}, {"validate_every": 70}),
        ({"training__checkpoint_every": 50}, {"save_every": 50}),
        ({"training__epochs": 3, "training__batch_size": 64}, {"steps": 47, "batch_size": 64}),
        ({"training__optimizer": {"name": "SGD", "lr": 0.5}}, {"optimizer": "sgd", "learning_rate": 0.5}),
        ({"loss": {"v2v_l1": True, "v2v_l1_w": 3}}, {"v2v_l1_weight": 3.0, "v2v_l2_weight": 0.0}),
        ({"loss": {"v2v_l2": True, "v2v_l2_w": 2, "v2v_l1_w": 9}}, {"v2v_l1_weight": 0.0, "v2v_l2_weight": 2.0}),
        ({"loss__betas_l2": True, "loss__betas_l2_w": 4}, {"betas_weight": 4.0}),
        ({"loss__pose_body_l2": True, "loss__pose_body_l2_w": 5}, {"pose_body_weight": 5.0}),
        ({"loss__pose_hand_l2": True, "loss__pose_hand_l2_w": 6}, {"pose_hand_weight": 6.0}),
        ({"hmr__rotation": "6d", "hmr__iterations": 5}, {"rotation": "6d", "iterations": 5}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_each_key_reaches_our_schema(yaml_of, changes, expected):
    found = section(yaml_of(**changes))
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__optimiser": {"name": "Adam"}}, "training.optimiser: unknown key; did you mean 'optimizer'"),
        ({"model__regresor": "simple"}, "did you mean 'regressor'"),
        ({"data__image_folder": "x"}, "data.image_folder: unknown key; did you mean 'img_folder'"),
        ({"trainer_": "conv"}, "trainer_: unknown key; did you mean 'trainer'"),
        ({"loss__v2v_11": True}, "did you mean 'v2v_l1'"),
        ({"hmr__iteration": 3}, "iteration: unknown key; did you mean 'iterations'"),
        ({"hmr__steps": 3}, "said by training.epochs"),
        ({"loss": {"v2v_l1": False}}, "no loss is on"),
        ({"data__train_subjects": "1,5"}, "S1,S5"),
        ({"model__backbone": "resnet51"}, "resnet50"),
        ({"preset": "v9"}, "eth2021"),
    ],
)
def test_what_is_wrong_is_refused_with_a_hint(yaml_of, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_course_config(yaml_of(**changes))


def test_subjects_may_be_a_list_or_a_string(yaml_of):
    for value in ("S1, S5", ["S1", "S5"]):
        assert read_course_config(yaml_of(data__train_subjects=value)).data.train_subjects == ("S1", "S5")


def test_docs_name_every_key():
    text = (REPOSITORY / "docs/course.md").read_text(encoding="utf-8")
    schema = CourseConfig.model_json_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part["properties"]}
    assert {key for key in keys if f"`{key}`" not in text} == set()
