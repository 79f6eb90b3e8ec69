"""How well a representation keeps pose and looks apart: what each code tells, and what a change of looks moves.

After the questions of Nakka and Salzmann (2023): pose codes of this family still know who somebody is and what he
wears. Everything is measured on frames that no training saw, and works with every encoder that gives a `Latent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from numpy import ndarray
from torch import Tensor, nn

from codebase.data.batches import in_turn
from codebase.data.store import CropStore
from codebase.metrics import mpjpe, n_mpjpe
from codebase.training.colour import random_maps, recolour
from codebase.training.novel_views import as_image
from codebase.training.precision import Precision, autocast
from codebase.training.probes import read, read_class, told_apart, with_lengths

PREFIX = "representation/"
THUMBNAIL = 8  # pixels a side of the coarse picture that codes are compared with
COLOUR_ROWS = 600  # frames whose person gets other colours
Poses = Float[ndarray, "rows 17 3"]
PoseOf = Callable[[Float32[ndarray, "rows points 3"]], Poses]


@dataclass(frozen=True)
class Codes:
    """What an encoder says of some frames."""

    L_3d: Float32[ndarray, "rows points 3"]
    L_app: Float32[ndarray, "rows features"]

    def take(self, rows: ndarray) -> Codes:
        """Of some rows."""
        return Codes(self.L_3d[rows], self.L_app[rows])


@dataclass(frozen=True)
class Shown:
    """What the frames show: who, in which sequence (a number), by which camera, in which pose (NaN: unknown)."""

    subject: Int64[ndarray, " rows"]
    sequence: Int64[ndarray, " rows"]
    camera: Int64[ndarray, " rows"]
    joints_im_mm: Poses

    @classmethod
    def of(cls, store: CropStore) -> Shown:
        """Of all rows of a store."""
        sequence = 100 * store.action.astype(np.int64) + store.subaction
        subject, camera = store.subject.astype(np.int64), store.camera.astype(np.int64)
        return cls(subject, sequence, camera, store.joints_im_mm.astype(np.float64))

    def take(self, rows: ndarray) -> Shown:
        """Of some rows."""
        return Shown(self.subject[rows], self.sequence[rows], self.camera[rows], self.joints_im_mm[rows])

    @property
    def labelled(self) -> Int64[ndarray, " labelled"]:
        """Rows whose pose is known."""
        return np.flatnonzero(np.isfinite(self.joints_im_mm).all(axis=(1, 2)))


def disentanglement(
    net: nn.Module,
    store: CropStore,
    *,
    codes: Codes | None = None,
    pose: PoseOf | None = None,
    precision: Precision = "auto",
    batch_size: int = 128,
    colour_rows: int = COLOUR_ROWS,
) -> dict[str, float]:
    """All figures that any dataset allows: what codes tell, and, where there are masks, what a change of colour moves.

    Args:
        net: with an `encoder`, in eval mode, on the device it is to run on.
        store: crops of frames that no training saw.
        codes: of the rows of `store`, where they are known; None: they are made.
        pose: joints (mm, root-centred, im frame) from L_3d; without it no pose errors under change are given.
        colour_rows: on how many rows, drawn with a fixed seed, colours are changed.

    Returns:
        `representation/...`; docs/conventions.md says what each name means. Figures that the rows do not allow (one
        subject, no masks, no labels) are absent.
    """
    shown = Shown.of(store)
    if codes is None:
        everything = (_images(store, rows) for rows in in_turn(np.arange(len(store)), batch_size))
        codes = encode(net, everything, precision)
    found = readable(codes, shown, thumbnails(store, batch_size))
    rows = np.flatnonzero(store.has_mask)
    if len(rows) > colour_rows:
        # drawn, since every fourth row would be of one camera
        rows = np.sort(np.random.default_rng(0).choice(rows, colour_rows, replace=False))
    if len(rows) > 1:
        before, after = (
            encode(net, recoloured(store, rows, strength, batch_size), precision) for strength in (0.0, 1.0)
        )
        found |= moved("colour", before, after, shown.take(rows), pose)
        found |= colour_read(after, _person_colour(store, rows, batch_size), shown.take(rows))
    return found


def readable(codes: Codes, shown: Shown, thumbnail: Float[ndarray, "rows values"] | None = None) -> dict[str, float]:
    """Who somebody is, read from L_3d, L_app, a thumbnail, the true pose; and the pose, read from each code.

    A ridge regression is fitted on half of the sequences and tested on the others, and the other way round.
    """
    sources = {"l_3d": with_lengths(codes.L_3d), "l_app": codes.L_app}
    sources |= {"thumbnail": thumbnail} if thumbnail is not None else {}
    found: dict[str, float] = {}
    for name, features in sources.items():
        right = read_class(features, shown.subject, shown.subject, shown.sequence)
        if right is not None:
            found[f"{PREFIX}subject_from_{name}"] = right
    rows = shown.labelled
    known = shown.take(rows)
    right = read_class(with_lengths(known.joints_im_mm), known.subject, known.subject, known.sequence)
    if right is not None:
        found[f"{PREFIX}subject_from_true_pose"] = right
    if f"{PREFIX}subject_from_l_3d" in found:
        found[f"{PREFIX}subject_chance"] = 1 / len(told_apart(shown.subject, shown.subject, shown.sequence))
    flat = known.joints_im_mm.reshape(len(rows), 3 * known.joints_im_mm.shape[1])
    for name, features in (sources | {"mean": np.zeros((len(shown.subject), 1))}).items():
        guess = read(features[rows], flat, known.subject, known.sequence)
        tested = np.isfinite(guess).all(axis=1)
        if tested.any():
            error = n_mpjpe(guess[tested].reshape(-1, *known.joints_im_mm.shape[1:]), known.joints_im_mm[tested])
            found[f"{PREFIX}pose_from_{name}_n_mpjpe_mm"] = float(error.mean())
    return found


def moved(change: str, before: Codes, after: Codes, shown: Shown, pose: PoseOf | None = None) -> dict[str, float]:
    """What a change of looks alone does: to the codes, relative to what another instant does, and to the pose.

    Args:
        change: its name: colour, clothing, light.
        before, after: codes of the same frames, the person in the same pose before the same camera.

    Returns:
        `{change}_{code}_shift`: root mean square distance of the codes before and after, over that of two instants of
        one subject seen by one camera. `{change}_n_mpjpe_change_mm`: N-MPJPE after minus before;
        `{change}_pose_moved_mm`: mean distance of the two poses.
    """
    found: dict[str, float] = {}
    other = another_instant(shown)
    for name, was, now in (("l_3d", before.L_3d, after.L_3d), ("l_app", before.L_app, after.L_app)):
        usual = _distance(was[other], was)
        if usual > 0:
            found[f"{PREFIX}{change}_{name}_shift"] = _distance(now, was) / usual
    if pose is not None:
        first, second = (np.asarray(pose(codes.L_3d), np.float64) for codes in (before, after))
        found[f"{PREFIX}{change}_pose_moved_mm"] = float(mpjpe(second, first).mean())
        rows = shown.labelled
        if len(rows):
            was_mm, now_mm = (n_mpjpe(joints[rows], shown.joints_im_mm[rows]) for joints in (first, second))
            found[f"{PREFIX}{change}_n_mpjpe_before_mm"] = float(was_mm.mean())
            found[f"{PREFIX}{change}_n_mpjpe_change_mm"] = float((now_mm - was_mm).mean())
    return found


def colour_read(codes: Codes, colour: Float[ndarray, "rows 3"], shown: Shown) -> dict[str, float]:
    """Share of the variance of the person's mean colour that a linear map reads from each code (R2; 0: nothing)."""
    found = {}
    for name, features in (("l_3d", with_lengths(codes.L_3d)), ("l_app", codes.L_app)):
        guess = read(features, colour.astype(np.float64), shown.subject, shown.sequence)
        tested = np.isfinite(guess).all(axis=1)
        if not tested.any():
            continue
        spread = np.square(colour[tested] - colour[tested].mean(axis=0)).sum()
        if spread > 0:
            found[f"{PREFIX}colour_from_{name}_r2"] = float(1 - np.square(guess - colour)[tested].sum() / spread)
    return found


def another_instant(shown: Shown) -> Int64[ndarray, " rows"]:
    """For each row one of the same subject and camera, half of these rows further on: another sequence, mostly."""
    other = np.arange(len(shown.subject))
    place = shown.subject * 1000 + shown.camera
    for number in np.unique(place):
        mine = np.flatnonzero(place == number)
        other[mine] = np.roll(mine, len(mine) // 2)
    return other


def _distance(a: ndarray, b: ndarray) -> float:
    difference = (a.astype(np.float64) - b).reshape(len(a), -1)
    return float(np.sqrt(np.square(difference).sum(axis=1).mean()))


Pictures = tuple[Float[Tensor, "b 3 size size"], Float[Tensor, "b 3 size size"]]


@torch.inference_mode()
def encode(net: nn.Module, pictures: Iterator[Pictures], precision: Precision = "auto") -> Codes:
    """Codes of batches of (image, its camera's background), RGB in [0, 1]."""
    device = next(net.parameters()).device
    points, looks = [], []
    for image, background in pictures:
        with autocast(precision, device):
            latent = net.encoder(image.to(device), background.to(device))  # type: ignore[operator]
        points.append(latent.points.float().cpu().numpy())
        looks.append(latent.appearance.float().cpu().numpy())
    return Codes(np.concatenate(points), np.concatenate(looks))


def thumbnails(store: CropStore, batch_size: int = 128) -> Float32[ndarray, "rows values"]:
    """The crops at THUMBNAIL pixels a side, flattened: what the plainest description of a picture tells."""
    small = [
        F.interpolate(_images(store, rows)[0], size=(THUMBNAIL, THUMBNAIL), mode="area").flatten(1).numpy()
        for rows in in_turn(np.arange(len(store)), batch_size)
    ]
    return np.concatenate(small)


def _images(store: CropStore, rows: ndarray) -> Pictures:
    seen = store.gather(rows, ("image", "background"))
    return as_image(seen["image"]), as_image(seen["background"])


def recoloured(store: CropStore, rows: ndarray, strength: float = 1.0, batch_size: int = 128) -> Iterator[Pictures]:
    """Crops whose person has other colours, by `colour.random_maps` of a fixed seed; the room stays as it is."""
    matrix, offset = random_maps(len(rows), strength, torch.Generator().manual_seed(0))
    for turn in in_turn(np.arange(len(rows)), batch_size):
        seen = store.gather(rows[turn], ("image", "mask", "background"))
        room = torch.eye(3).expand(len(turn), 3, 3), torch.zeros(len(turn), 3)
        person = matrix[turn], offset[turn]
        images = recolour(seen["image"][:, None] / 255.0, seen["mask"][:, None] / 255.0, person, room)
        yield images[:, 0].permute(0, 3, 1, 2), as_image(seen["background"])


def _person_colour(store: CropStore, rows: ndarray, batch_size: int) -> Float32[ndarray, "rows 3"]:
    """Mean colour of the person in the recoloured crops."""
    found = []
    for turn, (images, _) in zip(
        in_turn(rows, batch_size), recoloured(store, rows, batch_size=batch_size), strict=True
    ):
        mask = store.gather(turn, ("mask",))["mask"][:, None] / 255.0
        found.append(((images * mask).sum((2, 3)) / mask.sum((2, 3)).clamp_min(1)).numpy())
    return np.concatenate(found)
