"""Videos, poses, masks and archives in Human3.6M's formats. Shares no code with their readers."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import h5py
import numpy as np
from cdflib import cdfwrite

if TYPE_CHECKING:
    from tests.official.writer import Official

FPS = 50


def box(mask: np.ndarray) -> np.ndarray:
    """The filled box around a mask."""
    filled = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return filled


def write_video(
    path: Path,
    frames: list[np.ndarray],
    *,
    front: bool = False,
    crf: int = 12,
    stamps: Sequence[int] = (),
    codec: str = "libx264",
    container: str = "mp4",
) -> None:
    """H.264 in mp4 at 50 frames a second, with B-frames.

    `front` puts the table of frames before them; `stamps` are other times of the frames than 0, 1, 2 ...
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container, options={"movflags": "faststart"} if front else {}) as file:
        stream = file.add_stream(codec, rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": "8"} | ({"crf": str(crf), "preset": "veryfast"} if codec == "libx264" else {"bf": "2"})
        if codec != "libx264":
            stream.bit_rate = 4_000_000
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = stamps[index] if stamps else index, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def write_cdf(path: Path, joints: np.ndarray, variable: str = "Pose") -> None:
    """`Pose` of shape (1, frames, 32 x 3 or 2), 4 byte floats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = joints.reshape(1, len(joints), -1).astype(np.float32)
    file = cdfwrite.CDF(path, delete=True)
    spec = {"Variable": variable, "Data_Type": file.CDF_REAL4, "Num_Elements": 1, "Rec_Vary": True}
    file.write_var(spec | {"Dim_Sizes": list(rows.shape[1:])}, var_data=rows)
    file.close()


def write_masks(path: Path, masks: list[np.ndarray]) -> None:
    """A MATLAB v7.3 file with the cell array `Masks` of logical images, columns first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset("Masks", (len(masks), 1), h5py.ref_dtype)
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        for index, mask in enumerate(masks):
            columns = np.ascontiguousarray(mask.T).astype(np.uint8)
            item = file.create_dataset(f"#refs#/{index:x}", data=columns, compression="gzip", compression_opts=1)
            item.attrs["MATLAB_class"], item.attrs["MATLAB_int_decode"] = np.bytes_("logical"), np.int32(1)
            cells[index, 0] = item.ref
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."
    with path.open("r+b") as handle:
        handle.write(header.ljust(124) + (0x0200).to_bytes(2, "little") + b"IM")


def pack(official: Official, folder: Path, *, plain_names: bool = False) -> list[Path]:
    """The archives of the portal: one a subject and kind; `plain_names` as its download links call them."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "Videos": "Videos", "Poses_D3_Positions": "MyPoseFeatures/D3_Positions",
        "Poses_D3_Positions_mono": "MyPoseFeatures/D3_Positions_mono",
        "Poses_D2_Positions": "MyPoseFeatures/D2_Positions",
        "Segments_mat_gt_bs": "MySegmentsMat/ground_truth_bs", "Segments_mat_gt_bb": "MySegmentsMat/ground_truth_bb",
    }  # fmt: skip
    made = []
    for subject in sorted({subject for subject, _, _ in official.takes}):
        for name, kind in kinds.items():
            target = folder / (f"{name}/SubjectSpecific_{subject}.tgz" if plain_names else f"{name}_S{subject}.tgz")
            target.parent.mkdir(exist_ok=True)
            with tarfile.open(target, "w:gz", compresslevel=1) as tar:
                tar.add(official.root / f"S{subject}" / kind, arcname=f"S{subject}/{kind}")
            made.append(target)
    return made
