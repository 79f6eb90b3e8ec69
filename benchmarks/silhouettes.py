"""How fast silhouettes and their gradients are, how right the gradients are, and where fits by them end.

    python -m benchmarks.silhouettes [speed] [gradients] [fits]

All three without a word. `speed` measures ours on the CPU, ours in torch alone (on a GPU too, where there is one), the
z-buffer, and PyTorch3D where it is installed, in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from codebase.body.model import BodyLayer
from codebase.errors import ConfigError
from codebase.metrics import iou
from codebase.render.backends import backend
from codebase.render.raster import Pinhole, rasterise
from codebase.render.silhouette import silhouette
from tests.silhouettes import Scene, before_camera, free_body, posed_body, skew

BATCH = 16
LINES = (1, 3, None, 15)


def cost_ms(work: Callable[[], object], most: int = 30) -> float:
    """Median of the processor's time, so that other programs on the machine count little; all threads together."""
    work()
    times: list[float] = []
    while len(times) < most and sum(times) < 6:
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return 1000 * float(np.median(times))


# --- speed ---


def batch(side: int, device: str) -> tuple:
    """Arguments for BATCH free bodies, each filling 0.9 of the height."""
    solid = [posed_body(seed)[0] for seed in range(BATCH)]
    vertices = torch.from_numpy(np.stack(solid) + np.array([0, 0, 5.0])).float().to(device)
    faces = torch.from_numpy(free_body().faces.astype(np.int64)).to(device)
    f_px = torch.full((BATCH, 2), 2.6 * side, device=device)
    return vertices, faces, f_px, torch.full((BATCH, 2), (side - 1) / 2, device=device), (side, side)


def time_one(name: str, draw: Callable, side: int, device: str = "cpu", most: int = 30) -> None:
    vertices, *rest = batch(side, device)
    leaf = vertices.clone().requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            draw(vertices, *rest)
        if device == "cuda":
            torch.cuda.synchronize()

    def both() -> None:
        draw(leaf, *rest).sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    print(f"{side:4d} px  {name:34s} mask {cost_ms(forward, most):8.2f} ms   "
          f"mask and gradient {cost_ms(both, most):8.2f} ms")  # fmt: skip


def time_zbuffer(side: int) -> None:
    vertices, faces, f_px, c_px, _ = batch(side, "cpu")
    triangles, cameras = faces.numpy().astype(np.int32), torch.cat([f_px, c_px], dim=1).tolist()

    def work() -> None:
        for solid, (fx, fy, cx, cy) in zip(vertices.numpy(), cameras, strict=True):
            rasterise(solid, triangles, Pinhole(fx, fy, cx, cy, side, side))

    print(f"{side:4d} px  {'z-buffer, numba, one by one':34s} mask {cost_ms(work):8.2f} ms")


def speed() -> None:
    print(f"{BATCH} bodies of 6890 vertices, {torch.get_num_threads()} threads; medians of processor time")
    for side in (48, 64, 96, 128):
        time_one("ours, numba", silhouette, side)
        time_one("ours, numba, 1 line a pixel", lambda *a: silhouette(*a, lines_per_pixel=1), side)
        time_one("ours, torch", lambda *a: silhouette(*a, engine="torch"), side)
        if torch.cuda.is_available():
            time_one("ours, torch on a GPU", silhouette, side, "cuda")
        time_zbuffer(side)
    try:
        draw = backend("pytorch3d")
    except ConfigError as error:
        print(error.what)
    else:
        time_one("PyTorch3D, 50 faces a pixel", draw, 64, most=2)


# --- gradients ---


def gradients(count: int = 24, samples: int = 2400) -> None:
    """Against the change of covered area: random bodies, poses, cameras, sizes of 20 to 96 px."""
    print(f"{count} random scenes; the derivative of covered area by {samples} x {samples} samples an image")
    found: dict[str, list] = {}
    for seed in range(1000, 1000 + count):
        size = tuple(np.random.default_rng(seed).integers(20, 97, 2).tolist())
        here = before_camera(*posed_body(seed), seed, size)
        slopes = [slope(here, lines) for lines in LINES]
        for name, move in here.moves().items():
            exact, parts = here.change_of_area(move, np.ones(size), samples // max(size))
            found.setdefault(name, []).append((exact, parts, *[float((gradient * move).sum()) for gradient in slopes]))
    for column, lines in enumerate(LINES, 2):
        print(f"{lines or 'as many as by default'} lines a pixel")
        for name, rows in found.items():
            print(f"  {name:14s} {summary(np.array(rows)[:, [0, 1, column]])}")


def summary(table: np.ndarray) -> str:
    """Of rows of the true derivative, of its parts all counted positive, and of ours."""
    exact, parts, error = table[:, 0], table[:, 1], np.abs(table[:, 2] - table[:, 0])
    text = f"error of all parts: median {np.median(error / parts):.2%}, most {(error / parts).max():.2%}; "
    clear = np.abs(exact) > 0.4 * parts
    if not clear.any():
        return text + "the derivative itself is small, its parts cancel"
    own = (error / np.abs(exact))[clear]
    ratio = (table[:, 2] / exact)[clear].mean()
    return text + f"of the derivative: median {np.median(own):.2%}, most {own.max():.2%}, mean ratio {ratio:.4f}"


def slope(here: Scene, lines: int | None) -> np.ndarray:
    vertices, *rest = here.tensors()
    silhouette(vertices, *rest, lines_per_pixel=lines).sum().backward()
    return vertices.grad[0].numpy()


# --- fits ---


def fits(count: int = 8, side: int = 64) -> None:
    """Adam on a mask that the same body made, from a start that is off; the mean squared difference of a pyramid."""
    layer = BodyLayer(free_body())
    draw = torch.Generator().manual_seed(0)
    flip = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    f_px, c_px = torch.full((count, 2), 2.0 * side), torch.full((count, 2), (side - 1) / 2)
    true = {"pose": 0.2 * torch.randn(count, 24, 3, generator=draw), "betas": torch.randn(count, 10, generator=draw),
            "place": torch.tensor([0.0, -0.25, 5.0]) + 0.1 * torch.randn(count, 3, generator=draw)}  # fmt: skip
    true["pose"][:, 0] = 0

    def masks(values: dict, leave: bool = False) -> torch.Tensor:
        rotations = torch.linalg.matrix_exp(skew(values["pose"].reshape(-1, 3))).view(count, 24, 3, 3)
        points = layer.vertices(values["betas"], rotations) @ flip.T + values["place"][:, None]
        return silhouette(points, layer.faces, f_px, c_px, (side, side))

    target = masks(true)
    noise = {name: torch.randn(value.shape, generator=draw) for name, value in true.items()}
    arms = torch.zeros(24, 3)
    arms[[16, 17], 2] = torch.tensor([0.8, -0.8])
    tasks = {
        "translation": (("place",), {"place": 0.25 * noise["place"] * torch.tensor([1.0, 1, 0])}, 80),
        "translation and depth": (("place",), {"place": noise["place"] * torch.tensor([0.2, 0.2, 0.8])}, 120),
        "pose by 0.25 rad, and betas": (
            ("pose", "betas"),
            {"pose": 0.25 * noise["pose"], "betas": noise["betas"]},
            150,
        ),
        "both arms by 0.8 rad": (("pose",), {"pose": arms}, 150),
    }
    for name, (free, off, steps) in tasks.items():
        values = {key: value + off.get(key, 0) for key, value in true.items()}
        before = iou(masks(values).numpy() > 0.5, target.numpy() > 0.5).mean()
        leaves = {key: values[key].clone().requires_grad_() for key in free}
        optimiser, begun = torch.optim.Adam(leaves.values(), lr=0.03), time.perf_counter()
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 0.03 * min(1.0, 2 * (1 - step / steps))
            optimiser.zero_grad()
            difference(masks(values | leaves), target).backward()
            optimiser.step()
        spent = (time.perf_counter() - begun) / steps
        with torch.no_grad():
            after = iou(masks(values | leaves).numpy() > 0.5, target.numpy() > 0.5)
        print(f"{name:28s} {steps} steps: IoU {before:.3f} -> mean {after.mean():.3f}, least {after.min():.3f}; "
              f"{1000 * spent:.0f} ms a step of {count}, body layer included")  # fmt: skip


def difference(drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(())
    for size in (1, 4, 8):
        mine, wanted = (torch.nn.functional.avg_pool2d(part[:, None], size) for part in (drawn, target))
        total = total + torch.nn.functional.mse_loss(mine, wanted)
    return total


def main() -> None:
    parts: dict[str, Callable[[], None]] = {"speed": speed, "gradients": gradients, "fits": fits}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; default all")
    chosen = parser.parse_args().parts or list(parts)
    for word in chosen:
        if word not in parts:
            parser.error(f"{word} is none of {', '.join(parts)}")
    for word in chosen:
        parts[word]()


if __name__ == "__main__":
    main()
