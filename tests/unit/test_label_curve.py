"""The curve of the label sweep: means and intervals of measures, and which measures are none of it."""

import json
from pathlib import Path

import pytest
from conftest import REPOSITORY

from codebase.config import (
    Config,
    Point,
    point_section,
    points,
    read_config,
    validate_config,
)
from codebase.errors import DataError
from codebase.files import write_json
from codebase.stages import label_sweep, measure_labels
from codebase.stages._label_figures import label_figures
from codebase.training.state import Checkpoint

MINI = REPOSITORY / "configs/mini.yaml"


def swept(*overrides):
    words = ["labels.representations=[embedding, fine_tuned, from_scratch]", "labels.subjects=[1, 5, 6, 7]"]
    return read_config(MINI, [*words, *overrides])


def measured(config, representation, level):
    """A file of measure_labels whose errors are known: level + seed in the first sequence, 10 more in the second."""
    found = [
        {"amount": p.amount, "seed": p.seed, "labelled_frames": 40, "labelled_sequences": 2}
        | {f"{name}mpjpe_mm": [level + p.seed, level + 10.0 + p.seed] for name in ("", "n_", "pa_")}
        for p in points(config, representation)
    ]
    head = {"format": "posemill.labels", "version": 1, "representation": representation, "points": found}
    return head | {"sequences": ["S9/act_02_subact_01", "S9/act_03_subact_01"], "frames": [30, 10]}


def curve_of(tmp_path, config, **levels):
    files = []
    for name, level in levels.items():
        write_json(tmp_path / f"{name}.json", measured(config, name, level))
        files.append(tmp_path / f"{name}.json")
    label_sweep.run(config, measured=files, output=tmp_path / "curve.json", picture=tmp_path / "curve.png")
    return json.loads((tmp_path / "curve.json").read_text())


def test_the_curve_is_the_mean_over_frames_and_seeds_with_intervals_over_sequences(tmp_path):
    config = swept("labels.amounts=[S1, all]", "labels.seeds=[0, 1, 2]", "pose.label_subjects=[1]")
    curve = curve_of(tmp_path, config, embedding=100.0, from_scratch=150.0)
    figure = curve["representations"]["embedding"]["S1"]["n_mpjpe_mm"]
    # (30 * 100 + 10 * 110) / 40 = 102.5, seeds 0, 1, 2
    assert figure["seeds"] == pytest.approx([102.5, 103.5, 104.5])
    assert figure["mean"] == pytest.approx(103.5)
    # both sequences drawn alike: the worst and the best are one of them twice
    assert (figure["ci95_low"], figure["ci95_high"]) == pytest.approx((101.0, 111.0))
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    figures = label_figures(config, [tmp_path / "curve.json"])
    assert figures["pose/from_scratch_n_mpjpe_mm"] == pytest.approx(153.5)
    assert figures["pose/embedding_n_mpjpe_mm_ci95_low"] == pytest.approx(101.0)
    unlike = swept("labels.amounts=[S1, all]", "pose.label_subjects=[1, 5]")
    assert label_figures(unlike, [tmp_path / "curve.json"]) == {}, "figures of other labels than the run's own"
    assert label_figures(config, []) == {}


def test_measures_on_other_people_are_no_curve(tmp_path):
    config = swept("labels.amounts=[S1]", "labels.seeds=[0]")
    other = measured(config, "from_scratch", 1.0) | {"frames": [30, 11]}
    write_json(tmp_path / "a.json", measured(config, "embedding", 1.0))
    write_json(tmp_path / "b.json", other)
    with pytest.raises(DataError, match="other test sequences"):
        label_sweep.run(
            config, measured=[tmp_path / "a.json", tmp_path / "b.json"], output=tmp_path / "c.json",
            picture=tmp_path / "c.png",
        )  # fmt: skip
    with pytest.raises(DataError, match="no curve"):
        label_figures(config, [tmp_path / "a.json"])


def test_a_checkpoint_of_another_point_is_not_measured():
    config = swept("labels.amounts=[S1]", "labels.seeds=[0]")
    point = Point("fine_tuned", "S1", 0)
    own = json.loads(point_section(config, point).model_dump_json())
    measure_labels._require_point(config, point, Checkpoint({}, 1, own, [], {}), Path("m.pt"))
    for other in ({"start": "scratch"}, {"seed": 1}, {"label_subjects": [5]}, {"label_share": 0.5}):
        with pytest.raises(DataError, match=f"trained with {next(iter(other))}"):
            measure_labels._require_point(config, point, Checkpoint({}, 1, own | other, [], {}), Path("m.pt"))


def test_without_draws_the_curve_has_no_intervals(tmp_path):
    config = swept("labels.amounts=[S1]", "labels.seeds=[0]", "evaluate.bootstrap=0")
    figure = curve_of(tmp_path, config, embedding=100.0)["representations"]["embedding"]["S1"]["n_mpjpe_mm"]
    assert set(figure) == {"mean", "seeds"}


def test_measures_of_other_points_are_no_curve(tmp_path):
    write_json(tmp_path / "a.json", measured(swept("labels.amounts=[S1]"), "embedding", 1.0))
    with pytest.raises(DataError, match="other amounts or seeds"):
        label_sweep.run(
            swept("labels.amounts=[S1, all]"), measured=[tmp_path / "a.json"], output=tmp_path / "c.json",
            picture=tmp_path / "c.png",
        )  # fmt: skip


def test_a_config_with_a_sweep_reads_back(tmp_path):
    config = swept("rivals={old: {enc_dec: {points: 3}}}", "labels.settings={embedding: {steps: 3}}")
    data = json.loads(config.model_dump_json())
    assert validate_config(Config, data, where=Path("x")) == config
