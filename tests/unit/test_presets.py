"""The presets: every sensible combination loads over the configs that they are for, and says what its protocol says."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from codebase.config import Config, hmr_network, validate_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TREE = {"dataset": {"kind": "tree", "root": "data/h36m"}}


def merged(*parts: dict) -> dict:
    """As the workflow merges: mappings by key, the later one wins."""
    out: dict = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = merged(out[key], value) if both else value
    return out


def load(*names: str, over: dict | None = None) -> Config:
    raw = [yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()) for name in names]
    return validate_config(Config, merged(*raw, over or {}), where=" + ".join(names))


PROTOCOLS = (None, "presets/protocol1", "presets/protocol2")
LABELS = (None, "presets/s1_labels")
QUICK = (None, "presets/quick")
SWEEP = "presets/label_sweep"
NETWORKS = (
    None, "presets/eth2021", "presets/gaggi2019", "presets/rhodin2018", "presets/rhodin2018_resnet50", "presets/v2",
)  # fmt: skip
COMBINATIONS = [tuple(filter(None, names)) for names in itertools.product(PROTOCOLS, LABELS, NETWORKS, QUICK)]


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("over", [None, TREE], ids=["extract", "tree"])
def test_every_combination_loads_over_h36m(names, over):
    config = load("h36m", *names, over=over)
    assert config.name != "h36m" or not names
    if any("protocol" in name for name in names):
        assert config.split.train.subjects == (1, 5, 6, 7, 8)
        assert config.split.test.subjects == (9, 11)
    if "presets/protocol2" in names:
        assert config.split.test.every == 64
        assert config.evaluate.cameras == (4,)
        assert config.dataset.cameras == (1, 2, 3, 4)  # novel views need them all
    elif "presets/protocol1" in names:
        assert config.evaluate.cameras is None
    if "presets/s1_labels" in names:
        assert {config.pose.label_subjects, config.smpl.label_subjects, config.hmr.label_subjects} == {(1,)}


def test_all_presets_are_in_the_test():
    there = {f"presets/{path.stem}" for path in (CONFIGS / "presets").glob("*.yaml")}
    assert there == {*filter(None, (*PROTOCOLS, *LABELS, *NETWORKS, *QUICK)), SWEEP}


def test_the_label_sweep_runs_where_it_is_asked_for():
    """Its 120 trainings take many hours: whoever runs `small` has not asked for them."""
    assert not load("small").labels.representations
    swept = load("small", SWEEP)
    assert set(swept.labels.representations) == {"embedding", "fine_tuned", "from_scratch", "imagenet", *swept.rivals}
    assert {key: getattr(swept, key) for key in ("enc_dec", "pose", "split")} == {
        key: getattr(load("small"), key) for key in ("enc_dec", "pose", "split")
    }


def test_frames_that_are_not_extracted_are_refused():
    with pytest.raises(Exception, match=r"split\.test\.every is 64, but extract\.every is 5 for S9"):
        load("h36m", "presets/protocol2", over={"extract": {"every_of": {9: 5}}})


@pytest.mark.parametrize("below", ["mini", "small"])
@pytest.mark.parametrize("preset", [None, *NETWORKS[1:]])
def test_the_network_on_images_begins_with_no_encoder_that_has_no_stages(below, preset):
    config = load(*filter(None, (below, preset)))
    section = hmr_network(config.hmr, config.enc_dec)
    assert (section.start == "enc_dec") == (preset in (None, "presets/v2"))
