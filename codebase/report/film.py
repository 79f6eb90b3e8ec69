"""Moving pictures: GIF with a palette of its own, and H.264 in mp4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from jaxtyping import UInt8
from numpy import ndarray

from codebase.errors import UserError
from codebase.files import atomic_path

Image = UInt8[ndarray, "height width 3"]
SUFFIXES = (".gif", ".mp4")


def check_suffix(path: Path, known: Sequence[str] = SUFFIXES) -> None:
    """Refuse a name that does not say which of the known kinds of file it is."""
    if path.suffix.lower() not in known:
        raise UserError("No such kind of file.", where=path, expected=f"a name in {' or '.join(known)}")


def write_film(path: Path, images: Sequence[Image], *, fps: int) -> None:
    """Write RGB images of one size, of even sides, as GIF (it loops) or mp4, atomically.

    Raises:
        UserError: the name ends in neither.
    """
    check_suffix(path)
    gif = path.suffix.lower() == ".gif"
    height, width = images[0].shape[:2]
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format=path.suffix[1:].lower()) as file:
        stream = file.add_stream("gif" if gif else "libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8" if gif else "yuv420p"
        if not gif:
            stream.options = {"crf": "16"}
        frames = _frames(images, fps)
        for frame in _with_palette(frames, width, height, fps) if gif else frames:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def _frames(images: Sequence[Image], fps: int) -> Iterator[av.VideoFrame]:
    for number, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, fps)
        yield frame


def _with_palette(frames: Iterator[av.VideoFrame], width: int, height: int, fps: int) -> Iterator[av.VideoFrame]:
    """The frames in 256 colours that are chosen for all of them together: a palette each would flicker."""
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=Fraction(1, fps))
    split, choose, use, sink = (graph.add(name) for name in ("split", "palettegen", "paletteuse", "buffersink"))
    source.link_to(split)
    split.link_to(choose, 0, 0)
    split.link_to(use, 1, 0)
    choose.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for frame in frames:
        source.push(frame)
    source.push(None)
    while True:
        try:
            drawn = sink.pull()
        except (av.EOFError, av.BlockingIOError):
            return
        if isinstance(drawn, av.VideoFrame):
            yield drawn
