from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from codebase.config import Config
from codebase.data.poses import read_poses
from codebase.errors import DataError
from codebase.models.implausible import break_bodies
from codebase.models.prior import Generator, Prior
from codebase.stages import train_prior
from codebase.training import roc
from codebase.training.state import load_checkpoint


def bodies(count: int = 400, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """People who only bend their left knee, by up to a radian."""
    rng = torch.Generator().manual_seed(seed)
    vectors = torch.zeros(count, 24, 3)
    vectors[:, 4, 0] = torch.rand(count, generator=rng)
    vectors[:, 0] = torch.randn(count, 3, generator=rng)
    return roma.rotvec_to_rotmat(vectors), torch.randn(count, 10, generator=rng)


def test_prior_does_not_see_where_the_body_faces() -> None:
    rotmats, betas = bodies(8)
    turned = rotmats.clone()
    turned[:, 0] = rotmats[:, 0] @ roma.random_rotmat(8)
    prior = Prior(32).eval()
    assert torch.equal(prior(rotmats, betas), prior(turned, betas))


def test_prior_treats_every_sample_alone() -> None:
    """BatchNorm in the original mixed real and generated samples."""
    rotmats, betas = bodies(8)
    prior = Prior(32).train()
    assert torch.allclose(prior(rotmats, betas)[:3], prior(rotmats[:3], betas[:3]), atol=1e-6)


def test_broken_bodies_are_broken_rotations_are_not() -> None:
    rotmats, betas = bodies()
    wrong, wrong_betas = break_bodies(rotmats, betas, torch.Generator().manual_seed(0))
    assert roma.is_rotation_matrix(wrong, epsilon=1e-4)
    assert torch.equal(wrong[:, 0], rotmats[:, 0])
    changed = (wrong[:, 1:] - rotmats[:, 1:]).abs().amax(dim=(1, 2, 3)) + (wrong_betas - betas).abs().amax(dim=1)
    assert (changed > 1e-3).float().mean() > 0.6
    assert (wrong_betas.norm(dim=1) > 4.5).float().mean() == pytest.approx(0.25, abs=0.1)


def test_breaking_repeats_with_its_seed() -> None:
    rotmats, betas = bodies(32)
    first, again = (break_bodies(rotmats, betas, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], again[0])


def test_calibration_recovers_a_known_temperature() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = 2 * torch.randn(20_000, generator=rng)
    real = (torch.rand(20_000, generator=rng) < torch.sigmoid(truth)).float()
    prior = Prior(8)
    prior.calibrate(3 * truth, real)
    assert prior.temperature.item() == pytest.approx(3, rel=0.05)


def test_figures_of_a_perfect_and_of_a_blind_judge() -> None:
    real = (torch.arange(1000) < 500).float()
    perfect = roc.figures(10 * (real - 0.5), real)
    blind = roc.figures(torch.zeros(1000), real)
    assert perfect["auc"] == 1
    assert blind["auc"] == pytest.approx(0.5)
    assert blind["calibration_error"] == pytest.approx(0, abs=1e-6)
    assert blind["log_loss"] == pytest.approx(np.log(2), rel=1e-5)


def test_generator_begins_near_the_mean() -> None:
    mean = bodies(1)[0][0]
    rotmats, betas = Generator(mean, 32)(torch.randn(16, 32))
    assert roma.rotmat_geodesic_distance(rotmats, mean.expand_as(rotmats)).mean() < 1.0
    assert betas.shape == (16, 10)


def amass(folder: Path, name: str, frames: int, width: int = 156) -> None:
    rng = np.random.default_rng(0)
    (folder / "run").mkdir(exist_ok=True, parents=True)
    np.savez(folder / "run" / name, poses=0.2 * rng.standard_normal((frames, width)), betas=rng.standard_normal(16))


def test_amass_files_are_read(tmp_path: Path) -> None:
    amass(tmp_path, "a_poses.npz", 60)
    amass(tmp_path, "b_poses.npz", 4, width=72)
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16))
    (poses, betas), (held, _) = read_poses(tmp_path, 40, seed=0, held_out=0.1)
    assert poses.shape == (14, 24, 3)
    assert len(held) == 4, "a whole file is held out"
    assert betas.shape == (14, 10)
    assert not poses[:, 0].any()
    assert not poses[:, 22:].any()
    assert poses[:, 1:22].any()


@pytest.mark.parametrize(("files", "held_files"), [(1, 1), (2, 1), (10, 1), (10, 4)])
def test_no_clip_stands_on_both_sides(tmp_path: Path, files: int, held_files: int) -> None:
    for number in range(files):
        poses = np.zeros((20, 72), np.float32)
        poses[:, 3], poses[:, 4] = number + 1, np.arange(20)  # the file, the frame
        np.savez(tmp_path / f"{number:02d}.npz", poses=poses)
    (poses, _), (held, _) = read_poses(tmp_path, 10_000, seed=3, held_out=held_files / files if files > 2 else 0.1)
    assert len(poses) + len(held) == 20 * files
    left, right = (set(part[:, 1, 0].tolist()) for part in (poses, held))
    if files == 1:
        assert held[:, 1, 1].min() > poses[:, 1, 1].max(), "of a single clip, its end"
    else:
        assert not left & right
        assert len(right) == held_files


def test_bad_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no poses"):
        read_poses(tmp_path, 10, seed=0, held_out=0.1)
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"x\.npz"):
        read_poses(tmp_path, 10, seed=0, held_out=0.1)


def test_training_tells_real_from_broken(tmp_path: Path) -> None:
    for name in "abcd":
        amass(tmp_path / "poses", f"{name}.npz", 200)
    section = {"poses": tmp_path / "poses", "count": 600, "steps": 60, "batch_size": 64, "width": 48, "warmup_steps": 5}
    config = Config(name="t", prior=section | {"learning_rate": 5e-3, "validate_every": 30, "log_every": 30})
    output = tmp_path / "runs" / "model_60.pt"
    train_prior.run(config, body=Path("assets/free_body.npz"), output=output)
    found = load_checkpoint(output)
    assert found.extra["val_auc"] > 0.7
    assert found.history[-1]["val/auc"] == pytest.approx(found.extra["val_auc"].item(), abs=1e-5)
    prior = Prior(48)
    prior.load_state_dict(found.part("prior"))
    rotmats = train_prior.collect(config.prior, Path("assets/free_body.npz"))[1].rotmats
    wild = roma.random_rotmat(len(rotmats) * 24).reshape(-1, 24, 3, 3)
    zero = torch.zeros(len(rotmats), 10)
    assert prior(rotmats, zero).mean() > prior(wild, zero).mean() + 1
