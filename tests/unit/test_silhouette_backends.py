"""Other renderers by name: the message where one is missing, and the conventions that their adapters rest on."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.config import SmplConfig
from codebase.errors import ConfigError, UserError
from codebase.render import neural_renderer_adapter
from codebase.render.backends import NAMES, backend
from codebase.render.raster import NEAR
from codebase.render.silhouette import silhouette
from tests.silhouettes import Scene, before_camera, posed_body, sphere


def scene(seed: int, size: tuple[int, int]) -> Scene:
    points, faces = sphere(bumps=0.05 * (seed % 5))
    return before_camera(points, faces, seed, size)


def test_the_schema_knows_the_backends() -> None:
    assert set(NAMES) == set(SmplConfig.model_fields["silhouettes"].annotation.__args__)
    assert SmplConfig().silhouettes == "ours"
    assert backend("ours") is silhouette


def test_an_unknown_backend_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="no silhouette backend 'nvdiffrast'") as error:
        backend("nvdiffrast")
    assert "ours | neural_renderer | pytorch3d" in str(error.value)


@pytest.mark.parametrize(("name", "hint"), [("neural_renderer", "envs/neural_renderer.md"), ("pytorch3d", "INSTALL")])
def test_a_backend_that_is_not_installed_is_one_clear_error(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ConfigError, match=f"'{name}' cannot be used") as error:
        backend(name, where="fit_bodies.silhouettes")
    assert hint in str(error.value)
    assert "fit_bodies.silhouettes: ours" in str(error.value)


# --- neural_renderer: what its kernel does with triangles, restated; it runs on CUDA alone ---


def as_its_kernel_draws(
    faces: torch.Tensor, image_size: int, anti_aliasing: bool, near: float, far: float
) -> torch.Tensor:
    """Alpha of triangles [B, F, 3, 3] by its documented rules, pixel by pixel."""
    n = image_size * (2 if anti_aliasing else 1)
    triangles = faces.detach().numpy().astype(float)
    lattice = (2 * np.arange(n) + 1 - n) / n
    x, y = np.meshgrid(lattice, lattice)
    alpha = np.zeros((len(triangles), n, n))
    for body, own in enumerate(triangles):
        for a, b, c in own:
            # turned away, or without area
            if (c[1] - a[1]) * (b[0] - a[0]) <= (b[1] - a[1]) * (c[0] - a[0]):
                continue
            w = np.stack([_side(b, c, x, y), _side(c, a, x, y), _side(a, b, x, y)])
            inside = (w >= 0).all(axis=0)
            w = w[:, inside] / w[:, inside].sum(axis=0)
            depth = 1 / (w / np.array([a[2], b[2], c[2]])[:, None]).sum(axis=0)
            alpha[body, inside] += (depth > near) & (depth < far)
    alpha = (alpha > 0).astype(float)[:, ::-1]  # its rows run upwards
    if anti_aliasing:
        alpha = alpha.reshape(len(alpha), image_size, 2, image_size, 2).mean(axis=(2, 4))
    return torch.from_numpy(alpha.copy())


def _side(p: np.ndarray, q: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])


RULES = SimpleNamespace(rasterize_silhouettes=as_its_kernel_draws)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(20, 40), st.integers(20, 40)))
def test_by_neural_renderers_rules_its_masks_are_ours(seed: int, size: tuple) -> None:
    here = scene(seed, size)
    vertices, *rest = here.tensors()
    theirs = neural_renderer_adapter.draw(vertices, *rest, anti_aliasing=False, library=RULES)
    ours = silhouette(vertices, *rest)
    assert theirs.shape == ours.shape
    # it is given float32: a centre that lies on an edge may differ
    assert (theirs != ours).sum() <= 2
    soft = neural_renderer_adapter.draw(vertices, *rest, library=RULES)
    samples = here.covered(here.vertices, 2).reshape(size[0], 2, size[1], 2).mean(axis=(1, 3))
    assert np.abs(soft[0].detach().numpy() - samples).sum() <= 1


def test_by_its_rules_nothing_vanishes_with_distance_and_nothing_comes_from_behind() -> None:
    points, faces = sphere()
    for depth in (4.0, 8.0, 400.0):
        here = Scene(
            points * depth / 4, faces, np.array([0, 0, depth]), np.array([30.0, 30.0]), np.array([15.0, 15]), (32, 32)
        )
        vertices, *rest = here.tensors()
        mask = neural_renderer_adapter.draw(vertices, *rest, anti_aliasing=False, library=RULES)
        assert (mask != silhouette(vertices, *rest)).sum() <= 2
        assert mask.sum() > 150
    behind = Scene(points, faces, np.array([0, 0, -4.0]), np.array([30.0, 30.0]), np.array([15.0, 15]), (32, 32))
    assert neural_renderer_adapter.draw(*behind.tensors(), library=RULES).sum() == 0


def test_its_triangles_carry_gradients_to_the_vertices() -> None:
    here = scene(1, (24, 32))
    vertices, faces, f_px, c_px, size = here.tensors()
    corners = neural_renderer_adapter.triangles(vertices, faces, f_px, c_px, max(size))
    assert corners.shape == (1, 2 * len(faces), 3, 3)
    corners[..., :2].square().sum().backward()
    assert torch.isfinite(vertices.grad).all()
    assert (vertices.grad != 0).any()


def test_it_says_that_it_needs_cuda() -> None:
    with pytest.raises(UserError, match="CUDA device alone"):
        neural_renderer_adapter.draw(*scene(1, (24, 32)).tensors())


# --- pytorch3d ---


def _has_pytorch3d() -> bool:
    try:
        return importlib.util.find_spec("pytorch3d._C") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(not _has_pytorch3d(), reason="PyTorch3D is not installed")
@pytest.mark.parametrize("size", [(40, 40), (30, 50), (56, 32)])
def test_pytorch3d_draws_the_same_body_in_the_same_place(size: tuple) -> None:
    draw = backend("pytorch3d")
    here = before_camera(*posed_body(2), 2, size)
    vertices, *rest = here.tensors(torch.float32)
    soft = draw(vertices, *rest, sigma=1e-7, faces_per_pixel=8)
    hard = silhouette(vertices, *rest)
    assert ((soft > 0.5) != (hard > 0.5)).float().mean() < 0.005
    leaf = vertices.detach().requires_grad_()
    draw(leaf, *rest).sum().backward()
    # its gradient is its own: that of a blurred mask, which is wider than the body
    exact, _ = here.change_of_area(here.points, np.ones(size), samples=16)
    assert 0.5 < float((leaf.grad[0].numpy() * here.points).sum()) / exact < 2.5
    behind = torch.cat([vertices, -vertices]).detach()
    masks = draw(behind, rest[0], rest[1].expand(2, 2), rest[2].expand(2, 2), size)
    assert masks[1].sum() == 0
    assert vertices[..., 2].min() > NEAR
