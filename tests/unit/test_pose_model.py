"""The pose network and how its samples are turned."""

import math

import pytest
import torch

from codebase.config import PoseConfig
from codebase.errors import DataError
from codebase.models.augment import mirror_joints, mirror_rotations
from codebase.models.encoder_decoder import rotate
from codebase.models.pose import PoseNet, pose_of, restore, vertical_turns
from codebase.stages.train_pose import augment, figures
from codebase.training import losses, optim, team
from codebase.training.team import Team

SMALL = {"hidden": 32, "layers": 1, "members": 2, "dropout": 0.0, "noise": 0.0}


def rotations(count):
    q = torch.linalg.qr(torch.randn(count, 3, 3))[0]
    return q * torch.linalg.det(q)[:, None, None].sign()


def test_turns_are_about_the_worlds_vertical():
    world_im = rotations(5)
    turn = vertical_turns(world_im, torch.linspace(-3, 3, 5))
    up = world_im[:, :, 2:]  # the world's z in the im frame
    torch.testing.assert_close(turn @ up, up)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
    trace = turn.diagonal(dim1=1, dim2=2).sum(dim=1)
    torch.testing.assert_close(trace, 1 + 2 * torch.linspace(-3, 3, 5).cos(), atol=1e-5, rtol=0)


def test_embedding_and_target_turn_together():
    batch = {"L_3d": torch.randn(8, 17, 3), "R_world_im": rotations(8)}
    batch["joints_im_mm"] = 1000 * batch["L_3d"]
    points, target = augment(batch, PoseConfig(turn=1.0, noise=0.0, mirror=0.0))
    torch.testing.assert_close(1000 * points, target, atol=1e-2, rtol=1e-4)
    assert (points - batch["L_3d"]).abs().mean() > 0.1
    still, _ = augment(batch, PoseConfig(turn=0.0, noise=0.0, mirror=0.0))
    assert torch.equal(still, batch["L_3d"])
    noisy, _ = augment(batch, PoseConfig(turn=0.0, noise=0.5, mirror=0.0))
    assert (noisy - still).square().mean().sqrt() == pytest.approx(0.5 * still.square().mean().sqrt().item(), rel=0.2)


def test_mirrored_samples_are_samples_of_a_mirrored_world():
    """Points that are the joints stay so, mirrored and turned; the vertical of a mirrored row is the mirrored one."""
    torch.manual_seed(0)
    batch = {"L_3d": torch.randn(200, 17, 3), "R_world_im": rotations(200)}
    batch["joints_im_mm"] = 1000 * batch["L_3d"]
    batch["L_3d_mirrored"] = mirror_joints(batch["L_3d"])
    points, target = augment(batch, PoseConfig(turn=1.0, noise=0.0, mirror=1.0))
    torch.testing.assert_close(1000 * points, target, atol=1e-2, rtol=1e-4)
    up = batch["R_world_im"][:, :, 2:] * torch.tensor([-1.0, 1.0, 1.0])[:, None]
    torch.testing.assert_close(target @ up, 1000 * batch["L_3d_mirrored"] @ up, atol=2e-2, rtol=1e-4)
    points, _ = augment(batch, PoseConfig(turn=0.0, noise=0.0, mirror=0.5))
    mirrored = (points == batch["L_3d_mirrored"]).all(dim=2).all(dim=1)
    assert 60 < mirrored.sum() < 140
    assert torch.equal(points[~mirrored], batch["L_3d"][~mirrored])


def test_processes_turn_and_mirror_their_shares_as_one_would(monkeypatch):
    batch = {"L_3d": torch.randn(8, 17, 3), "L_3d_mirrored": torch.randn(8, 17, 3), "R_world_im": rotations(8)}
    batch["joints_im_mm"] = torch.randn(8, 17, 3)

    def augmented(rank, size):
        crew = Team(rank, size)
        crew.generator = torch.Generator().manual_seed(5)
        monkeypatch.setattr(team, "_team", crew)
        share = {name: crew.mine(rows) for name, rows in batch.items()}
        return augment(share, PoseConfig(turn=1.0, noise=0.0, mirror=0.5))

    whole, parts = augmented(0, 1), [augmented(rank, 2) for rank in range(2)]
    for one, shares in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(shares), one)


def test_a_mirror_undoes_itself_and_turns_the_other_way():
    turn = vertical_turns(torch.eye(3).expand(4, 3, 3), torch.linspace(-2, 2, 4))
    torch.testing.assert_close(mirror_rotations(turn), turn.transpose(1, 2))
    torch.testing.assert_close(mirror_rotations(mirror_rotations(turn)), turn)


def test_the_pose_of_an_image_and_of_its_mirror_image_are_mirror_images():
    torch.manual_seed(0)
    points, mirrored = torch.randn(2, 5, 6, 3)
    net = PoseNet(PoseConfig(**SMALL), 6).eval()
    torch.testing.assert_close(pose_of(net, points, mirrored), mirror_joints(pose_of(net, mirrored, points)))
    alone = PoseNet(PoseConfig(**SMALL, mirror=0.0), 6).eval()
    assert torch.equal(pose_of(alone, points, mirrored[:, :0]), alone(points))
    with pytest.raises(DataError, match=r"embed\.mirrored"):
        pose_of(net, points, mirrored[:, :0])


def test_the_linear_part_turns_with_its_input():
    net = PoseNet(PoseConfig(**SMALL), 6)
    torch.nn.init.normal_(net.members[0].linear.weight)
    points, turn = torch.randn(4, 6, 3), rotations(4)
    linear = net.members[0].linear
    joints = linear(points.transpose(1, 2)).transpose(1, 2)
    turned = linear(rotate(points, turn).transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(turned, rotate(joints, turn), atol=1e-5, rtol=1e-4)


def test_rarely_excited_points_are_not_blown_up():
    net = PoseNet(PoseConfig(**SMALL), 6)
    points = torch.randn(100, 6, 3)
    points[:, 3] *= 1e-6
    net.standardise(points, torch.randn(100, 17, 3))
    assert net.scale[3] == pytest.approx(0.1 * points.square().mean(dim=(0, 2)).sqrt().mean().item(), rel=1e-3)


def test_it_fits_and_the_root_stays_at_zero():
    torch.manual_seed(0)
    config = PoseConfig(**SMALL, learning_rate=1e-2)
    points = torch.randn(64, 17, 3)
    joints = 300 * (points - points[:, :1])
    net = PoseNet(config, 17)
    net.standardise(points, joints)
    optimizer = optim.adam(config, net)
    rows = {"L_3d": points, "L_3d_mirrored": mirror_joints(points), "joints_im_mm": joints}
    before = figures(net, rows, joints.mean(dim=0))["mpjpe_mm"]
    for _ in range(150):
        error = losses.mean_distance(net.each(points).flatten(0, 1), joints.repeat(2, 1, 1))
        optim.step(error / net.spread_mm, optimizer, 1.0)
    net.eval()
    assert figures(net, rows, joints.mean(dim=0))["mpjpe_mm"] < 0.2 * before
    assert net(points)[:, 0].abs().max() == 0


def test_restoring():
    net = PoseNet(PoseConfig(**SMALL), 6)
    net.standardise(torch.randn(10, 6, 3), 100 * torch.randn(10, 17, 3))
    config = PoseConfig(**SMALL).model_dump(mode="json")
    restored = restore(config, net.state_dict())
    points = torch.randn(3, 6, 3)
    torch.testing.assert_close(restored(points), net.eval()(points))
    assert not any(p.requires_grad for p in restored.parameters())
    with pytest.raises(DataError, match="does not fit"):
        restore(config | {"hidden": 16}, net.state_dict())
    with pytest.raises(DataError, match="holds no pose network"):
        restore(config, {})


def test_angles_cover_the_circle():
    batch = {"L_3d": torch.tensor([[[1.0, 0, 0]]]).repeat(400, 1, 1), "joints_im_mm": torch.zeros(400, 17, 3)}
    batch["R_world_im"] = torch.eye(3).expand(400, 3, 3)
    points, _ = augment(batch, PoseConfig(turn=1.0, noise=0.0, mirror=0.0))
    angle = torch.atan2(points[:, 0, 1], points[:, 0, 0])
    assert all(((angle > low) & (angle < low + math.pi / 2)).float().mean() > 0.15 for low in (-math.pi, -1.6, 0, 1.5))
    points, _ = augment(batch, PoseConfig(turn=0.5, noise=0.0, mirror=0.0))
    still = (points == batch["L_3d"]).all(dim=2).all(dim=1)
    assert 140 < still.sum() < 260, "half of the samples turn"
