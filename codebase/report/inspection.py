"""A contact sheet of one subject: joints, mask and crop drawn over frames, the same instants in all cameras."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from codebase.data.human36m import MASK_SUFFIX, MASK_THRESHOLD, read_frame, read_mask
from codebase.data.inspect.look import Camera, Found, Look
from codebase.errors import DataError
from codebase.geometry import world_to_camera
from codebase.report.picture_file import write_picture
from codebase.report.skeletons import side_of
from codebase.skeleton import H36M

Image = UInt8[ndarray, "_ _ 3"]

# Left orange, right blue (told apart by most colour-blind people), the spine white.
COLOURS = {"left": (255, 140, 0), "right": (30, 120, 255), "middle": (255, 255, 255)}
_MASK, _BOX, _TEXT = (0, 230, 120), (255, 220, 0), (40, 40, 40)
_GAP, _TITLE, _LINE, _STRIP = 6, 24, 17, 17
_CLOSE_MM = 2300.0


class Caption(NamedTuple):
    """What stands around the pictures: a title, a line a camera, and suspicions below."""

    title: str
    cameras: dict[int, str]
    below: Sequence[str]


def write_sheet(
    output: Path, found: Sequence[Found], caption: Caption, *, root: Path, masks_root: Path, box_mm: float,
    columns: int = 3, side: int = 230,
) -> bool:  # fmt: skip
    """Write the sheet of one subject as JPEG; False where no frame of it can be opened.

    Each column is an instant; each picture is the whole frame, with the same frame cut about the person at its right.

    Args:
        found: the subject's folders.
        box_mm: side of the square about the root that crops show, drawn as a box.
        side: height of a picture, px.
    """
    cameras = sorted({item.folder.camera for item in found if any(not look.reason for look in item.looks)})
    instants = _instants(found, columns)
    if not instants:
        return False
    table = [
        [_picture(found, camera, instant, root, masks_root, box_mm, side) for instant in instants] for camera in cameras
    ]
    # cameras may have pictures of different shapes
    widths = [max(picture.shape[1] for picture in column) for column in zip(*table, strict=True)]
    rows = []
    for camera, pictures in zip(cameras, table, strict=True):
        pictures = [_widened(picture, width) for picture, width in zip(pictures, widths, strict=True)]
        rows.append(_under(caption.cameras.get(camera, f"camera {camera}"), _join(pictures)))
    sheet = _text_above(caption, np.concatenate(rows))
    write_picture(output, sheet, quality=85)
    return True


def _instants(found: Sequence[Found], columns: int) -> list[tuple[int, int, int]]:
    """(action, subaction, frame) of some looks that many cameras share, spread over the sequences."""
    votes: dict[tuple[int, int, int], int] = {}
    for item in found:
        for look in item.looks:
            if not look.reason:
                key = (item.folder.action, item.folder.subaction, look.frame)
                votes[key] = votes.get(key, 0) + 1
    most = max(votes.values(), default=0)
    good = sorted(key for key, count in votes.items() if count == most)
    # not the first of the sequence, in which people often stand in a T
    picks = (np.arange(min(columns, len(good))) + 0.5) / max(min(columns, len(good)), 1) * len(good)
    return [good[int(pick)] for pick in picks]


def _picture(
    found: Sequence[Found], camera: int, instant: tuple[int, int, int], root: Path, masks_root: Path, box_mm: float,
    side: int,
) -> Image:  # fmt: skip
    label = f"ca {camera:02d} act {instant[0]:02d}.{instant[1]} frame {instant[2]}"
    for item in found:
        if (item.folder.action, item.folder.subaction) != instant[:2] or item.folder.camera != camera:
            continue
        for look in item.looks:
            if look.frame == instant[2] and not look.reason and item.camera is not None:
                return _drawn(item, item.camera, look, label, root, masks_root, box_mm, side)
    return _label(np.full((side, 2 * side, 3), 220, np.uint8), f"{label}: missing or damaged")


def _drawn(
    item: Found, camera: Camera, look: Look, label: str, root: Path, masks_root: Path, box_mm: float, side: int
) -> Image:
    image = read_frame(item.folder.file(root, look.frame))
    mask = _mask(item.folder.file(masks_root, look.frame, MASK_SUFFIX), image.shape[:2])
    # the meta file's pixels may belong to another size: then drawing at the image's own shows the misfit
    joints = camera.place(look.joints_world_mm)
    box = _box(camera, look.joints_world_mm, box_mm)
    whole = _draw(image, mask, joints, box, side / image.shape[0])
    about = _box(camera, look.joints_world_mm, _CLOSE_MM)
    if about is None:
        return _join([_label(whole, label), _label(np.full((side, side, 3), 220, np.uint8), "behind the camera")], 0)
    scale = side / max(about[2] - about[0], 1e-6)
    affine = np.array([[scale, 0, -about[0] * scale], [0, scale, -about[1] * scale]])
    cut, cut_mask = (_cut(layer, affine, side) if layer is not None else None for layer in (image, mask))
    placed = joints * scale + affine[:, 2]
    close = _draw(cut, None if cut_mask is None else cut_mask, placed, None, 1.0)  # type: ignore[arg-type]
    return _join([_label(whole, label), close], 0)


def _mask(path: Path, size: tuple[int, int]) -> UInt8[ndarray, "_ _"] | None:
    try:
        mask = read_mask(path)
    except DataError:
        return None
    return np.where(mask >= MASK_THRESHOLD, np.uint8(255), np.uint8(0)) if mask.shape == size else None


def _box(
    camera: Camera, joints: Float[ndarray, "17 3"], box_mm: float
) -> tuple[float, float, float, float] | None:  # fmt: skip
    """The projection of a fronto-parallel square about the root: left, top, right, bottom; None if behind."""
    root = joints[H36M.index("root")]
    depth = world_to_camera(root[None], camera.R, camera.T_mm)[0, 2]
    centre = camera.place(root[None])[0]
    if depth < 1 or not np.isfinite(centre).all():
        return None
    half = camera.f_px * box_mm / depth / 2
    low, high = centre - half, centre + half
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1])) if half.max() < 1e5 else None


def _cut(layer: UInt8[ndarray, "_ _ *c"], affine: Float[ndarray, "2 3"], side: int) -> np.ndarray:
    return cv2.warpAffine(layer, affine, (side, side), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT)


def _draw(
    image: Image, mask: UInt8[ndarray, "_ _"] | None, joints_px: Float[ndarray, "17 2"],
    box: tuple[float, float, float, float] | None, scale: float,
) -> Image:  # fmt: skip
    """A shrunk copy with the mask's outline, the bones and the crop's box."""
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    out = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if mask is not None:
        person = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) >= MASK_THRESHOLD
        out[_outline(person)] = _MASK
    placed = (joints_px + 0.5) * scale - 0.5
    if box is not None:
        corners = np.clip((np.array(box) + 0.5) * scale - 0.5, -1e4, 1e4).round().astype(int).tolist()
        cv2.rectangle(out, corners[:2], corners[2:], _BOX, 1, cv2.LINE_AA)
    for parent, child in H36M.bones:
        ends = placed[[parent, child]]
        if np.isfinite(ends).all() and np.abs(ends).max() < 1e4:
            start, end = ends.round().astype(int).tolist()
            cv2.line(out, start, end, (0, 0, 0), 3, cv2.LINE_AA)
            cv2.line(out, start, end, COLOURS[side_of(child)], 2 if scale == 1.0 else 1, cv2.LINE_AA)
    return out


def _outline(person: Bool[ndarray, "height width"]) -> Bool[ndarray, "height width"]:
    inner = cv2.erode(person.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    return person & ~inner


def _join(pictures: Sequence[Image], gap: int = _GAP) -> Image:
    height = max(picture.shape[0] for picture in pictures)
    parts = []
    for picture in pictures:
        full = np.full((height, picture.shape[1] + gap, 3), 255, np.uint8)
        full[: picture.shape[0], : picture.shape[1]] = picture
        parts.append(full)
    return np.concatenate(parts, axis=1)


def _widened(picture: Image, width: int) -> Image:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)


def _label(picture: Image, text: str) -> Image:
    """White on a darkened strip, which any picture leaves readable."""
    picture[:_STRIP] = picture[:_STRIP] // 3
    return _written(picture, text, 4, 12, 0.38, (255, 255, 255))


def _under(text: str, picture: Image) -> Image:
    bar = np.full((_LINE + 3, picture.shape[1], 3), 255, np.uint8)
    return np.concatenate([_written(bar, text, 2, _LINE - 4), picture])


def _text_above(caption: Caption, pictures: Image) -> Image:
    width = pictures.shape[1]
    head = _written(np.full((_TITLE, width, 3), 255, np.uint8), caption.title, 2, 16, 0.5)
    key = np.full((_LINE + 3, width, 3), 255, np.uint8)
    for place, (text, colour) in enumerate(
        {"left": COLOURS["left"], "right": COLOURS["right"], "mask": _MASK, "crop": _BOX}.items()
    ):
        cv2.rectangle(key, (4 + 80 * place, 4), (16 + 80 * place, 14), colour, -1)
        _written(key, text, 20 + 80 * place, 14)
    lines = [line for text in caption.below for line in textwrap.wrap(f"! {text}", max((width - 8) // 7, 20))]
    foot = np.full((_LINE * len(lines) + 4, width, 3), 255, np.uint8)
    for row, line in enumerate(lines):
        _written(foot, line, 4, _LINE * row + 13, colour=(190, 0, 0))
    return np.concatenate([head, key, foot, pictures])


def _written(
    picture: Image, text: str, x: int, y: int, size: float = 0.4, colour: tuple[int, int, int] = _TEXT
) -> Image:
    plain = text.encode("ascii", "replace").decode()  # OpenCV's font knows no more
    cv2.putText(picture, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
    return picture
