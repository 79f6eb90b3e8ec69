"""One video of Human3.6M into one folder of the dataset tree: frames, masks, camera and poses, numbered alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from codebase.config import ExtractConfig
from codebase.data.doors.official.masks import Masks, fit, open_masks
from codebase.data.doors.official.metadata import OfficialCamera
from codebase.data.doors.official.poses import camera_to_world, check_projection, read_poses
from codebase.data.doors.official.video import Video, survey
from codebase.data.doors.tree import FolderWriter, TreeWriter, reason_of
from codebase.data.flaws import with_known_flaw
from codebase.data.human36m import Folder
from codebase.data.scan import ranges
from codebase.errors import DataError
from codebase.logs import log

# Videos may have two rows more or fewer than metadata.xml says; the pixels keep their places.
SIZE_SLACK_PX = 4


@dataclass(frozen=True)
class Task:
    """A folder and the files that it is made of.

    Attributes:
        video_is_ours: the video was put into the scratch folder for this task, which removes it.
        poses_are_mono: the poses stand in the camera's frame.
        pixels: D2_Positions, to check the camera with; None where there are none.
        masks: None where there are none.
        announced: frames of the video as metadata.xml says; 0 where it does not.
        stamp: of the sources.
    """

    folder: Folder
    camera: OfficialCamera
    video: Path
    video_is_ours: bool
    poses: Path
    poses_are_mono: bool
    pixels: Path | None
    masks: Path | None
    announced: int
    stamp: str


def write_folder(tree: TreeWriter, settings: ExtractConfig, task: Task, *, threads: int) -> None:
    """Write the folder of a task, or leave it out with the reason."""
    try:
        with tree.folder(task.folder, stamp=task.stamp) as out:
            try:
                _fill(tree, out, settings, task, threads)
            except DataError as error:
                raise DataError(with_known_flaw(task.folder, reason_of(error))) from None
    finally:
        if task.video_is_ours:
            task.video.unlink(missing_ok=True)


def _fill(tree: TreeWriter, out: FolderWriter, settings: ExtractConfig, task: Task, threads: int) -> None:
    video = survey(task.video)
    _check_size(video, task.camera)
    poses = _poses(out, task)
    last = _last_frame(tree, video, poses, task, settings.every)
    last = _write_frames(tree, out, video, last, settings.every, threads)
    if settings.masks != "none":
        _write_masks(tree, out, task, video, last, settings.every)
    camera = task.camera
    out.meta(
        pose3d_world_mm=poses[:last], R=camera.R, T_mm=camera.T_mm, f_px=camera.f_px, c_px=camera.c_px,
        width=video.width, height=video.height, distortion=camera.distortion,
    )  # fmt: skip
    out.note(video_frames=len(video), announced_frames=task.announced, posed_frames=last, poses=len(poses))


def _check_size(video: Video, camera: OfficialCamera) -> None:
    if abs(video.width - camera.width) > SIZE_SLACK_PX or abs(video.height - camera.height) > SIZE_SLACK_PX:
        raise DataError(
            f"the video has {video.width} x {video.height} pixels, its camera {camera.width} x {camera.height}",
            where=video.path,
        )


def _poses(out: FolderWriter, task: Task) -> Float[ndarray, "frames 17 3"]:
    """World poses; a camera that does not project them where D2_Positions says is refused."""
    joints_mm = read_poses(task.poses, size=3)
    if task.poses_are_mono:
        joints_mm = camera_to_world(joints_mm, task.camera)
    if task.pixels is None:
        return joints_mm
    try:
        joints_px = read_poses(task.pixels, size=2)
    except DataError as error:  # nothing of it goes into the tree
        out.note(unchecked=f"camera not checked: {reason_of(error)}")
        log.warning("%s: camera not checked: %s", task.folder.name, reason_of(error))
        return joints_mm
    out.note(projection_gap_px=round(check_projection(joints_mm, joints_px, task.camera), 4))
    return joints_mm


def _last_frame(tree: TreeWriter, video: Video, poses: np.ndarray, task: Task, every: int) -> int:
    """The last frame that has both a picture and a pose; what lies behind it is listed."""
    last = min(len(video), len(poses))
    promised = max(task.announced, video.announced)
    _leave_out(tree, task.folder, f"no pose for these frames (there are {len(poses)})", last, len(video), every)
    if len(video) < min(promised, len(poses)):
        reason = f"the video ends after {len(video)} of {promised} frames"
        _leave_out(tree, task.folder, reason, last, min(promised, len(poses)), every)
    if video.gap and task.announced not in (0, len(video)):
        # the counts agree with the published ones wherever the numbers can be trusted in spite of a jump
        reason = f"the video's time stamps jump after frame {video.gap}, and it has {len(video)} of {promised} frames"
        _leave_out(tree, task.folder, reason, min(last, video.gap), last, every)
        last = min(last, video.gap)
    return last


def _leave_out(tree: TreeWriter, folder: Folder, reason: str, after: int, last: int, every: int) -> None:
    """Leave out the frames after `after` up to `last`, as far as the stride meets them."""
    frames = np.arange(1, last + 1, every, dtype=np.int32)
    frames = frames[frames > after]
    if len(frames):
        tree.leave_out(folder.name, f"{reason}: {ranges(frames)}", "frame", len(frames))


def _write_frames(tree: TreeWriter, out: FolderWriter, video: Video, last: int, every: int, threads: int) -> int:
    """Write the frames; the last frame before the video breaks, `last` where it does not."""
    good = 0
    for number, image in video.frames(every=every, stop=last, threads=threads):
        out.frame(number, image)
        good = number
    if not video.damage:
        return last
    if not good:
        raise DataError(video.damage, where=video.path)
    _leave_out(tree, out.folder, f"the video is damaged: {video.damage}", good, last, every)
    return good


def _write_masks(tree: TreeWriter, out: FolderWriter, task: Task, video: Video, last: int, every: int) -> None:
    """Write the masks that there are; a frame without one stays."""
    frames = range(1, last + 1, every)
    if task.masks is None:
        tree.leave_out(task.folder.name, "the source has no masks of this video", "mask", len(frames))
        return
    try:
        with open_masks(task.masks) as masks:
            for reason, numbers in _write_each(out, masks, video, frames).items():
                lost = np.array(numbers, np.int32)
                tree.leave_out(task.folder.name, f"{reason}: {ranges(lost)}", "mask", len(lost))
    except DataError as error:
        tree.leave_out(task.folder.name, reason_of(error), "mask", len(frames))


def _write_each(out: FolderWriter, masks: Masks, video: Video, frames: range) -> dict[str, list[int]]:
    """Write the masks of `frames`; the frames that have none, by reason."""
    lost: dict[str, list[int]] = {}
    for frame in frames:
        if frame > len(masks):
            lost.setdefault(f"no mask for these frames (there are {len(masks)})", []).append(frame)
            continue
        try:
            mask = masks.read(frame)
        except DataError:
            lost.setdefault("these masks are unreadable", []).append(frame)
            continue
        fitted = fit(mask, video.height, video.width)
        if fitted is None:
            size = f"{mask.shape[1]} x {mask.shape[0]}"
            lost.setdefault(f"these masks have {size} pixels, the frames another size", []).append(frame)
        else:
            out.mask(frame, fitted)
    return lost
