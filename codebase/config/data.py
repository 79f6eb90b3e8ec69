"""Sections on data: where it lies, who is in which split, how crops are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from codebase.config.base import Section

H36M_SUBJECTS = (1, 5, 6, 7, 8, 9, 11)
H36M_CAMERAS = (1, 2, 3, 4)


class DatasetConfig(Section):
    """Which Human3.6M-style tree is read, and which part of it."""

    kind: Literal["synthetic", "tree", "extract"] = Field(
        "synthetic",
        description="synthetic: the DAG renders the tree; tree: it exists under `root`; extract: the DAG makes it "
        "from other files, see the section `extract`",
    )
    root: Path | None = Field(
        None, description="root of the tree; for synthetic and extract, default: {results}/{name}/dataset"
    )
    masks_root: Path | None = Field(None, description="root of the masks' tree, if it is another than `root`")
    bodies: Path | None = Field(
        None,
        description="folder of S{n}.h5 with SMPL parameters (for synthetic: {dataset}/truth); without it "
        "fit_bodies.use says of whose bodies train_hmr learns, and what vertex metrics are against",
    )
    body: Path = Field(Path("assets/free_body.npz"), description="body file in SMPL layout (npz, or a SMPL pickle)")
    subjects: tuple[PositiveInt, ...] = Field(H36M_SUBJECTS, description="subjects to use")
    acts: tuple[int, ...] = Field(tuple(range(2, 17)), description="Human3.6M action numbers, 2 to 16")
    subacts: tuple[int, ...] = Field((1, 2), description="subactions")
    cameras: tuple[int, ...] = Field(H36M_CAMERAS, description="cameras, 1 to 99; Human3.6M has 1 to 4")

    @model_validator(mode="after")
    def _root_is_given(self) -> DatasetConfig:
        if self.kind == "tree" and self.root is None:
            raise ValueError("dataset.kind is 'tree', so dataset.root must name the tree's folder")
        for name in ("subjects", "acts", "subacts", "cameras"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values) or not all(0 < value < 100 for value in values):
                raise ValueError(f"dataset.{name} must list at least one value from 1 to 99, each once")
        if self.kind != "tree" and self.masks_root is not None:
            raise ValueError(
                f"dataset.masks_root is for dataset.kind 'tree': {self.kind} puts masks into the tree itself"
            )
        if self.kind == "synthetic" and not set(self.cameras) <= set(H36M_CAMERAS):
            raise ValueError("dataset.cameras of a synthetic dataset are 1 to 4")
        return self


class Selection(Section):
    """A part of the dataset: subjects x acts x subacts, every n-th frame."""

    subjects: tuple[PositiveInt, ...] = Field(description="subjects of this split")
    acts: tuple[int, ...] | None = Field(None, description="acts; null means all of dataset.acts")
    subacts: tuple[int, ...] | None = Field(None, description="subactions; null means all of dataset.subacts")
    every: PositiveInt = Field(1, description="keep frames with (frame - 1) % every == 0")


class SplitConfig(Section):
    """Who trains, who validates, who tests. Test subjects may stand in no other split."""

    train: Selection = Selection(subjects=(1, 5, 6, 7), every=5)
    val: Selection = Selection(subjects=(8,), every=20)
    test: Selection = Selection(subjects=(9, 11), every=20)
    known_flaws: Literal["keep", "exclude_from_test", "exclude"] = Field(
        "keep",
        description="three sequences of Human3.6M's S9 whose ground truth drifts (docs/datasets.md): keep them, leave "
        "them out of the test split, or out of every split; nothing to a synthetic dataset or another rig",
    )

    @model_validator(mode="after")
    def _no_leak(self) -> SplitConfig:
        shared = set(self.test.subjects) & (set(self.train.subjects) | set(self.val.subjects))
        if shared:
            raise ValueError(f"subjects {sorted(shared)} stand in split.test and in another split")
        return self

    @property
    def subjects(self) -> tuple[int, ...]:
        """All subjects of all splits, sorted."""
        return tuple(sorted({*self.train.subjects, *self.val.subjects, *self.test.subjects}))


class SynthesizeConfig(Section):
    """The miniature Human3.6M."""

    seed: int = Field(0, ge=0)
    image_size: PositiveInt = Field(256, description="frames are image_size x image_size pixels")
    frames: PositiveInt = Field(16, description="frames of each sequence")
    fps: PositiveFloat = Field(5.0, description="frames per second of motion")
    jpeg_quality: int = Field(92, ge=30, le=100)


Door = Literal["official", "h36m_fetch", "videopose3d", "course", "rig"]


class ExtractConfig(Section):
    """Where the frames come from with dataset.kind extract: docs/datasets.md says what each door reads."""

    door: Door = Field("official", description="kind of source; official: Human3.6M's own archives or extracted tree")
    source: Path | None = Field(None, description="folder of the source files; required with dataset.kind extract")
    every: PositiveInt = Field(
        1, description="write frames with (frame - 1) % every == 0; every other `every` must be a multiple of it"
    )
    every_of: dict[PositiveInt, PositiveInt] = Field(
        {}, description="another `every` for some subjects: {9: 1, 11: 1} keeps all frames of the test subjects"
    )
    jpeg_quality: int = Field(95, ge=30, le=100, description="of frames that are not JPEGs already")
    masks: Literal["silhouettes", "boxes", "none", "difference"] = Field(
        "silhouettes",
        description="silhouettes or boxes: of the source; difference: where the source has none, from the background",
    )
    metadata: Path | None = Field(
        None,
        description="Human3.6M's metadata.xml; official: default the one found under `source`; videopose3d: required; "
        "h36m_fetch and course: without it cameras are placed by aligning poses",
    )
    frames: Path | None = Field(
        None,
        description="videopose3d: folder of frames (a jpg tree, or folders S1/Videos); course: folder of S1/Images; "
        "default: `source`",
    )
    masks_root: Path | None = Field(
        None, description="h36m_fetch, videopose3d, course: a tree of masks named as the dataset tree's"
    )
    intrinsics: Path | None = Field(
        None, description="course: JSON of the cameras' intrinsics; default: S{n}/cam_params.json, else Human3.6M's"
    )

    @model_validator(mode="after")
    def _official_masks_are_files(self) -> ExtractConfig:
        if self.door == "official" and self.masks == "difference":
            raise ValueError("extract.masks of the official door are silhouettes, boxes or none: its masks are files")
        return self


class BackgroundsConfig(Section):
    """Per-pixel median over a subject's frames."""

    every: PositiveInt = Field(64, description="keep frames with (frame - 1) % every == 0")
    mask_people: bool = Field(
        False, description="leave pixels that a mask calls person out of the median; where no frame remains, all count"
    )


class CropsConfig(Section):
    """Square crops about the root joint: the projection of a fronto-parallel square at root depth."""

    size: PositiveInt = Field(128, description="side of a crop, pixels")
    box_mm: PositiveFloat = Field(2000.0, description="side of the square about the root that a crop shows, mm")
    storage: Literal["raw", "jpeg"] = Field(
        "raw", description="raw: images as they are; jpeg: about a fifth of the bytes, and slower to read"
    )
    backgrounds: Literal["each", "rooms"] = Field(
        "each",
        description="each: the background of every crop is stored, fastest to read; rooms: it is cut out of the "
        "camera's room whenever it is read, which takes half the bytes and more time",
    )
    jpeg_quality: int = Field(95, ge=50, le=100, description="of `storage: jpeg`; colours stay at full resolution")
