"""One stage for benchmarks/scale.py, in a process of its own: python -m benchmarks.scale_stage STAGE FOLDER."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from pathlib import Path

from codebase.config import Config
from codebase.data.index import write_index
from codebase.data.indexing import build
from codebase.data.scan import scan
from codebase.logs import configure_logging
from codebase.paths import Paths
from codebase.stages import backgrounds, crops, extract


def main() -> None:
    stage, folder = sys.argv[1], Path(sys.argv[2])
    configure_logging(logging.ERROR)
    config = Config.model_validate_json((folder / "config.json").read_text())
    paths = Paths(config)
    start, before = time.perf_counter(), core_seconds()
    if stage == "extract":
        extract.run(config, subject=1, output=folder / "S1.json")
    elif stage == "backgrounds":
        backgrounds.run(config, subject=1, output=folder / "background.npy")
    elif stage == "index":
        found = scan(config.dataset, paths.dataset, paths.masks, subjects=[1])
        workers = config.runtime.workers
        write_index(
            folder / "index.h5", build(found, config, paths.dataset, paths.masks, split="train", workers=workers)
        )
    else:
        crops.run(
            config, subject=1, index=[folder / "index.h5"], background=folder / "background.npy",
            output=folder / "crops.h5",
        )  # fmt: skip
    said = {"seconds": time.perf_counter() - start, "core_seconds": core_seconds() - before}
    sys.stdout.write(json.dumps(said) + "\n")


def core_seconds() -> float:
    """Time that cores have worked for this process and the workers that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


if __name__ == "__main__":
    main()
