"""A site said once: the file that `python -m codebase profile` lays over Snakemake's profiles also serves `launch`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from codebase.errors import ConfigError

VARIABLE = "POSEMILL_SITE"
_KEYS = {
    "bsub": {"queue": "lsf_queue", "account": "lsf_project"},
    "sbatch": {"queue": "slurm_partition", "account": "slurm_account"},
}


def apply_site(options: argparse.Namespace) -> None:
    """Fill in from the site's file (--site, or $POSEMILL_SITE) what the command line leaves open.

    Read are `default-resources` (lsf_queue, lsf_project, slurm_partition, slurm_account) and `gpu` (gpu_model, gres, or
    lsf_extra); the other keys are Snakemake's alone.

    Raises:
        ConfigError: the file is not there, or no YAML mapping.
    """
    name = options.site or os.environ.get(VARIABLE, "")
    if not name or options.via == "local":
        return
    site = _read(Path(name))
    via = "bsub" if options.via == "bsub" else "sbatch"
    defaults, gpu = (_mapping(site, key, Path(name)) for key in ("default-resources", "gpu"))
    for option, key in _KEYS[via].items():
        if not getattr(options, option) and defaults.get(key):
            setattr(options, option, _plain(defaults[key]))
    for option, value in gpu_of_site(gpu, via).items():
        if not getattr(options, option):
            setattr(options, option, value)


def gpu_of_site(gpu: Mapping[str, Any], via: str) -> dict[str, str]:
    """`gpu_syntax` and `gpu_model` as the site's key `gpu` says them for Snakemake's plugins."""
    found: dict[str, str] = {}
    text = {key: _plain(value) for key, value in gpu.items()}
    if via == "bsub" and "lsf_extra" in text:
        found["gpu_syntax"] = "rusage" if "ngpus_excl_p" in text["lsf_extra"] else "gpu"
        model = re.search(r"gmodel=([^\s:'\"]+)|gpu_model0==([^\s\]'\"]+)", text["lsf_extra"])
        found |= {"gpu_model": model[1] or model[2]} if model else {}
    if via == "sbatch" and "gres" in text:
        found["gpu_syntax"] = "gres"
        model = re.match(r"gpu:([A-Za-z][\w.-]*):", text["gres"])
        found |= {"gpu_model": model[1]} if model else {}
    if via == "sbatch" and "gpu_model" in text:
        found["gpu_model"] = text["gpu_model"]
    return found


def _plain(value: object) -> str:
    """Without Snakemake's second quotes, and without the end of a line that YAML's `|` leaves."""
    return str(value).strip().strip("'\"")


def _mapping(site: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    found = site.get(key) or {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{key} is no mapping.", where=path, expected=f"{key}: {{name: value}}")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The site file cannot be read: {error}", where=path, mend="see cluster_profiles/sites/"
        ) from None
    if not isinstance(found, dict):
        raise ConfigError("The site file holds no mapping.", where=path, mend="see cluster_profiles/sites/")
    return found
