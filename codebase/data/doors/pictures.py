"""Pictures of a view, from files or a video, by their numbers; and the writing of a folder of the tree from them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from codebase.data.doors.calibration import RigView3d
from codebase.data.doors.difference import Room, person_mask, room_of, spread
from codebase.data.doors.official.metadata import OfficialCamera
from codebase.data.doors.tree import FolderWriter, TreeWriter
from codebase.data.human36m import MASK_THRESHOLD, Folder, damage, read_frame, read_mask
from codebase.errors import DataError

_JPEG = b"\xff\xd8"
Rgb = UInt8[ndarray, "height width 3"]


@dataclass(frozen=True)
class Picture:
    """One picture, or why there is none.

    Attributes:
        reason: why it cannot be used; "" where it can.
        jpeg: its file, where that is a JPEG: kept as it is.
        pixels: RGB, where it had to be decoded anyway.
    """

    reason: str = ""
    jpeg: Path | None = None
    pixels: Rgb | None = None

    def rgb(self) -> Rgb:
        """The pixels."""
        if self.pixels is not None:
            return self.pixels
        assert self.jpeg is not None  # noqa: S101 - the caller looks at `reason` first
        return read_frame(self.jpeg)

    def content(self) -> Rgb | bytes:
        """What the tree's frame is written from."""
        return self.pixels if self.jpeg is None and self.pixels is not None else self._bytes()

    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        height, width = self.rgb().shape[:2] if self.jpeg is None else _jpeg_size(self._bytes())
        return int(width), int(height)

    def _bytes(self) -> bytes:
        assert self.jpeg is not None  # noqa: S101 - as above
        return self.jpeg.read_bytes()


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Height and width from the frame header of a JPEG (ITU T.81: markers C0 to CF but C4, C8, CC)."""
    place = 2
    while place + 9 <= len(content):
        if content[place] != 0xFF:
            break
        marker = content[place + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:
            place += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(content[place + 5 : place + 7]), int.from_bytes(content[place + 7 : place + 9])
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return 0, 0


@dataclass(frozen=True)
class Files:
    """Pictures in files of their own."""

    paths: Mapping[int, Path]

    @property
    def numbers(self) -> list[int]:
        """All numbers there are, rising."""
        return sorted(self.paths)

    def each(self, numbers: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """Those pictures of `numbers` that there are, in rising order."""
        for number in sorted(set(numbers) & set(self.paths)):
            yield number, _picture(self.paths[number])

    def sizes(self) -> list[tuple[int, int]]:
        """Width and height, px, of some pictures that are spread over all."""
        numbers = self.numbers
        chosen = {numbers[place] for place in np.linspace(0, len(numbers) - 1, 5).astype(int)} if numbers else set()
        return [picture.size() for _, picture in self.each(chosen) if not picture.reason]

    def stamp(self) -> str:
        """A text that changes when the files do."""
        # a link that leads nowhere is a file that cannot be read, which its frame will say
        stats = [path.stat() if path.exists() else path.lstat() for path in self.paths.values()]
        newest = max((one.st_mtime_ns for one in stats), default=0)
        return f"{len(stats)} files, {sum(one.st_size for one in stats)} bytes, {newest}"


def _picture(path: Path) -> Picture:
    reason, _ = damage(path)
    if reason:
        return Picture(reason=reason)
    with path.open("rb") as handle:
        is_jpeg = handle.read(2) == _JPEG
    return Picture(jpeg=path) if is_jpeg else Picture(pixels=read_frame(path))


@dataclass(frozen=True)
class Movie:
    """Pictures of a video, counted from 1."""

    path: Path
    count: int

    @property
    def numbers(self) -> list[int]:
        """As of `Files`."""
        return list(range(1, self.count + 1))

    def each(self, numbers: Collection[int]) -> Iterator[tuple[int, Picture]]:
        """As of `Files`; what comes after damage is left out with the reason."""
        from codebase.data.doors.official.video import survey  # PyAV only where there is a video

        wanted = sorted(number for number in set(numbers) if 1 <= number <= self.count)
        if not wanted:
            return
        video, missing = survey(self.path), set(wanted)
        step = wanted[1] - wanted[0] if len(wanted) > 1 else 1
        even = wanted[0] == 1 and all(b - a == step for a, b in pairwise(wanted))
        for number, pixels in video.frames(every=step if even else 1, stop=wanted[-1]):
            if number in missing:
                missing.discard(number)
                yield number, Picture(pixels=np.ascontiguousarray(pixels))
        for number in sorted(missing):
            yield number, Picture(reason=video.damage or "the video ends before")

    def sizes(self) -> list[tuple[int, int]]:
        """As of `Files`."""
        from codebase.data.doors.official.video import survey  # PyAV only where there is a video

        video = survey(self.path)
        return [(video.width, video.height)]

    def stamp(self) -> str:
        """As of `Files`."""
        found = self.path.stat()
        return f"{self.path.name}, {found.st_size} bytes, {found.st_mtime_ns}"


Source = Files | Movie
Camera = RigView3d | OfficialCamera


def numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Files of a folder by the number in their names; `pattern` is a name with one %d or %06d in it.

    Of two files with the same number (7.jpg and 007.jpg) none is taken; see `twice`.
    """
    found = _numbered(folder, pattern)
    return {number: paths[0] for number, paths in sorted(found.items()) if len(paths) == 1}


def twice(folder: Path, pattern: str) -> dict[int, list[Path]]:
    """Files of a folder that share a number."""
    return {number: paths for number, paths in _numbered(folder, pattern).items() if len(paths) > 1}


def _numbered(folder: Path, pattern: str) -> dict[int, list[Path]]:
    head, _, rest = pattern.partition("%")
    tail = rest.partition("d")[2]
    name = re.compile(re.escape(head) + r"(\d+)" + re.escape(tail))
    found: dict[int, list[Path]] = {}
    try:
        entries = sorted(os.listdir(folder))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"The folder cannot be read: {error.strerror}", where=folder) from None
    for entry in entries:
        match = name.fullmatch(entry)
        if match:
            found.setdefault(int(match[1]), []).append(folder / entry)
    return found


MaskOf = Callable[[int, Picture], "UInt8[ndarray, 'h w'] | Bool[ndarray, 'h w'] | str | None"]


def write_view(
    tree: TreeWriter,
    folder: Folder,
    camera: Camera,
    poses_world_mm: Float[ndarray, "instants 17 3"],
    source: Source,
    *,
    numbers: Mapping[int, int],
    masks: MaskOf | None = None,
    stamp: str,
    left_out: Sequence[tuple[str, int]] = (),
    told: Collection[int] = (),
) -> None:
    """Write one folder of the tree, unless it is there: frames, masks and the meta file.

    Args:
        tree, folder, camera: what is written.
        poses_world_mm: row i belongs to frame i + 1 of the tree; NaN where nothing is known.
        source: its pictures.
        numbers: for each frame of the tree to be written, the number of its picture.
        masks: the mask of a frame (the tree's number) and picture; a text says why there is none, None that none is
            asked for.
        stamp: changes where anything does that the folder is made of.
        left_out: reasons why frames are not among `numbers`, and how many.
        told: numbers of pictures that `left_out` speaks of.
    """
    if tree.has(folder, stamp=stamp):
        return
    frame_of = {picture: frame for frame, picture in numbers.items()}
    with tree.folder(folder, stamp=stamp) as out:
        for reason, count in left_out:
            tree.leave_out(folder.name, reason, "frame", count)
        found, written = set(), set()
        for number, picture in source.each(list(frame_of)):
            found.add(number)
            if _write_frame(tree, out, frame_of[number], picture, camera, masks):
                written.add(frame_of[number])
        lacking = sorted(set(frame_of) - found - set(told))
        if lacking:
            shown = ", ".join(map(str, lacking[:5])) + (" ..." if len(lacking) > 5 else "")
            tree.leave_out(folder.name, f"no picture with these numbers: {shown}", "frame", len(lacking))
        poses = _without(poses_world_mm, set(numbers) - written)
        out.meta(
            pose3d_world_mm=poses, R=camera.R, T_mm=camera.T_mm, f_px=camera.f_px, c_px=camera.c_px,
            width=camera.width, height=camera.height, distortion=camera.distortion,
        )  # fmt: skip


def _without(poses: Float[ndarray, "instants 17 3"], frames: Collection[int]) -> Float[ndarray, "instants 17 3"]:
    """The poses but those of `frames`, whose pictures were left out by name: the index shall not miss them again."""
    out = poses.copy()
    out[[frame - 1 for frame in frames if frame <= len(out)]] = np.nan
    return out


def _write_frame(
    tree: TreeWriter, out: FolderWriter, frame: int, picture: Picture, camera: Camera, masks: MaskOf | None
) -> bool:
    """Write a frame and its mask, or say why not; whether the frame is there."""
    name = f"{out.folder.name}/{out.folder.name}_{frame:06d}"
    reason = picture.reason
    if not reason and picture.size() != (camera.width, camera.height):
        width, height = picture.size()
        reason = f"the picture has {width} x {height} pixels, its camera {camera.width} x {camera.height}"
    if reason:
        tree.leave_out(f"{name}.jpg", reason, "frame")
        return False
    out.frame(frame, picture.content())
    mask = masks(frame, picture) if masks is not None else None
    if isinstance(mask, str):
        tree.leave_out(f"{name}.png", mask, "mask")
    elif mask is not None:
        out.mask(frame, mask)
    return True


def mask_from(path: Path | None, size: tuple[int, int]) -> Bool[ndarray, "height width"] | str:
    """A mask file as booleans, or why it cannot be used."""
    if path is None:
        return "there is no mask file"
    reason, _ = damage(path)
    if reason:
        return reason
    mask = read_mask(path)
    if mask.shape != (size[1], size[0]):
        return f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, the picture {size[0]} x {size[1]}"
    return np.asarray(mask >= MASK_THRESHOLD)


def build_room(sources: Collection[Source], size: tuple[int, int]) -> Room | str:
    """The empty room of a camera, from pictures spread over all its sources; or why there is none."""
    places = [(source, number) for source in sources for number in source.numbers]
    chosen = [places[place] for place in spread(len(places))] if places else []
    frames = []
    for source in sources:
        for _, picture in source.each([number for owner, number in chosen if owner is source]):
            if not picture.reason and picture.size() == size:
                frames.append(picture.rgb())
    if len(frames) < 3:
        return f"{len(frames)} pictures are too few to tell the person from the room"
    return room_of(frames)


def save_room(path: Path, room: Room | str) -> None:
    """Keep a room for worker processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        if isinstance(room, str):
            np.savez(handle, reason=np.array(room))
        else:
            np.savez(handle, median=room.median, noise=room.noise)


@lru_cache(maxsize=8)
def load_room(path: Path) -> Room | str:
    """A room that `save_room` kept."""
    with np.load(path, allow_pickle=False) as content:
        return str(content["reason"]) if "reason" in content else Room(content["median"], content["noise"])


def difference_mask(room: Room | str, picture: Picture) -> Bool[ndarray, "height width"] | str:
    """The person of a picture by its difference from the room, or why there is no mask."""
    if isinstance(room, str):
        return room
    pixels = picture.rgb()
    if pixels.shape != room.median.shape:
        return "the picture has another size than the room's"
    mask = person_mask(pixels, room)
    return mask if mask.any() else "nothing differs from the room"


def encode_mask(mask: Bool[ndarray, "height width"]) -> bytes:
    """A mask as PNG."""
    return bytes(cv2.imencode(".png", mask.astype(np.uint8) * np.uint8(255))[1].tobytes())
