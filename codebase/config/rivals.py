"""A rival is a config of its own, which the ordinary commands take: other sections, and so other files beside ours."""

from __future__ import annotations

import hashlib
from typing import Any

from codebase.config.base import read_mapping, validate_config
from codebase.config.image_pose import ImagePoseConfig, image_network
from codebase.config.labels import Point, point_settings
from codebase.config.learning import PoseConfig
from codebase.config.root import Config
from codebase.errors import ConfigError

SECTIONS = ("enc_dec", "pose")


def rival_config(config: Config, name: str) -> Config:
    """The config of a rival: this run's with the preset's and the rival's own enc_dec and pose laid over it.

    Other sections of a preset are left aside: only the representation is swapped. It runs on as many GPUs and nodes as
    this run's, and its networks' names differ from this run's, whose files they would overwrite.

    Raises:
        ConfigError: the preset is missing, or a section is refused.
    """
    rival = config.rivals[name]
    where = f"rivals.{name}" + (f" ({rival.preset})" if rival.preset else "")
    preset = read_mapping(rival.preset) if rival.preset else {}
    data: dict[str, Any] = config.model_dump(mode="json")
    for key in SECTIONS:
        ours = data[key]
        over = preset.get(key) or {}
        if not isinstance(over, dict):
            raise ConfigError(f"The section {key} of the preset is no mapping.", where=where)
        data[key] = ours | over | getattr(rival, key)
        data[key] |= {one: ours[one] for one in ("gpus", "nodes")}
        if data[key]["name"] == ours["name"]:
            data[key]["name"] = f"{ours['name']}_{name}"
    if not data["pose"].get("mirror"):  # nobody would read what takes half of the time
        data["embed"] |= {"mirrored": False}
        data["smpl"] |= {"mirror": 0.0}
    return validate_config(Config, data | {"rivals": {}, "labels": {}}, where=where)


def point_section(config: Config, point: Point) -> PoseConfig | ImagePoseConfig:
    """The section that a point is trained with.

    Args:
        config: of the run.
        point: of its sweep.

    Raises:
        ConfigError: a key or value of labels.settings is refused, or a rival's config is, or imagenet has no weights.
    """
    own = rival_config(config, point.representation) if point.representation in config.rivals else config
    data: dict[str, Any] = own.model_dump(mode="json")
    data[point.section] |= point_settings(config, point)
    # the whole config, as the job reads it: what a section needs of others is told before the first job, too
    made = validate_config(Config, data, where=f"labels, {point.representation}: the keys of {point.section}")
    section: PoseConfig | ImagePoseConfig = getattr(made, point.section)
    return section


def point_digest(config: Config, point: Point) -> str:
    """12 hex digits of all settings that a point depends on; how many processes train it is none of them."""
    section = point_section(config, point)
    if isinstance(section, ImagePoseConfig):
        section = image_network(section, config.enc_dec)
    text = section.model_dump_json(exclude={"gpus", "nodes"})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
