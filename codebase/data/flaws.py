"""What is known to be wrong with Human3.6M itself, and folders that are a copy of another camera.

Drift: in three sequences of S9 the ground truth is shifted against the images. Which ones: the multi-view dataset class
of learnable-triangulation-pytorch (Iskakov et al. 2019) leaves out S9's Greeting-2, SittingDown-2 and Waiting-1 unless
`with_damaged_actions` is set; its issue 63 shows 76 mm for Greeting against about 20 mm elsewhere. Subactions are
numbered as in metadata.xml, as in our folders.
Missing: S11's Directions, subaction 2, has no video of camera 54138969; the integral pose code (Sun et al. 2018) passes
over it, and learnable-triangulation-pytorch's issue 114 describes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from codebase.config import Config
from codebase.data.human36m import Folder
from codebase.data.scan import Exclusion, View, sequence_of

# Two real cameras differ by far more; a copy differs by what a conversion of units loses.
_SAME_ROTATION, _SAME_PLACE_MM, _SAME_PX = 1e-5, 1e-2, 1e-2


@dataclass(frozen=True)
class Flaw:
    """A sequence, or one camera of it (None: all), and what is wrong."""

    subject: int
    action: int
    subaction: int
    camera: int | None
    reason: str

    def covers(self, folder: Folder) -> bool:
        """Whether the folder belongs to it."""
        mine = (self.subject, self.action, self.subaction) == (folder.subject, folder.action, folder.subaction)
        return mine and self.camera in (None, folder.camera)


_DRIFT = "known flaw of Human3.6M: the ground truth drifts against the images ({}); left out by split.known_flaws"
DRIFT = (
    Flaw(9, 5, 2, None, _DRIFT.format("S9 Greeting, subaction 2")),
    Flaw(9, 10, 2, None, _DRIFT.format("S9 SittingDown, subaction 2")),
    Flaw(9, 13, 1, None, _DRIFT.format("S9 Waiting, subaction 1")),
)
MISSING = (
    Flaw(11, 2, 2, 1, "known flaw of Human3.6M: S11 Directions, subaction 2, has no video of camera 54138969"),
)  # fmt: skip


def is_human36m(config: Config) -> bool:
    """Whether the dataset is Human3.6M's own: neither rendered here nor of another rig."""
    kind = config.dataset.kind
    return kind == "tree" or (kind == "extract" and config.extract.door != "rig")


def drifting(config: Config, split: str) -> tuple[Flaw, ...]:
    """The sequences that `split.known_flaws` leaves out of a split."""
    chosen = config.split.known_flaws
    leave_out = chosen == "exclude" or (chosen == "exclude_from_test" and split == "test")
    return DRIFT if leave_out and is_human36m(config) else ()


def explained(item: Exclusion, folder: Folder, config: Config) -> Exclusion:
    """An exclusion with the reason that is known for it, if it is a flaw of Human3.6M."""
    if item.kind != "folder" or not is_human36m(config):
        return item
    return replace(item, reason=with_known_flaw(folder, item.reason))


def with_known_flaw(folder: Folder, reason: str) -> str:
    """The reason, behind what is known of the folder if it is a flaw of Human3.6M."""
    known = next((flaw for flaw in MISSING if flaw.covers(folder)), None)
    return reason if known is None or known.reason in reason else f"{known.reason} ({reason})"


def without_flaws(views: Sequence[View], flaws: Sequence[Flaw]) -> tuple[list[View], list[Exclusion]]:
    """The views that no flaw covers, and the others."""
    kept, left_out = [], []
    for view in views:
        flaw = next((flaw for flaw in flaws if flaw.covers(view.folder)), None)
        if flaw is None:
            kept.append(view)
        else:
            left_out.append(Exclusion(view.folder.name, flaw.reason, view.folder.subject, "folder"))
    return kept, left_out


def without_copies(views: Sequence[View]) -> tuple[list[View], list[Exclusion]]:
    """The views whose camera no earlier folder of the same sequence has, and the others.

    Two cameras of an instant cannot stand at one place: such a pair teaches that a turn changes nothing.
    """
    kept: list[View] = []
    left_out = []
    by_sequence: dict[tuple[int, int, int], list[View]] = {}
    for view in views:
        folder = view.folder
        seen = by_sequence.setdefault(sequence_of(folder), [])
        twin = next((other for other in seen if _same_camera(view, other)), None)
        if twin is None:
            seen.append(view)
            kept.append(view)
            continue
        reason = f"the camera is that of {twin.folder.name}: one of the two folders is a copy"
        left_out.append(Exclusion(folder.name, reason, folder.subject, "folder"))
    return kept, left_out


def _same_camera(one: View, other: View) -> bool:
    a, b = one.meta, other.meta
    return bool(
        np.abs(a.R - b.R).max() < _SAME_ROTATION
        and np.abs(a.T_mm - b.T_mm).max() < _SAME_PLACE_MM
        and np.abs(a.f_px - b.f_px).max() < _SAME_PX
        and np.abs(a.c_px - b.c_px).max() < _SAME_PX
    )
