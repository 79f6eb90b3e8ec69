"""3D joints from the embedding: a linear map that turns with the camera, plus a small network.

BatchNorm after ReLU, as in the papers, fails with one labelled subject: units that this subject hardly excites
are divided by next to nothing, and another subject's error grows to metres. Here inputs are scaled by statistics of
all subjects (unlabelled ones too) with a floor, and LayerNorm does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.config import ImagePoseConfig, PoseConfig
from codebase.errors import DataError
from codebase.models.augment import mirror_joints
from codebase.models.pose2018 import PoseMlp2018
from codebase.skeleton import H36M

FLOOR = 0.1  # smallest scale of a point, relative to the mean over points


class PoseNet(nn.Module):
    """L_3d -> root-centred joints in the im frame, mm.

    Several members see the same input and their poses are averaged; each has two parts that add up:
    `linear`, joints as weighted sums of the latent points (turns exactly as the points turn), and `deep`, an MLP.

    Args:
        config: width, depth, dropout, members; of PoseConfig also whether it learned from mirrored images.
        points: points of L_3d.
    """

    scale: Tensor
    mean_mm: Tensor
    spread_mm: Tensor

    def __init__(self, config: PoseConfig | ImagePoseConfig, points: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(points, 1))
        self.register_buffer("mean_mm", torch.zeros(len(H36M), 3))
        self.register_buffer("spread_mm", torch.ones(()))
        self.members = nn.ModuleList(_Member(config, points) for _ in range(config.members))
        self.mirrors = isinstance(config, PoseConfig) and config.mirror > 0

    def standardise(
        self, points: Float[Tensor, "rows points 3"], joints_im_mm: Float[Tensor, "labelled joints 3"]
    ) -> None:
        """Take the scale of the inputs from all subjects, mean and spread of the targets from the labelled ones."""
        size = points.square().mean(dim=(0, 2)).sqrt()[:, None]
        self.scale.copy_(size.clamp_min(FLOOR * float(size.mean())))
        self.mean_mm.copy_(joints_im_mm.mean(dim=0))
        self.spread_mm.copy_((joints_im_mm - self.mean_mm).square().mean().sqrt())

    def each(self, points: Float[Tensor, "b points 3"]) -> Float[Tensor, "members b joints 3"]:
        """The pose that each member sees, mm, root at 0."""
        scaled = points / self.scale
        joints = self.mean_mm + self.spread_mm * torch.stack([member(scaled) for member in self.members])
        return joints - joints[:, :, :1]

    def forward(self, points: Float[Tensor, "b points 3"]) -> Float[Tensor, "b joints 3"]:
        """The mean over members, mm, root at 0."""
        return self.each(points).mean(dim=0)


class _Member(nn.Module):
    def __init__(self, config: PoseConfig | ImagePoseConfig, points: int) -> None:
        super().__init__()
        joints = len(H36M)
        self.linear = nn.Linear(points, joints, bias=False)
        layers: list[nn.Module] = [nn.Flatten(), nn.LayerNorm(3 * points)]
        width = 3 * points
        for _ in range(config.layers):
            layers += [nn.Linear(width, config.hidden), nn.LayerNorm(config.hidden), nn.GELU()]
            layers += [nn.Dropout(config.dropout)]
            width = config.hidden
        self.deep = nn.Sequential(*layers, nn.Linear(width, 3 * joints))
        nn.init.zeros_(self.linear.weight)

    def forward(self, scaled: Float[Tensor, "b points 3"]) -> Float[Tensor, "b joints 3"]:
        turning = self.linear(scaled.transpose(1, 2)).transpose(1, 2)
        return turning + self.deep(scaled).unflatten(1, (-1, 3))


def build(config: PoseConfig, points: int) -> PoseNet | PoseMlp2018:
    """The network that the section names, its weights random, for `points` points of L_3d."""
    return PoseNet(config, points) if config.network == "ours" else PoseMlp2018(config, points)


def restore(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> PoseNet | PoseMlp2018:
    """The network of a checkpoint (its `config` and part "pose"), frozen and in eval mode.

    Raises:
        DataError: the weights are those of another network.
    """
    if "scale" not in weights:
        raise DataError("The checkpoint holds no pose network.", expected="a checkpoint of the stage train_pose")
    try:
        net = build(PoseConfig.model_validate(config), len(weights["scale"]))
        net.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"The checkpoint does not fit its pose network, {config.get('network', 'ours')}: {error}"
        ) from None
    return net.requires_grad_(False).eval()


def pose_of(
    net: PoseNet | PoseMlp2018, points: Float[Tensor, "b points 3"], mirrored: Float[Tensor, "b mirrored 3"]
) -> Float[Tensor, "b joints 3"]:
    """Root-centred joints in the im frame, mm: of a network that learned from mirrored images, averaged with those of
    the mirror image, turned back (the flip test of 2D pose estimation).

    Args:
        net: in eval mode.
        points: L_3d.
        mirrored: L_3d of the mirrored images; may have no points if the network needs none.

    Raises:
        DataError: it needs them and there are none.
    """
    if not net.mirrors:
        joints: Tensor = net(points)
        return joints
    if not mirrored.shape[1]:
        raise DataError(
            "The pose network averages over an image and its mirror image, and the embeddings hold none of the latter.",
            expected="L_3d_mirrored in the embeddings",
            mend="set embed.mirrored to true, or pose.mirror to 0 and train again",
        )
    return (net(points) + mirror_joints(net(mirrored))) / 2


def vertical_turns(R_world_im: Float[Tensor, "b 3 3"], angle_rad: Float[Tensor, " b"]) -> Float[Tensor, "b 3 3"]:
    """Rotations of the im frame that turn the person about the world's vertical (z)."""
    cos, sin, zero, one = angle_rad.cos(), angle_rad.sin(), torch.zeros_like(angle_rad), torch.ones_like(angle_rad)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
    return R_world_im @ turn @ R_world_im.transpose(1, 2)
