"""The whole config, and which sections each stage depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from codebase.config.base import Section, load_config
from codebase.config.bodies import FitBodiesConfig
from codebase.config.data import (
    BackgroundsConfig,
    CropsConfig,
    DatasetConfig,
    ExtractConfig,
    SplitConfig,
    SynthesizeConfig,
)
from codebase.config.hmr import hmr_network
from codebase.config.image_pose import ImagePoseConfig
from codebase.config.labels import LabelsConfig, RivalConfig, unfit
from codebase.config.learning import EmbedConfig, EncDecConfig, HmrConfig, PoseConfig, PriorConfig, SmplConfig
from codebase.config.outputs import EvaluateConfig, PredictConfig, ReportConfig


class RuntimeConfig(Section):
    """How stages run here. Changes no result, so it is in no digest."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt = Field(2, description="compute threads of a training stage; rules ask for as many cores")
    workers: PositiveInt = Field(1, description="processes of a stage that renders or decodes frames")
    scratch: Path | None = Field(
        None,
        description="a disk of each host, such as /scratch or $TMPDIR, to which trainings copy their crops; null: "
        "they read them where they lie",
    )


class Config(Section):
    """One run of the DAG."""

    name: str = Field(description="names the folder {results}/{name}", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    results: Path = Field(Path("results"), description="folder of all results")
    data_from: Path | None = Field(
        None, description="folder of a run whose dataset, backgrounds, index and crops are used; none is made here"
    )
    runtime: RuntimeConfig = RuntimeConfig()
    dataset: DatasetConfig = DatasetConfig()
    split: SplitConfig = SplitConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    extract: ExtractConfig = ExtractConfig()
    backgrounds: BackgroundsConfig = BackgroundsConfig()
    crops: CropsConfig = CropsConfig()
    fit_bodies: FitBodiesConfig = FitBodiesConfig()
    enc_dec: EncDecConfig = EncDecConfig()
    embed: EmbedConfig = EmbedConfig()
    pose: PoseConfig = PoseConfig()
    image_pose: ImagePoseConfig = ImagePoseConfig()
    labels: LabelsConfig = LabelsConfig()
    rivals: dict[str, RivalConfig] = Field({}, description="other representations for the label sweep, by name")
    prior: PriorConfig = PriorConfig()
    smpl: SmplConfig = SmplConfig()
    hmr: HmrConfig = HmrConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _splits_lie_in_dataset(self) -> Config:
        for split in ("train", "val", "test"):
            selection = getattr(self.split, split)
            for name in ("subjects", "acts", "subacts"):
                extra = set(getattr(selection, name) or ()) - set(getattr(self.dataset, name))
                if extra:
                    raise ValueError(f"split.{split}.{name} names {sorted(extra)}, which dataset.{name} lacks")
        for stage in ("pose", "image_pose", "smpl", "hmr"):
            unknown = set(getattr(self, stage).label_subjects or ()) - set(self.split.train.subjects)
            if unknown:
                raise ValueError(f"{stage}.label_subjects names {sorted(unknown)}, not in split.train.subjects")
        if problem := unfit(self):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _mirrored_images_are_embedded(self) -> Config:
        for stage in ("pose", "smpl"):
            if getattr(self, stage).mirror and not self.embed.mirrored:
                raise ValueError(
                    f"{stage}.mirror learns from mirrored images, which embed.mirrored: false leaves out: "
                    f"set embed.mirrored to true or {stage}.mirror to 0"
                )
        return self

    @model_validator(mode="after")
    def _extracted_frames_suffice(self) -> Config:
        if self.dataset.kind != "extract":
            return self
        if self.extract.source is None:
            raise ValueError("dataset.kind is 'extract', so extract.source must name the folder of the source files")
        of_subject = {s: self.extract.every_of.get(s, self.extract.every) for s in self.split.subjects}
        wanted = {f"split.{n}.every": (getattr(self.split, n).every, getattr(self.split, n).subjects)
                  for n in ("train", "val", "test")}  # fmt: skip
        for key, (every, subjects) in (wanted | {"backgrounds.every": (self.backgrounds.every, of_subject)}).items():
            for subject in subjects:
                if every % of_subject[subject]:
                    raise ValueError(
                        f"{key} is {every}, but extract.every is {of_subject[subject]} for S{subject}: most of those "
                        f"frames would not be there; set {key} to a multiple of extract.every (or see extract.every_of)"
                    )
        return self


# The sections whose digest stands in the params of a stage's rule: editing another section re-runs nothing.
STAGE_SECTIONS: dict[str, tuple[str, ...]] = {
    "synthesize": ("dataset", "synthesize"),
    "extract": ("dataset", "extract"),
    "backgrounds": ("dataset", "backgrounds"),
    "index": ("dataset", "split"),
    "crops": ("dataset", "crops"),
    "fit_bodies": ("fit_bodies",),
    "train_enc_dec": ("enc_dec",),
    "embed": ("embed",),
    "train_pose": ("pose",),
    "train_image_pose": ("image_pose",),
    "measure_labels": ("labels", "evaluate"),
    "label_sweep": ("labels", "evaluate"),
    "train_prior": ("prior",),
    "train_smpl": ("smpl",),
    "train_hmr": ("hmr",),
    "predict": ("predict",),
    "evaluate": ("evaluate",),
    "report": ("report",),
}

# Stages that make what they make of one subject, whoever else is in the dataset.
OF_ONE_SUBJECT = ("synthesize", "extract", "backgrounds", "crops")


def read_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read and validate a whole config."""
    return load_config(Config, path, overrides)


def split_digest(config: Config, split: str) -> str:
    """12 hex digits of what the index of one split (train, val or test) depends on."""
    chosen = config.split.model_dump(mode="json", include={split, "known_flaws"})
    if config.split.known_flaws == "exclude_from_test" and split != "test":
        chosen["known_flaws"] = "keep"
    dataset = config.dataset.model_dump(mode="json", exclude={"body", "bodies"})
    return hashlib.sha256(json.dumps([chosen, dataset], sort_keys=True).encode()).hexdigest()[:12]


def stage_digest(config: Config, stage: str) -> str:
    """12 hex digits of the sections that `stage` depends on."""
    # files that rules list as inputs; in the digest they would re-run stages that never open them
    files = {"body", "bodies"}
    # one more subject leaves what was made of the others alone
    others = {"subjects"} if stage in OF_ONE_SUBJECT else set()
    spread = {"gpus", "nodes"}
    parts = {
        name: getattr(config, name).model_dump(mode="json", exclude=files | others if name == "dataset" else spread)
        for name in STAGE_SECTIONS[stage]
    }
    if stage == "train_hmr":
        # with the encoder that it takes over, where it does
        parts["hmr"] = hmr_network(config.hmr, config.enc_dec).model_dump(mode="json", exclude=spread)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
