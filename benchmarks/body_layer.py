"""Claim: joints of a body cost a small fraction of its vertices, and are the same joints.

    python -m benchmarks.body_layer [--body assets/free_body.npz] [--batches 1 32 512] [--rounds 15] [--threads 1]

Times smplx's vertices with the 17-joint regressor applied to them, our vertex-free joints, smplx's own 24 joints and
ours, and vertices by smplx and by our numpy skinning; forward, and forward with the gradient of shape and rotations.
All take turns within one run, so that a busy machine slows all alike. Prints the median microseconds of a sample, the
ratio to the first line, and how far each result is from smplx's in double precision. With `--dense`, the
body's pose correctives and weights are replaced by dense ones; a licensed body's correctives are dense, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import roma
import torch

from codebase.body.arrays import BodyArrays, lbs_numpy, load_body
from codebase.body.model import BodyLayer

Way = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--body", type=Path, default=Path("assets/free_body.npz"))
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 32, 512])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dense", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    body = dense(load_body(options.body)) if options.dense else load_body(options.body)
    for batch in options.batches:
        print(
            f"{body.name}{' (dense)' if options.dense else ''}, batch {batch}, {options.threads} thread(s), us a sample"
        )
        compare(body, batch, options.rounds if batch < 512 else max(3, options.rounds // 5))


def dense(body: BodyArrays) -> BodyArrays:
    """The body with every pose feature and every joint acting on every vertex."""
    random = np.random.default_rng(0)
    weights = body.weights + 1e-3
    return dataclasses.replace(
        body,
        posedirs=random.normal(0, 1e-3, body.posedirs.shape).astype(np.float32),
        weights=weights / weights.sum(1, keepdims=True),
    )


def ways_of(layer: BodyLayer, body: BodyArrays) -> dict[str, Way]:
    """What is compared; the first and third are the references of the second and fourth."""
    regressor = torch.as_tensor(body.J17_regressor, dtype=layer.smpl.v_template.dtype)

    def smplx_joints24(betas: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        zero = betas.new_zeros(len(betas), 3)
        found = layer.smpl(
            betas=betas, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], transl=zero, pose2rot=False
        )
        return found.joints[:, :24]

    return {
        "17 joints: smplx's vertices @ regressor": lambda b, r: regressor @ layer.vertices(b, r),
        "17 joints: ours, without vertices": layer.joints17,
        "24 joints: smplx": smplx_joints24,
        "24 joints: ours": layer.joints24,
        "vertices: smplx": layer.vertices,
        "vertices: our numpy": lambda b, r: torch.from_numpy(
            lbs_numpy(body, b.detach().numpy(), r.detach().numpy())[0]
        ),
    }


def compare(body: BodyArrays, batch: int, rounds: int) -> None:
    """Time every way in turns and print a line each."""
    torch.manual_seed(0)
    betas, rotations = torch.randn(batch, 10), roma.rotvec_to_rotmat(0.5 * torch.randn(batch, 24, 3))
    ways, exact = ways_of(BodyLayer(body), body), ways_of(BodyLayer(body, torch.float64), body)
    few = min(batch, 8)
    references = {
        name: exact[name.split(":")[0] + rest](betas[:few].double(), rotations[:few].double())
        for name in ways
        for rest in (": smplx's vertices @ regressor" if name.startswith("17") else ": smplx",)
    }
    seconds: dict[tuple[str, bool], list[float]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            for backward in (False, True):
                if backward and "numpy" in name:
                    continue
                start = time.perf_counter()
                run(way, betas, rotations, backward)
                seconds.setdefault((name, backward), []).append(time.perf_counter() - start)
    first = {backward: np.median(seconds[next(iter(ways)), backward]) for backward in (False, True)}
    for name, way in ways.items():
        line = f"  {name:<40}"
        for backward in (False, True):
            if (name, backward) in seconds:
                typical = np.median(seconds[name, backward])
                line += (
                    f"{1e6 * typical / batch:>10.1f} {'f+b' if backward else 'fwd'} (x{first[backward] / typical:5.1f})"
                )
        with torch.no_grad():
            off = (way(betas[:few], rotations[:few]) - references[name]).abs().max()
        print(f"{line}   off by {float(off):.0e} m")


def run(way: Way, betas: torch.Tensor, rotations: torch.Tensor, backward: bool) -> None:
    """One pass."""
    if not backward:
        with torch.inference_mode():
            way(betas, rotations)
        return
    wanted = betas.clone().requires_grad_(), rotations.clone().requires_grad_()
    way(*wanted).square().sum().backward()


if __name__ == "__main__":
    main()
