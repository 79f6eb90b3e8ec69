"""The ablation of the representation: what each variant changes, what it measures, and that it is done but once."""

import sys

import pytest
import yaml

from benchmarks import ablate_enc_dec as ablation
from codebase.config import Config
from codebase.files import read_json
from codebase.training import loop
from tests.people import make_people

ENC_DEC = {
    "steps": 2, "batch_size": 4, "warmup_steps": 1, "log_every": 1, "validate_every": 2, "points": 8, "appearance": 4,
    "palette": 4, "encoder_blocks": (1, 1, 1), "encoder_widths": (8, 16, 16), "decoder_widths": (16, 8, 8),
    "precision": "fp32", "validation_pairs": 8, "mirror": 0.5,
}  # fmt: skip
POSE = {"steps": 3, "batch_size": 8, "warmup_steps": 1, "log_every": 1, "validate_every": 3, "hidden": 16}


def test_every_variant_changes_keys_that_there_are(tmp_path):
    config = Config(name="some", results=tmp_path)
    assert ablation.variant(config, ablation.BASE, 0, tmp_path).enc_dec == config.enc_dec
    found = {name: ablation.variant(config, name, 3, tmp_path) for name in ablation.VARIANTS}
    made = {name: one for name, one in found.items() if one is not None}
    assert len({one.name for one in made.values()}) == len(made)
    for name, one in made.items():
        changed = {key: value for key, value in one.enc_dec if value != getattr(config.enc_dec, key)}
        wanted = {key: value for key, value in ablation.VARIANTS[name].items() if value != getattr(config.enc_dec, key)}
        assert changed == wanted | {"seed": 3}
        assert ablation.Paths(one).crops(1) == ablation.Paths(config).crops(1)
    assert found["without mirror"] is None, "what is not there is not taken away"
    with_it = config.model_copy(update={"enc_dec": config.enc_dec.model_copy(update={"mirror": 0.5})})
    assert ablation.variant(with_it, "mirrored samples", 0, tmp_path) is None, "nor is added what is there"
    assert ablation.variant(with_it, "without mirror", 0, tmp_path).enc_dec.mirror == 0


def test_figures_belong_to_settings_and_data(tmp_path):
    config = Config(name="some", results=tmp_path)
    one = ablation.variant(config, ablation.BASE, 0, tmp_path)
    assert ablation.digest(one) == ablation.digest(one)
    others = [
        ablation.variant(config, ablation.BASE, 1, tmp_path), ablation.variant(config, "no palette", 0, tmp_path),
        one.model_copy(update={"data_from": tmp_path / "elsewhere"}),
        one.model_copy(update={"pose": one.pose.model_copy(update={"steps": 7})}),
    ]  # fmt: skip
    assert len({ablation.digest(other) for other in [one, *others]}) == 5


def test_each_variant_is_trained_and_measured_once(tmp_path, monkeypatch, capsys):
    people = make_people(
        tmp_path, test=(9, 11), cameras=(1, 2, 3), frames=3, size=16, sections={"enc_dec": ENC_DEC, "pose": POSE}
    )
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(people.config.model_dump(mode="json")))
    only = [ablation.BASE, "a third view", "without mirror", "mirrored samples"]
    command = [
        "ablate_enc_dec",
        str(config),
        "--results",
        str(tmp_path / "out"),
        "enc_dec.batch_size=2",
        "--only",
        *only,
    ]
    monkeypatch.setattr(sys, "argv", command)
    ablation.main()
    table = (tmp_path / "out" / "table.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines()[3:]] == [f"| {name}" for name in only[:3]]
    assert table.splitlines()[2].startswith("| the mean pose |")
    assert capsys.readouterr().out.endswith(table + "\n")
    runs = read_json(tmp_path / "out" / "table.json")["runs"]
    assert list(runs) == only[:3]
    figures = runs["a third view"][0]
    measured = {key for key, *_ in ablation.COLUMNS}
    assert measured <= set(figures)
    gain = figures["test/psnr_foreground_db"] - figures["test/psnr_background_only_db"]
    assert figures["test/gain_db"] == pytest.approx(gain)
    ratio = figures["val/n_mpjpe_mm"] / figures["val/mean_pose_n_mpjpe_mm"]
    assert figures["val/n_mpjpe_of_mean_pose"] == pytest.approx(ratio)
    assert figures["val/gain_db"] != runs[ablation.BASE][0]["val/gain_db"]

    def refuse(*_args, **_kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(loop, "fit", refuse)
    ablation.main()
    assert (tmp_path / "out" / "table.md").read_text() == table
    monkeypatch.setattr(sys, "argv", [*command[:4], "enc_dec.batch_size=4", "--only", ablation.BASE])
    with pytest.raises(AssertionError, match="trained again"):
        ablation.main()


def test_the_table_tells_means_and_deviations_between_seeds():
    mean = {"val/mean_pose_n_mpjpe_mm": 213.0, "test/mean_pose_n_mpjpe_mm": 204.0}
    mean |= {"test/representation/pose_from_mean_n_mpjpe_mm": 198.0}
    runs = [mean | {"val/gain_db": 5.0, "val/n_mpjpe_mm": 150.0}, mean | {"val/gain_db": 6.0, "val/n_mpjpe_mm": 140.0}]
    lines = ablation.table({"a third view": runs}).splitlines()
    assert lines[2].startswith("| the mean pose |  |  | 213.0 |  |  |  | 204.0 |  |  | 198.0 |")
    assert lines[3].startswith("| a third view | views 3 | 5.50 ± 0.71 | 145.0 ± 7.1 |  |")
