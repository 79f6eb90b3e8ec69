"""`course-tree`: the course's tree from the dataset of a config of ours, rendered first where it is synthetic."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from codebase.body.arrays import load_body
from codebase.config import Config
from codebase.data.course_tree import folders_of, write_subject
from codebase.errors import ConfigError, DataError
from codebase.files import missing
from codebase.paths import Paths
from codebase.stages import synthesize

log = logging.getLogger("posemill.course_tree")


def write_tree(config: Config, output: Path, *, blind: Collection[int] = ()) -> None:
    """Write S{n} of every subject of the splits below `output`; subjects that are there are left as they are.

    Args:
        config: its dataset has bodies: synthetic, with dataset.bodies (fit_bodies writes such files), or extracted with
            them.
        output: dataset_folder and img_folder of the course.
        blind: subjects whose npz hold neither shape nor pose, as the course's test frames.

    Raises:
        ConfigError: the dataset has no bodies. DataError: a file is missing or not in its format.
    """
    paths, dataset = Paths(config), config.dataset
    unknown = sorted(set(blind) - set(config.split.subjects))
    if unknown:
        raise DataError(f"--blind names {unknown}, which are in no split.", where="--blind")
    if paths.bodies is None:
        raise ConfigError(
            "The dataset has no bodies, of which the npz are made.", where="dataset.bodies",
            expected="a folder of S{n}.h5 (posemill.bodies), such as fit_bodies writes",
            mend="run fit_bodies, and name its folder: dataset.bodies=results/NAME/bodies",
        )  # fmt: skip
    body = load_body(dataset.body)
    for subject in config.split.subjects:
        if (output / f"S{subject}").is_dir():
            log.info("S%d is there already: to make it again, delete %s", subject, output / f"S{subject}")
            continue
        bodies = paths.bodies / f"S{subject}.h5"
        if not bodies.is_file() and dataset.kind == "synthetic" and dataset.bodies is None:
            log.info("S%d is rendered first", subject)
            synthesize.run(config, subject=subject, output=bodies)
        if not bodies.is_file():
            raise missing(bodies, mend="run the stage that makes it, or correct dataset.bodies")
        folders = folders_of(
            paths.dataset, subject=subject, acts=dataset.acts, subacts=dataset.subacts, cameras=dataset.cameras
        )
        count = write_subject(
            paths.dataset, bodies, body, output, subject=subject, folders=folders, blind=subject in blind,
            workers=config.runtime.workers,
        )  # fmt: skip
        log.info("S%d: %d frames in %s", subject, count, output / f"S{subject}")
