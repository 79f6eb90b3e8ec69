"""Snakemake profiles for a site: ours, with a small file of the user's laid over it, installed under a bare name.

`python -m codebase profile lsf my_site.yaml` writes ~/.config/snakemake/lsf/config.yaml, after which
`snakemake --profile lsf` works. The site file holds keys of a Snakemake profile; mappings are merged key by key, so
that a site says only what differs. One key is ours: `gpu`, how each job with a GPU asks for it, in place of our way.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from codebase.errors import ConfigError
from codebase.files import write_text

SOURCES = Path(__file__).resolve().parent.parent / "cluster_profiles"
# Resources that Snakemake evaluates as Python (`8000 * attempt`); every other string is meant as it stands.
EXPRESSIONS = frozenset({"mem_mb", "mem_mb_per_cpu", "disk_mb", "runtime", "gpu", "nodes", "tasks", "cpus_per_task"})
GPUS = "{gpus}"
Profile = dict[str, Any]


def names() -> list[str]:
    """The profiles that there are."""
    return sorted(path.parent.name for path in SOURCES.glob("*/config.yaml"))


def install(name: str, site: Path | None, folder: Path) -> Path:
    """Write `{folder}/{name}/config.yaml` from our profile and the user's site file, atomically.

    Returns:
        The file that was written.

    Raises:
        ConfigError: there is no such profile, or the site file is missing, no YAML, or names an unknown rule.
    """
    target = folder / name / "config.yaml"
    write_text(target, render(name, site))
    return target


def render(name: str, site: Path | None) -> str:
    """The text of the profile for a site; a pure function of both files. Errors as of `install`."""
    if name not in names():
        raise ConfigError(f"There is no profile {name!r}.", expected=", ".join(names()))
    ours = SOURCES / name / "config.yaml"
    merged = merge(_read(ours), _read(site) if site else {}, where=site)
    command = f"python -m codebase profile {name}{f' {shlex.quote(str(site))}' if site else ''}"
    head = (
        f"# Made of PoseMill's profile {name}{f' and of {site}' if site else ''}. Do not edit: change "
        f"{'the latter' if site else 'a site file of your own'},\n# and after that, or after an update of PoseMill, run"
        f" again:  {command}\n"
    )
    return head + yaml.safe_dump(merged, sort_keys=False, width=118, allow_unicode=True)


def merge(ours: Mapping[str, Any], site: Mapping[str, Any], *, where: object = None) -> Profile:
    """Lay a site over a profile: mappings key by key, everything else replaced, null takes a key away.

    `gpu` of the site replaces our way of asking for a GPU in every rule that has one; `{gpus}` in it is their number.

    Raises:
        ConfigError: the site sets resources of a rule that does not exist, or a mapping is none.
    """
    merged: Profile = {key: dict(value) if isinstance(value, Mapping) else value for key, value in ours.items()}
    rules = {rule: dict(wants) for rule, wants in merged.get("set-resources", {}).items()}
    asked = site.get("gpu", {})
    _mapping(asked, "gpu", where)
    for wants in rules.values() if asked else ():
        _replace_gpu(wants, asked)
    for key, value in site.items():
        if key == "gpu":
            continue
        if key == "set-resources":
            _merge_rules(rules, value, where)
        elif isinstance(merged.get(key), Mapping):
            _mapping(value, key, where)
            _lay_over(merged[key], _quoted(value) if key == "default-resources" else value)
        else:
            _lay_over(merged, {key: value})
    if rules:
        merged["set-resources"] = rules
    return merged


def _replace_gpu(wants: Profile, asked: Mapping[str, Any]) -> None:
    """`asked` in place of the ways in which our profiles ask for a GPU; the number stays what the config says."""
    if "gpu" not in wants:
        return
    count = str(wants["gpu"]).partition(" ")[0]
    wants.pop("lsf_extra", None)
    if "gres" in asked:
        # Slurm's plugin takes --gpus or --gres, not both
        wants["gpu"] = 0
    elif "gpu_model" in asked and "gres" in wants:
        # of several nodes it is asked for by --gres
        model = str(asked["gpu_model"]).strip("'\"")
        several = f"{wants['nodes']} > 1"
        wants["gres"] = f"'gpu:{model}:{count}' if {several} else ''"
        asked = {**asked, "gpu_model": f"'' if {several} else '{model}'"}
    wants.update(_quoted({key: value.replace(GPUS, count) if isinstance(value, str) else value
                          for key, value in asked.items()}))  # fmt: skip


def _merge_rules(rules: dict[str, Profile], site: object, where: object) -> None:
    _mapping(site, "set-resources", where)
    for rule, wants in site.items():  # type: ignore[attr-defined]
        _mapping(wants, f"set-resources.{rule}", where)
        if rule not in rules:
            near = difflib.get_close_matches(str(rule), rules, 1)
            raise ConfigError(
                f"set-resources names no rule of ours: {rule!r}.{f' Did you mean {near[0]!r}?' if near else ''}",
                where=where,
                expected=", ".join(rules),
            )
        _lay_over(rules[rule], _quoted(wants))


def _lay_over(below: Profile, above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if value is None:
            below.pop(key, None)
        else:
            below[key] = value


def _quoted(resources: Mapping[str, Any]) -> Profile:
    """Strings in the second pair of quotes that keeps Snakemake from evaluating them as Python."""
    return {key: _quote(value) if key not in EXPRESSIONS else value for key, value in resources.items()}


def _quote(value: object) -> object:
    if not isinstance(value, str) or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return value
    return repr(value)


def _mapping(value: object, key: str, where: object) -> None:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} is no mapping.", where=where, expected=f"{key}: {{name: value}}")


def _read(path: Path) -> Profile:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("The site file does not exist.", where=path, mend="see cluster_profiles/sites/") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The file is no readable YAML: {error}", where=path) from None
    _mapping(found if found is not None else {}, "The file", path)
    return found or {}


def user_folder() -> Path:
    """Where Snakemake looks for profiles by name."""
    from snakemake.common import get_appdirs  # type: ignore[import-untyped]

    return Path(get_appdirs().user_config_dir)
