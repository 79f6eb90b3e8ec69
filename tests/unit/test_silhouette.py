"""The boundary gradient against the exact change of covered area, and a fit that has to move."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codebase.render.overlay import draw_mesh
from codebase.render.raster import Pinhole, rasterise
from codebase.render.silhouette import silhouette

SIZE = (48, 64)
F, C = torch.tensor([[70.0, 72.0]]), torch.tensor([[31.3, 23.8]])


def sphere(rows: int = 14, sides: int = 18, bumps: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed, bumpy, not symmetric body about the origin, radius about 1."""
    polar = np.linspace(0, np.pi, rows)[1:-1, None]
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    unit = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.sin(turn)], -1)
    unit *= 1 + bumps * np.sin(3 * turn + 2 * polar)[..., None]
    points = np.concatenate([unit.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]]) * [0.7, 1.0, 0.8]
    faces = []
    for i in range(rows - 3):
        for j in range(sides):
            a, b, c, d = (r * sides + s % sides for r in (i, i + 1) for s in (j, j + 1))
            faces += [[a, b, c], [b, d, c]]
    top, last = (rows - 2) * sides, (rows - 3) * sides
    for j in range(sides):
        faces += [[top, (j + 1) % sides, j], [top + 1, last + j, last + (j + 1) % sides]]
    return torch.tensor(points, dtype=torch.float64), torch.tensor(faces)


def area(vertices: np.ndarray, faces: torch.Tensor, samples: int = 24) -> float:
    """Covered area in pixels, by many samples."""
    camera = Pinhole(*F[0].tolist(), *C[0].tolist(), SIZE[1], SIZE[0]).window(0, 0, SIZE[1], SIZE[0], samples)
    return float((rasterise(vertices, faces.numpy().astype(np.int32), camera).face >= 0).mean() * SIZE[0] * SIZE[1])


@pytest.mark.parametrize("depth", [4.0, 40.0])
def test_masks_equal_the_raster_at_any_distance(depth: float) -> None:
    points, faces = sphere()
    solid = (points * depth / 4 + torch.tensor([0.1, 0.0, depth])).float()
    mask = silhouette(solid[None], faces, F, C, SIZE)[0]
    camera = Pinhole(*F[0].tolist(), *C[0].tolist(), SIZE[1], SIZE[0])
    seen = rasterise(solid.double().numpy(), faces.numpy().astype(np.int32), camera).face >= 0
    np.testing.assert_array_equal(mask.numpy() > 0.5, seen)
    assert 300 < seen.sum() < 2500


@pytest.mark.parametrize("move", ["x of a side", "y of a side", "scale", "depth"])
def test_gradient_equals_the_change_of_area(move: str) -> None:
    points, faces = sphere()
    place = torch.tensor([0.1, -0.05, 4.0], dtype=torch.float64)
    direction = {
        # moving everything keeps the area: move the half on one side
        "x of a side": points.clamp(min=0) * torch.tensor([1.0, 0, 0]),
        "y of a side": points.clamp(min=0) * torch.tensor([0, 1.0, 0]),
        "scale": points,
        "depth": torch.tensor([0.0, 0, 1.0]).expand_as(points),
    }[move].double()
    vertices = (points + place).requires_grad_()
    f, c = F.double(), C.double()
    silhouette(vertices[None], faces, f, c, SIZE).sum().backward()
    predicted = float((vertices.grad * direction).sum())
    step = 0.02
    ahead, behind = ((points + place + s * step * direction).numpy() for s in (1, -1))
    exact = (area(ahead, faces) - area(behind, faces)) / (2 * step)
    assert predicted == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_of_a_ramp_follows_translation(axis: int) -> None:
    points, faces = sphere()
    start = torch.tensor([0.0, 0.0, 4.0], dtype=torch.float64)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    ramp = torch.from_numpy((u, v)[axis].astype(float))
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    mask = silhouette((points + start + shift)[None], faces, F.double(), C.double(), SIZE)[0]
    (mask * ramp).sum().backward()
    # moving the body by d pixels moves its first moment by area times d
    pixels_per_unit = float(F[0, axis]) / 4
    covered = area((points + start).numpy(), faces)
    assert float(shift.grad[axis]) == pytest.approx(covered * pixels_per_unit, rel=0.1)


def test_a_fit_finds_the_place() -> None:
    points, faces = sphere()
    points = points.float()
    target = silhouette((points + torch.tensor([0.35, -0.2, 4.0]))[None], faces, F, C, SIZE)
    shift = torch.tensor([-0.4, 0.25, 4.6], requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.03)

    def overlap() -> float:
        mask = silhouette((points + shift.detach())[None], faces, F, C, SIZE)
        return float((mask * target).sum() / torch.clamp(mask + target, max=1).sum())

    before = overlap()
    for _ in range(80):
        optimiser.zero_grad()
        mask = silhouette((points + shift)[None], faces, F, C, SIZE)
        loss = sum(
            torch.nn.functional.mse_loss(*(torch.nn.functional.avg_pool2d(m[:, None], k) for m in (mask, target)))
            for k in (1, 4, 8)
        )
        loss.backward()
        optimiser.step()
    assert before < 0.5
    assert overlap() > 0.9


def test_what_is_behind_the_camera_is_harmless() -> None:
    points, faces = sphere()
    vertices = torch.stack([points + torch.tensor([0, 0, -4.0]), points + torch.tensor([0.3, 0, 0.2])]).requires_grad_()
    mask = silhouette(vertices, faces, F.double().expand(2, 2), C.double().expand(2, 2), SIZE)
    mask.sum().backward()
    assert mask[0].sum() == 0
    assert vertices.grad is not None
    assert torch.isfinite(vertices.grad).all()
    assert (vertices.grad[0] == 0).all()


def test_overlay_paints_the_mesh_and_nothing_else() -> None:
    points, faces = sphere()
    image = np.full((*SIZE, 3), 7, np.uint8)
    solid = points.numpy() + np.array([0, 0, 4])
    drawn = draw_mesh(image, solid, faces.numpy(), F[0].numpy(), C[0].numpy(), colour=(0.0, 0.0, 1.0), opacity=1.0)
    camera = Pinhole(*F[0].tolist(), *C[0].tolist(), SIZE[1], SIZE[0])
    seen = rasterise(solid, faces.numpy().astype(np.int32), camera).face >= 0
    assert (drawn[seen][:, 2] > 60).mean() > 0.95
    far = ~torch.nn.functional.max_pool2d(torch.from_numpy(seen)[None].float(), 3, 1, 1)[0].bool().numpy()
    assert (drawn[far] == 7).all()
