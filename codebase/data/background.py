"""The empty room: exact per-pixel median over a subject's frames, camera by camera, in bounded memory.

Frames are decoded once to a scratch file of raw bytes, of which the median is taken in blocks (median.py). Each
finished camera is kept in a state folder until all are there, so a run that was killed goes on with the next camera.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from codebase.data.human36m import FRAME_SUFFIX, MASK_SUFFIX, MASK_THRESHOLD, read_frame, read_mask_of
from codebase.data.median import CHANNELS, median_of_file
from codebase.data.parallel import in_order
from codebase.data.scan import View
from codebase.errors import DataError
from codebase.files import atomic_path, read_json, write_json
from codebase.logs import log

# Where a person covers a pixel in more frames than this, the median shows the person.
_COVERED = 0.5


@dataclass(frozen=True)
class _Task:
    """One camera: its frames and masks (None where there is none), and where its results are kept."""

    camera: int
    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    shape: tuple[int, int]
    mask_people: bool
    state: Path

    @property
    def image(self) -> Path:
        return self.state / f"camera_{self.camera}.npy"

    @property
    def report(self) -> Path:
        """Written last: the camera is done."""
        return self.state / f"camera_{self.camera}.json"

    def digest(self) -> str:
        """Of everything that the result depends on; files by size and time, as Snakemake sees them."""
        stats = [path.stat() if path and path.is_file() else None for path in (*self.frames, *self.masks)]
        files = [(str(path), stat and (stat.st_size, stat.st_mtime_ns))
                 for path, stat in zip((*self.frames, *self.masks), stats, strict=True)]  # fmt: skip
        parts = json.dumps([files, self.shape, self.mask_people])
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


def write_backgrounds(
    output: Path,
    views: Sequence[View],
    *,
    cameras: Sequence[int],
    every: int,
    root: Path,
    masks_root: Path,
    mask_people: bool = False,
    workers: int = 1,
) -> None:
    """Write uint8 (camera, height, width, 3), RGB, atomically; smaller images repeat their border.

    Beside it, with the suffix .json: for each camera the frames, and where masks are, how often each pixel was person.

    Args:
        output: the .npy file.
        views: usable folders of one subject.
        cameras: camera numbers, in the order of the file.
        every: frames with (frame - 1) % every == 0 count; of a sequence without such a frame, its first.
        root, masks_root: the dataset tree, and that of the masks.
        mask_people: leave pixels of people out of the median.

    Frames that cannot be decoded are passed over and logged; a camera without a frame stays black.
    """
    shape = max(view.meta.height for view in views), max(view.meta.width for view in views)
    state = output.with_suffix(".state")
    state.mkdir(parents=True, exist_ok=True)
    tasks = []
    for camera in cameras:
        frames, masks = _files(views, camera, every, root, masks_root)
        tasks.append(_Task(camera, frames, masks, shape, mask_people, state))
    subject = views[0].folder.subject
    for _ in in_order(_of_camera, tasks, workers=workers, what=f"S{subject}: backgrounds"):
        pass
    reports = {str(task.camera): read_json(task.report) for task in tasks}
    for name, report in reports.items():
        _warn(subject, name, report, mask_people=mask_people)
        del report["digest"]
    with atomic_path(output) as temporary:
        np.save(temporary, np.stack([np.load(task.image) for task in tasks]))
    write_json(output.with_suffix(".json"), {"subject": subject, "mask_people": mask_people, "cameras": reports})
    shutil.rmtree(state)


def write_nothing(output: Path, *, cameras: int) -> None:
    """The file of a subject without a usable frame: black, one pixel a camera."""
    with atomic_path(output) as temporary:
        np.save(temporary, np.zeros((cameras, 1, 1, 3), np.uint8))


def _files(
    views: Sequence[View], camera: int, every: int, root: Path, masks_root: Path
) -> tuple[tuple[Path, ...], tuple[Path | None, ...]]:
    """Paths of a camera's frames that count, and of their masks."""
    frames: list[Path] = []
    masks: list[Path | None] = []
    for view in views:
        if view.folder.camera == camera:
            chosen = view.frames[(view.frames - 1) % every == 0]
            numbers = chosen if len(chosen) else view.frames[:1]
            frames += [view.folder.file(root, frame, FRAME_SUFFIX) for frame in numbers.tolist()]
            masks += [
                view.folder.file(masks_root, frame, MASK_SUFFIX) if known else None
                for frame, known in zip(numbers.tolist(), np.isin(numbers, view.masks).tolist(), strict=True)
            ]
    return tuple(frames), tuple(masks)


def _warn(subject: int, camera: str, report: dict[str, Any], *, mask_people: bool) -> None:
    if not report["frames"]:
        log.warning("S%d camera %s: no frame to make a background of", subject, camera)
    elif mask_people and report["always_covered"]:
        log.warning(
            "S%d camera %s: people cover %.2f %% of the pixels in every frame; the background shows them there",
            subject, camera, 100 * report["always_covered"],
        )  # fmt: skip
    elif not mask_people and report["mostly_covered"]:
        log.warning(
            "S%d camera %s: people cover %.2f %% of the pixels in more than half of the %d frames, and the background "
            "shows them there. Set backgrounds.mask_people, or lower backgrounds.every",
            subject, camera, 100 * report["mostly_covered"], report["frames"],
        )  # fmt: skip


def _of_camera(task: _Task) -> None:
    """Median image of a camera and its report, unless both are there from a run that was stopped."""
    digest = task.digest()
    if task.report.is_file() and task.image.is_file() and read_json(task.report)["digest"] == digest:
        log.info("camera %d is done already", task.camera)
        return
    height, width = task.shape
    pixels, people = (task.state / f"camera_{task.camera}.{name}" for name in ("frames", "people"))
    count = _Coverage(task.shape)
    used = 0
    with pixels.open("wb") as frames, people.open("wb") as masks:
        for path, mask in zip(task.frames, task.masks, strict=True):
            try:
                whole = read_frame(path)
            except DataError as error:
                log.warning("background: passed over %s: %s", path.name, error.what)
                continue
            frames.write(_padded(whole[:height, :width], task.shape).data)
            count.add(mask, path, whole.shape, masks if task.mask_people else None)
            used += 1
    image = np.zeros((height, width, CHANNELS), np.uint8)
    if used:
        found = median_of_file(pixels, image.size, people if task.mask_people else None)
        image = found.reshape(height, width, CHANNELS)
    for scratch in (pixels, people):
        scratch.unlink()
    with atomic_path(task.image) as temporary:
        np.save(temporary, image)
    write_json(task.report, {"digest": digest, "frames": used} | count.report(used))


class _Coverage:
    """In how many frames each pixel was person."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._seen = np.zeros(shape, np.uint16)
        self._frames = 0

    def add(self, path: Path | None, frame: Path, shape: tuple[int, ...], copy: BinaryIO | None) -> None:
        """Count a frame's mask, and append it to `copy` as bytes of 0 and 1; a frame without one shows nobody."""
        person = np.zeros(self._seen.shape, np.uint8)
        if path is not None:
            try:
                mask = read_mask_of(path, frame, shape)[: person.shape[0], : person.shape[1]] >= MASK_THRESHOLD
            except DataError as error:
                log.warning("background: passed over the mask %s: %s", path.name, error.what)
            else:
                person = _padded(mask.astype(np.uint8), self._seen.shape)
                self._seen += person
                self._frames += 1
        if copy is not None:
            copy.write(person.data)

    def report(self, frames: int) -> dict[str, float | int]:
        """Shares: mean and max over the pixels of the frames that were person, and how many pixels mostly or always."""
        share = self._seen / max(1, self._frames)
        return {
            "masks": self._frames,
            "person_mean": float(share.mean()),
            "person_max": float(share.max()),
            "mostly_covered": float((share > _COVERED).mean()),
            "always_covered": float((self._seen == frames).mean()) if frames else 0.0,
        }


def _padded(image: UInt8[ndarray, "height width *channels"], shape: tuple[int, int]) -> UInt8[ndarray, "..."]:
    short = [(0, full - have) for full, have in zip(shape, image.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(image, short + [(0, 0)] * (image.ndim - 2), mode="edge"))
