"""Named joints: their order, parents and mirror images. Nobody else counts joints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Skeleton:
    """A joint order.

    Attributes:
        names: joint names, in order.
        parents: for each joint the index of its parent, -1 for the root.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Index of a named joint; KeyError lists the names."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"no joint {name!r}; joints are {', '.join(self.names)}") from None

    def indices(self, *names: str) -> list[int]:
        """Indices of several named joints."""
        return [self.index(name) for name in names]

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) pairs."""
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def mirrored(self) -> tuple[int, ...]:
        """For each joint, the index of its mirror image (left and right exchanged)."""
        swap = {"left": "right", "right": "left"}
        return tuple(
            self.index(f"{swap[side]}_{rest}") if (side := name.partition("_")[0]) in swap else self.index(name)
            for name in self.names
            for rest in [name.partition("_")[2]]
        )


def _skeleton(*pairs: tuple[str, str]) -> Skeleton:
    names = tuple(name for name, _ in pairs)
    return Skeleton(names, tuple(names.index(parent) if parent else -1 for _, parent in pairs))


# The 17 joints of Human3.6M that the field evaluates on, in the order of the common jpg re-packaging.
H36M = _skeleton(
    ("root", ""),
    ("right_hip", "root"), ("right_knee", "right_hip"), ("right_foot", "right_knee"),
    ("left_hip", "root"), ("left_knee", "left_hip"), ("left_foot", "left_knee"),
    ("spine", "root"), ("neck", "spine"), ("head", "neck"), ("head_top", "head"),
    ("left_shoulder", "neck"), ("left_elbow", "left_shoulder"), ("left_wrist", "left_elbow"),
    ("right_shoulder", "neck"), ("right_elbow", "right_shoulder"), ("right_wrist", "right_elbow"),
)  # fmt: skip

# The 24 joints of SMPL, in its own order.
SMPL = _skeleton(
    ("pelvis", ""), ("left_hip", "pelvis"), ("right_hip", "pelvis"), ("spine1", "pelvis"),
    ("left_knee", "left_hip"), ("right_knee", "right_hip"), ("spine2", "spine1"),
    ("left_ankle", "left_knee"), ("right_ankle", "right_knee"), ("spine3", "spine2"),
    ("left_foot", "left_ankle"), ("right_foot", "right_ankle"), ("neck", "spine3"),
    ("left_collar", "spine3"), ("right_collar", "spine3"), ("head", "neck"),
    ("left_shoulder", "left_collar"), ("right_shoulder", "right_collar"),
    ("left_elbow", "left_shoulder"), ("right_elbow", "right_shoulder"),
    ("left_wrist", "left_elbow"), ("right_wrist", "right_elbow"),
    ("left_hand", "left_wrist"), ("right_hand", "right_wrist"),
)  # fmt: skip

H36M_ACTS = {
    2: "Directions", 3: "Discussion", 4: "Eating", 5: "Greeting", 6: "Phoning", 7: "Posing", 8: "Purchases",
    9: "Sitting", 10: "SittingDown", 11: "Smoking", 12: "Photo", 13: "Waiting", 14: "Walking", 15: "WalkDog",
    16: "WalkTogether",
}  # fmt: skip

# Human3.6M's camera names, by the camera number of the folder names.
H36M_CAMERAS = {1: "54138969", 2: "55011271", 3: "58860488", 4: "60457274"}
