"""How good masks by difference and roots by the visual hull are, on rendered people whose masks and roots are known.

    python -m benchmarks.rigs [FOLDER] [SUBJECT ...]

The people are rendered into FOLDER (default: a temporary one), four acts of 12 frames, 256 px, four cameras.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from codebase.config import Config
from codebase.data.doors import hull
from codebase.data.doors.calibration import RigView3d
from codebase.data.doors.difference import person_mask, room_of
from codebase.data.human36m import MASK_SUFFIX, Folder, read_frame, read_mask, read_meta
from codebase.stages import synthesize

ACTS, CAMERAS, FRAMES = (2, 5, 9, 14), (1, 2, 3, 4), 12
# other people than those on whom the constants were chosen
SUBJECTS = (6, 7, 11, 12)


def main(root: Path, subjects: tuple[int, ...]) -> None:
    config = Config.model_validate({
        "name": "rigs", "results": root / "results",
        "dataset": {"kind": "synthetic", "root": root, "subjects": subjects, "acts": ACTS, "subacts": (1,)},
        "split": {"train": {"subjects": subjects[:1]}, "val": {"subjects": subjects[:1]},
                  "test": {"subjects": subjects[-1:]}},
        "pose": {"label_subjects": subjects[:1]}, "smpl": {"label_subjects": subjects[:1]},
        "synthesize": {"image_size": 256, "frames": FRAMES, "fps": 3.0},
    })  # fmt: skip
    masks: dict[str, dict] = {"true masks": {}, "masks by difference": {}}
    cameras, roots, overlaps, spent = {}, {}, {}, 0.0
    for subject in subjects:
        synthesize.run(config, subject=subject, output=root / "truth" / f"S{subject}.h5")
        for number in CAMERAS:
            frames = {}
            for act in ACTS:
                folder = Folder(subject, act, 1, number)
                meta = read_meta(root / folder.name)
                cameras[subject, number] = RigView3d(
                    number, "", meta.R, meta.T_mm, meta.f_px, meta.c_px, meta.distortion, meta.width, meta.height
                )
                for frame in range(1, FRAMES + 1):
                    frames[act, frame] = read_frame(folder.file(root, frame))
                    true = read_mask(folder.file(root, frame, MASK_SUFFIX)) >= 128
                    masks["true masks"][subject, act, frame, number] = true
                    roots[subject, act, frame] = meta.pose3d_world_mm[frame - 1, 0]
            room = room_of(list(frames.values()))
            for (act, frame), picture in frames.items():
                start = time.perf_counter()
                found = person_mask(picture, room)
                spent += time.perf_counter() - start
                true = masks["true masks"][subject, act, frame, number]
                masks["masks by difference"][subject, act, frame, number] = found
                overlaps[subject, act, frame, number] = (found & true).sum() / max(1, (found | true).sum())
    values = np.array(list(overlaps.values()))
    seated = np.array([value for (_, act, _, _), value in overlaps.items() if act == 9])
    print(f"masks by difference, {len(values)} frames: IoU mean {values.mean():.3f}, median {np.median(values):.3f}, "
          f"worst tenth below {np.percentile(values, 10):.3f}; act 9 alone {seated.mean():.3f}")  # fmt: skip
    print(f"  {1000 * spent / len(values):.1f} ms a frame of 256 px")
    for kind, known in masks.items():
        for count in (2, 3, 4):
            report(kind, count, known, cameras, roots)


def report(kind: str, count: int, masks: dict, cameras: dict, roots: dict) -> None:
    errors, start = [], time.perf_counter()
    for (subject, act, frame), truth in roots.items():
        for chosen in itertools.combinations(CAMERAS, count):
            seen = [hull.seen_mask(cameras[subject, n], masks[subject, act, frame, n]) for n in chosen]
            errors.append(hull.root_of(seen) - truth)
    spent = time.perf_counter() - start
    found = np.array(errors)
    good = np.isfinite(found).all(axis=1)
    size, flat = np.linalg.norm(found[good], axis=1), np.linalg.norm(found[good, :2], axis=1)
    print(f"root, {count} cameras, {kind}: median {np.median(size):.0f} mm, 90 % below {np.percentile(size, 90):.0f}; "
          f"horizontal {np.median(flat):.0f}; none found {np.mean(~good):.1%}; {1000 * spent / len(found):.0f} ms",
          )  # fmt: skip


if __name__ == "__main__":
    people = tuple(int(word) for word in sys.argv[2:]) or SUBJECTS
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), people)
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder), people)
