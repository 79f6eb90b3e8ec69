"""Who the subjects are: shape, skin, hair and clothes. A table for Human3.6M's seven, seeded people beyond."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Colour = tuple[float, float, float]

Pattern = Literal["plain", "stripes", "check", "block", "print", "placket"]
PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "check", "block", "print", "placket")
Hair = Literal["short", "crop", "side", "bob", "long", "ponytail", "bun", "bald"]


@dataclass(frozen=True)
class Garment:
    """A piece of clothing; lengths are where it ends on the mean body in the T-pose, metres.

    Attributes:
        colour, second: linear albedo, main and of the pattern.
        end: hem of the legs or end of the sleeves.
        hem: lower edge of a top, or upper edge of a bottom.
        loose_m: distance from the skin where it hangs freely.
        neck_m: radius of a top's neckline; v_m: how far it dips in front.
    """

    colour: Colour
    end: float
    hem: float
    second: Colour = (0.6, 0.6, 0.6)
    pattern: Pattern = "plain"
    loose_m: float = 0.010
    neck_m: float = 0.075
    v_m: float = 0.0


@dataclass(frozen=True)
class Person:
    """Everything that makes a subject look like herself or himself."""

    betas: tuple[float, ...]
    skin: Colour
    hair_style: Hair
    hair: Colour
    top: Garment
    bottom: Garment
    shoe: Colour
    skirt: bool = False
    beard: float = 0.0
    lips: float = 0.5
    iris: Colour = (0.12, 0.07, 0.04)
    motion_seed: int = 0


# where a T-posed mean body has its wrists, elbows and so on (metres)
SHORT_SLEEVE, HALF_SLEEVE, LONG_SLEEVE, NO_SLEEVE = 0.35, 0.40, 0.655, 0.205
ANKLE, KNEE, SHORTS, BERMUDA = -1.10, -0.72, -0.50, -0.62
WAIST, HIP = -0.17, -0.33


def _skin(tone: float, warmth: float = 0.0) -> Colour:
    """Linear albedo from fair (0) to dark (1)."""
    stops = np.array([[0.66, 0.46, 0.36], [0.52, 0.33, 0.22], [0.33, 0.19, 0.115], [0.115, 0.062, 0.04]])
    at = np.clip(tone, 0, 1) * 3
    low = min(int(at), 2)
    colour = stops[low] + (at - low) * (stops[low + 1] - stops[low])
    red, green, blue = colour * [1 + warmth, 1.0, 1 - warmth]
    return float(red), float(green), float(blue)


BLACK, BROWN, DARK, BLOND, RED, GREY = (
    (0.012, 0.011, 0.012), (0.065, 0.034, 0.018), (0.026, 0.016, 0.011),
    (0.38, 0.25, 0.12), (0.19, 0.062, 0.022), (0.24, 0.23, 0.22),
)  # fmt: skip
DENIM, INDIGO, KHAKI, CHARCOAL = (0.105, 0.16, 0.27), (0.03, 0.045, 0.10), (0.36, 0.29, 0.19), (0.05, 0.05, 0.055)
WHITE, OFFWHITE, LEATHER, TAN = (0.72, 0.72, 0.71), (0.60, 0.57, 0.51), (0.045, 0.03, 0.022), (0.22, 0.12, 0.06)

PEOPLE: dict[int, Person] = {
    1: Person(
        (0.9, -0.8, -0.6, 0.5, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0), _skin(0.12), "side", BROWN,
        Garment((0.33, 0.055, 0.05), SHORT_SLEEVE, HIP, pattern="plain"),
        Garment(DENIM, ANKLE, WAIST), WHITE, beard=0.15, lips=0.25, motion_seed=1,
    ),
    5: Person(
        (-0.9, 1.0, 0.5, -0.5, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0), _skin(0.05), "ponytail", BLOND,
        Garment((0.07, 0.26, 0.27), HALF_SLEEVE, HIP - 0.02, neck_m=0.088, v_m=0.05, loose_m=0.008),
        Garment(CHARCOAL, ANKLE + 0.02, WAIST, loose_m=0.004), WHITE, lips=0.8, iris=(0.08, 0.16, 0.24), motion_seed=5,
    ),
    6: Person(
        (1.5, -1.2, -0.5, 0.6, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0), _skin(0.95), "crop", BLACK,
        Garment((0.62, 0.44, 0.10), SHORT_SLEEVE + 0.03, HIP - 0.03, pattern="print", second=(0.08, 0.08, 0.09)),
        Garment(KHAKI, BERMUDA, WAIST, loose_m=0.018), CHARCOAL, beard=0.35, lips=0.2, motion_seed=6,
    ),
    7: Person(
        (0.2, -1.4, -1.2, 1.0, -1.2, 0.0, 0.0, 0.0, 0.0, 0.0), _skin(0.42), "short", DARK,
        Garment((0.50, 0.56, 0.64), LONG_SLEEVE, HIP + 0.02, pattern="check", second=(0.06, 0.10, 0.22), loose_m=0.014),
        Garment(INDIGO, ANKLE, WAIST, loose_m=0.012), LEATHER, beard=0.8, lips=0.25, motion_seed=7,
    ),
    8: Person(
        (1.0, -0.7, -1.0, 0.6, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0), _skin(0.2), "short", GREY,
        Garment((0.05, 0.11, 0.07), LONG_SLEEVE, HIP, pattern="stripes", second=OFFWHITE),
        Garment((0.22, 0.21, 0.20), ANKLE, WAIST), TAN, beard=0.1, lips=0.3, iris=(0.1, 0.13, 0.12), motion_seed=8,
    ),
    9: Person(
        (-1.0, 0.8, 0.6, -0.4, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0), _skin(0.66), "bun", BLACK,
        Garment((0.52, 0.13, 0.20), SHORT_SLEEVE - 0.03, WAIST - 0.03, loose_m=0.003, neck_m=0.09, v_m=0.03),
        Garment((0.10, 0.13, 0.22), KNEE + 0.1, WAIST), WHITE, skirt=True, lips=0.7, motion_seed=9,
    ),
    11: Person(
        (0.1, 1.2, 0.2, -0.6, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0), _skin(0.28), "long", RED,
        Garment((0.64, 0.63, 0.60), LONG_SLEEVE - 0.09, HIP, pattern="placket", second=(0.3, 0.3, 0.3), v_m=0.06),
        Garment((0.13, 0.10, 0.085), SHORTS - 0.04, WAIST, loose_m=0.014), TAN, lips=0.75, motion_seed=11,
    ),
}  # fmt: skip

_CLOTH: tuple[Colour, ...] = (
    (0.30, 0.06, 0.06), (0.05, 0.12, 0.28), (0.08, 0.22, 0.12), (0.62, 0.61, 0.58), (0.045, 0.045, 0.05),
    (0.44, 0.30, 0.09), (0.22, 0.12, 0.25), (0.10, 0.28, 0.32), (0.46, 0.24, 0.20), (0.27, 0.29, 0.31),
    (0.50, 0.40, 0.28), (0.15, 0.19, 0.10), (0.36, 0.46, 0.58), (0.55, 0.36, 0.40),
)  # fmt: skip
_LEGS: tuple[Colour, ...] = (DENIM, INDIGO, KHAKI, CHARCOAL, (0.20, 0.20, 0.21), (0.16, 0.11, 0.08), (0.10, 0.12, 0.09))
_HAIR: tuple[Colour, ...] = (BLACK, BROWN, DARK, BLOND, RED, GREY, (0.13, 0.08, 0.045))


def make_person(subject: int, *, seed: int) -> Person:
    """The person that plays a subject: fixed for Human3.6M's seven, drawn from the number and the seed otherwise."""
    if subject in PEOPLE:
        return replace(PEOPLE[subject], motion_seed=subject + 1000 * seed)
    rng = np.random.default_rng([seed, subject, 73])
    woman = bool(rng.random() < 0.5)
    tone = rng.beta(1.1, 1.6)
    # of the free body's shapes the first makes taller and more masculine, the next three lean to one sex
    lean = np.array([-0.6, 0.9, 0.4, -0.5] if woman else [0.6, -0.9, -0.7, 0.6])
    betas = rng.normal(0, 0.7, 10) * ([1, 0.7, 0.7, 0.7, 1.3] + [0.4] * 5) + np.append(lean, np.zeros(6))
    hair = _HAIR[rng.integers(3 if tone > 0.6 else len(_HAIR))]
    styles: tuple[Hair, ...] = ("bob", "long", "ponytail", "bun") if woman else ("short", "crop", "side", "bald")
    skirt = bool(woman and rng.random() < 0.3)
    legs = KNEE + 0.1 if skirt else float(rng.choice([ANKLE, ANKLE, ANKLE, BERMUDA, SHORTS]))
    top = Garment(
        _CLOTH[rng.integers(len(_CLOTH))],
        float(rng.choice([SHORT_SLEEVE, SHORT_SLEEVE, HALF_SLEEVE, LONG_SLEEVE, LONG_SLEEVE])),
        WAIST - 0.03 if skirt else HIP + float(rng.uniform(-0.04, 0.06)),
        second=_CLOTH[rng.integers(len(_CLOTH))],
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        loose_m=0.003 if skirt else float(rng.uniform(0.006, 0.016)),
        neck_m=float(rng.uniform(0.072, 0.09)),
        v_m=float(rng.choice([0.0, 0.0, 0.05])),
    )
    bottom = Garment(_LEGS[rng.integers(len(_LEGS))], legs, WAIST, loose_m=float(rng.uniform(0.004, 0.016)))
    return Person(
        tuple(float(b) for b in betas), _skin(tone, rng.normal(0, 0.04)), styles[rng.integers(4)], hair, top, bottom,
        (WHITE, CHARCOAL, LEATHER, TAN)[rng.integers(4)], skirt,
        0.0 if woman else float(rng.choice([0.1, 0.2, 0.7])), 0.75 if woman else 0.25,
        motion_seed=subject + 1000 * seed,
    )  # fmt: skip
