"""Which body files there are, under which licence, and where one gets them; light, since the workflow asks, too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FREE_BODY = Path("assets/free_body.npz")
_SMPL, _SMPLIFY, _MANO = "https://smpl.is.tue.mpg.de", "https://smplify.is.tue.mpg.de", "https://mano.is.tue.mpg.de"
_GENDERS = {"f": "female", "m": "male"}


@dataclass(frozen=True)
class Source:
    """An official release.

    Attributes:
        pattern: of its files' names, whatever their case; a group `gender` where the name tells it.
        model: what it is.
        site: where one registers and downloads it.
        names: the files' names, for people.
    """

    pattern: re.Pattern[str]
    model: str
    site: str
    names: str


def _source(pattern: str, model: str, site: str, names: str) -> Source:
    return Source(re.compile(pattern, re.IGNORECASE), model, site, names)


# The same body goes by several names, and one name (SMPL_NEUTRAL.pkl) is used for two bodies.
SOURCES = (
    _source(
        r"basicmodel_(?P<gender>neutral)_lbs_10_207_0_v1\.0\.0\.pkl", "SMPL 1.0.0 as published with SMPLify", _SMPLIFY,
        "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl",
    ),
    _source(
        r"basicmodel_(?P<gender>f|m)_lbs_10_207_0_v1\.0\.0\.pkl", "SMPL 1.0.0", _SMPL,
        "basicModel_f_lbs_10_207_0_v1.0.0.pkl, basicmodel_m_lbs_10_207_0_v1.0.0.pkl",
    ),
    _source(
        r"basicmodel_(?P<gender>f|m|neutral)_lbs_10_207_0_v1\.1\.0\.pkl", "SMPL 1.1.0", _SMPL,
        "basicmodel_{neutral,f,m}_lbs_10_207_0_v1.1.0.pkl",
    ),
    _source(
        r"SMPL_(?P<gender>neutral|female|male)\.(pkl|npz)", "SMPL, by the name that smplx asks for", _SMPL,
        "basicmodel_{neutral,f,m}_lbs_10_207_0_v1.1.0.pkl and rename it (others give that name to "
        f"basicModel_neutral_lbs_10_207_0_v1.0.0.pkl of {_SMPLIFY})",
    ),
    _source(
        r"SMPLH_(?P<gender>neutral|female|male)\.(pkl|npz)", "SMPL+H", _MANO,
        "SMPLH_{female,male}.pkl, or model.npz of the release that AMASS uses",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What a file's name says: its release and gender ("" where it does not say)."""

    source: Source
    gender: str


def known(path: Path) -> Known | None:
    """The official release that a file's name belongs to, if any."""
    for source in SOURCES:
        match = source.pattern.fullmatch(path.name)
        if match:
            gender = match["gender"].lower()
            return Known(source, _GENDERS.get(gender, gender))
    return None


def where_to_get(path: Path) -> str:
    """How to mend a body file that is not there: which file, from where, under which licence, and where to put it."""
    found = known(path)
    if found is not None:
        what = f"{path.name} is {found.source.model}"
        site, names = found.source.site, found.source.names
    else:
        what = f"{path.name} is no official file's name; if an official SMPL body is meant, it comes"
        site, names = f"{_SMPLIFY} or {_SMPL}", f"{SOURCES[0].names} from the first, {SOURCES[2].names} from the second"
    steps = (
        f"{what}, under a licence for non-commercial research, which nobody may pass on:",
        f"1. register at {site} and accept the licence",
        f"2. download {names}",
        f"3. put it at {path}, or anywhere and name it in dataset.body",
        f"Or do without: {FREE_BODY} (CC0) comes with the repository; `python -m codebase.body.builder` makes it again",
    )
    return ("\n" + 12 * " ").join(steps)
