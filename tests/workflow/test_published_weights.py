"""Weights of ImageNet that are not there end a run before its first job; no preset trains without them in silence."""

import pytest

from codebase import published

PRESETS = ("gaggi2019", "rhodin2018")


def dry_run(in_house, preset: str, settings: str = "{}"):
    files = ("configs/mini.yaml", f"configs/presets/{preset}.yaml")
    return in_house("snakemake", "-n", "--configfile", *files, "--config", f"enc_dec={settings}")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_papers_preset_without_the_file_is_refused_at_once(in_house, preset):
    done = dry_run(in_house, preset)
    assert done.returncode == 2
    name = published.TORCHVISION["resnet18"]
    for said in ("enc_dec.perceptual_weights", f"torchvision's {name}", f"{published.SITE}{name}", published.PACKAGE):
        assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_named(in_house):
    done = dry_run(in_house, "gaggi2019", "{perceptual_weights: weights/no.pth}")
    assert done.returncode == 2
    assert "weights/no.pth" in done.stderr
    assert "enc_dec.perceptual_weights" in done.stderr


def test_the_packages_network_takes_its_place_where_the_config_says_so(in_house):
    done = dry_run(in_house, "gaggi2019", "{perceptual: efficientnet_lite0}")
    assert done.returncode == 0, done.stderr
