"""`data_from`: may a run use the dataset, the index and the crops of another? Free of heavy imports."""

from __future__ import annotations

from pathlib import Path

from codebase.config import Config, read_config, stage_digest
from codebase.errors import ConfigError, DataError, UserError
from codebase.paths import Paths

# the sections that decide what is in the data, and the markers that say it is there and whole
DATA_SECTIONS = ("dataset", "split", "synthesize", "extract", "backgrounds", "crops")
MARKERS = ("index", "crops")


def data_stages(config: Config) -> tuple[str, ...]:
    """The stages that make the data of this config."""
    first = {"synthetic": ("synthesize",), "extract": ("extract",)}.get(config.dataset.kind, ())
    return (*first, "backgrounds", "index", "crops")


def require_same_data(config: Config, root: Path) -> None:
    """Check that the run in `root` made, completely, the very data that `config` asks for.

    Raises:
        DataError: its data are not there, or their check has not passed.
        ConfigError: it was made from other settings; the sections are named.
    """
    given = root / "config.yaml"
    ours = Paths(config)
    markers = (root / path.relative_to(ours.root) for name in MARKERS for path in ours.markers(name))
    missing = [path for path in (given, *markers) if not path.is_file()]
    if missing:
        raise DataError(
            f"data_from names a run whose data are not there: {missing[0]} is missing.",
            where=root,
            mend=f"make them first: bash train.sh local CONFIG --until data, with the config that makes {root}",
        )
    theirs = read_config(given)
    differ = [name for name in data_stages(config) if stage_digest(config, name) != stage_digest(theirs, name)]
    if differ or Paths(theirs).data_root.resolve() != root.resolve():
        sections = [s for s in DATA_SECTIONS if getattr(config, s) != getattr(theirs, s)]
        raise ConfigError(
            f"data_from names a run with other data: {', '.join(differ) or 'it uses those of a third run'}"
            " would be made differently here.",
            where=given,
            expected=f"the same {', '.join(sections) or 'run that made them'}",
            mend="leave data_from out, or correct these sections",
        )


def has_same_data(config: Config, root: Path) -> bool:
    """Whether `require_same_data` has nothing to say."""
    try:
        require_same_data(config, root)
    except UserError:
        return False
    return True
