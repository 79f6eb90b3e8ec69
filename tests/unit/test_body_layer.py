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
from codebase.body.model import BodyLayer

PATH = Path(__file__).resolve().parents[2] / "assets" / "free_body.npz"


@pytest.fixture(scope="module")
def body():
    return load_body(PATH)


@pytest.fixture(scope="module")
def dense_body(body):
    """Arrays as a licensed body has them: every pose feature moves every vertex."""
    random = np.random.default_rng(0)
    return dataclasses.replace(body, posedirs=random.normal(0, 1e-3, body.posedirs.shape).astype(np.float32))


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
