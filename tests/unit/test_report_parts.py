"""The parts of the page that need no run: charts, the DAG's layout, headlines, tables, the choice of examples."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase.errors import DataError
from codebase.report import charts, dag, looks, tables
from codebase.report.choose import by_rank
from codebase.report.headline import cards
from codebase.report.skeletons import side_of, two_views
from codebase.report.viewer import Scene, pack
from codebase.skeleton import H36M

# rules that make no part of the results
HOUSEKEEPING = ("check", "all", "config")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_round_and_lie_inside(low, span, count):
    ticks = charts.nice_ticks(low, low + span, count)
    slack = span * 1e-6 + abs(low) * 1e-9
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)
    assert len(ticks) <= count + 2
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        assert float(f"{step:.0e}") == pytest.approx(step, rel=1e-3)


def test_labels_of_close_ticks_differ():
    assert charts.tick_labels([140.0, 140.2, 140.4]) == ["140", "140.2", "140.4"]
    assert charts.tick_labels([0.0, 0.05, 0.1]) == ["0", "0.05", "0.1"]


def _svg(markup):
    return ElementTree.fromstring(str(markup))


def test_line_chart_spans_its_panel_and_says_its_last_values():
    chart = _svg(charts.line_chart({"loss": [(0.0, 4.0), (100.0, 1.0)], "val/loss": [(100.0, 2.0)]}, title="loss"))
    lines = chart.findall("polyline")
    first = [tuple(map(float, point.split(","))) for point in lines[0].get("points").split()]
    assert first[0][0] < first[1][0]
    assert first[0][1] < first[1][1]  # a falling loss goes down the page, where y grows
    assert {line.get("class") for line in lines} == {"series-a", "series-b"}
    assert "loss: 1 at the end" in chart.get("aria-label")


def test_line_chart_of_nothing_finite_is_empty():
    assert charts.line_chart({"loss": [(0.0, float("nan"))]}, title="loss") == ""


def test_a_long_history_is_thinned_to_means_and_keeps_its_end():
    points = [(float(step), float(step % 2)) for step in range(10_001)]
    thinned = charts.thin(points)
    assert len(thinned) <= 300
    assert thinned[-1] == points[-1]
    assert all(0.3 < y < 0.7 for _, y in thinned[:-1])
    assert charts.thin(points[:5]) == points[:5]


def test_charts_escape_names():
    bars = charts.bar_chart({"<b>": (1.0, 2.0)}, title="<i>", unit="mm", names=("a", "b"))
    assert "<b>" not in bars
    assert "<i>" not in bars


def test_histogram_shares_sum_to_one():
    values = np.linspace(0, 10, 101)
    chart = _svg(charts.histogram({"a": values, "b": values + 1}, title="t", x_label="mm"))
    assert len(chart.findall("path")) == 2
    assert "a: median 5" in chart.get("aria-label")


def test_dag_has_the_rules_of_the_workflow():
    text = "".join(path.read_text() for path in sorted(Path("workflow/rules").glob("*.smk")))
    rules = set(re.findall(r"^(?:\s*)rule (\w+):", text, re.M))
    assert {node.name for node in dag.NODES} == {rule for rule in rules if not rule.startswith(HOUSEKEEPING)}


def test_arrows_point_right_and_no_two_things_share_a_place():
    depth = dag.depths_of(dag.NODES)
    chains = dag.chains_of(dag.NODES, depth)
    assert all(depth[need] < depth[node.name] for node in dag.NODES for need in node.needs)
    assert all(len(chain) == depth[chain[-1]] - depth[chain[0]] + 1 for chain in chains)
    layers = dag.order(depth, chains)
    assert sorted(name for layer in layers for name in layer if ">" not in name) == sorted(n.name for n in dag.NODES)
    boxes = [tuple(float(rect.get(key)) for key in ("x", "y")) for rect in _svg(dag.draw(dag.NODES)).iter("rect")]
    assert len(set(boxes)) == len(dag.NODES)


def test_a_users_tree_stands_where_synthesize_would():
    names = [node.name for node in dag.nodes_for("tree")]
    assert "synthesize" not in names
    assert all(need in names for node in dag.nodes_for("tree") for need in node.needs)


@pytest.mark.parametrize(("fits", "measures"), [(True, True), (False, True), (False, False)])
def test_fitted_bodies_stand_where_they_are_used(fits, measures):
    nodes = {node.name: node.needs for node in dag.nodes_for("synthetic", fits=fits, measures=measures)}
    assert ("fit_bodies" in nodes) == measures
    assert ("fit_bodies" in nodes["train_hmr"]) == fits
    assert ("fit_bodies" in nodes["evaluate"]) == measures
    assert all(need in nodes for needs in nodes.values() for need in needs)


def test_the_prior_stands_before_the_networks_that_listen_to_it():
    for judged in (False, True):
        nodes = {node.name: node.needs for node in dag.nodes_for("synthetic", judged=judged)}
        assert ("train_prior" in nodes["train_hmr"]) == judged
        assert "train_prior" in nodes["train_smpl"]


def test_the_encoder_stands_before_the_image_network_that_begins_with_it():
    for begun in (False, True):
        nodes = {node.name: node.needs for node in dag.nodes_for("synthetic", begun=begun)}
        assert ("train_enc_dec" in nodes["train_hmr"]) == begun


def test_headline_gains_are_signed():
    metrics = {
        "enc_dec/psnr_foreground_db": 15.0,
        "enc_dec/psnr_background_only_db": 12.0,
        "pose/n_mpjpe_mm": 165.0,
        "pose/mean_pose_n_mpjpe_mm": 150.0,
        "pose/n_mpjpe_mm/S11": 170.0,
        "pose/n_mpjpe_mm/S9": 160.0,
    }
    views, pose = cards(metrics)
    assert views.verdict == "3.0 dB above the empty background"
    assert views.better
    assert pose.verdict == "10 % above the mean pose"
    assert not pose.better
    assert pose.subjects == (("S9", 160.0), ("S11", 170.0))


def test_without_true_bodies_the_headline_falls_back_to_joints():
    found = cards({"smpl/n_mpjpe_mm": 120.0, "pose/mean_pose_n_mpjpe_mm": 150.0})
    assert [card.claim.key for card in found] == ["smpl/n_mpjpe_mm"]
    assert cards({}) == []


def test_stage_table_pairs_each_metric_with_its_baseline():
    metrics = {
        "pose/mpjpe_mm": 120.0,
        "pose/mean_pose_mpjpe_mm": 150.0,
        "pose/mpjpe_mm/S9": 110.0,
        "pose/mean_pose_mpjpe_mm/S9": 140.0,
        "pose/mpjpe_mm/act_02_Directions": 100.0,
        "smpl/pve_mm": 1.0,
    }
    table = tables.per_stage(metrics, "pose")
    assert table.headers == ("", "MPJPE, mm (mean pose)")
    assert table.rows == (("S9", "110.0 (140.0)"), ("Directions", "100.0"), ("all", "120.0 (150.0)"))
    assert tables.per_stage(metrics, "hmr") is None


def test_overall_table_explains_baselines_and_leaves_out_parts():
    table = tables.overall({"hmr/mean_v2v_l2_m2": 0.0151, "hmr/v2v_l2_m2/S9": 0.2, "index/test_rows": 24.0})
    assert [row[0] for row in table.rows] == ["hmr/mean_v2v_l2_m2", "index/test_rows"]
    assert table.rows[0][1] == "0.01510"
    assert table.rows[0][3].startswith("baseline: v2v l2 of the mean body")
    assert table.rows[1][1] == "24"


def test_parts_of_figures_against_fitted_bodies_are_no_rows_of_the_overall_table():
    of = "against_fitted/smpl/"
    names = ("pve_mm", "pve_mm/S9", "pve_mm/facing_090", "pve_mm_ci95_low")
    table = tables.overall({of + name: 90.0 for name in names})
    assert [row[0] for row in table.rows] == [f"{of}pve_mm"]
    assert table.rows[0][3].startswith("against fitted bodies")


WITH_INTERVALS = {
    "pose/mpjpe_mm": 120.0, "pose/mpjpe_mm_ci95_low": 111.0, "pose/mpjpe_mm_ci95_high": 130.0,
    "pose/mpjpe_mm/S9": 100.0, "pose/mpjpe_mm_ci95_low/S9": 92.0, "pose/mpjpe_mm_ci95_high/S9": 108.0,
    "pose/mpjpe_mm/joint_root": 0.0, "pose/mpjpe_mm/joint_left_wrist": 200.0,
    "pose/mpjpe_mm_ci95_low/joint_left_wrist": 180.0, "pose/mpjpe_mm_ci95_high/joint_left_wrist": 222.0,
    "pose/orthogonal_mpjpe_mm": 99.0,
}  # fmt: skip


def test_intervals_stand_beside_their_figures_and_in_no_row_of_their_own():
    overall = tables.overall(WITH_INTERVALS)
    assert [row[:3] for row in overall.rows] == [
        ("pose/mpjpe_mm", "120.0", "111.0 to 130.0"),
        ("pose/orthogonal_mpjpe_mm", "99.0", ""),
    ]
    assert "reflections allowed" in overall.rows[1][3]
    table = tables.per_stage(WITH_INTERVALS, "pose")
    assert table.headers == ("", "MPJPE, mm", "orthogonal MPJPE, mm")
    assert [row[0] for row in table.rows] == ["S9", "all"]
    assert "92.0 to 108.0" in table.rows[0][1]
    joints = tables.per_joint(WITH_INTERVALS, "pose")
    assert [row[0] for row in joints.rows] == ["root", "left wrist"]
    assert joints.rows[0][1] == "0.0"
    assert "180.0 to 222.0" in joints.rows[1][1]
    assert tables.per_joint(WITH_INTERVALS, "smpl") is None


def test_looks_are_told_code_by_code():
    metrics = {
        "representation/subject_from_l_3d": 0.9, "representation/subject_from_true_pose": 1.0,
        "representation/subject_chance": 0.5, "representation/pose_from_mean_n_mpjpe_mm": 195.0,
        "representation/pose_from_l_app_n_mpjpe_mm": 105.0, "representation/colour_l_3d_shift": 0.27,
        "representation/colour_n_mpjpe_change_mm": -0.5,
    }  # fmt: skip
    read, moved = looks.tables(metrics)
    assert read.rows[0][1:] == ("0.900", "", "", "1.000", "0.500")
    assert read.rows[1][1:] == ("", "105.0", "", "", "195.0")
    assert moved.rows == (("the person's colours", "0.270", "", "", "", "-0.5"),)
    assert looks.tables({"pose/mpjpe_mm": 1.0}) == []
    assert all(row[3] for row in tables.overall(metrics).rows), "every name is explained"


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60), st.integers(1, 9))
def test_examples_run_from_best_to_worst(errors, count):
    errors = np.array(errors)
    chosen = by_rank(errors, count)
    shown = errors[[choice.row for choice in chosen]]
    assert len({choice.row for choice in chosen}) == len(chosen) <= max(count, 1)
    assert (np.diff(shown) >= 0).all()
    if len(errors) > count > 2:
        assert len(chosen) == count
        assert shown[0] == errors.min()
        assert shown[-1] == errors.max()
        assert any(choice.why == "median" for choice in chosen)


def test_sides_of_bones_and_a_pose_that_equals_the_truth_covers_it():
    assert side_of(H36M.index("left_knee")) == "left"
    assert side_of(H36M.index("head_top")) == "middle"
    pose = np.random.default_rng(0).normal(0, 300, (17, 3))
    drawing = _svg(two_views(pose, pose, label="same"))
    ends = {
        style: [line.get("x1") + line.get("y2") for line in drawing.findall("line") if style in line.get("class")]
        for style in ("truth", "guess")
    }
    assert ends["truth"] == ends["guess"]
    assert len(ends["truth"]) == 2 * len(H36M.bones)


def test_viewer_packs_millimetres():
    points = np.array([[0.4, -1.6, 900.0]] * 17)
    packed = pack([Scene("best", points, points, points)], np.array([[0, 1, 2]]))
    read = np.frombuffer(base64.b64decode(packed["scenes"][0]["mesh"]), "<i2").reshape(-1, 3)
    assert read[0].tolist() == [0, -2, 900]
    assert np.frombuffer(base64.b64decode(packed["faces"]), "<u2").tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="vertices"):
        pack([], np.array([[0, 1, 70000]]))


def test_errors_after_each_correction_have_a_meaning_and_their_units_digits():
    for prefix in ("", "against_fitted/"):
        assert "after correction 2: mean distance" in tables.meaning(f"{prefix}hmr/pve_mm/iteration_2")
    assert tables.meaning("hmr/nothing/iteration_2") == ""
    assert tables.number("hmr/pve_mm/iteration_2", 123.456) == "123.5"
    assert tables.number("hmr/v2v_l2_m2/iteration_1", 0.0271234) == "0.02712"
    assert tables.per_stage({"hmr/pve_mm": 1.0, "hmr/pve_mm/iteration_1": 2.0}, "hmr").rows == (("all", "1.0"),)
