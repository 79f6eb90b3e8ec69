"""Do joints, projected by a folder's camera, fall on the person? If not: which usual mistake would explain it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from codebase.data.inspect.look import Camera, Found, Look

# Of right cameras 90 to 100 % of joints fall on a silhouette; below this share something is wrong.
LOW_SHARE = 0.6
# A mistake explains a misfit if undoing it brings so many joints onto the person, and so many more than before.
_GOOD_SHARE, _GAIN = 0.8, 0.08
_CHANGED_GREY = 20
_FEWEST_LOOKS = 4

Place = Callable[[Float[ndarray, "n 17 3"]], Float[ndarray, "n 17 2"]]
Key = tuple[int, int, int, int]


class Shot(NamedTuple):
    """A look that shows where the person is, with the size that its camera's pixels refer to."""

    joints_world_mm: Float[ndarray, "17 3"]
    person: Bool[ndarray, "h w"]
    size: tuple[int, int]


class Explanation(NamedTuple):
    """A mistake that would explain a misfit, and the share of joints on the person once it is undone."""

    text: str
    share: float


def shots(found: Sequence[Found]) -> dict[Key, list[Shot]]:
    """Where persons are in the looks of one subject's folders: by masks, or by difference from the camera's median."""
    out: dict[Key, list[Shot]] = {}
    for item in found:
        changed = None if any(look.mask_small is not None for look in item.looks) else _changed(item, found)
        for look in item.looks:
            person = look.mask_small if changed is None else changed.get(look.frame)
            if person is not None and 0 < person.mean() < 1 and np.isfinite(look.joints_world_mm).all():
                out.setdefault(_key(item), []).append(Shot(look.joints_world_mm, person, item.size))
    return out


def _changed(item: Found, found: Sequence[Found]) -> dict[int, Bool[ndarray, "h w"]]:
    """Without masks: what differs from the median of the camera's frames, frame by frame."""
    if not item.looks or item.looks[0].small is None:
        return {}
    same = [other for other in found if other.folder.camera == item.folder.camera]
    frames = [look.small for other in same for look in other.looks if look.small is not None]
    frames = [frame for frame in frames if frame.shape == item.looks[0].small.shape]
    if len(frames) < _FEWEST_LOOKS:
        return {}
    median = np.median(np.stack(frames), axis=0)
    return {look.frame: _differs(look, median) for look in item.looks if look.small is not None}


def _differs(look: Look, median: Float[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    small: UInt8[ndarray, "h w"] = look.small  # type: ignore[assignment]
    if small.shape != median.shape:
        return np.zeros(small.shape, bool)
    return np.abs(small - median) > _CHANGED_GREY


def share(shots: Sequence[Shot], place: Place) -> float:
    """Share of joints on the person, mean over shots; joints out of the image are not on it."""
    joints = np.stack([shot.joints_world_mm for shot in shots])
    return float(np.mean([_hits(shot, px) for shot, px in zip(shots, place(joints), strict=True)]))


def _hits(shot: Shot, px: Float[ndarray, "17 2"]) -> float:
    height, width = shot.person.shape
    # the silhouettes of thin limbs end close to the joints: one small pixel of tolerance
    near = np.pad(shot.person, 1)
    near = near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:] | shot.person
    scaled = (px + 0.5) * (width / shot.size[0], height / shot.size[1]) - 0.5
    with np.errstate(invalid="ignore"):
        cell = np.rint(np.where(np.isfinite(scaled) & (np.abs(scaled) < 1e6), scaled, -1)).astype(int)
    inside = (cell >= 0).all(axis=1) & (cell[:, 0] < width) & (cell[:, 1] < height)
    return float(near[cell[inside, 1], cell[inside, 0]].sum() / len(px))


def explain(
    item: Found, shots: Sequence[Shot], others: Mapping[Key, Camera], *, now: float, has_masks: bool
) -> Explanation | None:
    """The simplest mistake that, once undone, brings most joints onto the person; None where none does.

    Args:
        item: a folder whose joints fall beside the person.
        shots: of this folder.
        others: cameras by (subject, action, subaction, camera).
        now: the share of its joints on the person as it is.
        has_masks: without, the person is only guessed, and an explanation must gain more.
    """
    best: Explanation | None = None
    for text, place in _mistakes(item, others):
        found = share(shots, place)
        # later ones are less usual: they must be clearly better
        if found >= max(_GOOD_SHARE, now + (_GAIN if has_masks else 3 * _GAIN)) and (
            best is None or found > best.share + 0.04
        ):
            best = Explanation(text, found)
    return best


def _mistakes(item: Found, others: Mapping[Key, Camera]) -> Iterator[tuple[str, Place]]:
    camera: Camera = item.camera  # type: ignore[assignment]
    yield from _of_matrices(camera)
    yield from _of_units(camera)
    yield from _of_pictures(camera, item.size)
    yield from _other_cameras(item, others)


def _of_matrices(camera: Camera) -> Iterator[tuple[str, Place]]:
    R, T = camera.R, camera.T_mm
    turned = np.diag([1.0, -1.0, -1.0])
    variants = {
        "R is transposed (it turns from camera to world)": (R.T, T),
        "T is the translation of x = R X + T, not the camera's centre (which is -R' T)": (R, -R.T @ T),
        "R is transposed and T is a translation": (R.T, -R @ T),
        "the camera's axes are y up and z backward (OpenGL's), not y down and z forward": (turned @ R, T),
    }
    for text, (other_R, other_T) in variants.items():
        yield text, replace(camera, R=other_R, T_mm=other_T).place
        yield f"{text}, and T is in metres", replace(camera, R=other_R, T_mm=other_T * 1000).place
    yield "pose3d_world holds camera coordinates, not world", replace(camera, R=np.eye(3), T_mm=np.zeros(3)).place


def _of_units(camera: Camera) -> Iterator[tuple[str, Place]]:
    yield "T is in metres, not mm", replace(camera, T_mm=camera.T_mm * 1000).place
    yield "pose3d_world is in metres, not mm", lambda joints: camera.place(joints * 1000)
    y_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    yield "pose3d_world is y up, not z up", lambda joints: camera.place(joints @ y_up.T)


def _of_pictures(camera: Camera, size: tuple[int, int]) -> Iterator[tuple[str, Place]]:
    mirror = np.array([size[0] - 1.0, 0]), np.array([-1.0, 1])
    yield "the images are mirrored left to right", lambda joints: mirror[0] + mirror[1] * camera.place(joints)
    scale = size[0] / (2 * max(camera.c_px[0], 1e-6))
    # Of a centred camera 2 c is the width: another ratio tells what size f and c were made for.
    if not 0.8 < scale < 1.25:
        yield (
            f"f and c belong to images about {round(1 / scale, 1):g} times as wide",
            replace(camera, f_px=camera.f_px * scale, c_px=(camera.c_px + 0.5) * scale - 0.5).place,
        )


def _other_cameras(item: Found, others: Mapping[Key, Camera]) -> Iterator[tuple[str, Place]]:
    subject, *sequence, number = _key(item)
    for key, camera in others.items():
        if key[:3] == (subject, *sequence) and key[3] != number:
            yield f"camera {key[3]}'s matrices fit these frames", camera.place
    seen = {subject}
    for key, camera in others.items():
        if key[3] == number and key[0] not in seen:
            seen.add(key[0])
            yield f"the matrices of S{key[0]}'s camera {number} fit these frames", camera.place


def _key(item: Found) -> Key:
    folder = item.folder
    return (folder.subject, folder.action, folder.subaction, folder.camera)
