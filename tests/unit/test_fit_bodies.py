"""Bodies from joints: derivatives, the closed-form start, what is robust, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.errors import DataError
from codebase.fitting.fitter import Fitter
from codebase.fitting.normal import Normal
from codebase.fitting.points import UNKNOWNS, Pose
from codebase.fitting.prior import PosePrior, coordinates, right_inverse
from codebase.fitting.solve import Fit, Guess, Losses
from codebase.fitting.start import LENGTHS, least_turn, start_betas, start_pose, twist
from codebase.skeleton import H36M
from codebase.synthetic.motion import sample_poses
from tests.posed import BETAS, BODY, SECTION, millimetres, nudged, performed, pve_mm, random_pose

pytest_plugins = ["tests.fit_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")
LIMBS = [("left_hip", "left_knee"), ("right_knee", "right_foot"), ("left_shoulder", "left_elbow"),
         ("right_elbow", "right_wrist")]  # fmt: skip


@pytest.fixture(scope="module")
def people(points):
    """True bodies of a standing, a sitting and a walking person, and their joints."""
    poses = [performed(act) for act in (3, 9, 14)]
    joined = Pose(*(torch.cat([getattr(pose, name) for pose in poses]) for name in ("betas", "rotmats", "transl_m")))
    return joined, points(joined)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_derivatives_of_points_are_those_of_finite_differences(points, seed):
    pose, rng = random_pose(seed), torch.Generator().manual_seed(seed)
    derived = points.derive(pose)
    assert torch.allclose(derived.points_m, points(pose), atol=1e-12)
    step = 1e-5 * torch.randn(2, UNKNOWNS, generator=rng, dtype=torch.float64)
    change = (points(nudged(pose, step)) - points(nudged(pose, -step))) / 2
    assert torch.allclose(change, (derived.by_pose @ step[:, None, :, None])[..., 0], atol=1e-10)
    grow = 1e-4 * torch.randn(10, generator=rng, dtype=torch.float64)
    more, less = (dataclasses.replace(pose, betas=pose.betas + sign * grow) for sign in (1, -1))
    assert torch.allclose((points(more) - points(less)) / 2, derived.by_shape @ grow, atol=1e-10)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_the_priors_pull_is_the_gradient_of_its_cost(prior, seed):
    pose, rng = random_pose(seed), torch.Generator().manual_seed(seed)
    step = 1e-6 * torch.randn(2, UNKNOWNS, generator=rng, dtype=torch.float64)
    pull = prior.pull(pose.rotmats)
    change = (prior.cost(nudged(pose, step).rotmats) - prior.cost(nudged(pose, -step).rotmats)) / 2
    assert torch.allclose(change, (pull.gradient * step[:, 3:72]).sum(1), rtol=1e-3, atol=1e-9)
    assert (torch.linalg.eigvalsh(pull.curvature) > 0).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), size=st.floats(0, 3.0))
def test_a_rotation_vector_moves_as_its_inverse_jacobian_says(seed, size):
    rng = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(3, generator=rng, dtype=torch.float64), dim=0)
    step = 1e-5 * torch.randn(3, generator=rng, dtype=torch.float64)
    turn = roma.rotvec_to_rotmat(size * axis)
    ends = [roma.rotmat_to_rotvec(turn @ roma.rotvec_to_rotmat(sign * step)) for sign in (1, -1)]
    assert torch.allclose((ends[0] - ends[1]) / 2, right_inverse(size * axis) @ step, atol=1e-9)


def test_a_mixture_puts_its_mean_at_the_mean_and_prefers_its_own_poses(prior):
    fresh = roma.rotvec_to_rotmat(torch.from_numpy(sample_poses(96, 91, BODY.joint_shape_map[0])).double())
    wild = random_pose(5, 96).rotmats
    assert prior.cost(fresh).median() < prior.cost(wild).median() / 3
    assert coordinates(prior.mean, prior.mean[None]).abs().max() < 1e-9


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), frames=st.integers(2, 5), shape=st.sampled_from([0, 3]))
def test_the_banded_system_is_the_dense_one(seed, frames, shape):
    rng = torch.Generator().manual_seed(seed)
    normal = Normal.empty(frames, shape)
    for _ in range(3):
        rows = [torch.randn(frames, 40, *more, generator=rng, dtype=torch.float64) for more in ((), (75,), (shape,))]
        normal.add(*rows, torch.rand(frames, 40, generator=rng, dtype=torch.float64))
    normal.shared += torch.eye(shape)
    normal.ties = torch.rand(frames - 1, 72, generator=rng, dtype=torch.float64)
    diagonal = normal.own.diagonal(dim1=1, dim2=2)
    diagonal[1:, :72] += normal.ties
    diagonal[:-1, :72] += normal.ties
    diagonal += 1
    size = frames * UNKNOWNS
    dense = torch.zeros(size + shape, size + shape, dtype=torch.float64)
    for frame in range(frames):
        own = slice(frame * UNKNOWNS, (frame + 1) * UNKNOWNS)
        dense[own, own], dense[own, size:], dense[size:, own] = (
            normal.own[frame], normal.cross[frame], normal.cross[frame].T,
        )  # fmt: skip
        if frame:
            here = torch.arange(72) + frame * UNKNOWNS
            dense[here, here - UNKNOWNS] = dense[here - UNKNOWNS, here] = -normal.ties[frame - 1]
    dense[size:, size:] = normal.shared
    expected = -torch.linalg.solve(dense, torch.cat([normal.pull.flatten(), normal.shared_pull]))
    step, moved = normal.step(0.0)
    assert torch.allclose(step.flatten(), expected[:size], atol=1e-7)
    if shape:
        assert torch.allclose(moved, expected[size:], atol=1e-7)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_least_turns_and_twists_do_what_they_say(seed):
    rng = torch.Generator().manual_seed(seed)
    now, wanted, axis = torch.randn(3, 4, 3, generator=rng, dtype=torch.float64)
    turned = (least_turn(now, wanted) @ now[..., None])[..., 0]
    assert torch.allclose(turned / turned.norm(dim=1, keepdim=True), wanted / wanted.norm(dim=1, keepdim=True))
    opposite = (least_turn(now, -now) @ now[..., None])[..., 0]
    assert torch.allclose(opposite, -now, atol=1e-6)
    kept = (twist(axis, now, wanted) @ axis[..., None])[..., 0]
    assert torch.allclose(kept, axis, atol=1e-9)
    unknown = least_turn(now, torch.full_like(now, torch.nan))
    assert torch.allclose(unknown, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))


def test_the_start_points_every_limb_the_right_way(points, prior, people):
    _pose, joints = people
    start = points(start_pose(points, prior.mean, BETAS, joints))
    for first, second in LIMBS:
        along = [there[:, H36M.index(second)] - there[:, H36M.index(first)] for there in (start, joints)]
        cosine = torch.nn.functional.cosine_similarity(*along, dim=1)
        # joints of regressors move a little with the joint below, so directions are right to a degree or two
        assert torch.rad2deg(torch.arccos(cosine.clamp(max=1))).max() < 5, (first, second)
    assert (start - joints).norm(dim=2).mean() < 0.02


def test_the_start_has_no_favourite_direction(points, prior, people):
    _pose, joints = people
    turn = roma.rotvec_to_rotmat(torch.tensor([0.7, -1.9, 0.4], dtype=torch.float64))
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    one = start_pose(points, prior.mean, BETAS, joints)
    other = start_pose(points, prior.mean, BETAS, joints @ turn.T + shift)
    assert torch.allclose(other.rotmats[:, 1:], one.rotmats[:, 1:], atol=1e-7)
    assert torch.allclose(other.rotmats[:, 0], turn @ one.rotmats[:, 0], atol=1e-7)
    assert (points(other) - (points(one) @ turn.T + shift)).norm(dim=2).max() < 0.01


def test_bone_lengths_give_the_stature(points, people):
    betas = start_betas(points, people[1])
    rest = Pose(torch.stack([betas, BETAS]), torch.eye(3).double().expand(2, 24, 3, 3), torch.zeros(2, 3).double())
    one, other = points(rest)
    lengths = [(p[H36M.index("head_top")] - p[H36M.index("right_foot")]).norm() for p in (one, other)]
    assert abs(lengths[0] - lengths[1]) < 0.015
    nothing = torch.full((3, 17, 3), torch.nan, dtype=torch.float64)
    assert torch.equal(start_betas(points, nothing), torch.zeros(10, dtype=torch.float64))
    assert len(LENGTHS) == 13


def test_noiseless_joints_give_the_body(prior, people):
    pose, joints = people
    fitter = Fitter(BODY, prior, SECTION)
    shape = fitter.shape(millimetres(joints))
    found = fitter.sequence(shape, millimetres(joints), np.arange(1, len(joints) + 1))
    assert found.joint_error_mm.mean() < 3
    # of 600 poses of other performers the prior knows little of twists
    assert pve_mm(found.pose, pose).mean() < 25
    assert np.isnan(found.mask_iou).all()


def test_missing_joints_are_filled_in_and_frames_with_too_few_left_out(prior, people):
    pose, joints = people
    fitter, seen = Fitter(BODY, prior, SECTION), joints.clone()
    seen[1, H36M.indices("left_wrist", "left_elbow")] = torch.nan
    seen[2, H36M.indices("root", "left_hip", "right_hip", "spine")] = torch.nan
    seen[4, 6:] = torch.nan
    shape = fitter.shape(millimetres(seen))
    found = fitter.sequence(shape, millimetres(seen), np.arange(1, len(joints) + 1))
    assert np.flatnonzero(np.isnan(found.joint_error_mm)).tolist() == [4]
    assert torch.isnan(found.pose.rotmats[4]).all()
    rest = np.delete(np.arange(len(joints)), 4)
    errors = pve_mm(
        Pose(*(getattr(found.pose, n)[rest] for n in ("betas", "rotmats", "transl_m"))),
        pose.take(torch.from_numpy(rest)),
    )
    assert errors.max() < 80
    assert errors.mean() < 25


def test_an_outlier_spoils_nothing_else(prior, people):
    pose, joints = people
    fitter, wrong = Fitter(BODY, prior, SECTION), joints.clone()
    wrong[3, H36M.index("right_wrist")] += torch.tensor([0.3, 0.3, 0.3])
    shape = fitter.shape(millimetres(joints))
    frame = np.arange(1, len(joints) + 1)
    clean, found = (fitter.sequence(shape, millimetres(part), frame) for part in (joints, wrong))
    others = [joint for joint in range(17) if H36M.names[joint] not in ("right_wrist", "right_elbow")]
    off = (fitter.points(found.pose) - joints).norm(dim=2)[3, others]
    assert off.max() < 0.03
    assert found.joint_error_mm[3] > 20
    assert pve_mm(found.pose, pose)[3] < pve_mm(clean.pose, pose)[3] + 30


def test_smoothness_calms_a_shaking_body(prior, people):
    _pose, joints = people
    rng = torch.Generator().manual_seed(3)
    shaken = joints[:6] + 0.02 * torch.randn(6, 17, 3, generator=rng, dtype=torch.float64)
    turns = []
    for smooth in (0.0, 0.05):
        fitter = Fitter(BODY, prior, SECTION.model_copy(update={"smooth_rad": smooth}))
        found = fitter.sequence(fitter.shape(millimetres(joints)), millimetres(shaken), np.arange(1, 7))
        between = found.pose.rotmats[:-1, 1:].mT @ found.pose.rotmats[1:, 1:]
        turns.append(roma.rotmat_geodesic_distance(between, torch.eye(3).double().expand_as(between)).mean())
    assert turns[1] < 0.7 * turns[0]


def test_constant_offsets_of_joints_are_found(points, prior, people):
    pose, joints = people
    high = torch.tensor([0.0, 0.03, 0.0], dtype=torch.float64)
    turns = points.kinematic(pose.betas, pose.rotmats).rotations[:, 15]  # the head carries its top
    moved = joints.clone()
    moved[:, H36M.index("head_top")] += turns @ high
    fitted = []
    for offset in (0.0, 0.02):
        start = Guess.at(start_pose(points, prior.mean, BETAS, moved))
        fit = Fit(points, prior, Losses(prior=0.3, offset_m=offset), moved)
        fitted.append(fit.run(start, iterations=10))
    assert not fitted[0].offsets_m.any()
    offsets = fitted[1].offsets_m
    assert offsets.norm(dim=1).argmax() == H36M.index("head_top")
    assert offsets[H36M.index("head_top"), 1] > 0.01
    # without offsets, shape has to explain them
    off = [(one.pose.betas[0] - BETAS).norm() for one in fitted]
    assert off[1] < 0.5 * off[0]


def test_no_joints_at_all_is_one_message(prior):
    nothing = np.full((5, 17, 3), np.nan)
    nothing[:, 0] = 0
    with pytest.raises(DataError, match="no frame has enough known joints"):
        Fitter(BODY, prior, SECTION).shape(nothing)


def test_the_prior_of_few_or_equal_poses_is_finite():
    for poses in (sample_poses(1, 7, BODY.joint_shape_map[0]), np.zeros((400, 24, 3))):
        few = PosePrior.of(poses, 2)
        assert few.precisions.isfinite().all()
        assert few.cost(random_pose(1).rotmats).isfinite().all()


def test_a_cost_that_is_not_finite_is_one_message(points, prior, people):
    pose, joints = people
    broken = dataclasses.replace(prior, precisions=prior.precisions * torch.nan)
    with pytest.raises(DataError, match="not finite"):
        Fit(points, broken, Losses(), joints).run(Guess.at(pose), iterations=3)
