"""The presets of the image-to-body network: their sizes, and that a paper's preset turns off all that is ours."""

from __future__ import annotations

import pytest
import torch

from codebase.config import HmrConfig, hmr_network
from codebase.models.hmr import build
from tests.unit.test_presets import load

MEAN = {"mean_rotmats": torch.eye(3).repeat(24, 1, 1), "mean_betas": torch.zeros(10)}
# what the course's system did not have, and what it means to be without
OURS_ALONE = {
    "flip": 0, "turn_rad": 0, "scale": 0, "occlusion": 0, "colour": 0, "colour_spots": 0, "background": 0,
    "vertices_weight": 0, "joints_weight": 0, "places_weight": 0, "joints_2d_weight": 0, "prior_weight": 0,
    "rotations_weight": 0, "betas_weight": 0, "places": False, "enlarge": 1, "encoder_rate": 1, "start": "scratch",
    "supervise": "last", "decay": "none",
}  # fmt: skip


def weights(section: HmrConfig, size: int) -> tuple[int, int]:
    """Of the encoder and of all the rest."""
    with torch.device("meta"):
        model = build(section, size, **{name: value.to("meta") for name, value in MEAN.items()})
    encoder = sum(p.numel() for p in model.encoder.parameters())
    return encoder, sum(p.numel() for p in model.parameters()) - encoder


@pytest.mark.parametrize("below", ["mini", "h36m"])
def test_eth2021_has_the_courses_sizes(below):
    section = load(below, "presets/eth2021").hmr
    layers = (2048 + 82) * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 82 + 82
    heads = 82 * 82 + 82
    assert weights(section, 256) == (58_143_808, layers + heads)  # torchvision's resnet152 without its classifier
    assert section.frozen


@pytest.mark.parametrize("below", ["mini", "h36m", "presets/v2"])
def test_eth2021_turns_off_what_is_ours(below):
    """Whatever lies below it: none of these keys is left to the config."""
    section = load("mini", below, "presets/eth2021").hmr
    assert {name: getattr(section, name) for name in OURS_ALONE} == OURS_ALONE


def test_every_weight_and_augmentation_is_said_by_both_presets():
    """A new key of either kind must be decided in each preset, not left to a default."""
    import yaml

    from tests.unit.test_presets import CONFIGS

    wanted = {name for name in HmrConfig.model_fields if name.endswith("_weight")}
    wanted |= {"flip", "turn_rad", "scale", "occlusion", "colour", "colour_spots", "background"}
    wanted |= {"encoder_rate", "enlarge", "start", "points", "statistics"}
    for preset in ("eth2021", "v2"):
        said = yaml.safe_load((CONFIGS / "presets" / f"{preset}.yaml").read_text())["hmr"]
        assert wanted <= set(said), preset


def test_lite0_is_the_published_network_without_its_classifier():
    section = load("mini", "presets/eth2021").hmr.model_copy(update={"backbone": "efficientnet_lite0"})
    encoder, _ = weights(section, 64)
    assert encoder + 1281 * 1000 == 4_652_008  # its authors say 4.7 million


def test_v2_is_trained_and_attends_to_places():
    config = load("h36m", "presets/v2")
    section = hmr_network(config.hmr, config.enc_dec)
    assert not section.frozen
    assert section.places
    encoder, rest = weights(section, config.crops.size)
    assert encoder > 1e6
    assert rest > 1e5
