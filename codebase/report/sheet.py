"""A contact sheet of a dataset tree: `python -m codebase.report.sheet TREE OUTPUT`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from codebase.data.human36m import Folder, list_frames, parse_folder, read_frame, read_meta
from codebase.data.lens import Lens, straighten
from codebase.errors import DataError
from codebase.geometry import crop_from_image, world_to_camera
from codebase.report.picture_file import write_picture
from codebase.report.pictures import resample
from codebase.skeleton import H36M, H36M_ACTS

GAP, HEADER = 4, 22
BOX_MM = 2300.0


def contact_sheet(tree: Path, *, camera: int, side: int = 150) -> UInt8[ndarray, "height width 3"]:
    """A row a subject, a column an act: the middle frame of the first subaction, seen by one camera, or by the next.

    Raises:
        DataError: the tree has no frames, or a meta file is refused.
    """
    folders = [folder for path in sorted(tree.iterdir()) if path.is_dir() and (folder := parse_folder(path.name))]
    chosen: dict[tuple[int, int], Folder] = {}
    for folder in sorted(folders, key=lambda each: (each.camera != camera, each)):
        if len(list_frames(tree / folder.name, folder.name)):
            chosen.setdefault((folder.subject, folder.action), folder)
    if not chosen:
        raise DataError("The tree has no frames.", where=tree, expected="folders such as s_01_act_02_subact_01_ca_01")
    subjects, acts = (sorted({key[axis] for key in chosen}) for axis in (0, 1))
    step = side + GAP
    sheet = np.full((HEADER + len(subjects) * step, HEADER + len(acts) * step, 3), 255, np.uint8)
    for column, act in enumerate(acts):
        _write(sheet, H36M_ACTS.get(act, str(act)), HEADER + column * step + 2, HEADER - 7)
    for row, subject in enumerate(subjects):
        _write(sheet, f"S{subject}", 0, HEADER + row * step + side // 2)
        for column, act in enumerate(acts):
            if (subject, act) in chosen:
                picture = _middle(tree, chosen[subject, act], side)
                top, left = HEADER + row * step, HEADER + column * step
                sheet[top : top + side, left : left + side] = picture
    return sheet


def _middle(tree: Path, folder: Folder, side: int) -> np.ndarray:
    """The middle frame, cut about the person so that faces and clothes can be seen."""
    frames = list_frames(tree / folder.name, folder.name)
    frame = int(frames[len(frames) // 2])
    meta = read_meta(tree / folder.name)
    root_world = meta.pose3d_world_mm[frame - 1, H36M.index("root")]
    root_cam = world_to_camera(root_world[None], meta.R, meta.T_mm)[0]
    affine = crop_from_image(root_cam, meta.f_px, meta.c_px, box_mm=BOX_MM, size_px=side)
    lens = Lens(*(tuple(getattr(meta, name).tolist()) for name in ("f_px", "c_px", "distortion")))
    image, origin = straighten(read_frame(folder.file(tree, frame)), lens, 1)
    return resample(image, np.hstack([affine[:, :2], affine[:, 2:] + affine[:, :2] @ origin[:, None]]), side)


def _write(sheet: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the sheet as JPEG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--camera", type=int, default=4)
    parser.add_argument("--side", type=int, default=150)
    options = parser.parse_args(argv)
    sheet = contact_sheet(options.tree, camera=options.camera, side=options.side)
    write_picture(options.output, sheet, quality=90)


if __name__ == "__main__":
    main()
