"""Predicted bodies on their way out: into HDF5, CSV and meshes, in the frames that the conventions name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from codebase.body.model import BodyLayer
from codebase.data.index import Index
from codebase.data.store import CropStore
from codebase.errors import DataError
from codebase.files import write_csv
from codebase.geometry import world_to_camera
from codebase.render.mesh_files import write_mesh
from codebase.skeleton import H36M

MM_TO_M = 0.001
KEYS = ("subject", "action", "subaction", "camera", "frame")


@dataclass(frozen=True)
class Predicted:
    """Bodies of some frames.

    Attributes:
        betas: shape.
        rotmats: rotations, the global one first.
        joints_mm: the 17 joints about the root, mm, in the frame of the global orientation.
    """

    betas: Float[Tensor, "rows 10"]
    rotmats: Float[Tensor, "rows 24 3 3"]
    joints_mm: Float[Tensor, "rows 17 3"]

    @classmethod
    def of(cls, layer: BodyLayer, rotmats: Float[Tensor, "rows 24 3 3"], betas: Float[Tensor, "rows 10"]) -> Predicted:
        """Bodies with their joints, on the CPU.

        Raises:
            DataError: some have parameters that are not finite.
        """
        joints = layer.joints17(betas, rotmats)
        bad = ~torch.isfinite(joints).all(dim=2).all(dim=1)
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} of {len(bad)} bodies have parameters that are not finite.",
                expected="numbers", mend="the network's training has diverged: train it again, at a lower rate",
            )  # fmt: skip
        root = H36M.index("root")
        centred = (joints - joints[:, root : root + 1]) / MM_TO_M
        return cls(betas.cpu(), rotmats.cpu(), centred.cpu())

    def write(self, file: h5py.File, prefix: str, *, single: bool = False) -> None:
        """Write betas, rotmats and joints_im_mm under a prefix; `single` drops the axis of rows."""
        for name, value in {"betas": self.betas, "rotmats": self.rotmats, "joints_im_mm": self.joints_mm}.items():
            array = value.numpy().astype(np.float32)
            file[prefix + name] = array[0] if single else array


@dataclass(frozen=True)
class CameraBodies:
    """Bodies where they stand before their cameras: camera frame, metres.

    Attributes:
        root_loc_m: SMPL's translation, with which the Human3.6M root joint stands at its true (given) place.
        rotmats: rotations, the global one from the body's to the camera's frame.
    """

    root_loc_m: Float[Tensor, "rows 3"]
    betas: Float[Tensor, "rows 10"]
    rotmats: Float[Tensor, "rows 24 3 3"]


@torch.inference_mode()
def camera_frame(bodies: Predicted, store: CropStore, layer: BodyLayer) -> CameraBodies:
    """Turn bodies from the im frames into the cameras' frames, at the root's true place."""
    cam_im = torch.from_numpy((store.R @ np.swapaxes(store.R_world_im, 1, 2)).astype(np.float32))
    rotmats = torch.cat([(cam_im @ bodies.rotmats[:, 0])[:, None], bodies.rotmats[:, 1:]], dim=1)
    root_m = MM_TO_M * world_to_camera(store.root_world_mm[:, None], store.R, store.T_mm)[:, 0]
    device = layer.faces.device
    joints = layer.joints17(bodies.betas.to(device), rotmats.to(device)).cpu()
    root_loc = torch.from_numpy(root_m.astype(np.float32)) - joints[:, H36M.index("root")]
    return CameraBodies(root_loc, bodies.betas, rotmats)


def write_results(path: Path, bodies: CameraBodies, index: Index, serials: Mapping[int, str]) -> None:
    """Write results.csv: one row a frame, lists as strings; `serials` as in `name_of`."""
    vectors = roma.rotmat_to_rotvec(bodies.rotmats).flatten(1).double().numpy().round(6)
    columns = {
        "root_loc": bodies.root_loc_m.double().numpy().round(6),
        "root_orient": vectors[:, :3],
        "betas": bodies.betas.double().numpy().round(6),
        "pose_body": vectors[:, 3:66],
        "pose_hand": vectors[:, 66:],
    }
    write_csv(
        path,
        [
            {"id": name_of(index, row, serials)}
            | {column: str(value[row].tolist()) for column, value in columns.items()}
            for row in range(len(index))
        ],
    )


def name_of(index: Index, row: int, serials: Mapping[int, str]) -> str:
    """A frame's name: S9/act_02_subact_01.54138969/000001.

    `serials` are the cameras' serial numbers (Human3.6M's); a camera without one is called ca_05 by its number.
    """
    subject, action, subaction, camera, frame = (int(getattr(index, name)[row]) for name in KEYS)
    serial = serials.get(camera, f"ca_{camera:02d}")
    return f"S{subject}/act_{action:02d}_subact_{subaction:02d}.{serial}/{frame:06d}"


@torch.inference_mode()
def write_meshes(
    folder: Path,
    bodies: CameraBodies,
    index: Index,
    layer: BodyLayer,
    count: int,
    serials: Mapping[int, str],
    formats: Sequence[str] = ("obj",),
) -> None:
    """Write evenly chosen bodies, metres, y up: the camera's frame with y and z negated, root at its place.

    Args:
        folder: made if it is missing.
        bodies: of all rows of the index.
        index: names the frames.
        layer: of the bodies.
        count: how many at most.
        serials: as in `name_of`.
        formats: of obj, ply, glb; each body is written in all of them.

    Raises:
        DataError: a body has parameters that are not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    faces, device = layer.faces.cpu().numpy(), layer.faces.device
    for row in np.unique(np.linspace(0, len(index) - 1, min(count, len(index))).round().astype(int)).tolist():
        at = slice(row, row + 1)
        betas, rotmats, shift = (part[at].to(device) for part in (bodies.betas, bodies.rotmats, bodies.root_loc_m))
        upright = layer.vertices(betas, rotmats, shift)[0].cpu().numpy() * np.array([1.0, -1.0, -1.0], np.float32)
        name = name_of(index, row, serials)
        for form in formats:
            path = folder / f"{name.replace('/', '_')}.{form}"
            write_mesh(path, upright, faces, name=f"{name}, hmr, metres, x right, y up, z towards the camera")
