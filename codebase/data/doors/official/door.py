"""The official files of one subject into the dataset tree: a task a video, spread over processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from codebase.config import Config, ExtractConfig
from codebase.data.doors.official.folder import Task, write_folder
from codebase.data.doors.official.metadata import NAME, Metadata, read_metadata
from codebase.data.doors.official.sources import (
    BOXES,
    MONO,
    PIXELS,
    SILHOUETTES,
    VIDEOS,
    WORLD,
    Item,
    Source,
    open_source,
)
from codebase.data.doors.tree import TreeWriter
from codebase.data.flaws import with_known_flaw
from codebase.data.human36m import Folder
from codebase.data.parallel import in_order
from codebase.errors import ConfigError, DataError
from codebase.logs import log
from codebase.provenance import file_digest

MASK_KINDS = {"silhouettes": SILHOUETTES, "boxes": BOXES, "none": ""}


class Plan(NamedTuple):
    """A folder that is to be written, and the files that it is made of."""

    folder: Folder
    video: Item
    poses: Item
    pixels: Item
    masks: Item | None
    stamp: str

    @property
    def mono(self) -> Item:
        """The poses in the camera's frame, which serve where those of the world are missing."""
        return Item(MONO, self.video.prefix, self.video.camera)


def extract(subject: int, config: Config, tree: TreeWriter) -> None:
    """Write the subject's folders; what cannot be had is left out with its reason.

    Raises:
        UserError: metadata.xml or the source as a whole is missing or makes no sense.
    """
    settings = config.extract
    if settings.source is None or settings.masks not in MASK_KINDS:
        raise ConfigError(
            f"The official door has no masks {settings.masks!r}.", where="extract.masks", expected=", ".join(MASK_KINDS)
        )
    metadata = read_metadata(find_metadata(settings))
    source = open_source(settings.source, subject)
    if source.empty:
        hint = f" ({'; '.join(source.troubles[:3])})" if source.troubles else ""
        tree.leave_out_rest(f"the source holds nothing of S{subject}{hint}")
    else:
        plans = _plans(tree, metadata, source, MASK_KINDS[settings.masks])
        tasks = _Tasks(plans, metadata, source, tree, settings)
        workers = config.runtime.workers
        # fewer videos than cores: the rest of the cores decode
        write = partial(write_folder, tree, settings, threads=max(1, workers // max(1, len(plans))))
        for _ in in_order(write, tasks, workers=workers, what=f"subject {subject}, videos"):
            pass
    _report(tree, metadata, source)


def find_metadata(settings: ExtractConfig) -> Path:
    """Where metadata.xml is: as the config says, or in the folder of the source, or one folder below.

    Raises:
        DataError: nowhere.
    """
    if settings.metadata is not None:
        return settings.metadata
    assert settings.source is not None  # noqa: S101 - the schema asks for it
    # some doors also take the one file of their source
    home = settings.source if settings.source.is_dir() else settings.source.parent
    for pattern in (NAME, f"*/{NAME}"):
        for path in sorted(home.glob(pattern)):
            return path
    raise DataError(
        f"{NAME} is not in the source; it holds the cameras and says which file is which sequence.",
        where=settings.source,
        expected="the file of Human3.6M's software bundle (Release-v1.1)",
        mend="put it there, or name it with extract.metadata; docs/datasets.md says where it comes from",
    )


def _plans(tree: TreeWriter, metadata: Metadata, source: Source, mask_kind: str) -> list[Plan]:
    """The folders that are not there yet, and can be: their sequence is known and its files may be there."""
    plans = []
    for folder in tree.wanted:
        prefix = metadata.prefixes.get((folder.subject, folder.action, folder.subaction))
        camera = metadata.camera_names.get(folder.camera)
        if prefix is None or camera is None or (folder.subject, folder.camera) not in metadata.cameras:
            tree.leave_out(folder.name, f"{NAME} knows no such sequence or camera", "folder")
            continue
        video, world, mono = Item(VIDEOS, prefix, camera), Item(WORLD, prefix), Item(MONO, prefix, camera)
        poses = world if source.names(world) else mono
        needed = [item for item in (video, poses) if not source.names(item)]
        if needed:
            _leave_out(tree, folder, "; ".join(source.missing(item) for item in needed))
            continue
        pixels, masks = Item(PIXELS, prefix, camera), Item(mask_kind, prefix, camera) if mask_kind else None
        files = [video, poses, pixels, *([masks] if masks else [])]
        stamp = source.stamp([item for item in files if source.names(item)], besides=_said(metadata, folder))
        if not tree.has(folder, stamp=stamp):
            plans.append(Plan(folder, video, poses, pixels, masks, stamp))
    return plans


def _said(metadata: Metadata, folder: Folder) -> str:
    """All that metadata.xml says of a folder's camera and length."""
    camera = metadata.cameras[folder.subject, folder.camera]
    numbers = [getattr(camera, name).tolist() for name in ("R", "T_mm", "f_px", "c_px", "distortion")]
    frames = metadata.frames.get((folder.subject, folder.action, folder.subaction))
    return repr((numbers, camera.width, camera.height, frames))


@dataclass
class _Tasks:
    """Tasks in the order in which their videos come out of the archives; each video is put on disk when it is due."""

    plans: list[Plan]
    metadata: Metadata
    source: Source
    tree: TreeWriter
    settings: ExtractConfig

    def __len__(self) -> int:
        return len(self.plans)

    def __iter__(self) -> Iterator[Task]:
        small = {item for p in self.plans for item in (p.poses, p.pixels, p.masks) if item is not None}
        files = self.source.gather(small, self.tree.scratch)
        mono = {plan.mono for plan in self.plans if plan.poses not in files}
        files |= self.source.gather(mono, self.tree.scratch)
        waiting: dict[Item, Plan] = {}
        for plan in self.plans:
            if plan.poses in files or plan.mono in files:
                waiting[plan.video] = plan
            else:
                _leave_out(self.tree, plan.folder, self.source.missing(plan.poses))
        for video, path in self._videos(set(waiting)):
            plan = waiting.pop(video)
            poses = plan.poses if plan.poses in files else plan.mono
            yield Task(
                plan.folder,
                self.metadata.cameras[plan.folder.subject, plan.folder.camera],
                video=path,
                video_is_ours=video not in self.source.local,
                poses=files[poses],
                poses_are_mono=poses.kind == MONO,
                pixels=files.get(plan.pixels),
                masks=files.get(plan.masks) if plan.masks else None,
                announced=self._announced(plan.folder),
                stamp=plan.stamp,
            )
        for video, plan in waiting.items():
            _leave_out(self.tree, plan.folder, self.source.missing(video))

    def _videos(self, wanted: set[Item]) -> Iterator[tuple[Item, Path]]:
        local = {item: path for item, path in self.source.local.items() if item in wanted}
        yield from sorted(local.items())
        yield from self.source.stream(wanted - set(local), self.tree.scratch)

    def _announced(self, folder: Folder) -> int:
        counts = self.metadata.frames.get((folder.subject, folder.action, folder.subaction), ())
        return counts[folder.camera - 1] if folder.camera <= len(counts) else 0


def _leave_out(tree: TreeWriter, folder: Folder, reason: str) -> None:
    tree.leave_out(folder.name, with_known_flaw(folder, reason), "folder")


def _report(tree: TreeWriter, metadata: Metadata, source: Source) -> None:
    """Counts beside the published ones, the sources, and what was refused in them."""
    notes = {folder.name: tree.notes(folder) for folder in tree.wanted}
    there = {name: note for name, note in notes.items() if note}
    sequences = {(folder.subject, folder.action, folder.subaction) for folder in tree.wanted}
    whole = {folder.camera for folder in tree.wanted} == set(metadata.camera_names)
    published = sum(metadata.poses.get(sequence, 0) for sequence in sequences) if whole else None
    found = sum(note["posed_frames"] for note in there.values())
    differences = [
        f"{name}: the video has {note['video_frames']} frames, {NAME} says {note['announced_frames']}"
        for name, note in there.items()
        if note["announced_frames"] and note["video_frames"] != note["announced_frames"]
    ]
    tree.fact("frames_with_pose", {"found": found, "published": published})
    tree.fact("frame_count_differences", differences)
    tree.fact("troubles", source.troubles)
    if published is not None and published != found:
        log.warning("S%d: %d frames have a pose, published are %d", tree.subject, found, published)
    for line in differences[:5]:
        log.warning("%s", line)
    tree.source(metadata.path, size=metadata.path.stat().st_size, digest=file_digest(metadata.path))
    for archive in source.archives:
        tree.source(archive.path, size=archive.path.stat().st_size, digest=archive.digest)
    if source.local:
        size = sum(path.stat().st_size for path in source.local.values())
        tree.source(source.root, size=size, digest=source.stamp(source.local))
