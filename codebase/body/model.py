"""The SMPL layer. Nobody else imports smplx."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from types import SimpleNamespace

import torch
from jaxtyping import Float
from smplx.body_models import SMPLLayer
from torch import Tensor

from codebase.body.arrays import BodyArrays, load_body
from codebase.body.joints import KinematicJoints, RegressedJoints

__all__ = ["BodyArrays", "BodyLayer", "load_body"]

# smplx appends 21 joints by hard-coded SMPL-H vertex numbers, which mean nothing on another mesh; they are never used.
_NO_EXTRA_JOINTS = dict.fromkeys(("nose", "reye", "leye", "rear", "lear"), 0)


class BodyLayer(torch.nn.Module):
    """Vertices and joints of a body in SMPL layout, differentiable; buffers only, no parameters.

    Frame: the body's (x left, y up, z forward), metres, before the global orientation carries it elsewhere.
    """

    def __init__(self, body: BodyArrays, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        data = SimpleNamespace(
            v_template=body.v_template,
            shapedirs=body.shapedirs,
            posedirs=body.posedirs,
            J_regressor=body.J_regressor,
            weights=body.weights,
            kintree_table=body.parents[None],
            f=body.faces,
        )
        with redirect_stdout(
            io.StringIO()
        ):  # smplx prints a warning that a body has 10 shape coefficients, as all have
            self.smpl = SMPLLayer(
                model_path="",
                data_struct=data,
                dtype=dtype,
                vertex_ids=_NO_EXTRA_JOINTS,
                use_hands=False,
                use_feet_keypoints=False,
            )
        self.kinematic = KinematicJoints(body, dtype)
        self.regressed = RegressedJoints(body, dtype)
        self.name = body.name

    @property
    def faces(self) -> Tensor:
        """Triangles, int64 (F, 3)."""
        return self.smpl.faces_tensor

    def vertices(
        self,
        betas: Float[Tensor, "B 10"],
        rotations: Float[Tensor, "B 24 3 3"],
        transl_m: Float[Tensor, "B 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Posed vertices in metres, by smplx.

        Args:
            betas: shape coefficients.
            rotations: of each joint relative to its parent; the first is the global orientation.
            transl_m: added to everything.
        """
        zero = betas.new_zeros(len(betas), 3)
        result = self.smpl(
            betas=betas,
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            transl=zero if transl_m is None else transl_m,
            pose2rot=False,
        )
        return result.vertices

    def joints24(
        self,
        betas: Float[Tensor, "B 10"],
        rotations: Float[Tensor, "B 24 3 3"],
        transl_m: Float[Tensor, "B 3"] | None = None,
    ) -> Float[Tensor, "B 24 3"]:
        """SMPL's posed joints in metres, without building vertices."""
        joints = self.kinematic(betas, rotations).joints
        return joints if transl_m is None else joints + transl_m[:, None]

    def joints17(
        self,
        betas: Float[Tensor, "B 10"],
        rotations: Float[Tensor, "B 24 3 3"],
        transl_m: Float[Tensor, "B 3"] | None = None,
    ) -> Float[Tensor, "B 17 3"]:
        """The Human3.6M joints in metres: exactly those of `J17_regressor @ vertices`, without building vertices."""
        pose = self.kinematic(betas, rotations)
        joints = self.regressed(betas, rotations, pose)
        # rows that sum to 1 only nearly move by as much less
        return joints if transl_m is None else joints + transl_m[:, None] * self.regressed.total
