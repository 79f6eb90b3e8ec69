"""Files of exactly Human3.6M's official formats, filmed from synthetic people. Shares no code with their reader.

Frames carry their number as bars that survive a codec, so that a frame in a wrong place is seen with certainty. Lenses
distort: the rendered (ideal) frames are warped by OpenCV, joints are projected by OpenCV.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import cv2
import h5py
import numpy as np
from cdflib import cdfwrite
from scipy.spatial.transform import Rotation

from codebase.body.arrays import load_body
from codebase.synthetic.capture import film, open_session, perform

BODY = Path(__file__).resolve().parents[2] / "assets" / "free_body.npz"
CAMERA_NAMES = ("54138969", "55011271", "58860488", "60457274")
ACTS = ("_ALL", "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
        "SittingDown", "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether")  # fmt: skip
PEOPLE = ("Irina", "Lizuca", "Razvan", "Sergiu", "Carolina", "Rares", "Diana", "Catalin", "Paul", "Anis", "Andrei")
# where the 17 joints stand among the 32
PLACES = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
BITS, FPS = 12, 50
# k1, k2, k3 and p1, p2 of the four lenses: of the size of Human3.6M's
RADIAL = ((-0.207, 0.248, -0.003), (-0.194, 0.240, 0.007), (-0.208, 0.255, -0.002), (-0.198, 0.218, -0.009))
TANGENTIAL = ((-0.0014, -0.0010), (-0.0027, -0.0016), (-0.0008, 0.0015), (-0.0018, -0.0006))


def camera_matrix(camera: Any) -> np.ndarray:
    """OpenCV's matrix of anything with f_px and c_px."""
    (fx, fy), (cx, cy) = camera.f_px, camera.c_px
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@dataclass
class Lens:
    """A camera as filmed with: x_cam = R (x - T), then OpenCV's distortion."""

    R: np.ndarray
    T_mm: np.ndarray
    f_px: np.ndarray
    c_px: np.ndarray
    k: np.ndarray
    p: np.ndarray
    width: int
    height: int

    @property
    def opencv(self) -> tuple[np.ndarray, np.ndarray]:
        return camera_matrix(self), np.array([self.k[0], self.k[1], self.p[0], self.p[1], self.k[2]])

    def project(self, points_mm: np.ndarray) -> np.ndarray:
        turn, _ = cv2.Rodrigues(self.R)
        matrix, distortion = self.opencv
        flat = np.ascontiguousarray(points_mm.reshape(-1, 3))
        pixels, _ = cv2.projectPoints(flat, turn, -self.R @ self.T_mm, matrix, distortion)
        return pixels.reshape(*points_mm.shape[:-1], 2)


@dataclass
class Recording:
    """One sequence: its name in files, 17 and 32 joints in the world (mm), and per camera frames (RGB) and masks."""

    prefix: str
    joints_mm: np.ndarray
    joints32_mm: np.ndarray
    frames: dict[int, list[np.ndarray]] = field(default_factory=dict)
    masks: dict[int, list[np.ndarray]] = field(default_factory=dict)


@dataclass
class Official:
    """The extracted official tree under `root`, and what it was made of."""

    root: Path
    lenses: dict[tuple[int, int], Lens] = field(default_factory=dict)
    takes: dict[tuple[int, int, int], Recording] = field(default_factory=dict)

    def video(self, subject: int, action: int, subaction: int, camera: int) -> Path:
        return self._file(subject, "Videos", action, subaction, camera, "mp4")

    def masks(self, subject: int, action: int, subaction: int, camera: int, kind: str = "bs") -> Path:
        return self._file(subject, f"MySegmentsMat/ground_truth_{kind}", action, subaction, camera, "mat")

    def poses(self, subject: int, action: int, subaction: int, kind: str = "D3_Positions", camera: int = 0) -> Path:
        return self._file(subject, f"MyPoseFeatures/{kind}", action, subaction, camera, "cdf")

    def _file(self, subject: int, kind: str, action: int, subaction: int, camera: int, suffix: str) -> Path:
        name = self.takes[subject, action, subaction].prefix + (f".{CAMERA_NAMES[camera - 1]}" if camera else "")
        return self.root / f"S{subject}" / kind / f"{name}.{suffix}"


def write_official(
    root: Path,
    *,
    subjects: tuple[int, ...] = (1,),
    acts: tuple[int, ...] = (2,),
    subacts: tuple[int, ...] = (1, 2),
    cameras: tuple[int, ...] = (1, 2, 3, 4),
    frames: int = 12,
    size: int = 128,
) -> Official:
    """Film people and write everything: videos, three kinds of poses, masks and boxes, metadata.xml.

    Cameras 1 and 4 have two rows more than the others, which have `size` x `size` pixels.
    """
    official = Official(root)
    body = load_body(BODY)
    for subject in subjects:
        session = open_session(body, subject, seed=3, size=size + 2, cameras=cameras)
        for number in cameras:
            seen = session.views[number].camera
            # the lenses are the same for all subjects
            first = official.lenses.get((subjects[0], number), seen)
            k, p = np.array(RADIAL[number - 1]), np.array(TANGENTIAL[number - 1])
            height = size + 2 if number in (1, 4) else size
            official.lenses[subject, number] = Lens(seen.R, seen.T_mm, first.f_px, first.c_px, k, p, size, height)
        for action in acts:
            for subaction in subacts:
                take = perform(session, action, subaction, frames=frames, fps=10.0)
                prefix = file_prefix(subject, action, subaction)
                record = Recording(prefix, take.joints_world_mm, all_joints(take.joints_world_mm))
                for index in range(frames):
                    for number, (image, mask) in film(session, take, index).items():
                        lens = official.lenses[subject, number]
                        ideal = camera_matrix(session.views[number].camera)
                        filmed = warped(image, ideal, lens, cv2.INTER_LINEAR)
                        record.frames.setdefault(number, []).append(stamped(filmed, index + 1))
                        cut = warped(mask, ideal, lens, cv2.INTER_NEAREST)
                        record.masks.setdefault(number, []).append(cut >= 128)
                official.takes[subject, action, subaction] = record
    write_files(official)
    write_metadata(official, root / "metadata.xml")
    return official


def file_prefix(subject: int, action: int, subaction: int) -> str:
    """Names as irregular as the real ones: spellings and numbers vary with the subject."""
    name = ACTS[action - 1]
    if subject == 1:
        name = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog"}.get(name, name)
    endings = ((" 1", ""), ("", " 1"), (" 1", " 2"), (" 3", " 2"), ("", " 2"))[(3 * subject + action) % 5]
    return name + endings[subaction - 1]


def all_joints(joints_mm: np.ndarray) -> np.ndarray:
    """32 joints: the 17 at their places, doubles and ends of limbs in between."""
    rng = np.random.default_rng(len(joints_mm))
    full = joints_mm[:, :1] + rng.normal(0, 300, (len(joints_mm), 32, 3))
    full[:, PLACES] = joints_mm
    for double, of in ((11, 0), (16, 13), (24, 13), (20, 19), (28, 27)):
        full[:, double] = full[:, of]
    return full


def stamped(image: np.ndarray, number: int) -> np.ndarray:
    """Write `number` into the upper edge as bars, black for 0 and white for 1."""
    side = image.shape[1] // (BITS + 1)
    image = image.copy()
    for bit in range(BITS):
        image[:side, bit * side : (bit + 1) * side] = 255 * (number >> bit & 1)
    return image


def number_of(image: np.ndarray) -> int:
    """The number that `stamped` wrote."""
    side = image.shape[1] // (BITS + 1)
    middles = [
        image[side // 4 : -(-3 * side // 4), b * side + side // 4 : (b + 1) * side - side // 4] for b in range(BITS)
    ]
    return sum(int(middle.mean() > 127) << bit for bit, middle in enumerate(middles))


def warped(image: np.ndarray, ideal_matrix: np.ndarray, lens: Lens, method: int) -> np.ndarray:
    """What the lens makes of the picture of an ideal camera at the same place."""
    matrix, distortion = lens.opencv
    v, u = np.mgrid[: lens.height, : lens.width].astype(np.float64)
    places = np.stack([u, v], -1).reshape(-1, 1, 2)
    ideal = cv2.undistortPoints(places, matrix, distortion, P=ideal_matrix).reshape(lens.height, lens.width, 2)
    return cv2.remap(image, ideal.astype(np.float32), None, method, borderMode=cv2.BORDER_REPLICATE)


def write_files(official: Official) -> None:
    """Videos, poses and masks of all takes."""
    for (subject, action, subaction), take in official.takes.items():
        at = (subject, action, subaction)
        write_cdf(official.poses(*at), take.joints32_mm)
        for number, frames in take.frames.items():
            lens = official.lenses[subject, number]
            write_video(official.video(*at, number), frames)
            write_cdf(official.poses(*at, "D3_Positions_mono", number), (take.joints32_mm - lens.T_mm) @ lens.R.T)
            write_cdf(official.poses(*at, "D2_Positions", number), lens.project(take.joints32_mm))
            write_masks(official.masks(*at, number), take.masks[number])
            write_masks(official.masks(*at, number, "bb"), [box(mask) for mask in take.masks[number]])


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


def write_metadata(official: Official, path: Path) -> None:
    """metadata.xml with the tables that the real one has, for 11 subjects."""
    root = ElementTree.Element("a")
    order = [(action, subaction) for action in range(1, 17) for subaction in (1, 2)]
    mapping = ElementTree.SubElement(root, "mapping")
    _row(mapping, ["Action", "subaction", *(f"S{s}" for s in range(1, 12))])
    for action, subaction in order:
        _row(mapping, [action, subaction, *(file_prefix(s, action, subaction) for s in range(1, 12))])
    _row(mapping, ["Action", "subaction", *PEOPLE])
    _row(mapping, [None, None, *(_sizes(official, subject) for subject in range(1, 12))])
    frames = ElementTree.SubElement(root, "frames")
    for subject in range(1, 12):
        _row(frames, [None, *(_counts(official, subject, *sequence) for sequence in order)])
    w0 = np.concatenate([_outer(official), _inner(official)])
    ElementTree.SubElement(root, "w0").text = "[" + " ".join(f"{value:.14g}" for value in w0) + "]"
    names = ElementTree.SubElement(ElementTree.SubElement(root, "dbcameras"), "index2id")
    for name in CAMERA_NAMES:
        ElementTree.SubElement(names, "item").text = name
    acts = ElementTree.SubElement(root, "actionnames")
    for name in ("Miscellaneous", *ACTS[1:]):
        ElementTree.SubElement(acts, "item").text = name
    ElementTree.indent(root, "   ")
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _row(table: ElementTree.Element, cells: list) -> None:
    row = ElementTree.SubElement(table, "tr")
    for cell in cells:
        ElementTree.SubElement(row, "td").text = None if cell is None else str(cell)


def _sizes(official: Official, subject: int) -> str:
    lenses = [official.lenses.get((subject, number)) for number in range(1, 5)]
    pairs = [f"{lens.height} {lens.width}" if lens else "1002 1000" for lens in lenses]
    return "[" + ";".join(pairs) + "]"


def _counts(official: Official, subject: int, action: int, subaction: int) -> str:
    take = official.takes.get((subject, action, subaction))
    each = [len(take.frames.get(number, ())) if take else 7 for number in range(1, 5)]
    return "[" + " ".join(str(value) for value in [*each, sum(each)]) + "]"


def _outer(official: Official) -> np.ndarray:
    """Angles about x, y and z (in the turned frames) and centre, camera by camera, subject by subject."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(1, 5):
        for subject in range(1, 12):
            lens = official.lenses.get((subject, number))
            angles = Rotation.from_matrix(lens.R).as_euler("XYZ") if lens else rng.uniform(-1, 1, 3)
            rows.append(np.concatenate([angles, lens.T_mm if lens else rng.uniform(-5000, 5000, 3)]))
    return np.concatenate(rows)


def _inner(official: Official) -> np.ndarray:
    """Focal lengths, principal point, k, p of each camera: shared by all subjects, so the first one's are written."""
    rows = []
    for number in range(1, 5):
        lenses = [lens for (_, camera), lens in official.lenses.items() if camera == number]
        rows.append(
            np.concatenate([lenses[0].f_px, lenses[0].c_px, lenses[0].k, lenses[0].p]) if lenses else np.ones(9)
        )
    return np.concatenate(rows)


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
