"""Loading YAML into a strict pydantic model, with errors that name the key and the nearest valid one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from codebase.errors import ConfigError

M = TypeVar("M", bound="Section")


class Section(BaseModel):
    """A frozen part of the config that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, if any is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


KEYS = "the keys and values of configs/schema.json"


def load_config(model: type[M], path: Path, overrides: Iterable[str] = (), *, expected: str = KEYS) -> M:
    """Read a YAML file into `model`, with `dotted.key=value` overrides (values are YAML); `expected` as below.

    Raises:
        ConfigError: the file is missing or no YAML mapping, or a key or a value is refused.
    """
    data = read_mapping(path)
    for override in overrides:
        _apply_override(data, override)
    return validate_config(model, data, where=path, expected=expected)


def validate_config(
    model: type[M],
    data: Mapping[str, Any],
    *,
    where: object,
    expected: str = KEYS,
) -> M:
    """Turn plain data into `model`; `where` names its origin in errors, `expected` where the right keys stand.

    Raises:
        ConfigError: a key or a value is refused; all of them are named.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(_explain(model, item) for item in error.errors()),
            where=where,
            expected=expected,
            mend="correct the lines named above",
        ) from None


def apply_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Nested plain data from `dotted.key=value` overrides (values are YAML).

    Raises:
        ConfigError: an override has no `=`, or its value is no YAML.
    """
    data: dict[str, Any] = {}
    for override in overrides:
        _apply_override(data, override)
    return data


def to_yaml(config: Section) -> str:
    """The whole config, defaults included, as YAML that reads back to the same config."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False, allow_unicode=True)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: the file is missing, or no YAML mapping.
    """
    if not path.is_file():
        shipped = ", ".join(sorted(str(p) for p in Path("configs").glob("*.yaml")))
        raise ConfigError(
            "The config file does not exist.",
            where=path,
            expected="a YAML file",
            mend=f"use one of: {shipped}",
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file is no valid YAML: {error}", where=path) from None
    if not isinstance(data, dict):
        raise ConfigError("The config file holds no mapping.", where=path, expected="`key: value` lines")
    return data


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(
            f"The override {override!r} is not understood.",
            expected="section.key=value",
            mend="add the = sign",
        )
    *parents, last = key.split(".")
    for parent in parents:
        child = data.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"The override {override!r} goes through {parent!r}, which holds a plain value.")
        data = child
    try:
        data[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value of the override {override!r} is no valid YAML: {error}") from None


def _explain(model: type[Section], item: Mapping[str, Any]) -> str:
    location = [part for part in item["loc"] if not str(part).startswith("function-")]
    dotted = ".".join(str(part) for part in location)
    if item["type"] != "extra_forbidden":
        # what a check of a whole section was given is no help in a message
        given = "" if item["type"] == "missing" or isinstance(item["input"], dict) else f" (given: {item['input']!r})"
        return f"{dotted or 'config'}: {item['msg']}{given}"
    known = _fields_at(model, location[:-1])
    match = nearest(str(location[-1]), known)
    hint = f"did you mean {match!r}?" if match else f"known keys: {', '.join(sorted(known))}"
    return f"{dotted}: unknown key; {hint}"


def _fields_at(model: type[Section], location: Iterable[Any]) -> list[str]:
    """Names of the fields of the section that `location` leads to."""
    annotation: Any = model
    for part in location:
        inner = _section_in(annotation)
        if inner is not None and str(part) in inner.model_fields:
            annotation = inner.model_fields[str(part)].annotation
        # otherwise the part is a place in a list or a key of a mapping, whose annotation holds the section
    return list((_section_in(annotation) or model).model_fields)


def _section_in(annotation: Any) -> type[Section] | None:  # noqa: ANN401 - annotations are of many types
    """The section that an annotation is, or holds: tuple[Section, ...], dict[str, Section], Section | None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((inner for arg in get_args(annotation) if (inner := _section_in(arg)) is not None), None)
