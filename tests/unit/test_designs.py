"""A checkpoint of another preset is refused, and the error says of which."""

from __future__ import annotations

from pathlib import Path

import pytest

from codebase.config import Config, validate_config
from codebase.errors import DataError
from codebase.training.designs import DESIGNS, require_same_design
from codebase.training.state import Checkpoint

OTHERS = {
    "pose": {"name": "pose_rhodin2018", "network": "rhodin2018"},
    "smpl": {"name": "smpl_gaggi2019", "head": "gaggi2019"},
    "hmr": {"name": "hmr_eth2021", "backbone": "resnet50", "normalisation": "imagenet"},
}


def config(**sections: object) -> Config:
    return validate_config(Config, {"name": "test", **sections}, where="test")


def checkpoint(section: dict) -> Checkpoint:
    return Checkpoint(model={}, step=1, config=section, history=[], extra={})


@pytest.mark.parametrize("name", DESIGNS)
def test_another_preset_is_refused_by_name(name):
    other = config(**{name: OTHERS[name]})
    found, path = checkpoint(getattr(other, name).model_dump(mode="json")), Path("model_1.pt")
    require_same_design(found, other, name, path)
    key = next(key for key in DESIGNS[name] if key in OTHERS[name])
    ours = getattr(config(), name)
    said = rf"{name}\.{key} {OTHERS[name][key]} \({OTHERS[name]['name']}\), "
    said += rf"the config asks for {getattr(ours, key)} \({name}\)"
    with pytest.raises(DataError, match=said):
        require_same_design(found, config(), name, path)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_checkpoint_of_before_the_key_is_of_its_default(name):
    section = getattr(config(), name).model_dump(mode="json")
    require_same_design(
        checkpoint({k: v for k, v in section.items() if k not in DESIGNS[name]}), config(), name, Path()
    )
