"""A first guess in closed form: shape from the lengths of bones, rotations from their directions.

As smplfitter does it (Sarandi and Pons-Moll, 2024), rotations of parts are found from points that they carry, one
part after the other. Here 17 joints are all there is: the trunk's two ends are turned by orthogonal Procrustes; a
limb's bone takes the least turn from its mean rotation that points it the right way, then the twist that brings the
next bone's usual direction nearest to where it is. What joints do not say is as in the mean pose.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from codebase.fitting.points import Points, Pose
from codebase.models.rotations import nearest
from codebase.skeleton import H36M, SMPL

# pairs of joints whose distance hardly depends on the pose
LENGTHS = (
    ("right_hip", "right_knee"), ("right_knee", "right_foot"), ("left_hip", "left_knee"), ("left_knee", "left_foot"),
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"), ("right_hip", "left_hip"), ("left_shoulder", "right_shoulder"),
    ("root", "spine"), ("spine", "neck"), ("head", "head_top"),
)  # fmt: skip
LENGTH_SIGMA_M = 0.01
_PELVIS = ("root", "right_hip", "left_hip", "spine")
_CHEST = ("spine", "neck", "left_shoulder", "right_shoulder")
_HEAD = ("neck", "head", "head_top")
# joint that turns, its bone's ends, the end of the next bone that shows the twist
_LIMBS = (
    ("left_hip", "left_hip", "left_knee", "left_foot"), ("right_hip", "right_hip", "right_knee", "right_foot"),
    ("left_knee", "left_knee", "left_foot", None), ("right_knee", "right_knee", "right_foot", None),
    ("left_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_shoulder", "right_elbow", "right_wrist"),
    ("left_elbow", "left_elbow", "left_wrist", None), ("right_elbow", "right_elbow", "right_wrist", None),
)  # fmt: skip
_SPINE = ("spine1", "spine2", "spine3")
_TINY = 1e-6


def start_betas(points: Points, joints_m: Float[Tensor, "frames 17 3"]) -> Float[Tensor, "10"]:
    """Shape from the median lengths of bones, by ridge regression: betas are standard normal before anything is seen.

    Lengths that no frame shows (NaN) say nothing.
    """
    first, second = (H36M.indices(*names) for names in zip(*LENGTHS, strict=True))
    seen = torch.nanmedian((joints_m[:, first] - joints_m[:, second]).norm(dim=2), dim=0).values
    known = seen.isfinite()
    betas = torch.zeros(10, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3)
    for _ in range(3):  # a length is nearly linear in the betas
        derived = points.derive(Pose(betas[None], eye, torch.zeros(1, 3, dtype=torch.float64)))
        across = derived.points_m[0, first] - derived.points_m[0, second]
        length = across.norm(dim=1)
        slope = (
            (derived.by_shape[0, first] - derived.by_shape[0, second]) * (across / length[:, None])[..., None]
        ).sum(1)
        slope, off = slope[known] / LENGTH_SIGMA_M, (seen - length)[known] / LENGTH_SIGMA_M
        normal = slope.T @ slope + torch.eye(10, dtype=torch.float64)
        betas = torch.linalg.solve(normal, slope.T @ (off + slope @ betas))
    return betas


def start_pose(
    points: Points,
    mean: Float[Tensor, "24 3 3"],
    betas: Float[Tensor, "10"],
    joints_m: Float[Tensor, "frames 17 3"],
) -> Pose:
    """Rotations and places from 17 joints in the world, NaN where unknown.

    A frame whose trunk is not to be seen takes the trunk's rotation of the nearest frame that shows it, and the upright
    one (body's y along the world's z) where none does.
    """
    frames = len(joints_m)
    rest, at = _rest(points, mean, betas)
    rotmats = mean.expand(frames, -1, -1, -1).clone()
    # the mean pose's trunk, seen from the pelvis, is turned as a whole; then the chest from there
    pelvis, sure = procrustes(rest[H36M.indices(*_PELVIS)], joints_m[:, H36M.indices(*_PELVIS)])
    trunk = list(dict.fromkeys((*_PELVIS, *_CHEST)))
    whole, sure_whole = procrustes(rest[H36M.indices(*trunk)], joints_m[:, H36M.indices(*trunk)])
    rotmats[:, 0] = filled(torch.where(sure[:, None, None], pelvis, whole), sure | sure_whole)
    chest, sure = procrustes(rest[H36M.indices(*_CHEST)], joints_m[:, H36M.indices(*_CHEST)])
    # from the pelvis to the chest in three equal steps
    bend = rotmats[:, 0].mT @ torch.where(sure[:, None, None], chest, rotmats[:, 0])
    step = roma.rotvec_to_rotmat(roma.rotmat_to_rotvec(bend) / len(_SPINE))
    turned = _turned(rotmats)
    for name in _SPINE:
        joint, parent = SMPL.index(name), SMPL.parents[SMPL.index(name)]
        wanted = turned[parent] @ step @ at[parent].T @ at[joint]
        rotmats[:, joint] = turned[parent].mT @ wanted
        turned = _turned(rotmats)
    for side in ("left", "right"):
        _aim(
            rotmats,
            points,
            betas,
            joints_m,
            SMPL.index(f"{side}_collar"),
            ("neck", f"{side}_shoulder", None),
            share=0.5,
        )
    _turn_head(rotmats, rest, at, joints_m)
    for name, start, end, beyond in _LIMBS:
        _aim(rotmats, points, betas, joints_m, SMPL.index(name), (start, end, beyond))
    return _placed(points, betas, rotmats, joints_m)


def _rest(points: Points, mean: Tensor, betas: Tensor) -> tuple[Float[Tensor, "17 3"], Float[Tensor, "24 3 3"]]:
    """Joints of the mean pose and its joints' rotations, seen from the pelvis."""
    own = mean.clone()
    own[0] = torch.eye(3, dtype=mean.dtype)
    derived = points.derive(Pose(betas[None], own[None], torch.zeros(1, 3, dtype=mean.dtype)))
    return derived.points_m[0], derived.turns[0]


def _turned(rotmats: Float[Tensor, "frames 24 3 3"]) -> list[Tensor]:
    """Rotations in the world, joint by joint."""
    turned = [rotmats[:, 0]]
    for joint, parent in enumerate(SMPL.parents[1:], 1):
        turned.append(turned[parent] @ rotmats[:, joint])
    return turned


def _turn_head(rotmats: Tensor, rest: Tensor, at: Tensor, joints_m: Tensor) -> None:
    """Neck and head share the turn that brings neck, head and its top to their places."""
    index = H36M.indices(*_HEAD)
    wanted, sure = procrustes(rest[index], joints_m[:, index])
    turned, head, neck = _turned(rotmats), SMPL.index("head"), SMPL.index("neck")
    extra = turned[head].mT @ wanted @ at[head]
    extra = torch.where(sure[:, None, None], extra, torch.eye(3, dtype=extra.dtype))
    half = roma.rotvec_to_rotmat(0.5 * roma.rotmat_to_rotvec(extra))
    # a right turn of the head's frame, seen from the neck's
    rotmats[:, neck] = rotmats[:, neck] @ (rotmats[:, head] @ half @ rotmats[:, head].mT)
    turned = _turned(rotmats)
    goal = torch.where(sure[:, None, None], wanted @ at[head], turned[head])
    rotmats[:, head] = turned[neck].mT @ goal


def _aim(
    rotmats: Tensor, points: Points, betas: Tensor, joints_m: Tensor, joint: int,
    bone: tuple[str, str, str | None], *, share: float = 1.0,
) -> None:  # fmt: skip
    """Turn a joint so that its bone points the right way, then about the bone so that the next one does as it can."""
    start, end, beyond = bone
    first, second = H36M.index(start), H36M.index(end)
    here = points(_pose(betas, rotmats))
    wanted, now = joints_m[:, second] - joints_m[:, first], here[:, second] - here[:, first]
    turn = least_turn(now, wanted)
    if share < 1:
        turn = roma.rotvec_to_rotmat(share * roma.rotmat_to_rotvec(turn))
    if beyond is not None:
        third = H36M.index(beyond)
        after = (turn @ (here[:, third] - here[:, second])[..., None])[..., 0]
        turn = twist(wanted, after, joints_m[:, third] - joints_m[:, second]) @ turn
    turned = _turned(rotmats)
    # a turn in the world, as one of the joint relative to its parent
    rotmats[:, joint] = rotmats[:, joint] @ turned[joint].mT @ turn @ turned[joint]


def least_turn(now: Float[Tensor, "frames 3"], wanted: Float[Tensor, "frames 3"]) -> Float[Tensor, "frames 3 3"]:
    """The rotation by the least angle that turns one direction to another; none where one is not known."""
    a, b = (torch.nn.functional.normalize(v, dim=1, eps=_TINY) for v in (now, wanted))
    axis, cosine = torch.linalg.cross(a, b), (a * b).sum(1)
    sine = axis.norm(dim=1)
    # opposite directions: any axis across will do
    across = torch.linalg.cross(a, torch.eye(3, dtype=a.dtype)[a.abs().nan_to_num().argmin(1)])
    axis = torch.where((sine < _TINY)[:, None], torch.nn.functional.normalize(across, dim=1), axis / sine[:, None])
    return _about(axis, torch.atan2(sine, cosine))


def twist(
    axis: Float[Tensor, "frames 3"], now: Float[Tensor, "frames 3"], wanted: Float[Tensor, "frames 3"]
) -> Float[Tensor, "frames 3 3"]:
    """The rotation about an axis that brings one vector nearest to another.

    The less, the less they stand out from the axis: a straight limb shows no twist.
    """
    along = torch.nn.functional.normalize(axis, dim=1, eps=_TINY)
    flat = [v - (v * along).sum(1, keepdim=True) * along for v in (now, wanted)]
    cosine, sine = (flat[0] * flat[1]).sum(1), (torch.linalg.cross(*flat) * along).sum(1)
    shown = torch.minimum(*(f.norm(dim=1) / v.norm(dim=1) for f, v in zip(flat, (now, wanted), strict=True)))
    return _about(along, torch.atan2(sine, cosine) * torch.clamp(shown / 0.3, max=1))


def _about(axis: Tensor, angle: Tensor) -> Tensor:
    rotvec = axis * angle[:, None]
    known = rotvec.isfinite().all(1)
    return roma.rotvec_to_rotmat(torch.where(known[:, None], rotvec, torch.zeros_like(rotvec)))


def procrustes(
    source: Float[Tensor, "points 3"], target: Float[Tensor, "frames points 3"]
) -> tuple[Float[Tensor, "frames 3 3"], Bool[Tensor, " frames"]]:
    """The rotation nearest to turning points onto those that are known, and whether they leave it no freedom."""
    known = target.isfinite().all(2)
    weight = known.double()[..., None]
    count = weight.sum(1, keepdim=True).clamp_min(1)
    there = torch.where(known[..., None], target, torch.zeros_like(target))
    here = source.expand_as(target)
    here, there = ((part - (weight * part).sum(1, keepdim=True) / count) * weight for part in (here, there))
    moment = there.mT @ here
    spread = torch.linalg.svdvals(moment)
    sure = (known.sum(1) >= 3) & (spread[:, 1] > 1e-3 * spread[:, 0].clamp_min(1e-12))
    safe = torch.where(sure[:, None, None], moment, torch.eye(3, dtype=moment.dtype))
    return nearest(safe), sure


def filled(rotmats: Float[Tensor, "frames 3 3"], sure: Bool[Tensor, " frames"]) -> Float[Tensor, "frames 3 3"]:
    """Rotations, those that are not sure from the nearest frame that is; upright where there is none."""
    where = np.flatnonzero(sure.numpy())
    if not len(where):
        upright = roma.rotvec_to_rotmat(torch.tensor([np.pi / 2, 0, 0], dtype=rotmats.dtype))
        return upright.expand_as(rotmats).clone()
    frames = np.arange(len(rotmats))
    after = np.clip(np.searchsorted(where, frames), 0, len(where) - 1)
    before = np.clip(after - 1, 0, None)
    nearer = np.abs(where[before] - frames) <= np.abs(where[after] - frames)
    return rotmats[torch.from_numpy(np.where(nearer, where[before], where[after]))]


def _pose(betas: Tensor, rotmats: Tensor) -> Pose:
    return Pose(betas.expand(len(rotmats), -1), rotmats, rotmats.new_zeros(len(rotmats), 3))


def _placed(points: Points, betas: Tensor, rotmats: Tensor, joints_m: Tensor) -> Pose:
    """Stand the bodies where the median of the joints' differences puts them."""
    pose = _pose(betas, rotmats)
    move = torch.nanmedian(joints_m - points(pose), dim=1).values
    return Pose(pose.betas, rotmats, move.nan_to_num())
