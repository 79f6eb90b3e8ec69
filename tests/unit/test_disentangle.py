"""Probes and shifts: they find what was put into a code, and do not find what is not there."""

from __future__ import annotations

import numpy as np
import pytest

from codebase.training.disentangle import Codes, Shown, another_instant, colour_read, moved, readable
from codebase.training.probes import halves, read, read_class, with_lengths

RANDOM = np.random.default_rng(0)


def shown(subjects=(9, 11), sequences=12, frames=10, cameras=2):
    """Frames of a few people, every sequence with a pose of its own about which its frames vary."""
    grid = np.stack(np.meshgrid(subjects, range(sequences), range(frames), range(cameras), indexing="ij"), -1)
    subject, sequence, frame, camera = grid.reshape(-1, 4).astype(np.int64).T
    random = np.random.default_rng(1)
    middle = random.normal(size=(max(subjects) + 1, sequences, 17, 3))
    joints = middle[subject, sequence] + 0.2 * random.normal(size=(frames, 17, 3))[frame]
    size_mm = 300 + 60 * (subject == 11)[:, None, None]  # S11 is taller, whatever the pose
    joints *= size_mm / np.linalg.norm(joints, axis=2, keepdims=True)
    joints[:, 0] = 0
    return Shown(subject, sequence, camera, joints)


def noise(rows, *shape):
    return np.random.default_rng(2).normal(size=(rows, *shape)).astype(np.float32)


def test_a_sequence_is_on_one_side_and_every_subject_on_both():
    frames = shown()
    half = halves(frames.subject, frames.sequence)
    for subject in (9, 11):
        mine = frames.subject == subject
        assert set(half[mine]) == {0, 1}
        for sequence in np.unique(frames.sequence):
            assert len(set(half[mine & (frames.sequence == sequence)])) == 1


def test_what_is_written_linearly_is_read_and_noise_is_not():
    frames = shown()
    rows = len(frames.subject)
    values = noise(rows, 2).astype(np.float64)
    written = values @ RANDOM.normal(size=(2, 20)) + 0.01 * RANDOM.normal(size=(rows, 20))
    assert np.abs(read(written, values, frames.subject, frames.sequence) - values).mean() < 0.05
    guess = read(RANDOM.normal(size=(rows, 20)), values, frames.subject, frames.sequence)
    assert np.square(guess - values).mean() > 0.9 * values.var()


def test_learning_a_sequence_by_heart_reads_nothing():
    """Noise that is constant within a sequence would be perfectly read if frames of one were on both sides."""
    frames = shown(sequences=40)
    of_sequence = np.random.default_rng(3).normal(size=(12, 40, 30))[frames.subject, frames.sequence]
    values = np.random.default_rng(4).normal(size=(12, 40, 1))[frames.subject, frames.sequence]
    guess = read(of_sequence, values, frames.subject, frames.sequence)
    assert np.square(guess - values).mean() > 0.7 * values.var()


def test_a_code_that_tells_the_subject_is_caught_and_one_that_does_not_is_not():
    frames = shown()
    rows = len(frames.subject)
    blind = noise(rows, 8)
    telling = blind + 3 * (frames.subject == 9)[:, None]
    assert read_class(telling, frames.subject, frames.subject, frames.sequence) > 0.97
    assert 0.35 < read_class(blind, frames.subject, frames.subject, frames.sequence) < 0.65
    assert read_class(blind, np.full(rows, 9), np.full(rows, 9), frames.sequence) is None


def test_chance_is_half_however_many_frames_a_subject_has():
    """Otherwise always guessing the one of whom there is more would look like knowledge."""
    frames = shown()
    keep = np.flatnonzero((frames.subject == 9) | (frames.camera == 0) & (np.arange(len(frames.subject)) % 5 == 0))
    few = frames.take(keep)
    assert 0.3 < read_class(noise(len(keep), 8), few.subject, few.subject, few.sequence) < 0.7


def test_lengths_survive_a_turn():
    from scipy.spatial.transform import Rotation

    points = noise(50, 7, 3)
    turned = points @ Rotation.random(50, random_state=0).as_matrix()
    before, after = with_lengths(points), with_lengths(turned)
    np.testing.assert_allclose(after[:, 21:], before[:, 21:], rtol=1e-5)
    assert np.abs(after[:, :21] - before[:, :21]).mean() > 0.5


def test_readable_says_where_pose_and_subject_are_written():
    frames = shown()
    rows = len(frames.subject)
    looks = noise(rows, 6) + np.float32(4) * (frames.subject == 9)[:, None].astype(np.float32)
    found = readable(Codes((frames.joints_im_mm / 100).astype(np.float32), looks), frames, noise(rows, 5))
    assert found["representation/subject_chance"] == 0.5
    assert found["representation/subject_from_l_app"] > 0.97
    assert found["representation/subject_from_true_pose"] > 0.8
    assert found["representation/subject_from_thumbnail"] < 0.65
    mean = found["representation/pose_from_mean_n_mpjpe_mm"]
    assert found["representation/pose_from_l_3d_n_mpjpe_mm"] < 0.1 * mean
    assert found["representation/pose_from_l_app_n_mpjpe_mm"] > 0.9 * mean


def test_without_labels_or_with_one_subject_figures_are_absent():
    frames = shown(subjects=(9,))
    codes = Codes(noise(len(frames.subject), 4, 3), noise(len(frames.subject), 3))
    found = readable(codes, frames)
    assert not [name for name in found if "subject" in name]
    blind = Shown(frames.subject, frames.sequence, frames.camera, np.full((len(frames.subject), 17, 3), np.nan))
    assert readable(codes, blind) == {}


def test_a_shift_is_relative_to_another_instant():
    frames = shown()
    rows = len(frames.subject)
    other = another_instant(frames)
    assert (frames.subject[other] == frames.subject).all()
    assert (frames.camera[other] == frames.camera).all()
    assert (frames.sequence[other] != frames.sequence).mean() > 0.9
    points, looks = noise(rows, 5, 3), noise(rows, 4)
    points[:, 0] = 0  # of no size, so that adding to it alone is a known distance
    before = Codes(points, looks)
    usual = np.sqrt(np.square(points[other] - points).sum((1, 2)).mean())
    changed = points.copy()
    changed[:, 0, 0] += 0.5 * usual
    found = moved("light", before, Codes(changed, looks), frames, lambda codes: 100 * codes[:, [0] * 17])
    assert found["representation/light_l_3d_shift"] == pytest.approx(0.5, rel=1e-5)
    assert found["representation/light_l_app_shift"] == 0
    assert found["representation/light_pose_moved_mm"] == pytest.approx(50 * usual, rel=1e-5)
    assert "representation/light_n_mpjpe_change_mm" in found


def test_colour_is_read_where_it_is_written():
    frames = shown()
    rows = len(frames.subject)
    colour = np.random.default_rng(5).random((rows, 3)).astype(np.float32)
    found = colour_read(Codes(noise(rows, 4, 3), np.tile(colour, 3) + 0.01 * noise(rows, 9)), colour, frames)
    assert found["representation/colour_from_l_app_r2"] > 0.98
    assert found["representation/colour_from_l_3d_r2"] < 0.05


def test_chance_counts_only_people_who_can_be_told():
    """A person of one sequence stands on one side alone and is left out of what is read, so of its chance, too."""
    frames = shown(subjects=(7, 9, 11))
    frames = frames.take(np.flatnonzero((frames.subject != 7) | (frames.sequence == 0)))
    rows = len(frames.subject)
    found = readable(Codes(noise(rows, 4, 3), noise(rows, 3)), frames)
    assert found["representation/subject_chance"] == 0.5


@pytest.mark.filterwarnings("error")
def test_colour_of_one_sequence_each_is_left_out_without_a_warning():
    frames = shown(sequences=1)
    rows = len(frames.subject)
    assert colour_read(Codes(noise(rows, 4, 3), noise(rows, 3)), noise(rows, 3), frames) == {}


def test_two_runs_of_one_representation_have_a_column_each():
    from benchmarks.disentangle import columns
    from codebase.config import Config, validate_config
    from codebase.errors import UserError

    one, other, rival = (
        validate_config(Config, {"name": name, "enc_dec": {"name": encoder}}, where="test")
        for name, encoder in (("one", "enc_dec"), ("other", "enc_dec"), ("one", "rival"))
    )
    assert columns([one, rival]) == ["enc_dec", "rival"]
    assert columns([one, other]) == ["one: enc_dec", "other: enc_dec"]
    with pytest.raises(UserError, match="same names"):
        columns([one, one])
