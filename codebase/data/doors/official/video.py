"""Frames of a video by their exact numbers: every packet is counted, every decoded frame must bear its time stamp.

Frame 1 is the first one shown. Decoding goes through the whole file in order and never seeks: seeking lands on
key frames, and decoders differ in what they then call the n-th frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from jaxtyping import UInt8
from numpy import ndarray

from codebase.errors import DataError
from codebase.files import missing


@dataclass
class Video:
    """A video, surveyed without decoding.

    Attributes:
        path: of the file.
        width, height: px.
        stamps: time stamps of all frames in the order of showing, in the stream's unit; their places where it has none.
        timed: whether the video has time stamps, each of its own; where not, frames are counted only.
        announced: number of frames that the file's header promises; 0 where it does not say.
        damage: why frames after the last good one cannot be had; set while `frames` runs. "" where all is well.
    """

    path: Path
    width: int
    height: int
    stamps: list[int]
    timed: bool
    announced: int
    damage: str = ""

    def __len__(self) -> int:
        return len(self.stamps)

    @property
    def gap(self) -> int:
        """The frame after which the time stamps first jump by more than half a step; 0 where they are even."""
        steps = np.diff(self.stamps)
        if not len(steps):
            return 0
        uneven = np.flatnonzero(np.abs(steps - np.median(steps)) > np.median(steps) / 2)
        return int(uneven[0]) + 1 if len(uneven) else 0

    def frames(
        self, *, every: int, stop: int | None = None, threads: int = 1
    ) -> Iterator[tuple[int, UInt8[ndarray, "height width 3"]]]:
        """Decode, and yield (number from 1, RGB pixels) of the frames with (number - 1) % every == 0 up to `stop`.

        Only these are converted to RGB. Where the file is broken the frames end, and `damage` says why: whatever
        comes after a lost frame would bear a wrong number.

        Raises:
            DataError: the video has no time stamps, and fewer frames come out of it than went in.
        """
        self.damage, last = "", len(self.stamps) if stop is None else min(stop, len(self.stamps))
        number = 0
        try:
            for frame in _decoded(self.path, threads):
                number += 1
                if number > last:
                    if self.timed:
                        return
                    continue
                if frame.is_corrupt or (self.timed and frame.pts != self.stamps[number - 1]):
                    self.damage = f"frame {number} cannot be decoded"
                    return
                if (number - 1) % every == 0:
                    yield number, frame.to_ndarray(format="bgr24")[..., ::-1]
        except FFmpegError as error:
            self.damage = f"frame {number + 1} cannot be decoded: {_text(error)}"
            return
        if not self.timed and number != len(self.stamps):
            what = f"{number} of {len(self.stamps)} frames can be decoded, and which ones their time stamps do not say"
            raise DataError(what, where=self.path)
        if number < last:
            self.damage = f"frame {number + 1} cannot be decoded"


def survey(path: Path) -> Video:
    """Count a video's frames and note their time stamps, without decoding (some milliseconds).

    Raises:
        DataError: the file is missing, empty, no video, or cut short before its table of frames.
    """
    if not path.is_file():
        raise missing(path)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = _stream(container, path)
            stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
            width, height, announced = stream.width, stream.height, stream.frames
    except (FFmpegError, OSError) as error:
        raise DataError(
            f"The file is no readable video: {_text(error)}", where=path, mend="download it again"
        ) from None
    if not stamps:
        raise DataError("The video has no frame.", where=path)
    known = sorted({stamp for stamp in stamps if stamp is not None})
    timed = len(known) == len(stamps)
    return Video(path, width, height, known if timed else list(range(len(stamps))), timed, announced)


def _decoded(path: Path, threads: int) -> Iterator[av.VideoFrame]:
    with av.open(str(path), metadata_errors="replace") as container:
        stream = _stream(container, path)
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "AUTO" if threads > 1 else "NONE"
        yield from container.decode(stream)


def _stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise DataError("The file holds no video.", where=path)
    if container.streams.video[0].codec_context is None:
        raise DataError("The file holds a video of an unknown kind.", where=path, mend="download it again")
    return container.streams.video[0]


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error)
