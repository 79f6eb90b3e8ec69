"""The figures at the top: each beside the baseline that anybody could reach, and what was gained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """A metric, its baseline, and how to speak of them. `higher`: more is better (decibels)."""

    key: str
    baseline: str
    title: str
    against: str
    unit: str
    link: str
    higher: bool = False
    digits: int = 1
    factor: float = 1.0


CLAIMS: tuple[tuple[Claim, ...], ...] = (
    (
        Claim("enc_dec/psnr_foreground_db", "enc_dec/psnr_background_only_db", "Novel view, PSNR on the person",
              "the empty background", "dB", "views", higher=True),
    ),
    (
        Claim("pose/n_mpjpe_mm", "pose/mean_pose_n_mpjpe_mm", "3D pose from the embedding, N-MPJPE",
              "the mean pose", "mm", "poses"),
    ),
    (
        Claim("smpl/pve_mm", "smpl/mean_body_pve_mm", "SMPL from the embedding, vertex error (PVE)",
              "the mean body", "mm", "bodies"),
        Claim("smpl/n_mpjpe_mm", "pose/mean_pose_n_mpjpe_mm", "SMPL from the embedding, N-MPJPE of its joints",
              "the mean pose", "mm", "bodies"),
    ),
    (
        Claim("hmr/v2v_l2_m2", "hmr/mean_v2v_l2_m2", "Body from the image, squared vertex error",
              "the mean body", "10⁻³ m²", "bodies", digits=2, factor=1000.0),
        Claim("hmr/n_mpjpe_mm", "pose/mean_pose_n_mpjpe_mm", "Body from the image, N-MPJPE of its joints",
              "the mean pose", "mm", "bodies"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A claim with its values, ready to show."""

    claim: Claim
    value: float
    baseline: float | None
    subjects: tuple[tuple[str, float], ...]

    @property
    def gain(self) -> float | None:
        """What was gained: dB for a ratio in decibels, else the share of the baseline's error that is gone."""
        if self.baseline is None:
            return None
        if self.claim.higher:
            return self.value - self.baseline
        return (self.baseline - self.value) / self.baseline if self.baseline else None

    @property
    def verdict(self) -> str:
        """The gain as a sentence, honest where there is none."""
        if self.gain is None:
            return "no baseline in metrics.json"
        if self.claim.higher:
            word = "above" if self.gain >= 0 else "below"
            return f"{abs(self.gain):.1f} dB {word} {self.claim.against}"
        word = "below" if self.gain >= 0 else "above"
        return f"{abs(self.gain) * 100:.0f} % {word} {self.claim.against}"

    @property
    def better(self) -> bool:
        """Whether the baseline is beaten."""
        return self.gain is not None and self.gain > 0

    @property
    def bars(self) -> tuple[float, float]:
        """Lengths of the two bars, per cent of the longer."""
        top = max(self.value, self.baseline or 0.0, 1e-12)
        return 100 * max(self.value, 0) / top, 100 * max(self.baseline or 0.0, 0) / top

    def show(self, value: float) -> str:
        """A value with the claim's digits, without the unit."""
        return f"{value * self.claim.factor:.{self.claim.digits}f}"


def cards(metrics: Mapping[str, Any]) -> list[Card]:
    """A card for each group of claims: the first claim of the group whose metric exists."""
    found = []
    for group in CLAIMS:
        claim = next((claim for claim in group if _number(metrics.get(claim.key)) is not None), None)
        if claim is not None:
            found.append(
                Card(claim, float(metrics[claim.key]), _number(metrics.get(claim.baseline)), _subjects(metrics, claim))
            )
    return found


def _subjects(metrics: Mapping[str, Any], claim: Claim) -> tuple[tuple[str, float], ...]:
    prefix = f"{claim.key}/S"
    rows = [(int(key[len(prefix) :]), value) for key, value in metrics.items() if _is_subject(key, prefix)]
    return tuple((f"S{number}", float(value)) for number, value in sorted(rows))


def _is_subject(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key[len(prefix) :].isdigit()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
