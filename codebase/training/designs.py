"""Whether a checkpoint is of the design that a config asks for: presets differ in that, under the same stage."""

from __future__ import annotations

from pathlib import Path

from codebase.config import Config
from codebase.errors import DataError
from codebase.training.state import Checkpoint

# The keys that name a design; other keys of these sections say how large it is and how it is trained.
DESIGNS = {"pose": ("network",), "smpl": ("head",), "hmr": ("start", "backbone", "style")}


def require_same_design(found: Checkpoint, config: Config, name: str, path: Path) -> None:
    """Refuse a checkpoint of another preset.

    Args:
        found: the checkpoint, which lies at `path`.
        name: of the section that it belongs to.

    Raises:
        DataError: it says which design, and under which name, the checkpoint is of, and which the config asks for.
    """
    section = getattr(config, name)
    fields = type(section).model_fields
    for key in DESIGNS[name]:
        # a checkpoint of older code lacks newer keys, whose defaults are what it was
        was, now = found.config.get(key, fields[key].get_default()), getattr(section, key)
        if was != now:
            raise DataError(
                f"The checkpoint is of another preset: {name}.{key} {was} ({found.config.get('name', 'no name')}), the "
                f"config asks for {now} ({section.name}).",
                where=path,
                expected=f"a checkpoint that was trained with this config's section {name} (runs/{section.name})",
                mend="give the config, with its presets, that it was trained with, or the checkpoint of this one",
            )
