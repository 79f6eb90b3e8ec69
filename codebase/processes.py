"""What a subcommand settles before heavy libraries are imported: how many threads, how many processes."""

from __future__ import annotations

import argparse
import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codebase.config import TrainConfig

MEMBER = "TORCHELASTIC_RUN_ID"  # in the environment of the processes that torchrun starts


def spread(options: argparse.Namespace, section: TrainConfig) -> bool:
    """Run a training on several processes where its section asks for them and this is not one of them yet."""
    if MEMBER in os.environ or section.gpus * section.nodes == 1:
        return False
    importlib.import_module("codebase.training.spread").launch(section, options.argv)
    return True


def limit_threads(threads: int) -> None:
    """Bound the threads of OpenMP, BLAS and numba, unless the environment already does. Before they are imported.

    Passive waiting, because spinning threads slow each other a hundredfold where cores are shared.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    bound = os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, bound)
