"""A body from an embedding: rotations in 6D and shape, starting from the mean body."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn

from codebase.config import SmplConfig
from codebase.errors import DataError
from codebase.models.rotations import FACING_CAMERA, from_6d, nearest, to_6d
from codebase.models.rotations import mirrored as turned_back

JOINTS = 24
BETAS = 10
PARAMETERS = JOINTS * 6 + BETAS


class Residual(nn.Module):
    """x + MLP(LayerNorm(x)); LayerNorm, since BatchNorm's statistics over one labelled subject fail on others."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """Refine features."""
        return x + self.net(x)


class SmplHead(nn.Module):
    """(L_3d, L_app) to SMPL parameters in the im frame.

    No tanh: the original squashed axis-angle vectors to one radian, so nobody could face away. A linear part gives the
    global orientation two weighted sums of the latent points, which turn exactly as the points turn. The pose comes
    from L_3d alone and the shape from L_app alone: with one labelled subject, whose L_app hardly varies, a pose that
    reads L_app fails on everybody else.

    Args:
        points: 3D points of L_3d.
        appearance: length of L_app.
        mean_rotmats: the pose to start from, the global orientation (im frame) first.
        mean_betas: the shape to start from.
        width: units of a layer.
        blocks: residual blocks.
        dropout: share of units dropped in training.
        iterations: corrections of the estimate (after HMR, Kanazawa et al., CVPR 2018); 0: one direct guess.
    """

    mirrors = False  # whether it learned from mirrored images
    mean: Tensor
    offset: Tensor
    scale: Tensor
    scale_3d: Tensor

    def __init__(
        self,
        points: int,
        appearance: int,
        *,
        mean_rotmats: Float[Tensor, "24 3 3"],
        mean_betas: Float[Tensor, "10"],
        width: int = 512,
        blocks: int = 2,
        dropout: float = 0.1,
        iterations: int = 0,
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.enter_3d = nn.Linear(points * 3, width)
        if iterations:
            self.enter_pose = nn.Linear(JOINTS * 6, width)
        last_of_shape = nn.Linear(64, BETAS)
        self.shape = nn.Sequential(nn.Linear(appearance, 64), nn.SiLU(), last_of_shape)
        self.turning = nn.Linear(points, 2, bias=False)
        self.body = nn.Sequential(*(Residual(width, dropout) for _ in range(blocks)), nn.LayerNorm(width))
        self.leave = nn.Linear(width, JOINTS * 6)
        with torch.no_grad():  # start at the mean, yet let gradients pass
            for last in (self.leave, last_of_shape):
                last.weight.mul_(0.1)
                last.bias.zero_()
            self.turning.weight.zero_()
        self.register_buffer("mean", torch.cat([to_6d(mean_rotmats).flatten(), mean_betas]))
        self.register_buffer("offset", torch.zeros(appearance))
        self.register_buffer("scale", torch.ones(appearance))
        self.register_buffer("scale_3d", torch.ones(points, 1))

    @torch.no_grad()
    def fit_input(self, L_3d: Float[Tensor, "samples points 3"], L_app: Float[Tensor, "samples app"]) -> None:
        """Take the units of the embedding from (unlabelled) samples of all training subjects.

        Each point of L_3d gets one factor for its coordinates, so that rotating it stays a rotation; L_app is
        standardised. A unit that hardly moves must not blow up on a subject that moves it, hence the floors.
        """
        size = L_3d.square().mean(dim=(0, 2)).sqrt()[:, None]
        self.scale_3d.copy_(size.clamp_min(0.1 * float(size.mean().clamp_min(1e-6))))
        self.offset.copy_(L_app.mean(dim=0))
        self.scale.copy_(L_app.std(dim=0).clamp_min(0.1 * float(L_app.std().clamp_min(1e-6))))

    def forward(
        self, L_3d: Float[Tensor, "batch points 3"], L_app: Float[Tensor, "batch app"]
    ) -> Float[Tensor, "batch 154"]:
        """Raw parameters: 24 x 6 rotation columns and 10 betas; `split` reads them."""
        app = ((L_app - self.offset) / self.scale).clamp(-4, 4)
        points = L_3d / self.scale_3d
        # people differ in how far the encoder spreads their points, which says nothing of their pose
        points = points / points.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-6)
        features = self.enter_3d(points.flatten(1))
        turning = self.turning(points.transpose(1, 2)).flatten(1)
        pose = nn.functional.pad(turning, (0, (JOINTS - 1) * 6))
        for _ in range(self.iterations):
            pose = pose + self.leave(self.body(features + self.enter_pose(pose)))
        if not self.iterations:
            pose = pose + self.leave(self.body(features))
        return self.mean + torch.cat([pose, self.shape(app)], dim=1)


class TanhHead(nn.Module):
    """The first system's regressor, for comparison: all of it from both latents, axis-angle and betas within +-1.

    A tanh bounds each component of each rotation, the global one included, to a radian, from upright before the
    camera: the head cannot say that somebody faces away.

    Args:
        points: 3D points of L_3d.
        appearance: length of L_app.
        width: units of a layer.
        blocks: layers before the two heads part.
    """

    mirrors = False
    mean: Tensor
    upright: Tensor
    offset: Tensor
    scale: Tensor
    scale_3d: Tensor

    def __init__(self, points: int, appearance: int, *, width: int = 1024, blocks: int = 4) -> None:
        super().__init__()
        sizes = [points * 3 + appearance, *[width] * blocks]
        self.trunk = nn.Sequential(*(_layer(a, b) for a, b in itertools.pairwise(sizes)))
        self.pose = nn.Sequential(_layer(width, width), nn.Linear(width, JOINTS * 3), nn.Tanh())
        self.shape = nn.Sequential(_layer(width, width), nn.Linear(width, BETAS), nn.Tanh())
        rest = torch.eye(3).repeat(JOINTS, 1, 1)
        rest[0] = torch.tensor(FACING_CAMERA)
        self.register_buffer("upright", rest)
        self.register_buffer("mean", torch.cat([to_6d(rest).flatten(), torch.zeros(BETAS)]))
        self.register_buffer("offset", torch.zeros(appearance))
        self.register_buffer("scale", torch.ones(appearance))
        self.register_buffer("scale_3d", torch.ones(points, 1))

    def fit_input(self, L_3d: Float[Tensor, "samples points 3"], L_app: Float[Tensor, "samples app"]) -> None:
        """Nothing: the original took the latents as they were."""

    def forward(
        self, L_3d: Float[Tensor, "batch points 3"], L_app: Float[Tensor, "batch app"]
    ) -> Float[Tensor, "batch 154"]:
        """Raw parameters, as those of SmplHead."""
        features = self.trunk(torch.cat([L_3d.flatten(1), L_app], dim=1))
        vectors = self.pose(features).float().reshape(-1, JOINTS, 3)
        rotmats = self.upright @ roma.rotvec_to_rotmat(vectors)
        return torch.cat([to_6d(rotmats).flatten(1), self.shape(features).float()], dim=1)


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.BatchNorm1d(outputs))


AnyHead = SmplHead | TanhHead


def split(raw: Float[Tensor, "batch 154"]) -> tuple[Float[Tensor, "batch 24 3 3"], Float[Tensor, "batch 10"]]:
    """Rotations (global one first) and betas of raw parameters."""
    return from_6d(raw[:, :-BETAS].reshape(len(raw), JOINTS, 6)), raw[:, -BETAS:]


def body_of(
    head: AnyHead,
    points: Float[Tensor, "batch points 3"],
    mirrored: Float[Tensor, "batch mirrored 3"],
    appearance: Float[Tensor, "batch app"],
) -> Float[Tensor, "batch 154"]:
    """Raw parameters of a head in eval mode: of one that learned from mirrored images, the mean body (rotations in the
    chordal sense) of an image and of its mirror image, turned back.

    Args:
        head: the network.
        points: L_3d.
        mirrored: L_3d of the mirrored images; may have no points if the head needs none.
        appearance: L_app.

    Raises:
        DataError: it needs them and there are none.
    """
    raw: Tensor = head(points, appearance)
    if not head.mirrors:
        return raw
    if not mirrored.shape[1]:
        raise DataError(
            "The body head averages over an image and its mirror image, and the embeddings hold none of the latter.",
            expected="L_3d_mirrored in the embeddings",
            mend="set embed.mirrored to true, or smpl.mirror to 0 and train again",
        )
    (rotmats, betas), (back, same) = split(raw), split(head(mirrored, appearance))
    mean = nearest((rotmats + turned_back(back)).double()).to(raw.dtype)
    return torch.cat([to_6d(mean).flatten(1), (betas + same) / 2], dim=1)


def shear(raw: Float[Tensor, "batch 154"]) -> Float[Tensor, ""]:
    """How far the pairs of columns are from orthonormal: mean squared difference of their products from the identity.

    Gram-Schmidt hides it, yet long columns turn slowly where they were learned and wildly elsewhere.
    """
    columns = raw[:, :-BETAS].reshape(len(raw), JOINTS, 3, 2)
    products = columns.transpose(2, 3) @ columns
    return (products - torch.eye(2, device=raw.device)).square().mean()


def build(section: SmplConfig, points: int, appearance: int, mean_rotmats: Float[Tensor, "24 3 3"]) -> AnyHead:
    """The head of a section, starting from a pose and the template's shape."""
    if section.head == "gaggi2019":
        head: AnyHead = TanhHead(points, appearance, width=section.width, blocks=section.blocks)
    else:
        head = _six_d(section, points, appearance, mean_rotmats)
    head.mirrors = section.mirror > 0
    return head


def _six_d(section: SmplConfig, points: int, appearance: int, mean_rotmats: Float[Tensor, "24 3 3"]) -> SmplHead:
    return SmplHead(
        points,
        appearance,
        mean_rotmats=mean_rotmats,
        mean_betas=torch.zeros(BETAS),
        width=section.width,
        blocks=section.blocks,
        dropout=section.dropout,
        iterations=section.iterations,
    )


def restore(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> AnyHead:
    """The head of a checkpoint (its `config` and part "smpl"), frozen and in eval mode.

    Raises:
        DataError: the weights are those of another network.
    """
    try:
        points, appearance = len(weights["scale_3d"]), len(weights["offset"])
        head = build(SmplConfig.model_validate(config), points, appearance, torch.eye(3).repeat(JOINTS, 1, 1))
        head.load_state_dict(weights)
    except (KeyError, RuntimeError, ValueError) as error:
        why = shorten(str(error), 300)
        raise DataError(
            f"The checkpoint does not fit the body head: {why}", expected="one of the stage train_smpl"
        ) from None
    return head.requires_grad_(False).eval()
