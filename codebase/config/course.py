"""The course project's YAML (configs/modelfinal.yaml): its own keys, strict, and what they are called in our schema."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from codebase.config.base import Section, load_config, validate_config
from codebase.config.learning import Backbone, HmrConfig
from codebase.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent
PRESETS = ROOT / "configs" / "presets"
# Keys that tell the two kinds of config apart: none of them is a section of ours.
_MARKS = frozenset({"trainer", "out_dir", "training", "loss", "data", "model"})
# What the course's own keys say of the section `hmr`; said there as well, it would be said twice.
_SAID = {
    "steps": "training.epochs", "batch_size": "training.batch_size", "learning_rate": "training.optimizer.lr",
    "optimizer": "training.optimizer.name", "log_every": "training.print_every",
    "validate_every": "training.validate_every", "save_every": "training.checkpoint_every",
    "backbone": "model.backbone", "regressor": "model.regressor", "v2v_l1_weight": "loss.v2v_l1_w",
    "v2v_l2_weight": "loss.v2v_l2_w", "betas_weight": "loss.betas_l2_w", "pose_body_weight": "loss.pose_body_l2_w",
    "pose_hand_weight": "loss.pose_hand_l2_w", "label_subjects": "data.train_subjects", "name": "out_dir",
}  # fmt: skip


class CourseModel(Section):
    """The network."""

    name: Literal["conv"] = "conv"
    backbone: Backbone | None = Field(None, description="null: the preset's")
    regressor: Literal["iterative", "simple", "attention"] | None = Field(None, description="null: the preset's")
    in_ch: PositiveInt | None = Field(None, description="channels of the image; it has 3, whatever this says")
    out_ch: PositiveInt | None = Field(None, description="parameters of a body; there are 82, whatever this says")


class CourseOptimizer(Section):
    """The optimiser."""

    name: Literal["Adam", "SGD"] = "Adam"
    lr: PositiveFloat = 1e-4


class CourseTraining(Section):
    """The schedule; `_every` count optimiser steps."""

    print_every: PositiveInt = 100
    validate_every: PositiveInt = 5000
    checkpoint_every: PositiveInt = 5000
    epochs: PositiveInt = 10
    optimizer: CourseOptimizer = CourseOptimizer()
    batch_size: PositiveInt = 64
    num_workers: int = Field(4, ge=0, description="threads that decode images, processes that read npz")
    model_selection_metric: Literal["v2v_l2", "v2v_l1", "pve", "mpjpe", "pa_mpjpe"] = Field(
        "v2v_l2", description="of the validation, by which model_best.pt is chosen; lowest is best"
    )


class CourseLoss(Section):
    """Losses that are switched on, and their weights."""

    v2v_l1: bool = False
    v2v_l1_w: NonNegativeFloat = 1.0
    v2v_l2: bool = False
    v2v_l2_w: NonNegativeFloat = 1.0
    betas_l2: bool = False
    betas_l2_w: NonNegativeFloat = 1.0
    pose_body_l2: bool = False
    pose_body_l2_w: NonNegativeFloat = 1.0
    pose_hand_l2: bool = False
    pose_hand_l2_w: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _one_is_on(self) -> CourseLoss:
        if not any(self.weights().values()):
            raise ValueError("no loss is on: set v2v_l1 or v2v_l2 to true")
        return self

    def weights(self) -> dict[str, float]:
        """The weights as `hmr` calls them; 0 for a loss that is off."""
        named = {"betas": "betas_l2", "pose_body": "pose_body_l2", "pose_hand": "pose_hand_l2"}
        named |= {"v2v_l1": "v2v_l1", "v2v_l2": "v2v_l2"}
        return {
            f"{ours}_weight": getattr(self, f"{theirs}_w") if getattr(self, theirs) else 0.0
            for ours, theirs in named.items()
        }


class CourseData(Section):
    """Where frames and bodies lie, and who is in which split."""

    dataset: Literal["base"] = "base"
    resy: PositiveInt = Field(256, description="height of the crops, px")
    resx: PositiveInt = Field(256, description="width of the crops, px")
    train_subjects: tuple[str, ...] = Field(("S1", "S5", "S6", "S7"), description='such as "S1,S5,S6,S7", or a list')
    val_subjects: tuple[str, ...] = ("S8",)
    test_subjects: tuple[str, ...] = Field(("S9", "S11"), description="ours: the course wrote them into its code")
    dataset_folder: Path = Field(description="holds S1/<action>.<camera>/<frame>.npz")
    img_folder: Path = Field(description="holds S1/Images/<action>.<camera>/000001.jpg")
    bm_path: Path = Field(description="the body: an npz (model.npz) or any body file in SMPL layout")
    intrinsics: Path | None = Field(
        None, description="ours: JSON list of cameras; null: S1/cam_params.json of dataset_folder, else Human3.6M's"
    )

    @field_validator("train_subjects", "val_subjects", "test_subjects", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        names = value.split(",") if isinstance(value, str) else value
        names = [str(name).strip() for name in names] if isinstance(names, list | tuple) else names
        bad = [n for n in names if not (n[:1] == "S" and n[1:].isdigit())] if isinstance(names, list) else []
        if bad or names == [] or (isinstance(names, list) and len(set(names)) != len(names)):
            raise ValueError("must name subjects, each once: S1,S5,S6")
        return tuple(names) if isinstance(names, list) else names


class CourseLaunch(Section):
    """Ours: what `bash train.sh bsub CONFIG` asks LSF for. The defaults are the course's line, word for word."""

    cores: PositiveInt = 6
    minutes: PositiveInt = Field(5760, description="wall time")
    mem_mb_per_core: PositiveInt = 4096
    gpus: int = Field(1, ge=0)
    gpu_syntax: Literal["rusage", "gpu"] = Field(
        "rusage", description='rusage: ngpus_excl_p, as the course did; gpu: -gpu "num=1", of LSF 10'
    )
    gpu_model: str = Field("", description="as the site names it; empty: any")
    gpu_memory_mb: int = Field(0, ge=0, description="least memory of the GPU; 0: any")
    queue: str = ""
    account: str = ""
    output: str = Field("out.txt", description="file of what the job says; it lies in codebase/")
    requeue: bool = Field(False, description="-Q 75: run again when it stopped before its time limit, its state saved")


class CourseConfig(Section):
    """configs/modelfinal.yaml: the course's keys, and three sections of ours (preset, hmr, launch)."""

    trainer: Literal["conv"] = "conv"
    out_dir: Path
    device: Literal["cpu", "cuda", "auto"] = "cuda"
    model: CourseModel = CourseModel()
    training: CourseTraining = CourseTraining()
    loss: CourseLoss
    data: CourseData
    preset: str = Field("eth2021", description="ours: configs/presets/NAME.yaml, whose section hmr is built on")
    hmr: dict[str, Any] = Field({}, description="ours: further keys of the section hmr (docs/config.md)")
    prior: Path | None = Field(
        None, description="ours: checkpoint of the stage train_prior, for hmr: {prior_weight: ...}"
    )
    launch: CourseLaunch = CourseLaunch()

    def section(self, frames: int) -> HmrConfig:
        """The section `hmr` that the keys mean, for a training split of so many frames.

        Raises:
            ConfigError: there is no such preset, or a key of `hmr` is refused or already said by a key of the course,
                or the network begins with an encoder that cannot see course data.
        """
        twice = sorted(set(self.hmr) & set(_SAID))
        if twice:
            raise ConfigError(
                f"hmr.{twice[0]} is said by {_SAID[twice[0]]}.", where="hmr", expected="other keys of the section hmr",
                mend=f"set {_SAID[twice[0]]}, and leave hmr.{twice[0]} out",
            )  # fmt: skip
        training = self.training
        said: dict[str, Any] = {
            "name": "hmr",
            "steps": math.ceil(training.epochs * frames / training.batch_size),
            "batch_size": training.batch_size,
            "learning_rate": training.optimizer.lr,
            "optimizer": training.optimizer.name.lower(),
            "log_every": training.print_every,
            "validate_every": training.validate_every,
            "save_every": training.checkpoint_every,
            **self.loss.weights(),
        }
        chosen = {"backbone": self.model.backbone, "regressor": self.model.regressor}
        said |= {key: value for key, value in chosen.items() if value is not None}
        # the course's networks answer in the camera's frame
        merged = {"frame": "camera", **self._preset(), **self.hmr, **said}
        section = validate_config(HmrConfig, merged, where="hmr", expected="the keys of hmr in docs/config.md")
        if section.start == "enc_dec":
            raise ConfigError(
                "hmr.start is enc_dec, whose encoder sees a picture beside the empty scene of its camera, and course "
                "data has no empty scenes.",
                where=f"hmr.start ({'hmr' if 'start' in self.hmr else f'preset {self.preset}'})",
                expected="scratch: an encoder that is trained here, or one with published weights",
                mend="set hmr: {start: scratch, encoder_rate: 1.0}, or train on a dataset tree by the workflow",
            )
        return section

    def _preset(self) -> dict[str, Any]:
        sections = {p.stem: yaml.safe_load(p.read_text(encoding="utf-8")).get("hmr") for p in PRESETS.glob("*.yaml")}
        networks = {name: section for name, section in sections.items() if section and "backbone" in section}
        if self.preset not in networks:
            raise ConfigError(
                f"There is no preset {self.preset!r} with a network.",
                where="preset",
                expected=", ".join(sorted(networks)),
            )
        return networks[self.preset]


def is_course(path: Path) -> bool:
    """Whether a config is the course's: by its keys. A file that cannot be read is not; ours says why."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(data, dict) and "name" not in data and bool(_MARKS & set(data))


def read_course_config(path: Path, overrides: tuple[str, ...] | list[str] = ()) -> CourseConfig:
    """Read the course's YAML.

    Relative paths count from the repository's root; data that is not there is also looked for from `codebase/`, where
    the course's commands ran.

    Raises:
        ConfigError: a key or a value is refused; unknown keys are named with the nearest valid one.
    """
    config = load_config(CourseConfig, path, overrides, expected="the keys of docs/course.md")
    config.section(1)
    found = {name: _from_codebase(getattr(config.data, name)) for name in ("dataset_folder", "img_folder", "bm_path")}
    return config.model_copy(update={"data": config.data.model_copy(update=found)})


def _from_codebase(path: Path) -> Path:
    beside = ROOT / "codebase" / path
    return beside.resolve() if not path.exists() and beside.exists() else path
