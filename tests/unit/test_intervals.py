"""Intervals over sequences: they hold the true mean about as often as they say, and frames alone would not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase.intervals import bootstrap
from codebase.metrics import ALIGNMENTS, mpjpe
from codebase.stages._groups import Groups, Rows, means


def sequences(random, clusters=40, frames=10, figures=1, spread=1.0):
    """Errors whose true mean is 5: sequences differ by `spread`, frames within one hardly."""
    middle = random.normal(5, spread, (clusters, 1, figures))
    values = middle + 0.1 * random.normal(size=(clusters, frames, figures))
    return values.reshape(-1, figures), np.repeat(np.arange(clusters), frames)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    """400 experiments of 40 sequences; each column is one. The nominal rate is 95 %, of 3 standard errors 3.3 %."""
    values, cluster = sequences(np.random.default_rng(0), figures=400)
    low, high = bootstrap(values, cluster, draws=400)
    assert 0.90 <= ((low <= 5) & (high >= 5)).mean() <= 0.98
    of_frames, until = bootstrap(values, np.arange(len(values)), draws=400)
    assert ((of_frames <= 5) & (until >= 5)).mean() < 0.6, "frames of a sequence are no independent samples"


@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 5))
def test_an_interval_lies_about_its_mean_and_within_its_values(seed, clusters, frames):
    values, cluster = sequences(np.random.default_rng(seed), clusters, frames, figures=3)
    low, high = bootstrap(values, cluster, draws=200)
    assert (low <= high).all()
    assert (low >= values.min(axis=0) - 1e-9).all()
    assert (high <= values.max(axis=0) + 1e-9).all()
    again = bootstrap(values, cluster, draws=200)
    assert np.array_equal(again, (low, high))
    order = np.random.default_rng(seed).permutation(len(values))
    np.testing.assert_allclose(bootstrap(values[order], cluster[order], draws=200), (low, high))


def test_more_sequences_make_it_narrower_and_more_frames_of_them_do_not():
    random = np.random.default_rng(0)
    width = {}
    for size in ((20, 5), (80, 5), (20, 50)):
        low, high = bootstrap(*sequences(random, *size, figures=50), draws=300)
        width[size] = float((high - low).mean())
    assert width[80, 5] == pytest.approx(width[20, 5] / 2, rel=0.2)
    assert width[20, 50] == pytest.approx(width[20, 5], rel=0.15)


def test_one_sequence_has_no_interval_and_what_is_not_finite_counts_nowhere():
    values = np.array([[1.0, 1], [2, np.nan], [3, np.nan], [np.nan, 4]])
    low, high = bootstrap(values, np.array([0, 0, 1, 1]), draws=500)
    assert np.isnan(bootstrap(values, np.zeros(4, int), draws=50)).all()
    assert (low[0], high[0]) == (1.5, 3.0)  # the means of either sequence alone
    assert (low[1], high[1]) == (1.0, 4.0)
    half = np.array([[1.0], [np.nan]])
    assert np.isnan(bootstrap(half, np.array([0, 1]), draws=50)).all(), "samples of one sequence alone"


def test_figures_are_named_and_the_joints_mean_is_the_figure():
    random = np.random.default_rng(0)
    subject, action, subaction = (column.ravel() for column in np.meshgrid([9, 11], [2, 14], [1, 2], indexing="ij"))
    rows = Rows(*(np.repeat(column, 5) for column in (subject, action, subaction)))
    assert len(np.unique(rows.sequence)) == 8
    distances = random.random((40, 17)) * 100
    groups = Groups(per_act=True, per_subject=True, draws=100)
    found = groups.summarise({"pose/mpjpe_mm": distances.mean(axis=1)}, rows)
    assert found["pose/mpjpe_mm_ci95_low"] < found["pose/mpjpe_mm"] < found["pose/mpjpe_mm_ci95_high"]
    for part in ("S9", "S11", "act_02_Directions", "act_14_Walking"):
        assert f"pose/mpjpe_mm/{part}" in found
        assert f"pose/mpjpe_mm_ci95_low/{part}" in found
    joints = groups.per_joint({"pose/mpjpe_mm": distances}, rows)
    single = [value for name, value in joints.items() if name.startswith("pose/mpjpe_mm/joint_")]
    assert len(single) == 17
    assert np.mean(single) == pytest.approx(found["pose/mpjpe_mm"])
    assert joints["pose/mpjpe_mm/joint_left_knee"] == pytest.approx(distances[:, 5].mean())
    assert not [name for name in means({"a/b": np.ones(40)}, rows, 0) if "ci95" in name]


def test_each_protocol_is_its_alignment_and_then_distances():
    random = np.random.default_rng(0)
    predicted, target = random.normal(size=(2, 20, 17, 3)) * 300
    assert list(ALIGNMENTS) == ["mpjpe", "n_mpjpe", "pa_mpjpe", "orthogonal_mpjpe"]
    from codebase import metrics

    for name, aligned in ALIGNMENTS.items():
        np.testing.assert_allclose(mpjpe(aligned(predicted, target), target), getattr(metrics, name)(predicted, target))
