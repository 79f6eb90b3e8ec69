"""Batches of course frames: crops, bodies and joints in the frame that the network predicts in."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from codebase.body.arrays import BodyArrays, rotation_matrices
from codebase.body.joints import KinematicJoints, RegressedJoints
from codebase.config import HmrConfig
from codebase.data.course import CourseFrames
from codebase.data.pixels import in_threads
from codebase.errors import DataError
from codebase.geometry import crop_intrinsics
from codebase.models import projection
from codebase.models.rotations import chordal_mean
from codebase.skeleton import H36M
from codebase.training.state import Batch

Rows = Int64[ndarray, " rows"]
M_TO_MM = 1000.0
_CHUNK = 4096


class CourseSamples:
    """Frames of a split as the lesson sees them.

    Args:
        frames: the rows.
        body: whose joints they have.
        section: its `frame` says in which frame orientations are.
        size: height and width of the crops, px.
    """

    def __init__(self, frames: CourseFrames, body: BodyArrays, section: HmrConfig, size: tuple[int, int]) -> None:
        self.frames, self.size = frames, size
        self.kinematic, self.regressed = KinematicJoints(body), RegressedJoints(body)
        turned = section.frame == "im"
        self.R_cam_net = frames.R_cam_im if turned else np.broadcast_to(np.eye(3), (len(frames), 3, 3))

    def __len__(self) -> int:
        return len(self.frames)

    def gather(self, rows: Rows) -> Batch:
        """Crops (uint8), bodies and joints of rows.

        Raises:
            DataError: a picture is missing or unreadable.
        """
        images, broken = self.images(rows)
        if broken:
            raise next(iter(broken.values()))
        return {"image": torch.from_numpy(images)} | self.truth(rows)

    def images(self, rows: Rows) -> tuple[UInt8[ndarray, "rows height width 3"], dict[int, DataError]]:
        """Crops of rows; black where the picture cannot be read, with the error of that place."""
        out = np.zeros((len(rows), *self.size, 3), np.uint8)
        broken: dict[int, DataError] = {}

        def read(places: np.ndarray) -> None:
            for place in places.tolist():
                try:
                    out[place] = self.frames.crop(int(rows[place]), self.size)
                except DataError as error:
                    broken[place] = error

        in_threads(read, len(rows), torch.get_num_threads())
        return out, dict(sorted(broken.items()))

    @torch.no_grad()
    def truth(self, rows: Rows) -> Batch:
        """Bodies, root-centred joints and cameras (`projection.columns`) of rows, for the network's frame."""
        frames = self.frames
        betas, rotmats = self.bodies(rows)
        joints = self.joints(betas, rotmats).double().numpy()
        turn = self.R_cam_net[rows]
        rotmats[:, 0] = torch.from_numpy(turn.astype(np.float32)) @ rotmats[:, 0]
        centred = (joints - joints[:, [H36M.index("root")]]) @ np.swapaxes(turn, 1, 2)
        batch = {
            "betas": betas, "rotmats": rotmats, "has_body": torch.from_numpy(frames.has_body[rows]),
            "joints_im_mm": torch.from_numpy((M_TO_MM * centred).astype(np.float32)),
        }  # fmt: skip
        mine = frames.take(rows)
        f_px, c_px = crop_intrinsics(mine.crop_from_image(self.size), mine.f_px, mine.c_px)
        batch |= projection.columns(
            turn=np.swapaxes(turn, 1, 2), root_m=joints[:, H36M.index("root")] + mine.root_loc_m, f_crop_px=f_px,
            c_crop_px=c_px, size=self.size, distortion=mine.distortion,
        )  # fmt: skip
        return batch

    def bodies(self, rows: Rows) -> tuple[Float[Tensor, "rows 10"], Float[Tensor, "rows 24 3 3"]]:
        """True shape and rotations, the global one in the camera's frame."""
        rotmats = rotation_matrices(self.frames.pose_rad[rows])
        return torch.from_numpy(self.frames.betas[rows].astype(np.float32)), torch.from_numpy(
            rotmats.astype(np.float32)
        )

    def joints(
        self, betas: Float[Tensor, "rows 10"], rotmats: Float[Tensor, "rows 24 3 3"]
    ) -> Float[Tensor, "rows 17 3"]:
        """Human3.6M's joints of bodies whose translation is zero, metres."""
        return self.regressed(betas, rotmats, self.kinematic(betas, rotmats))

    def in_camera(self, rotmats: Float[Tensor, "rows 24 3 3"], rows: Rows) -> Float[Tensor, "rows 24 3 3"]:
        """Rotations of the network's frame, the global one turned into the camera's."""
        back = torch.from_numpy(np.swapaxes(self.R_cam_net[rows], 1, 2).astype(np.float32))
        return torch.cat([(back @ rotmats[:, 0])[:, None], rotmats[:, 1:]], dim=1)

    def mean_body(self) -> tuple[Float[Tensor, "24 3 3"], Float[Tensor, "10"]]:
        """Chordal mean of the rotations (network's frame) and mean shape."""
        total = torch.zeros(24, 3, 3, dtype=torch.float64)
        for start in range(0, len(self), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(self)))
            rotmats = self.bodies(rows)[1].double()
            rotmats[:, 0] = torch.from_numpy(self.R_cam_net[rows]) @ rotmats[:, 0]
            total += rotmats.sum(dim=0)
        mean = chordal_mean((total / len(self))[None].float())
        return mean, torch.from_numpy(self.frames.betas.mean(axis=0).astype(np.float32))
