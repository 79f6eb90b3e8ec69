"""rig.json: a calibrated rig of cameras and what it recorded. The schema; `codebase/data/doors/rig.py` reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from codebase.config.base import Section

Numbers = tuple[float, ...]
Axis = Literal["x", "-x", "y", "-y", "z", "-z"]
Unit = Literal["mm", "cm", "m"]


class RigWorld(Section):
    """The world of the calibration and of the joints."""

    up: Axis = Field("z", description="which of its axes points up; the tree's world is turned to z up")
    unit: Unit = Field("mm", description="unit of t, of joints and of roots; the tree's is mm")


class RigCalibration(Section):
    """A file of calibrations in somebody's format."""

    format: Literal["opencv", "panoptic", "mpi_inf_3dhp"] = Field(
        description='opencv: {"cameras": [...]} with entries as `cameras` here; panoptic: CMU\'s calibration_*.json; '
        "mpi_inf_3dhp: Skeletool's camera.calibration"
    )
    file: Path = Field(description="relative to rig.json")
    cameras: dict[str, PositiveInt] | None = Field(
        None, description="name in the file: camera number, 1 to 99; null: all of the file, from 1 in its order"
    )


class RigCamera(Section):
    """One camera in OpenCV's conventions: x_cam = R x_world + t; x right, y down, z forward; pixel centres integer."""

    name: str = Field(description="what the views of sequences call it")
    number: PositiveInt | None = Field(None, description="number in the tree, 1 to 99; null: its place in the list")
    size: tuple[PositiveInt, PositiveInt] = Field(description="width and height of its pictures, px")
    K: tuple[Numbers, Numbers, Numbers] = Field(description="[[fx, 0, cx], [0, fy, cy], [0, 0, 1]], px")
    dist: Numbers = Field((), description="k1, k2, p1, p2, k3, or the first few of them; no rational or fisheye model")
    R: tuple[Numbers, Numbers, Numbers] = Field(description="rotation from world to camera")
    t: Numbers = Field(description="in the world's unit; the camera's centre is -R^T t")

    @field_validator("K", "R")
    @classmethod
    def _three_by_three(cls, value: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        if any(len(row) != 3 for row in value):
            raise ValueError("must have 3 rows of 3 numbers")
        return value

    @field_validator("t")
    @classmethod
    def _three(cls, value: Numbers) -> Numbers:
        if len(value) != 3:
            raise ValueError("must have 3 numbers")
        return value

    @field_validator("dist")
    @classmethod
    def _at_most_five(cls, value: Numbers) -> Numbers:
        if len(value) > 5 and any(value[5:]):
            raise ValueError(
                f"has {len(value)} numbers; OpenCV's model of 5 (k1, k2, p1, p2, k3) is read, none beyond: calibrate "
                "without CALIB_RATIONAL_MODEL, CALIB_THIN_PRISM_MODEL and CALIB_TILTED_MODEL, or undistort the pictures"
            )
        return value


class RigTrack(Section):
    """Positions over the instants of a sequence, world frame.

    The file is .json ({"joints": [[[x, y, z], ...], ...], "names": [...], "instants": [...]}) or .npz with arrays of
    these names, or .npy with the joints alone. Without `names` the joints are the 17 of Human3.6M in our order, or one
    (the root); without `instants` the rows are instants 1, 2, 3 ... NaN (null) where unknown.
    """

    file: Path = Field(description="relative to rig.json")
    key: str = Field("joints", description="the array's name in the file")
    unit: Unit | None = Field(None, description="null: the world's")


class RigView(Section):
    """What one camera recorded of a sequence: pictures or a video."""

    images: str | None = Field(
        None, description="pictures, as a path with one number in it: S1/walk/left/%06d.png; relative to rig.json"
    )
    video: Path | None = Field(None, description="a video; its pictures count from 1")
    first: NonNegativeInt = Field(
        1, description="number of the picture that shows the sequence's first instant: 0 for names from 000000; more "
        "for a camera that started earlier than the others"
    )  # fmt: skip
    masks: str | None = Field(None, description="masks, as `images` and with the same numbers; person >= 128")
    boxes: Path | None = Field(
        None, description="the person's box in each picture, .json or .npy, rows (instants) of x, y, width, height, px"
    )

    @model_validator(mode="after")
    def _one_source(self) -> RigView:
        if (self.images is None) == (self.video is None):
            raise ValueError("must name either `images` or `video`")
        if self.video is not None and self.first < 1:
            raise ValueError("`first` must be 1 or more: the pictures of a video count from 1")
        for name in ("images", "masks"):
            pattern = getattr(self, name)
            if pattern is not None and not is_pattern(pattern):
                raise ValueError(f"`{name}` must have one number in the file's name, written %d or %06d: {pattern!r}")
        return self


class RigSequence(Section):
    """One recording by several cameras at once."""

    subject: PositiveInt
    act: PositiveInt = Field(description="number of the act, 1 to 99 (Human3.6M's names belong to 2 to 16)")
    subact: PositiveInt = 1
    fps: PositiveFloat | None = Field(None, description="instants a second; a video of another rate is left out")
    views: dict[str, RigView] = Field(description="by the camera's name")
    joints: RigTrack | None = Field(None, description="joints where they are known; without, instants are root only")
    roots: RigTrack | None = Field(
        None, description="the root's places, where joints are not known; without them: boxes, then masks"
    )


class Rig(Section):
    """A calibrated rig and its recordings."""

    world: RigWorld | None = Field(
        None, description="null: z up and mm; -y up and cm for panoptic; y up and mm for mpi_inf_3dhp"
    )
    cameras: tuple[RigCamera, ...] | None = Field(None, description="the calibration itself, or `calibration`")
    calibration: RigCalibration | None = None
    sequences: tuple[RigSequence, ...]
    difference: bool = Field(
        True, description="where a view has no masks: the difference from the median of the camera's pictures"
    )
    backgrounds: dict[str, Path] = Field(
        {}, description="by the camera's name a picture of the empty room, which replaces that median"
    )

    @model_validator(mode="after")
    def _cameras_once(self) -> Rig:
        if (self.cameras is None) == (self.calibration is None):
            raise ValueError("must hold either `cameras` or `calibration`")
        if not self.sequences:
            raise ValueError("sequences: at least one is needed")
        twice = [
            key for key, count in Counter((s.subject, s.act, s.subact) for s in self.sequences).items() if count > 1
        ]
        if twice:
            raise ValueError(f"sequences: subject, act and subact {twice[0]} stand there more than once")
        for one in self.sequences:
            if not all(number < 100 for number in (one.subject, one.act, one.subact)):
                raise ValueError("sequences: subject, act and subact are numbers from 1 to 99")
        return self


class CameraFile(Section):
    """A calibration file of format `opencv`."""

    cameras: tuple[RigCamera, ...]


def is_pattern(text: str) -> bool:
    """Whether a path has exactly one %d or %06d, in its file's name."""
    head, _, name = text.rpartition("/")
    before, sign, after = name.partition("%")
    digits, d, _ = after.partition("d")
    return bool(sign and d) and "%" not in head + before + after and (not digits or digits.isdigit())
