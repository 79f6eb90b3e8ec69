"""From errors of samples to named figures: means over all, per act, per subject, each with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from codebase.config import Config
from codebase.intervals import bootstrap
from codebase.skeleton import H36M, H36M_ACTS

PerSample = Float[ndarray, " samples"]
LOW, HIGH = "_ci95_low", "_ci95_high"


@dataclass(frozen=True)
class Rows:
    """Subject, act and subaction of the samples of a figure: its groups, and the sequences that intervals draw."""

    subject: Int[ndarray, " samples"]
    action: Int[ndarray, " samples"]
    subaction: Int[ndarray, " samples"]

    def take(self, which: Int[ndarray, " chosen"] | Bool[ndarray, " samples"]) -> Rows:
        """The same for some samples."""
        return Rows(self.subject[which], self.action[which], self.subaction[which])

    @property
    def sequence(self) -> Int[ndarray, " samples"]:
        """A number for subject, act and subaction: all cameras of it together."""
        return (self.subject.astype(np.int64) * 100 + self.action) * 100 + self.subaction


@dataclass(frozen=True)
class Groups:
    """Which parts of the test split have figures of their own.

    Attributes:
        draws: of the bootstrap; 0: no intervals.
    """

    per_act: bool
    per_subject: bool
    draws: int

    @classmethod
    def of(cls, config: Config) -> Groups:
        """As the section `evaluate` says."""
        section = config.evaluate
        return cls(section.per_act, section.per_subject, section.bootstrap)

    def summarise(self, values: Mapping[str, PerSample], rows: Rows) -> dict[str, float]:
        """Means of all figures over all samples, per act and per subject; samples that are not finite count nowhere.

        Each `name` gets `name_ci95_low` and `name_ci95_high` where its samples are of two sequences or more.
        """
        found: dict[str, float] = {}
        for suffix, which in self._parts(rows):
            inside = {name: sample[which] for name, sample in values.items() if np.isfinite(sample[which]).any()}
            found |= means({name + suffix: sample for name, sample in inside.items()}, rows.take(which), self.draws)
        return found

    def per_joint(self, errors: Mapping[str, Float[ndarray, "samples 17"]], rows: Rows) -> dict[str, float]:
        """Means of each joint's error over all samples: `{name}/joint_{joint}`."""
        single = {
            f"{name}/joint_{joint}": sample[:, number]
            for name, sample in errors.items()
            for number, joint in enumerate(H36M.names)
        }
        return means(single, rows, self.draws)

    def _parts(self, rows: Rows) -> Iterator[tuple[str, Bool[ndarray, " samples"]]]:
        yield "", np.ones(len(rows.subject), bool)
        if self.per_act:
            for act in np.unique(rows.action).tolist():
                yield f"/act_{act:02d}_{H36M_ACTS.get(act, 'own')}", rows.action == act
        if self.per_subject:
            for subject in np.unique(rows.subject).tolist():
                yield f"/S{subject}", rows.subject == subject


def means(values: Mapping[str, PerSample], rows: Rows, draws: int) -> dict[str, float]:
    """The mean of each figure over its finite samples, with its interval over sequences; draws 0: without."""
    if not values:
        return {}
    found = {name: float(sample[np.isfinite(sample)].mean()) for name, sample in values.items()}
    if not draws:
        return found
    ends = bootstrap(np.stack(list(values.values()), axis=1).astype(np.float64), rows.sequence, draws=draws)
    for name, low, high in zip(values, *ends, strict=True):
        if np.isfinite([low, high]).all():
            found |= {with_bound(name, LOW): float(low), with_bound(name, HIGH): float(high)}
    return found


def with_bound(name: str, bound: str) -> str:
    """`pose/mpjpe_mm/S9` -> `pose/mpjpe_mm_ci95_low/S9`."""
    stage, metric, *part = name.split("/")
    return "/".join((stage, metric + bound, *part))
