"""Silhouettes against the z-buffer, their gradient against the change of covered area, and what nobody can see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codebase.body.model import BodyLayer
from codebase.metrics import iou
from codebase.render.overlay import draw_mesh
from codebase.render.raster import Pinhole, rasterise
from codebase.render.silhouette import silhouette
from tests.silhouettes import Scene, before_camera, free_body, posed_body, skew, sphere

SIZE = (48, 64)
F, C = torch.tensor([[70.0, 72.0]]), torch.tensor([[31.3, 23.8]])
# of the derivative; where parts of the outline cancel (as when a body moves sideways), of what they are together
WITHIN, OF_PARTS = 0.05, 0.02

seeds = st.integers(0, 10**6)
sizes = st.tuples(st.integers(16, 72), st.integers(16, 72))


def scene(seed: int, size: tuple[int, int], kind: str) -> Scene:
    mesh = posed_body(seed) if kind == "body" else sphere(bumps=0.05 * (seed % 5))
    return before_camera(*mesh, seed, size)


def weights(seed: int, size: tuple[int, int]) -> np.ndarray:
    """What each pixel is worth: one, or, where the body is many pixels wide, something smooth."""
    rng = np.random.default_rng(seed)
    v, u = (np.linspace(-0.5, 0.5, n) for n in size)
    a, b, c = rng.normal(0, 1, 3) * (seed % 3 != 0 and min(size) >= 30)
    return 1 + a * u + b * v[:, None] + c * np.cos(4 * u + 2 * v[:, None] + seed)


def sphere_at(x: float, y: float, z: float, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    points, faces = sphere()
    return torch.as_tensor(points + np.array([x, y, z]), dtype=dtype)[None], torch.from_numpy(faces.astype(np.int64))


# --- masks ---


@pytest.mark.parametrize("depth", [4.0, 8.0, 40.0, 4000.0])
def test_masks_equal_the_raster_at_any_distance(depth: float) -> None:
    points, faces = sphere()
    solid = (points * depth / 4 + [0.1, 0.0, depth]).astype(np.float32)
    mask = silhouette(torch.from_numpy(solid)[None], torch.from_numpy(faces.astype(np.int64)), F, C, SIZE)[0]
    seen = rasterise(solid, faces, Pinhole(*F[0].tolist(), *C[0].tolist(), SIZE[1], SIZE[0])).face >= 0
    np.testing.assert_array_equal(mask.numpy() > 0.5, seen)
    assert 300 < seen.sum() < 2500


@settings(max_examples=40)
@given(seed=seeds, size=st.tuples(st.integers(5, 80), st.integers(5, 80)), kind=st.sampled_from(["body", "sphere"]),
       depth=st.floats(-0.6, 4))  # fmt: skip
def test_masks_equal_the_raster_wherever_the_body_is(seed: int, size: tuple, kind: str, depth: float) -> None:
    """Around the camera, behind it, partly outside of the image: the same pixels, up to ties."""
    rng = np.random.default_rng(seed)
    points, faces = posed_body(seed) if kind == "body" else sphere()
    place = np.array([*rng.uniform(-1, 1, 2), depth])
    here = Scene(points, faces, place, rng.uniform(10, 90, 2), np.array(size[::-1]) * rng.uniform(0, 1, 2), size)
    masks = [silhouette(*here.tensors(), engine=engine)[0].detach().numpy() > 0.5 for engine in ("numba", "torch")]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], here.covered(here.vertices))


def test_any_triangles_are_drawn() -> None:
    """Open, turned either way, three on one edge, crossing each other: covered is what one of them covers."""
    rng = np.random.default_rng(3)
    points = rng.uniform(-1, 1, (40, 3)) * [1, 1, 0.2]
    faces = np.concatenate([rng.integers(0, 40, (12, 3)), [[0, 1, 2], [0, 1, 3], [1, 0, 4]]]).astype(np.int32)
    here = Scene(points, faces, np.array([0, 0, 4.0]), F[0].numpy(), C[0].numpy(), SIZE)
    for engine in ("numba", "torch"):
        mask = silhouette(*here.tensors(), engine=engine)[0].detach().numpy() > 0.5
        np.testing.assert_array_equal(mask, here.covered(here.vertices))
    assert 0.05 < mask.mean() < 0.95


# --- gradients ---


@settings(max_examples=40)
@given(seed=seeds, size=sizes, kind=st.sampled_from(["body", "body", "sphere"]), turn=st.integers(0, 6))
def test_gradient_equals_the_change_of_area(seed: int, size: tuple, kind: str, turn: int) -> None:
    here = scene(seed, size, kind)
    weight = weights(seed, size)
    # a ball of few faces that turns changes its outline's edges within any step that samples can tell
    move = list(here.moves().values())[turn % (7 if kind == "body" else 4)]
    vertices, *rest = here.tensors()
    (silhouette(vertices, *rest)[0] * torch.from_numpy(weight)).sum().backward()
    predicted = float((vertices.grad[0].numpy() * move).sum())
    exact, parts = here.change_of_area(move, weight, samples=1800 // max(size))
    assert abs(predicted - exact) <= max(WITHIN * abs(exact), OF_PARTS * parts)


@settings(max_examples=15)
@given(seed=seeds, size=sizes, kind=st.sampled_from(["body", "sphere"]), depth=st.sampled_from([0.3, 4.0]))
def test_both_engines_have_one_gradient(seed: int, size: tuple, kind: str, depth: float) -> None:
    here = scene(seed, size, kind)
    here = Scene(here.points, here.faces, here.place * [1, 1, depth / here.place[2]], here.f_px, here.c_px, size)
    found = []
    for engine in ("numba", "torch"):
        vertices, faces, f_px, c_px, _ = here.tensors()
        f_px.requires_grad_()
        c_px.requires_grad_()
        mask = silhouette(vertices, faces, f_px, c_px, size, engine=engine)[0]
        (mask * torch.from_numpy(weights(seed, size))).sum().backward()
        found.append([part.grad.numpy() for part in (vertices, f_px, c_px)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9 * max(1, np.abs(ours).max()))


def test_gradient_of_the_pinhole_equals_the_change_of_area() -> None:
    here = scene(4, (60, 50), "body")
    weight = weights(4, here.size)
    vertices, faces, f_px, c_px, size = here.tensors()
    f_px.requires_grad_()
    c_px.requires_grad_()
    (silhouette(vertices, faces, f_px, c_px, size)[0] * torch.from_numpy(weight)).sum().backward()
    samples = 32

    def area(focal: np.ndarray, centre: np.ndarray) -> float:
        moved = Scene(here.points, here.faces, here.place, focal, centre, size)
        return float((moved.covered(here.vertices, samples) * np.kron(weight, np.ones((samples, samples)))).mean())

    for axis in (0, 1):
        step = np.eye(2)[axis]
        by_focal = area(here.f_px + 2 * step, here.c_px) - area(here.f_px - 2 * step, here.c_px)
        by_centre = area(here.f_px, here.c_px + 0.3 * step) - area(here.f_px, here.c_px - 0.3 * step)
        assert float(f_px.grad[0, axis]) == pytest.approx(by_focal * weight.size / 4, rel=0.05)
        assert float(c_px.grad[0, axis]) == pytest.approx(by_centre * weight.size / 0.6, rel=0.05)


@pytest.mark.parametrize("wanted", ["pose", "betas", "place"])
def test_gradient_reaches_the_body(wanted: str) -> None:
    """Through the body layer: along its own direction the area changes as fast as the gradient is long."""
    layer = BodyLayer(free_body(), torch.float64)
    draw = torch.Generator().manual_seed(5)
    flip = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=torch.float64)
    start = {"pose": 0.15 * torch.randn(24, 3, generator=draw, dtype=torch.float64),
             "betas": torch.randn(10, generator=draw, dtype=torch.float64),
             "place": torch.tensor([0.05, -0.2, 4.0], dtype=torch.float64)}  # fmt: skip
    start["pose"][0] = 0
    size, f_px, c_px = (72, 64), np.array([130.0, 131.0]), np.array([31.2, 36.1])

    def vertices(values: dict) -> torch.Tensor:
        rotations = torch.linalg.matrix_exp(skew(values["pose"]))
        return layer.vertices(values["betas"][None], rotations[None])[0] @ flip.T + values["place"]

    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    here = Scene(np.zeros((1, 3)), free_body().faces.astype(np.int32), np.zeros(3), f_px, c_px, size)
    _, faces, focal, centre, _ = here.tensors()
    silhouette(vertices(leaves)[None], faces, focal, centre, size).sum().backward()
    slope = leaves[wanted].grad
    step = {"pose": 0.01, "betas": 0.1, "place": 0.01}[wanted] * slope / slope.norm()
    ahead, behind = (
        here.covered(vertices({**start, wanted: start[wanted] + sign * step}).numpy(), 32).sum() / 32**2
        for sign in (1, -1)
    )
    assert float(2 * step.norm() * slope.norm()) == pytest.approx(ahead - behind, rel=0.05)


def test_outlines_inside_the_silhouette_do_not_pull() -> None:
    """A small body before a large one, or behind it, is not seen, however it moves."""
    points, faces = sphere()
    for depth in (3.0, 5.0):
        both = np.concatenate([points + np.array([0, 0, 4]), 0.3 * points + np.array([0.1, 0.1, depth])])
        here = Scene(both, np.concatenate([faces, faces + len(points)]), np.zeros(3), F[0].numpy(), C[0].numpy(), SIZE)
        vertices, *rest = here.tensors()
        silhouette(vertices, *rest).sum().backward()
        assert (vertices.grad[0, len(points) :] == 0).all()
        assert (vertices.grad[0, : len(points)] != 0).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_what_lies_between_two_pixel_centres_has_its_gradient(axis: int) -> None:
    """A rod a third of a pixel wide that hides between the pixels is in no mask, and grows like any other."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                      [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.int32)  # fmt: skip
    half = np.array([10.0, 10.0, 0.001])
    half[axis] = 1 / 6
    place = np.array([20.0, 20.0, 10.0])
    place[axis] += 0.5
    here = Scene(corners * half, faces, place, np.array([10.0, 10.0]), np.zeros(2), (40, 40))
    vertices, *rest = here.tensors()
    mask = silhouette(vertices, *rest)
    assert mask.sum() == 0
    mask.sum().backward()
    widen = np.zeros((8, 3))
    widen[:, axis] = corners[:, axis]
    assert float((vertices.grad[0].numpy() * widen).sum()) == pytest.approx(2 * 20, rel=0.02)


def test_a_half_outside_of_the_image_has_the_gradient_of_what_is_inside() -> None:
    points, faces = sphere()
    here = Scene(points, faces, np.array([1.75, 0.02, 4.0]), F[0].numpy(), C[0].numpy(), SIZE)
    vertices, *rest = here.tensors()
    silhouette(vertices, *rest).sum().backward()
    move = here.moves()["shift in x"]
    exact, _ = here.change_of_area(move, np.ones(SIZE), samples=32)
    assert exact < -300
    assert float((vertices.grad[0].numpy() * move).sum()) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("place", [(0, 0, -4), (30, 0, 4), (0, -30, 4), (0, 0, 0.0005), (float("nan"), 0, 4)])
def test_what_is_not_seen_has_no_gradient(place: tuple, engine: str) -> None:
    hidden, faces = sphere_at(*place, dtype=torch.float64)
    if place[2] == 0.0005:
        hidden = hidden * torch.tensor([1, 1, 0]) + torch.tensor([0, 0, 0.0005])
    seen, _ = sphere_at(0.1, 0, 4, dtype=torch.float64)
    vertices = torch.cat([hidden, seen]).requires_grad_()
    f_px, c_px = F.double().expand(2, 2), C.double().expand(2, 2)
    mask = silhouette(vertices, faces, f_px, c_px, SIZE, engine=engine)
    mask.sum().backward()
    assert mask[0].sum() == 0
    assert (vertices.grad[0] == 0).all()
    assert torch.isfinite(vertices.grad).all()
    assert (vertices.grad[1] != 0).any()


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_around_the_camera_the_gradient_is_finite_and_right(engine: str) -> None:
    """A body that the camera plane cuts: what is in front of it has its gradient, what is behind has none."""
    points, faces = sphere()
    # the far half is before the camera, off to the side, so that its outline is in the image
    here = Scene(points, faces, np.array([1.1, 0.2, 0.5]), np.array([9.0, 9.0]), C[0].numpy(), SIZE)
    vertices, *rest = here.tensors()
    mask = silhouette(vertices, *rest, engine=engine)
    np.testing.assert_array_equal(mask[0].detach().numpy() > 0.5, here.covered(here.vertices))
    assert 100 < mask.sum() < 0.9 * mask.numel()
    mask.sum().backward()
    assert torch.isfinite(vertices.grad).all()
    deep = vertices.grad[0][(vertices[0, :, 2] < -0.2).nonzero()[:, 0]]
    assert (deep == 0).all()
    grow = here.points * (here.vertices[:, 2:] > 0.1)
    exact, _ = here.change_of_area(grow, np.ones(SIZE), samples=24, step_px=0.05)
    assert float((vertices.grad[0].numpy() * grow).sum()) == pytest.approx(exact, rel=0.05)


def test_no_bodies_and_no_gradient_wanted() -> None:
    solid, faces = sphere_at(0, 0, 4)
    assert silhouette(solid[:0], faces, F[:0], C[:0], SIZE).shape == (0, *SIZE)
    assert not silhouette(solid, faces, F, C, SIZE).requires_grad
    for lines in (2, 0):
        with pytest.raises(ValueError, match="odd"):
            silhouette(solid, faces, F, C, SIZE, lines_per_pixel=lines)


def test_threads_change_nothing() -> None:
    parts = [posed_body(seed)[0] for seed in range(5)]
    solid = torch.from_numpy(np.stack(parts) + np.array([0, 0, 4])).float()
    faces = torch.from_numpy(free_body().faces.astype(np.int64))
    f_px, c_px = torch.full((5, 2), 90.0), torch.tensor([[20.0, 24.0]]).expand(5, 2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            leaf = solid.clone().requires_grad_()
            mask = silhouette(leaf, faces, f_px, c_px, (48, 40))
            (mask * torch.arange(40)).sum().backward()
            found.append((mask.detach(), leaf.grad))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][0].sum() > 500


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; there is none here")
def test_on_a_gpu_masks_and_gradients_are_those_of_the_cpu() -> None:
    for seed in range(4):
        here = scene(seed, (64, 56), "body")
        found = []
        for device in ("cpu", "cuda"):
            vertices, faces, f_px, c_px, size = here.tensors(torch.float32)
            leaf = vertices.detach().to(device).requires_grad_()
            mask = silhouette(leaf, faces.to(device), f_px.to(device), c_px.to(device), size)
            (mask[0] * torch.from_numpy(weights(seed, size)).to(mask)).sum().backward()
            found.append((mask.detach().cpu(), leaf.grad.cpu()))
        assert torch.equal(found[0][0], found[1][0])
        torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-4 * float(found[0][1].abs().max()))


# --- use ---


def test_a_fit_finds_the_place() -> None:
    points, faces = sphere()
    start, solid = torch.from_numpy(points).float(), torch.from_numpy(faces.astype(np.int64))
    target = silhouette((start + torch.tensor([0.35, -0.2, 4.0]))[None], solid, F, C, SIZE)
    shift = torch.tensor([-0.4, 0.25, 4.6], requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.03)

    def overlap() -> float:
        mask = silhouette((start + shift.detach())[None], solid, F, C, SIZE)
        return float(iou(mask.numpy() > 0.5, target.numpy() > 0.5)[0])

    before = overlap()
    for _ in range(80):
        optimiser.zero_grad()
        mask = silhouette((start + shift)[None], solid, F, C, SIZE)
        loss = sum(
            torch.nn.functional.mse_loss(*(torch.nn.functional.avg_pool2d(m[:, None], k) for m in (mask, target)))
            for k in (1, 4, 8)
        )
        loss.backward()
        optimiser.step()
    assert before < 0.5
    assert overlap() > 0.9


def test_overlay_paints_the_mesh_and_nothing_else() -> None:
    points, faces = sphere()
    image = np.full((*SIZE, 3), 7, np.uint8)
    solid = points + np.array([0, 0, 4])
    drawn = draw_mesh(image, solid, faces, F[0].numpy(), C[0].numpy(), colour=(0.0, 0.0, 1.0), opacity=1.0)
    seen = rasterise(solid, faces, Pinhole(*F[0].tolist(), *C[0].tolist(), SIZE[1], SIZE[0])).face >= 0
    assert (drawn[seen][:, 2] > 60).mean() > 0.95
    far = ~torch.nn.functional.max_pool2d(torch.from_numpy(seen)[None].float(), 3, 1, 1)[0].bool().numpy()
    assert (drawn[far] == 7).all()
