"""Motion: limits, floor contact, planted feet, no jumps, determinism, acts that differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.errors import UserError
from codebase.synthetic.motion import ACT_NAMES, Clip, make_clip, sample_poses
from codebase.synthetic.motion.limits import enforce, limit_of, swing_twist
from codebase.synthetic.motion.rig import JOINTS, J, forward_kinematics, rotations

SOLE_M = 0.09
ON_SEATS = (9, 10)
seeds = st.integers(0, 10_000)
acts = st.sampled_from(sorted(ACT_NAMES))


def rest_joints() -> np.ndarray:
    """Joints of a plausible person of 1.7 m in SMPL's rest pose, soles at y = -1.19."""
    middle = {
        "pelvis": (0, -0.23, 0.02), "spine1": (0, -0.12, 0.0), "spine2": (0, 0.01, 0.01), "spine3": (0, 0.07, 0.03),
        "neck": (0, 0.28, 0.0), "head": (0, 0.36, 0.04),
    }  # fmt: skip
    left = {
        "hip": (0.08, -0.32, 0.01), "knee": (0.10, -0.70, 0.01), "ankle": (0.09, -1.10, -0.03),
        "foot": (0.12, -1.16, 0.09), "collar": (0.08, 0.19, 0.01), "shoulder": (0.18, 0.22, 0.0),
        "elbow": (0.43, 0.21, -0.02), "wrist": (0.68, 0.21, -0.02), "hand": (0.77, 0.20, -0.03),
    }  # fmt: skip
    sides = {f"left_{part}": at for part, at in left.items()}
    sides |= {f"right_{part}": (-x, y, z) for part, (x, y, z) in left.items()}
    return np.array([(middle | sides)[joint] for joint in JOINTS], dtype=float)


REST = rest_joints()


def clip_of(act: int, seed: int, *, subaction: int = 1, frames: int = 240, fps: float = 40.0) -> Clip:
    return make_clip(act, subaction, seed=seed, frames=frames, fps=fps, rest_joints_m=REST, sole_offset_m=SOLE_M)


def where(clip: Clip) -> np.ndarray:
    return forward_kinematics(REST, clip.pose_rad, clip.transl_m)[0]


def degrees_from_upright(clip: Clip) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(rotations(clip.pose_rad[:, 0].astype(float))[:, 2, 1], -1, 1)))


@settings(max_examples=25, deadline=None)
@given(act=acts, seed=seeds, frames=st.integers(1, 40), fps=st.floats(1.0, 50.0))
def test_clip_of_any_length_is_finite_and_within_the_limits(act: int, seed: int, frames: int, fps: float) -> None:
    clip = clip_of(act, seed, frames=frames, fps=fps)
    assert clip.pose_rad.shape == (frames, 24, 3)
    assert clip.transl_m.shape == (frames, 3)
    assert clip.pose_rad.dtype == clip.transl_m.dtype == np.float32
    assert np.isfinite(clip.pose_rad).all()
    assert np.isfinite(clip.transl_m).all()
    for joint in JOINTS[1:]:
        axis, most_swing, most_twist = limit_of(joint)
        swing, twist = swing_twist(clip.pose_rad[:, J[joint]].astype(float), axis)
        assert np.linalg.norm(swing, axis=1).max() <= most_swing + 1e-3, joint
        assert np.abs(twist).max() <= most_twist + 1e-3, joint


def test_limits_clamp_what_is_beyond_them_and_nothing_else() -> None:
    pose = np.zeros((2, 24, 3))
    pose[0, J["left_knee"]] = (3.0, 0.0, 0.0)
    pose[1, J["left_knee"]] = (1.0, 0.0, 0.0)
    out = enforce(pose)
    assert np.degrees(np.linalg.norm(out[0, J["left_knee"]])) == pytest.approx(150.0)
    np.testing.assert_array_equal(out[1], pose[1])


@settings(max_examples=40, deadline=None)
@given(act=acts, seed=seeds)
def test_feet_stand_on_the_floor_and_do_not_skate(act: int, seed: int) -> None:
    clip = clip_of(act, seed)
    ankles = where(clip)[:, [J["left_ankle"], J["right_ankle"]]]
    height = ankles[:, :, 2] - SOLE_M
    assert height.min() > (-0.045 if act == 9 else -0.02)  # a leg that lies on its side brings the ankle lower
    assert np.abs(height[clip.planted]).max(initial=0.0) < 0.02
    still = clip.planted[1:] & clip.planted[:-1]
    speed = np.linalg.norm(np.diff(ankles, axis=0), axis=2) / np.diff(clip.time_s)[:, None]
    assert speed[still].max(initial=0.0) < 0.06
    if act not in ON_SEATS:
        assert height.min(axis=1).max() < 0.08, "one foot bears the weight, its ankle raised by push-off at most"


@settings(max_examples=40, deadline=None)
@given(act=acts, seed=seeds)
def test_nothing_jumps(act: int, seed: int) -> None:
    clip = clip_of(act, seed)
    turns = rotations(clip.pose_rad.reshape(-1, 3).astype(float)).reshape(-1, 24, 3, 3)
    relative = np.einsum("fjba,fjbc->fjac", turns[:-1], turns[1:])
    angle = np.arccos(np.clip((np.trace(relative, axis1=2, axis2=3) - 1) / 2, -1, 1))
    speed = angle / np.diff(clip.time_s)[:, None]
    assert speed.max() < 18.0, JOINTS[int(speed.max(0).argmax())]
    assert speed[:, 0].max() < 8.0, "global orientation"
    step = np.linalg.norm(np.diff(clip.transl_m, axis=0), axis=1) / np.diff(clip.time_s)
    assert step.max() < 2.5


@settings(max_examples=20, deadline=None)
@given(act=acts, seed=seeds)
def test_people_stay_in_the_room_upright_and_never_freeze(act: int, seed: int) -> None:
    clip = clip_of(act, seed, frames=12, fps=10.0)
    assert np.abs(where(clip)[:, 0, :2]).max() < 1.5
    assert degrees_from_upright(clip).max() < 75.0
    moved = np.linalg.norm(np.diff(where(clip), axis=0), axis=2)
    assert moved.max(axis=1).min() > 0.004
    span = where(clip) - where(clip)[:, :1]
    assert np.linalg.norm(span - span.mean(0), axis=2).max() > 0.06, "a dozen frames show more than one pose"


def test_same_call_same_clip_and_other_takes_differ() -> None:
    first, again = clip_of(5, 3), clip_of(5, 3)
    np.testing.assert_array_equal(first.pose_rad, again.pose_rad)
    np.testing.assert_array_equal(first.transl_m, again.transl_m)
    assert np.abs(first.pose_rad - clip_of(5, 3, subaction=2).pose_rad).max() > 0.3
    assert np.abs(first.pose_rad - clip_of(5, 4).pose_rad).max() > 0.3


def test_facings_of_takes_cover_the_circle() -> None:
    forward = np.concatenate([rotations(clip_of(3, seed, frames=8, fps=10).pose_rad[:, 0].astype(float))[:, :2, 2]
                              for seed in range(24)])  # fmt: skip
    sectors = np.floor((np.arctan2(forward[:, 1], forward[:, 0]) + np.pi) / (np.pi / 4)).astype(int) % 8
    assert set(sectors) == set(range(8))


def hand(clip: Clip, seed_hand: int, other: str) -> np.ndarray:
    """Distance of the wrist of one side to another joint, frame by frame."""
    joints = where(clip)
    return np.linalg.norm(joints[:, J[f"{('left', 'right')[seed_hand]}_wrist"]] - joints[:, J[other]], axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_acts_show_what_they_are(seed: int) -> None:
    phone, walk, sit, wave = (clip_of(act, seed) for act in (6, 14, 9, 5))
    assert min(hand(phone, side, "head").max() for side in (0, 1)) < 0.28, "one hand stays at the ear"
    assert np.linalg.norm(np.diff(walk.transl_m[:, :2], axis=0), axis=1).sum() > 3.5, "metres walked in 6 s"
    assert where(sit)[:, 0, 2].max() < 0.62, "seated all the time"
    raised = where(wave)[:, [J["left_wrist"], J["right_wrist"]], 2] - where(wave)[:, [J["head"]], 2]
    assert raised.max() > 0.0, "a hand above the head's joint at some time"
    assert np.ptp(where(clip_of(10, seed))[:, 0, 2]) > 0.25, "goes down and comes up"


def test_walking_arms_swing_against_the_legs() -> None:
    clip = clip_of(14, 1)
    joints, turns = forward_kinematics(REST, clip.pose_rad, clip.transl_m)
    forward = turns[:, 0, :, 2] * np.array([1, 1, 0])
    legs = ((joints[:, J["left_ankle"]] - joints[:, J["right_ankle"]]) * forward).sum(1)
    arms = ((joints[:, J["left_wrist"]] - joints[:, J["right_wrist"]]) * forward).sum(1)
    assert np.corrcoef(legs, arms)[0, 1] < -0.7


def test_every_act_differs_from_every_other() -> None:
    """Mean body poses of an act over performers lie nearer to its other half of performers than to other acts."""

    def signature(act: int, performers: range) -> np.ndarray:
        poses = np.concatenate([clip_of(act, s, frames=30, fps=5.0).pose_rad[:, 1:] for s in performers])
        poses = rotations(poses.reshape(-1, 3).astype(float)).reshape(len(poses), -1)
        return np.concatenate([poses.mean(0), poses.std(0)])

    first = {act: signature(act, range(12)) for act in ACT_NAMES}
    second = {act: signature(act, range(12, 24)) for act in ACT_NAMES}
    nearest = {act: min(ACT_NAMES, key=lambda other: np.linalg.norm(first[act] - second[other])) for act in ACT_NAMES}
    assert sum(act == found for act, found in nearest.items()) >= len(ACT_NAMES) - 2, nearest


def test_sample_poses_has_no_global_orientation_and_variety() -> None:
    poses = sample_poses(200, 5, REST)
    assert poses.shape == (200, 24, 3)
    assert poses.dtype == np.float32
    assert not poses[:, 0].any()
    assert len(np.unique(poses.reshape(200, -1).round(3), axis=0)) == 200
    assert np.degrees(np.linalg.norm(poses[:, J["left_knee"]], axis=1)).max() > 80.0
    np.testing.assert_array_equal(poses, sample_poses(200, 5, REST))


def test_unknown_act_says_which_there_are() -> None:
    with pytest.raises(UserError, match=r"2\.\.16"):
        clip_of(1, 0)
