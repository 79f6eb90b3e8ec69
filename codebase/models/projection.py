"""Where a crop shows points about the root: in full perspective, or all of them as far away as the root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

PREFIX = "camera_"
NEAREST_M = 0.1  # a point before which an untrained network might put a joint, behind the camera, is shown as if here
_FAR_M = 1e5


@dataclass(frozen=True)
class Cameras:
    """The cameras of crops, for points about the root in the frame that a network answers in.

    Crops reach from -1 to 1. Changes of the image (mirror, roll, scale) are part of the camera, so that changed points
    are shown exactly where the changed image shows them.

    Attributes:
        turn: from the network's frame to the camera's; of mirrored images it mirrors back.
        root_m: the root, camera frame.
        focal, centre: of the pinhole whose plane is the crop from -1 to 1.
        distortion: k1, k2, p1, p2, k3 of OpenCV's model; zeros where the crop is straight.
        picture: what was done to the picture in its plane.
    """

    turn: Float[Tensor, "batch 3 3"]
    root_m: Float[Tensor, "batch 3"]
    focal: Float[Tensor, "batch 2"]
    centre: Float[Tensor, "batch 2"]
    distortion: Float[Tensor, "batch 5"]
    picture: Float[Tensor, "batch 2 2"]

    @classmethod
    def of(cls, batch: Mapping[str, Tensor], *, count: int, half_box_m: float) -> Cameras:
        """Those of a batch (`columns`); without any, cameras so far away that a crop shows `half_box_m` each side."""
        names = [field.name for field in fields(cls)]
        if PREFIX + names[0] in batch:
            return cls(**{name: batch[PREFIX + name] for name in names})
        device = next(iter(batch.values())).device
        pair, root_m = torch.ones(count, 2, device=device), torch.tensor([0, 0, _FAR_M], device=device)
        return cls(
            torch.eye(3, device=device).repeat(count, 1, 1), root_m.repeat(count, 1),
            pair * _FAR_M / half_box_m, 0 * pair, torch.zeros(count, 5, device=device),
            torch.eye(2, device=device).repeat(count, 1, 1),
        )  # fmt: skip

    def columns(self) -> dict[str, Tensor]:
        """As columns of a batch."""
        return {PREFIX + field.name: getattr(self, field.name) for field in fields(self)}

    def project(
        self, points_m: Float[Tensor, "batch points 3"], *, weak: bool = False
    ) -> Float[Tensor, "batch points 2"]:
        """Places in the crop of points about the root, network's frame."""
        away = points_m @ self.turn.transpose(1, 2)
        found = away + self.root_m[:, None]
        depth = self.root_m[:, None, 2:] if weak else found[..., 2:].clamp_min(NEAREST_M)
        places = self._through_the_lens(found[..., :2] / depth) * self.focal[:, None] + self.centre[:, None]
        return places @ self.picture.transpose(1, 2)

    def mirrored(self, chosen: Float[Tensor, " batch"]) -> Cameras:
        """With the chosen (1, others 0) images mirrored, and points with them: x negated in both."""
        sign = torch.ones(len(chosen), 3, device=chosen.device)
        sign[:, 0] -= 2 * chosen
        return replace(self, turn=self.turn * sign[:, None], picture=sign[:, :2, None] * self.picture)

    def rolled(self, turn: Float[Tensor, "batch 3 3"]) -> Cameras:
        """With images rolled, and points turned about the frame's z axis, as `augment.roll_matrix` says."""
        return replace(self, turn=self.turn @ turn.transpose(1, 2), picture=turn[:, :2, :2] @ self.picture)

    def scaled(self, factor: Float[Tensor, " batch"]) -> Cameras:
        """With images magnified about their centre; points about the root stay what they are, in metres."""
        return replace(self, picture=factor[:, None, None] * self.picture)

    def _through_the_lens(self, rays: Float[Tensor, "batch points 2"]) -> Float[Tensor, "batch points 2"]:
        """As `geometry.distort`."""
        x, y = rays.unbind(dim=2)
        k1, k2, p1, p2, k3 = self.distortion[:, :, None].unbind(dim=1)
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        return torch.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            dim=2,
        )


def columns(
    *,
    turn: Float[ndarray, "rows 3 3"],
    root_m: Float[ndarray, "rows 3"],
    f_crop_px: Float[ndarray, "rows 2"],
    c_crop_px: Float[ndarray, "rows 2"],
    size: tuple[int, int],
    distortion: Float[ndarray, "rows 5"] | None = None,
) -> dict[str, Tensor]:
    """The cameras of crops as columns of a batch, `camera_turn` and so on.

    Args:
        turn: from the network's frame to the camera's.
        root_m: camera frame.
        f_crop_px, c_crop_px: of the camera that projects straight into the crop (`geometry.crop_intrinsics`).
        size: height and width of the crops, px.
        distortion: of a crop that is not straight.
    """
    rows, half = len(root_m), np.array(size[::-1]) / 2
    found = {
        "turn": turn, "root_m": root_m, "focal": f_crop_px / half, "centre": (c_crop_px + 0.5 - half) / half,
        "distortion": np.zeros((rows, 5)) if distortion is None else distortion,
        "picture": np.broadcast_to(np.eye(2), (rows, 2, 2)),
    }  # fmt: skip
    return {PREFIX + name: torch.from_numpy(values.astype(np.float32)) for name, values in found.items()}
