"""The one schema: strict, frozen, free of heavy imports (the DAG is built from it)."""

from codebase.config.base import Section, load_config, nearest, to_yaml
from codebase.config.data import (
    BackgroundsConfig,
    CropsConfig,
    DatasetConfig,
    Selection,
    SplitConfig,
    SynthesizeConfig,
)
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
from codebase.config.root import STAGE_SECTIONS, Config, read_config, stage_digest

__all__ = [
    "STAGE_SECTIONS",
    "BackgroundsConfig",
    "Config",
    "CropsConfig",
    "DatasetConfig",
    "EmbedConfig",
    "EncDecConfig",
    "EvaluateConfig",
    "HmrConfig",
    "PoseConfig",
    "PredictConfig",
    "PriorConfig",
    "ReportConfig",
    "Section",
    "Selection",
    "SmplConfig",
    "SplitConfig",
    "SynthesizeConfig",
    "TrainConfig",
    "load_config",
    "nearest",
    "read_config",
    "stage_digest",
    "to_yaml",
]
