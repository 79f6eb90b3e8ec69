"""The layer against smplx, numpy skinning against both, joints without vertices, gradients."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import roma
import smplx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from codebase.body.arrays import lbs_numpy, load_body, rotation_matrices
from codebase.body.joints import RegressedJoints
from codebase.body.model import BodyLayer

PATH = Path(__file__).resolve().parents[2] / "assets" / "free_body.npz"


@pytest.fixture(scope="module")
def body():
    return load_body(PATH)


@pytest.fixture(scope="module")
def dense_body(body):
    """Arrays of SMPL's size with nothing sparse: every pose feature moves every vertex, which hangs on all joints."""
    random = np.random.default_rng(0)
    joints = body.J_regressor @ body.v_template
    apart = np.linalg.norm(body.v_template[:, None] - joints, axis=-1)
    weights = np.exp(-apart / 0.08) + 1e-4
    regressor = np.exp(-apart.T / 0.03) + 1e-6
    regressor17 = regressor[np.arange(17)] * random.random((17, len(body.v_template)))
    return dataclasses.replace(
        body,
        shapedirs=random.normal(0, 0.01, body.shapedirs.shape).astype(np.float32),
        posedirs=random.normal(0, 1e-3, body.posedirs.shape).astype(np.float32),
        weights=(weights / weights.sum(1, keepdims=True)).astype(np.float32),
        J_regressor=(regressor / regressor.sum(1, keepdims=True)).astype(np.float32),
        J17_regressor=(regressor17 / regressor17.sum(1, keepdims=True)).astype(np.float32),
    )


BODIES = ("body", "dense_body")


@pytest.fixture(scope="module", params=BODIES)
def rivals(request):
    """A body's arrays, smplx's own class over them in double, and our layer in both precisions."""
    arrays = request.getfixturevalue(request.param)
    data = SimpleNamespace(**arrays.linear, kintree_table=arrays.parents[None], f=arrays.faces)
    reference = smplx.SMPL(model_path="", data_struct=data, batch_size=3, dtype=torch.float64)
    return arrays, reference, {kind: BodyLayer(arrays, kind) for kind in (torch.float32, torch.float64)}


def drawn(seed, count=3):
    """Shapes up to 3 sd, rotation vectors of any angle, the root anywhere; double."""
    random = np.random.default_rng(seed)
    pose = random.normal(size=(count, 24, 3)) * random.uniform(0.05, 1.2)
    parts = (random.normal(size=(count, 10)) * 1.5, pose, random.uniform(-1, 1, (count, 3)))
    return tuple(torch.tensor(part, requires_grad=True) for part in parts)


def by_smplx(arrays, reference, betas, pose, transl):
    """Vertices, SMPL's joints and the 17 as smplx makes them, from axis-angle by its own Rodrigues' formula."""
    found = reference(betas=betas, global_orient=pose[:, 0], body_pose=pose[:, 1:].flatten(1), transl=transl)
    regressor = torch.tensor(arrays.J17_regressor, dtype=betas.dtype)
    return found.vertices, found.joints[:, :24], torch.einsum("kv,bvx->bkx", regressor, found.vertices)


def by_us(layer, betas, pose, transl):
    """The same through roma's rotations, joints without vertices."""
    rotations = roma.rotvec_to_rotmat(pose)
    return tuple(make(betas, rotations, transl) for make in (layer.vertices, layer.joints24, layer.joints17))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_values_equal_smplxs(rivals, seed):
    """Within 1e-6 m: everything in double; in single the joints, while smplx's own vertices lose more to rounding."""
    arrays, reference, layers = rivals
    inputs = drawn(seed)
    with torch.no_grad():
        expected = by_smplx(arrays, reference, *inputs)
        for kind, layer in layers.items():
            ours = by_us(layer, *(part.to(kind) for part in inputs))
            for name, one, other in zip(("vertices", "24", "17"), ours, expected, strict=True):
                rounded = name == "vertices" and kind == torch.float32
                assert (one - other).abs().max() < (5e-6 if rounded else 1e-6), (name, kind)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_gradients_equal_smplxs(rivals, seed):
    """Of joints, with respect to shape, rotation vectors and place: within 1e-5, in single precision too."""
    arrays, reference, layers = rivals
    inputs = drawn(seed)
    upstream = [torch.tensor(np.random.default_rng(seed).normal(size=(3, k, 3)) / k) for k in (24, 17)]

    def gradients(joints, wanted):
        total = sum((part * weight.to(part)).sum() for part, weight in zip(joints, upstream, strict=True))
        return torch.autograd.grad(total, wanted)

    expected = gradients(by_smplx(arrays, reference, *inputs)[1:], inputs)
    for kind, layer in layers.items():
        mine = tuple(part.detach().to(kind).requires_grad_() for part in inputs)
        found = gradients(by_us_joints(layer, *mine), mine)
        for name, ours, theirs in zip(("betas", "pose", "place"), found, expected, strict=True):
            assert (ours - theirs).abs().max() < 1e-5, (name, kind)


def test_gradients_pass_a_numerical_check(dense_body):
    """Against differences, so that a common error of both layers would be seen."""
    layer = BodyLayer(dense_body, torch.float64)
    betas, pose, transl = drawn(5, count=1)

    def joints(*inputs):
        return torch.cat(by_us_joints(layer, *inputs), dim=1)[:, ::5]

    assert torch.autograd.gradcheck(joints, (betas, pose, transl), eps=1e-6, atol=1e-6)


def by_us_joints(layer, betas, pose, transl):
    rotations = roma.rotvec_to_rotmat(pose)
    return layer.joints24(betas, rotations, transl), layer.joints17(betas, rotations, transl)


def test_regressors_of_ones_own_rows_are_exact_too(dense_body):
    """RegressedJoints takes any rows, such as single vertices."""
    chosen = [0, 412, 3000, 6889]
    rows = np.zeros((4, 6890), np.float32)
    rows[np.arange(4), chosen] = 1.0
    layer = BodyLayer(dense_body, torch.float64)
    betas, pose, _ = drawn(1)
    rotations = roma.rotvec_to_rotmat(pose)
    points = RegressedJoints(dense_body, torch.float64, rows)(betas, rotations, layer.kinematic(betas, rotations))
    assert (points - layer.vertices(betas, rotations)[:, chosen]).abs().max() < 1e-9


def sample(count, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    rotations = roma.rotvec_to_rotmat(0.7 * torch.randn(count, 24, 3, dtype=dtype))
    return torch.randn(count, 10, dtype=dtype), rotations, torch.randn(count, 3, dtype=dtype)


def test_smplx_loads_the_file_unchanged():
    """The path that smplx documents: its own class, the file's own arrays, axis-angle poses."""
    arrays = {
        key: value.astype(np.float32) if value.dtype.kind == "f" else value for key, value in np.load(PATH).items()
    }
    reference = smplx.SMPL(model_path="", data_struct=SimpleNamespace(**arrays), batch_size=4)
    torch.manual_seed(1)
    pose, betas, transl = 0.5 * torch.randn(4, 72), torch.randn(4, 10), torch.randn(4, 3)
    expected = reference(betas=betas, body_pose=pose[:, 3:], global_orient=pose[:, :3], transl=transl)
    layer = BodyLayer(load_body(PATH))
    rotations = roma.rotvec_to_rotmat(pose.reshape(4, 24, 3))
    assert (layer.vertices(betas, rotations, transl) - expected.vertices).abs().max() < 2e-6
    assert (layer.joints24(betas, rotations, transl) - expected.joints[:, :24]).abs().max() < 2e-6


@pytest.mark.parametrize("which", ["body", "dense_body"])
def test_numpy_skinning_equals_smplx(which, request):
    arrays = request.getfixturevalue(which)
    betas, rotations, transl = sample(5)
    expected = BodyLayer(arrays, torch.float64).vertices(betas.double(), rotations.double(), transl.double())
    vertices, joints = lbs_numpy(arrays, betas.numpy(), rotations.numpy(), transl.numpy(), batch=2)
    assert np.abs(vertices - expected.numpy()).max() < 2e-6
    assert np.abs(joints - BodyLayer(arrays).joints24(betas, rotations, transl).numpy()).max() < 2e-6
    one_shape, _ = lbs_numpy(arrays, betas[:1].numpy(), rotations.numpy())
    each, _ = lbs_numpy(arrays, betas[:1].expand(5, -1).numpy(), rotations.numpy())
    assert np.abs(one_shape - each).max() < 1e-6


@pytest.mark.parametrize("which", ["body", "dense_body"])
def test_joints_without_vertices_are_exact_and_so_are_their_gradients(which, request):
    arrays = request.getfixturevalue(which)
    layer = BodyLayer(arrays, torch.float64)
    regressor = torch.as_tensor(arrays.J17_regressor, dtype=torch.float64)
    betas, rotations, transl = (part.requires_grad_() for part in sample(6, torch.float64))
    fast = layer.joints17(betas, rotations, transl)
    slow = torch.einsum("kv,bvx->bkx", regressor, layer.vertices(betas, rotations, transl))
    assert (fast - slow).abs().max() < 1e-9
    upstream = torch.randn_like(fast)
    for one, other in zip(
        torch.autograd.grad(fast, (betas, rotations, transl), upstream),
        torch.autograd.grad(slow, (betas, rotations, transl), upstream),
        strict=True,
    ):
        assert (one - other).abs().max() < 1e-8


def test_single_precision_stays_within_a_micrometre(body):
    betas, rotations, _ = sample(16, seed=3)
    single = BodyLayer(body).joints17(betas, rotations)
    double = BodyLayer(body, torch.float64).joints17(betas.double(), rotations.double())
    assert (single - double).abs().max() < 1e-6


def test_layer_has_buffers_only_and_follows_the_device_call(body):
    layer = BodyLayer(body)
    assert not list(layer.parameters())
    assert {buffer.dtype for buffer in layer.double().buffers() if buffer.is_floating_point()} == {torch.float64}


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, (3, 3), elements=st.floats(-4, 4)))
def test_rodrigues(vectors):
    assert np.allclose(rotation_matrices(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


def test_correctives_act_where_linear_skinning_collapses(body):
    """A knee bent by 2.2 rad keeps more volume with the correctives than without."""
    vector = np.zeros((1, 24, 3))
    vector[0, 4, 0] = 2.2
    rotations = rotation_matrices(vector)
    plain = dataclasses.replace(body, posedirs=np.zeros_like(body.posedirs))
    volumes = []
    for arrays in (body, plain):
        corners = lbs_numpy(arrays, np.zeros((1, 10)), rotations)[0][0][body.faces].astype(float)
        volumes.append(np.einsum("fx,fx->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)
    assert volumes[0] > volumes[1]
