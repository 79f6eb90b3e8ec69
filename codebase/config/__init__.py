"""The one schema: strict, frozen, free of heavy imports (the DAG is built from it)."""

from codebase.config.base import Section, apply_overrides, load_config, nearest, to_yaml, validate_config
from codebase.config.bodies import FitBodiesConfig
from codebase.config.data import (
    BackgroundsConfig,
    CropsConfig,
    DatasetConfig,
    ExtractConfig,
    Selection,
    SplitConfig,
    SynthesizeConfig,
)
from codebase.config.hmr import HmrNetwork, hmr_network
from codebase.config.image_pose import ImageNetwork, ImagePoseConfig, image_network
from codebase.config.labels import LabelsConfig, Point, RivalConfig, labels_of, point_settings, point_words, points
from codebase.config.learning import (
    EmbedConfig,
    EncDecConfig,
    HmrConfig,
    PoseConfig,
    PriorConfig,
    SmplConfig,
    TrainConfig,
)
from codebase.config.outputs import EvaluateConfig, PredictConfig, ReportConfig
from codebase.config.rivals import point_digest, point_section, rival_config
from codebase.config.root import STAGE_SECTIONS, Config, read_config, split_digest, stage_digest

__all__ = [
    "STAGE_SECTIONS",
    "BackgroundsConfig",
    "Config",
    "CropsConfig",
    "DatasetConfig",
    "EmbedConfig",
    "EncDecConfig",
    "EvaluateConfig",
    "ExtractConfig",
    "FitBodiesConfig",
    "HmrConfig",
    "HmrNetwork",
    "ImageNetwork",
    "ImagePoseConfig",
    "LabelsConfig",
    "Point",
    "PoseConfig",
    "PredictConfig",
    "PriorConfig",
    "ReportConfig",
    "RivalConfig",
    "Section",
    "Selection",
    "SmplConfig",
    "SplitConfig",
    "SynthesizeConfig",
    "TrainConfig",
    "apply_overrides",
    "hmr_network",
    "image_network",
    "labels_of",
    "load_config",
    "nearest",
    "point_digest",
    "point_section",
    "point_settings",
    "point_words",
    "points",
    "read_config",
    "rival_config",
    "split_digest",
    "stage_digest",
    "to_yaml",
    "validate_config",
]
