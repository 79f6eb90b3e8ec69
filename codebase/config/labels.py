"""The label sweep: which representations learn from how many labels, and the rivals among them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt, field_validator

from codebase.config.base import Section, nearest

if TYPE_CHECKING:
    from codebase.config.root import Config

EMBEDDING = "embedding"
# Image networks and where each one's encoder starts.
STARTS: Mapping[str, str] = {"fine_tuned": "enc_dec", "from_scratch": "scratch", "imagenet": "imagenet"}
_AMOUNT = re.compile(r"all|S\d+(\+S\d+)*|(?P<percent>\d+(\.\d+)?)%")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
# a rival of such a name would write labels/curve.json, or what metrics.json calls pose/pa_mpjpe_mm and so on
_TAKEN = (EMBEDDING, *STARTS, "curve", "n", "pa", "orthogonal", "mean_pose")
_OF_THE_SWEEP = ("seed", "label_subjects", "label_share", "start", "name")


class RivalConfig(Section):
    """Another representation and its pose network: sections laid over this config's own."""

    preset: Path | None = Field(None, description="YAML whose sections enc_dec and pose are laid over this config's")
    enc_dec: dict[str, Any] = Field({}, description="keys laid over those")
    pose: dict[str, Any] = Field({}, description="keys laid over those")


class LabelsConfig(Section):
    """The label sweep: each representation, with each amount of labels, from several seeds."""

    representations: tuple[str, ...] = Field(
        (),
        description="embedding (frozen), fine_tuned (its encoder taught on), from_scratch (the same encoder, random), "
        "imagenet (the network of image_pose.backbone, which starts from ImageNet's weights), and names of `rivals`; "
        "empty: no sweep",
    )
    amounts: tuple[str, ...] = Field(
        ("S1", "S1+S5", "S1+S5+S6", "all", "1%", "5%", "10%", "50%"),
        min_length=1,
        description="people (S1+S5), all of `subjects`, or a share of their labelled frames by whole sequences (5%)",
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="of weights, batches and drawn sequences")
    subjects: tuple[PositiveInt, ...] | None = Field(
        None, description="whom labels may come from; null: all of split.train"
    )
    settings: dict[str, dict[str, Any]] = Field(
        {}, description="keys of pose (embedding, rivals) or image_pose (the others) for a representation alone"
    )

    @field_validator("amounts")
    @classmethod
    def _amounts_are_understood(cls, amounts: tuple[str, ...]) -> tuple[str, ...]:
        for amount in amounts:
            found = _AMOUNT.fullmatch(amount)
            if found is None:
                raise ValueError(f"{amount!r} is no amount of labels: write S1, S1+S5, all, or a share such as 5%")
            if found["percent"] is not None and not 0 < float(found["percent"]) <= 100:
                raise ValueError(f"the amount {amount!r} is no share between 0 and 100 %")
            people = amount.split("+")
            if len(set(people)) < len(people):
                raise ValueError(f"the amount {amount!r} names somebody twice")
        return amounts

    @field_validator("seeds", "amounts", "representations")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{list(values)} names something twice")
        return values

    @field_validator("seeds")
    @classmethod
    def _seeds_are_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= seed < 2**32 for seed in seeds):
            raise ValueError("a seed is a whole number from 0 to 2**32 - 1")
        return seeds


@dataclass(frozen=True)
class Point:
    """One training of the sweep: a representation, an amount of labels, a seed."""

    representation: str
    amount: str
    seed: int

    @property
    def of_images(self) -> bool:
        """Whether it is a network on images."""
        return self.representation in STARTS

    @property
    def section(self) -> str:
        """The config's section that it is trained by, which names the stage: train_{section}."""
        return "image_pose" if self.of_images else "pose"

    @property
    def name(self) -> str:
        """A folder of its own: embedding/S1_S5_seed0, from_scratch/5_percent_seed2."""
        amount = self.amount.replace("+", "_").replace("%", "_percent")
        return f"{self.representation}/{amount}_seed{self.seed}"


def points(config: Config, *representations: str) -> list[Point]:
    """The points of the sweep: of the representations named, or of all."""
    chosen = representations or config.labels.representations
    return [Point(r, a, s) for r in chosen for a in config.labels.amounts for s in config.labels.seeds]


def labels_of(config: Config, amount: str) -> tuple[tuple[int, ...], float]:
    """The subjects and the share of their labelled frames that an amount means."""
    everybody = config.labels.subjects or config.split.train.subjects
    if amount.endswith("%"):
        return everybody, float(amount[:-1]) / 100
    return (everybody if amount == "all" else tuple(int(one[1:]) for one in amount.split("+"))), 1.0


def point_settings(config: Config, point: Point) -> dict[str, Any]:
    """The keys that a point lays over its section, JSON values."""
    subjects, share = labels_of(config, point.amount)
    found: dict[str, Any] = {"start": STARTS[point.representation]} if point.of_images else {}
    found |= config.labels.settings.get(point.representation, {})
    return found | {"seed": point.seed, "label_subjects": list(subjects), "label_share": share}


def point_words(config: Config, point: Point) -> list[str]:
    """The same as overrides of the command line: pose.seed=1."""
    return [f"{point.section}.{key}={json.dumps(value)}" for key, value in point_settings(config, point).items()]


def unfit(config: Config) -> str | None:
    """What is wrong with the sweep as a whole, in words; None where nothing is."""
    labels, known = config.labels, [EMBEDDING, *STARTS, *config.rivals]
    for name in config.rivals:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            return f"rivals: the name {name!r} is taken, or not of small letters, digits, _ and -"
    for name in labels.representations:
        if name not in known:
            hint = f"did you mean {near!r}? " if (near := nearest(name, known)) else ""
            return f"labels.representations: {name!r} is unknown; {hint}It is {', '.join(known)} or a name in rivals"
    strangers = set(labels.settings) - set(known)
    if strangers:
        return f"labels.settings: {sorted(strangers)[0]!r} is no representation"
    mine = {key for one in labels.representations for key in labels.settings.get(one, {})}
    if taken := mine & set(_OF_THE_SWEEP):
        return f"labels.settings: {sorted(taken)[0]} is what the sweep itself sets"
    if spread := mine & {"gpus", "nodes"}:
        return (
            f"labels.settings: jobs ask for the {sorted(spread)[0]} of the sections pose and image_pose; set it there"
        )
    everybody = labels.subjects or config.split.train.subjects
    if unknown := sorted(set(everybody) - set(config.split.train.subjects)):
        return f"labels.subjects names {unknown}, not in split.train.subjects"
    for amount in labels.amounts if labels.representations else ():
        if unknown := sorted(set(labels_of(config, amount)[0]) - set(everybody)):
            return f"labels.amounts: {amount} names {unknown}, not in labels.subjects {list(everybody)}"
    return None
