"""metadata.xml as Human3.6M has it: names of files, counts, sizes, cameras. Shares no code with its reader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from tests.official.writer import Official

CAMERA_NAMES = ("54138969", "55011271", "58860488", "60457274")
ACTS = ("_ALL", "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
        "SittingDown", "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether")  # fmt: skip
PEOPLE = ("Irina", "Lizuca", "Razvan", "Sergiu", "Carolina", "Rares", "Diana", "Catalin", "Paul", "Anis", "Andrei")


def file_prefix(subject: int, action: int, subaction: int) -> str:
    """Names as irregular as the real ones: spellings and numbers vary with the subject."""
    name = ACTS[action - 1]
    if subject == 1:
        name = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog"}.get(name, name)
    endings = ((" 1", ""), ("", " 1"), (" 1", " 2"), (" 3", " 2"), ("", " 2"))[(3 * subject + action) % 5]
    return name + endings[subaction - 1]


def write_metadata(official: Official, path: Path) -> None:
    """metadata.xml with the tables that the real one has, for 11 subjects."""
    root = ElementTree.Element("a")
    order = [(action, subaction) for action in range(1, 17) for subaction in (1, 2)]
    mapping = ElementTree.SubElement(root, "mapping")
    _row(mapping, ["Action", "subaction", *(f"S{s}" for s in range(1, 12))])
    for action, subaction in order:
        _row(mapping, [action, subaction, *(file_prefix(s, action, subaction) for s in range(1, 12))])
    _row(mapping, ["Action", "subaction", *PEOPLE])
    _row(mapping, [None, None, *(_sizes(official, subject) for subject in range(1, 12))])
    frames = ElementTree.SubElement(root, "frames")
    for subject in range(1, 12):
        _row(frames, [None, *(_counts(official, subject, *sequence) for sequence in order)])
    w0 = np.concatenate([_outer(official), _inner(official)])
    ElementTree.SubElement(root, "w0").text = "[" + " ".join(f"{value:.14g}" for value in w0) + "]"
    names = ElementTree.SubElement(ElementTree.SubElement(root, "dbcameras"), "index2id")
    for name in CAMERA_NAMES:
        ElementTree.SubElement(names, "item").text = name
    acts = ElementTree.SubElement(root, "actionnames")
    for name in ("Miscellaneous", *ACTS[1:]):
        ElementTree.SubElement(acts, "item").text = name
    ElementTree.indent(root, "   ")
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _row(table: ElementTree.Element, cells: list) -> None:
    row = ElementTree.SubElement(table, "tr")
    for cell in cells:
        ElementTree.SubElement(row, "td").text = None if cell is None else str(cell)


def _sizes(official: Official, subject: int) -> str:
    lenses = [official.lenses.get((subject, number)) for number in range(1, 5)]
    pairs = [f"{lens.height} {lens.width}" if lens else "1002 1000" for lens in lenses]
    return "[" + ";".join(pairs) + "]"


def _counts(official: Official, subject: int, action: int, subaction: int) -> str:
    take = official.takes.get((subject, action, subaction))
    each = [len(take.frames.get(number, ())) if take else 7 for number in range(1, 5)]
    return "[" + " ".join(str(value) for value in [*each, sum(each)]) + "]"


def _outer(official: Official) -> np.ndarray:
    """Angles about x, y and z (in the turned frames) and centre, camera by camera, subject by subject."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(1, 5):
        for subject in range(1, 12):
            lens = official.lenses.get((subject, number))
            angles = Rotation.from_matrix(lens.R).as_euler("XYZ") if lens else rng.uniform(-1, 1, 3)
            rows.append(np.concatenate([angles, lens.T_mm if lens else rng.uniform(-5000, 5000, 3)]))
    return np.concatenate(rows)


def _inner(official: Official) -> np.ndarray:
    """Focal lengths, principal point, k, p of each camera: shared by all subjects, so the first one's are written."""
    rows = []
    for number in range(1, 5):
        lenses = [lens for (_, camera), lens in official.lenses.items() if camera == number]
        rows.append(
            np.concatenate([lenses[0].f_px, lenses[0].c_px, lenses[0].k, lenses[0].p]) if lenses else np.ones(9)
        )
    return np.concatenate(rows)
