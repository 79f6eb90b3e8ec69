"""What rig.json says and names: the rig, its calibration, the pictures of each view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codebase.config import Config
from codebase.config.base import validate_config
from codebase.config.rig import Rig, RigSequence, RigView
from codebase.data.doors.calibration import RigView3d, read_cameras, read_json_once
from codebase.data.doors.pictures import Files, Movie, Source, numbered
from codebase.errors import DataError

FILE = "rig.json"


@dataclass(frozen=True)
class Opened:
    """A rig whose calibration was read.

    Attributes:
        path: of rig.json.
        rig: what it says.
        cameras: by name.
        every: instants between frames of the tree.
        write_masks: whether the tree gets masks.
    """

    path: Path
    rig: Rig
    cameras: dict[str, RigView3d]
    every: int
    write_masks: bool

    @property
    def folder(self) -> Path:
        """What the paths in rig.json are relative to."""
        return self.path.parent


def open_rig(config: Config, subject: int) -> Opened:
    """Read rig.json and its calibration; S{n}/rig.json where there is one, for rigs that were calibrated anew.

    Raises:
        DataError: a file is missing or wrong; `sequences` name a camera that the calibration lacks.
    """
    source = config.extract.source or Path()
    own = source / f"S{subject}" / FILE
    path = (own if own.is_file() else source / FILE) if source.is_dir() else source
    rig = read_rig(path)
    cameras = read_cameras(rig, path.parent)
    for place, one in enumerate(rig.sequences):
        unknown = sorted(set(one.views) - set(cameras))
        if unknown:
            raise DataError(
                f"sequences.{place}.views names the camera {unknown[0]!r}, which the calibration lacks.", where=path,
                expected=", ".join(sorted(cameras)), mend="correct the name",
            )  # fmt: skip
    return Opened(path, rig, cameras, config.extract.every, config.extract.masks != "none")


def read_rig(path: Path) -> Rig:
    """Read rig.json alone; a DataError or ConfigError names each wrong key."""
    return validate_config(Rig, read_json_once(path), where=path, expected="the keys of docs/datasets.md, rig.json")


def source_of(view: RigView, sequence: RigSequence, base: Path) -> Source:
    """A view's pictures.

    Raises:
        DataError: there is none, or the video cannot be read or has another rate than the sequence.
    """
    if view.images is not None:
        folder, pattern = split(view.images, base)
        files = Files(numbered(folder, pattern))
        if not files.paths:
            raise DataError(f"there is no picture named like {view.images}")
        return files
    from codebase.data.doors.official.video import survey  # PyAV only where there is a video

    path = base / (view.video or "")
    rate = frame_rate(path)
    if sequence.fps is not None and rate and abs(rate / sequence.fps - 1) > 0.01:
        raise DataError(f"{path.name} has {rate:.3g} frames a second, the sequence {sequence.fps:g}")
    return Movie(path, len(survey(path)))


def frame_rate(path: Path) -> float:
    """Frames a second that a video's header states; 0 where it does not, or where it cannot be opened."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            return float(container.streams.video[0].average_rate or 0)
    except (av.error.FFmpegError, OSError, IndexError):
        return 0.0  # the survey of the video says what is wrong


def split(pattern: str, base: Path) -> tuple[Path, str]:
    """Folder and name of a pattern, whose path is relative to `base`."""
    whole = base / pattern
    return whole.parent, whole.name
