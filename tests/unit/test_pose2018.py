"""The papers' pose network: targets, losses, what comes out, and what is refused."""

from __future__ import annotations

import pytest
import torch

from codebase.config import PoseConfig
from codebase.errors import DataError
from codebase.models.pose import PoseNet, build, restore
from codebase.models.pose2018 import PoseMlp2018
from codebase.training import losses, optim
from codebase.training.pose_error import pose_error

SMALL = {"network": "rhodin2018", "hidden": 16, "layers": 2, "members": 1, "dropout": 0.0, "mirror": 0.0}


def config(**changes: object) -> PoseConfig:
    return PoseConfig.model_validate(SMALL | changes)


def poses(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    found = 100 * torch.randn(count, 17, 3) + torch.arange(51.0).view(17, 3)
    return found - found[:, :1]


@pytest.mark.parametrize(("targets", "spread"), [("mm", (1, 1)), ("pose", (100, 250)), ("coordinates", (90, 220))])
def test_targets(targets, spread):
    net, joints = build(config(targets=targets), 5), poses(500)
    assert isinstance(net, PoseMlp2018)
    net.standardise(torch.randn(9, 5, 3), joints)
    assert torch.equal(net.scale, torch.ones(5, 1)), "inputs stay as they are"
    assert bool((net.mean_mm == 0).all()) is (targets == "mm")
    assert ((spread[0] <= net.spread_mm) & (net.spread_mm <= spread[1]))[1:].all()
    if targets == "coordinates":
        torch.testing.assert_close(net.spread_mm[1:], joints.std(dim=0, unbiased=False)[1:])
        assert (net.spread_mm[0] == 1).all(), "the root does not vary"
    with torch.no_grad():
        for p in net.members[0][-1].parameters():
            p.zero_()
    torch.testing.assert_close(net.each(torch.randn(4, 5, 3)), net.mean_mm.expand(1, 4, 17, 3))


def test_the_root_of_an_answer_is_0_and_of_a_lesson_it_is_learned():
    net = build(config(targets="mm"), 5).eval()
    points = torch.randn(3, 5, 3)
    assert (net.each(points)[:, :, 0] != 0).any()
    joints = net(points)
    assert (joints[:, 0] == 0).all()
    torch.testing.assert_close(joints[:, 1:], net.each(points)[0, :, 1:])


def test_losses():
    seen, target, spread = 50 * torch.randn(2, 4, 17, 3), poses(4), 1 + torch.rand(17, 3)
    loss, distance = pose_error(seen, target, spread, "distance")
    expected = (losses.mean_distance(seen[0], target) + losses.mean_distance(seen[1], target)) / 2
    torch.testing.assert_close(distance, expected)
    torch.testing.assert_close(loss, expected / spread.mean())
    squares, same = pose_error(seen, target, spread, "squares")
    torch.testing.assert_close(squares, ((seen - target) / spread).square().mean())
    assert torch.equal(same, distance)


@pytest.mark.parametrize(("targets", "loss"), [("pose", "distance"), ("coordinates", "squares"), ("mm", "distance")])
def test_it_overfits_one_batch(targets, loss):
    torch.manual_seed(0)
    section = config(targets=targets, loss=loss, hidden=64, learning_rate=0.1 if targets == "mm" else 0.01)
    net, points, joints = build(section, 5), torch.randn(16, 5, 3), poses(16)
    net.standardise(points, joints)
    optimizer, errors = optim.adam(section, net), []
    for _ in range(150):
        error, distance_mm = pose_error(net.each(points), joints, net.spread_mm, section.loss)
        optim.step(error, optimizer, 1e6)
        errors.append(distance_mm.item())
    assert errors[-1] < 0.1 * errors[0]


def test_it_comes_back_from_a_checkpoint_and_others_are_refused():
    section = config(targets="coordinates")
    net = build(section, 5)
    net.standardise(torch.randn(9, 5, 3), poses(50))
    weights, points = net.state_dict(), torch.randn(4, 5, 3)
    back = restore(section.model_dump(mode="json"), weights)
    torch.testing.assert_close(back(points), net.eval()(points))
    with pytest.raises(DataError, match="pose network, ours"):
        restore(section.model_dump(mode="json") | {"network": "ours", "targets": "pose"}, weights)
    with pytest.raises(DataError, match="pose network, rhodin2018"):
        restore(section.model_dump(mode="json"), PoseNet(PoseConfig.model_validate({}), 5).state_dict())


def test_what_a_network_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"pose\.targets: mm is of"):
        PoseConfig.model_validate({"targets": "mm"})
    with pytest.raises(ValueError, match="in one process"):
        config(gpus=2)
