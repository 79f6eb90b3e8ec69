"""What masks say of a body: its outline in each camera lies on theirs, but for what it wears.

The body's exact outline is found in each camera (codebase/render/outline.py), and points are taken from it evenly.
Where such a point lies outside the mask's outline, or further inside than clothes are thick, it pulls: as a
distance in metres along the slope of the distance map, robustly, since hair, skirts and furniture are no body. Between
two looks for the outline the points stay where they are on the mesh.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from codebase.body.arrays import BodyArrays, lbs_numpy
from codebase.fitting.normal import Normal
from codebase.fitting.points import Points, below
from codebase.fitting.solve import Guess
from codebase.fitting.windows import Windows
from codebase.render.outline import trace
from codebase.render.topology import Topology
from codebase.skeleton import SMPL

# parts of a body that are covered alike: joints that carry them, expected thickness and its deviation, m
CLOTHES: dict[str, tuple[tuple[str, ...], float, float]] = {
    "head": (("neck", "head"), 0.010, 0.010),
    "trunk": (("pelvis", "spine1", "spine2", "spine3"), 0.010, 0.005),
    "upper arms": (("left_collar", "right_collar", "left_shoulder", "right_shoulder"), 0.008, 0.005),
    "forearms": (("left_elbow", "right_elbow"), 0.004, 0.004),
    "hands": (("left_wrist", "right_wrist", "left_hand", "right_hand"), 0.001, 0.001),
    "thighs": (("left_hip", "right_hip"), 0.008, 0.005),
    "shanks": (("left_knee", "right_knee"), 0.006, 0.005),
    "feet": (("left_ankle", "right_ankle", "left_foot", "right_foot"), 0.005, 0.002),
}
OUTSIDE_M, INSIDE_M, OUTLIER_M = 0.006, 0.012, 0.025
# neighbouring points err together: all of one outline say as much as so many that do not
WORTH = 16.0


class _Seen(NamedTuple):
    """The chosen points as the cameras see them; rows are cameras x points.

    Attributes:
        place_m: in the world.
        off_m: distance from the mask's outline, positive outside, cloth added.
        normal: derivative of that distance with regard to the place, in the world.
        there: weight of each point; zero where it does not count.
    """

    place_m: Float[Tensor, "frames rows 3"]
    off_m: Float[Tensor, "frames rows"]
    normal: Float[Tensor, "frames rows 3"]
    there: Float[Tensor, "frames rows"]


class Contours:
    """The term of masks in a fit; `look` before each few steps.

    Args:
        body: the body.
        points: of the same body, for its kinematics.
        windows: masks of the fit's frames.
        weight: of the term.
        count: points taken from each outline.
    """

    def __init__(
        self, body: BodyArrays, points: Points, windows: Windows, *, weight: float = 1.0, count: int = 64
    ) -> None:
        self.body, self.points, self.windows, self.weight, self.count = body, points, windows, weight, count
        self.topology = Topology.of(body.faces)
        self.weights = torch.from_numpy(body.weights).double()
        self.shapedirs = torch.from_numpy(body.shapedirs).double()
        self.cloth = cloth_of_joints()[body.weights.argmax(1)]
        steps = [windows.outside_px, *np.gradient(windows.outside_px, axis=(3, 2))]
        self.maps = torch.from_numpy(np.stack(steps, 2)).flatten(0, 1)
        frames, cameras = windows.seen.shape
        self.first = np.zeros((frames, cameras * count), np.int64)
        self.second, self.share = self.first.copy(), np.zeros((frames, cameras * count))
        self.there = self.share.copy()
        # of the guess that was asked about last: cost and derivatives need the same
        self._skinned: tuple[Guess, ndarray] | None = None
        self._last: tuple[Guess, _Seen] | None = None

    def look(self, guess: Guess) -> None:
        """Take points from the outlines of the bodies."""
        vertices, self._last = self._vertices(guess), None
        size = self.windows.person.shape[-1]
        for frame in range(len(vertices)):
            seen = np.flatnonzero(self.windows.seen[frame])
            if not len(seen):
                continue
            cam = self._before(vertices[frame], frame, seen)
            masks = np.zeros((len(seen), size, size), cam.dtype)
            edges = self.topology.edges
            which, how, begin = trace(
                cam, self.windows.lens_px[frame, seen], self.topology.faces, edges, 1, True, masks
            )
            for place, camera in enumerate(seen.tolist()):
                found = np.arange(begin[place], begin[place + 1])
                chosen = found[_evenly(len(found), self.count)]
                rows = slice(camera * self.count, camera * self.count + len(chosen))
                self.first[frame, rows], self.second[frame, rows] = edges[which[chosen, 0], :2].T
                self.share[frame, rows] = how[chosen, 0]
                self.there[frame, camera * self.count : (camera + 1) * self.count] = 0
                self.there[frame, rows] = WORTH / max(len(chosen), 1)

    def _before(self, vertices: Float[ndarray, "v 3"], frame: int, cameras: ndarray) -> Float[ndarray, "cameras v 3"]:
        """Vertices in the cameras' frames."""
        moved = vertices[None] - self.windows.T_m[frame, cameras, None].astype(np.float32)
        turn = self.windows.R[frame, cameras].transpose(0, 2, 1).astype(np.float32)
        return np.ascontiguousarray(moved @ turn)

    def overlap(self, guess: Guess) -> Float[ndarray, "frames cameras"]:
        """Intersection over union of silhouettes and masks, as far as the frames show them; NaN without a mask."""
        vertices = self._vertices(guess)
        out = np.full(self.windows.seen.shape, np.nan)
        for frame in range(len(out)):
            seen = np.flatnonzero(self.windows.seen[frame])
            if len(seen):
                person = self.windows.person[frame, seen]
                masks = np.zeros(person.shape, np.float32)
                lens = self.windows.lens_px[frame, seen]
                cam = self._before(vertices[frame], frame, seen)
                trace(cam, lens, self.topology.faces, self.topology.edges, 1, False, masks)
                shown = self._shown(frame, seen)
                both, either = (masks > 0) & person & shown, ((masks > 0) | person) & shown
                out[frame, seen] = both.sum((1, 2)) / np.maximum(either.sum((1, 2)), 1)
        return out

    def _shown(self, frame: int, cameras: ndarray) -> Bool[ndarray, "cameras size size"]:
        """Pixels of the windows that lie in the frames."""
        at = np.arange(self.windows.person.shape[-1])
        left, right, top, bottom = self.windows.inside_px[frame, cameras].T[..., None]
        across, down = (left <= at) & (at <= right), (top <= at) & (at <= bottom)
        return down[:, :, None] & across[:, None]

    def cost(self, guess: Guess) -> float:
        """Geman and McClure's loss of the distances, wider inside than outside; and how unlikely the clothes are.

        It forgets what is far off: of a skirt or of long hair Cauchy's loss keeps pulling.
        """
        seen = self._seen(guess)
        precision = _precision(seen.off_m)
        square = (seen.off_m / OUTLIER_M) ** 2
        loss = 0.5 * OUTLIER_M**2 * precision * square / (1 + square)
        mean, deviation = _expected_cloth()
        return self.weight * float((seen.there * loss).sum()) + 0.5 * float(
            ((guess.cloth_m - mean) / deviation).square().sum()
        )

    def add(self, guess: Guess, normal: Normal, *, shape: bool) -> None:
        """Derivatives of the cost."""
        seen = self._seen(guess)
        state = self.points.kinematic(guess.pose.betas, guess.pose.rotmats)
        first, second, share = torch.from_numpy(self.first), torch.from_numpy(self.second), torch.from_numpy(self.share)
        weights = torch.lerp(self.weights[first], self.weights[second], share[..., None])
        # a point turns about a joint with the share of its weights that hangs from it
        hanging = weights @ below().T
        arm = seen.place_m[:, :, None] - (state.joints + guess.pose.transl_m[:, None])[:, None]
        turned = torch.linalg.cross(arm, seen.normal[:, :, None].expand_as(arm), dim=3) * hanging[..., None]
        by_turn = torch.einsum("fraj,fajk->frak", turned, state.rotations)
        by_pose = torch.cat([by_turn.flatten(2), seen.normal], 2)
        by_shape = torch.zeros(*seen.off_m.shape, normal.shared.shape[0], dtype=torch.float64)
        if shape:
            grown = torch.lerp(self.shapedirs[first], self.shapedirs[second], share[..., None, None])
            blended = torch.einsum("frj,fjxy->frxy", weights, state.rotations)
            moved = torch.einsum("frj,fjxb->frxb", weights, self.points.shifts_by_shape(state))
            by_shape[..., :10] = torch.einsum("frx,frxb->frb", seen.normal, blended @ grown + moved)
            clothes = len(guess.cloth_m)
            by_shape[..., -clothes:] = functional.one_hot(self.cloth[first], clothes)
            mean, deviation = _expected_cloth()
            where = torch.arange(normal.shared.shape[0] - clothes, normal.shared.shape[0])
            normal.shared[where, where] += deviation**-2
            normal.shared_pull[-clothes:] += (guess.cloth_m - mean) / deviation**2
        weight = self.weight * seen.there * _precision(seen.off_m) / (1 + (seen.off_m / OUTLIER_M) ** 2) ** 2
        normal.add(seen.off_m, by_pose, by_shape, weight)

    def _seen(self, guess: Guess) -> _Seen:
        """Where the chosen points are, and how far off."""
        if self._last is None or self._last[0] is not guess:
            self._last = guess, self._find(guess)
        return self._last[1]

    def _find(self, guess: Guess) -> _Seen:
        frames, cameras = self.windows.seen.shape
        vertices = self._vertices(guess)
        row = np.arange(frames)[:, None]
        place = (
            vertices[row, self.first] * (1 - self.share[..., None]) + vertices[row, self.second] * self.share[..., None]
        )
        apart = place.reshape(frames, cameras, self.count, 3)
        R = self.windows.R
        cam = (apart - self.windows.T_m[:, :, None]) @ np.swapaxes(R, 2, 3)
        depth = np.maximum(cam[..., 2:], 0.1)
        focal, middle = np.split(self.windows.lens_px[:, :, None], 2, axis=-1)
        pixel = cam[..., :2] / depth * focal + middle
        size = self.windows.person.shape[-1]
        grid = torch.from_numpy(2 * pixel / (size - 1) - 1).float().reshape(frames * cameras, 1, self.count, 2)
        sampled = functional.grid_sample(self.maps, grid, align_corners=True, padding_mode="border")
        off, du, dv = sampled[:, :, 0].double().unflatten(0, (frames, cameras)).unbind(2)
        scale = torch.from_numpy(depth / focal).mean(3)  # metres a pixel, there
        flat = torch.from_numpy(cam[..., :2] / depth)
        normal = torch.stack([du, dv, -(du * flat[..., 0] + dv * flat[..., 1])], 3) @ torch.from_numpy(R)
        low, high = self.windows.inside_px[:, :, None, [0, 2]], self.windows.inside_px[:, :, None, [1, 3]]
        inside = ((pixel >= np.maximum(low, 0)) & (pixel <= np.minimum(high, size - 1))).all(3)
        there = torch.from_numpy(self.there * inside.reshape(frames, -1))
        worn = guess.cloth_m[self.cloth[torch.from_numpy(self.first)]]
        return _Seen(torch.from_numpy(place), (off * scale).flatten(1) + worn, normal.flatten(1, 2), there)

    def _vertices(self, guess: Guess) -> Float[ndarray, "frames v 3"]:
        if self._skinned is None or self._skinned[0] is not guess:
            pose = guess.pose
            betas = pose.betas[:1].numpy()
            self._skinned = guess, lbs_numpy(self.body, betas, pose.rotmats.numpy(), pose.transl_m.numpy())[0]
        return self._skinned[1]


def expected_cloth() -> Float[Tensor, " parts"]:
    """Thickness of what covers each part, before anything is seen, metres."""
    return _expected_cloth()[0].clone()


def _expected_cloth() -> tuple[Tensor, Tensor]:
    mean, deviation = zip(*(row[1:] for row in CLOTHES.values()), strict=True)
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(deviation, dtype=torch.float64)


def cloth_of_joints() -> Int[Tensor, "24"]:
    """Index into CLOTHES of what each joint of SMPL carries."""
    table = torch.zeros(len(SMPL), dtype=torch.int64)
    for part, (names, _, _) in enumerate(CLOTHES.values()):
        table[SMPL.indices(*names)] = part
    return table


def _precision(off_m: Tensor) -> Tensor:
    """A body that stands out of its mask is surely wrong; one that does not fill it may be dressed."""
    return torch.where(off_m > 0, OUTSIDE_M**-2, INSIDE_M**-2)


def _evenly(total: int, count: int) -> ndarray:
    return np.linspace(0, total - 1, count).round().astype(np.int64) if total > count else np.arange(total)
