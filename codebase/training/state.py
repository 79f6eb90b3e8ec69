"""Resumable state and final checkpoints: atomic, complete, loaded without running anything."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import random
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from codebase.config import Section
from codebase.config.learning import NO_RESULT
from codebase.errors import DataError
from codebase.files import atomic_path
from codebase.training.team import team

log = logging.getLogger("posemill.state")
Batch = dict[str, Tensor]
CHECKPOINT_KEYS = frozenset({"model", "step", "config", "history", "extra"})  # and, in newer ones, `digest`
_WHOLE_FILE_BYTES = 256 << 20


@runtime_checkable
class Batches(Protocol):
    """An endless stream of batches whose order is a pure function of (seed, position)."""

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]:
        """Seed and position."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved position."""
        ...


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done.
        history: one dict of floats a logged step.
        sums: per loss its sum since the last logged step; `counts`: of how many values.
        settled: whether logging and validation due at `step` are done.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    settled: bool = True


@dataclass(frozen=True)
class Checkpoint:
    """A finished model: flat state dict with the module's name before each key, and what belongs to it.

    Attributes:
        digest: of the run that made it (`run_digest`).
    """

    model: dict[str, Tensor]
    step: int
    config: dict[str, Any]
    history: list[dict[str, float]]
    extra: dict[str, Tensor]
    digest: str = ""

    def part(self, name: str) -> dict[str, Tensor]:
        """The state dict of one module."""
        prefix = name + "."
        return {key.removeprefix(prefix): value for key, value in self.model.items() if key.startswith(prefix)}


def run_digest(section: Section, *, version: int, inputs: Iterable[Path]) -> str:
    """12 hex digits that name a run's state: its section (without what changes no result), VERSION and inputs."""
    parts = [section.model_dump_json(exclude=set(NO_RESULT)), str(version), *(_content_digest(p) for p in inputs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _content_digest(path: Path) -> str:
    """Digest of a file's content; of a large file its size and 64 pieces of 1 MiB, spread evenly."""
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as handle:
        if size <= _WHOLE_FILE_BYTES:
            found.update(handle.read())
            return found.hexdigest()
        for position in np.linspace(0, size - (1 << 20), 64).astype(int):
            handle.seek(int(position))
            found.update(handle.read(1 << 20))
    return found.hexdigest()


class RunState:
    """The resumable state of one run, in `{run_dir}/state/{digest}/state.pt`; no declared output of any rule."""

    def __init__(
        self,
        run_dir: Path,
        digest: str,
        *,
        config: Section,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        batches: Batches,
    ) -> None:
        self.folder = run_dir / "state"
        self.path = self.folder / digest / "state.pt"
        self.config = config.model_dump(mode="json")
        self.modules, self.optimizers, self.batches = modules, optimizers, batches

    def save(self, progress: Progress) -> None:
        """Write everything that the next step depends on."""
        content = {
            "progress": vars(progress),
            "config": self.config,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "batches": self.batches.state_dict(),
            "generators": generators(),
        }
        with atomic_path(self.path) as temporary:
            torch.save(content, temporary)

    def resume(self) -> Progress:
        """Load the state of this very run if there is one; otherwise say why it starts from step 0."""
        if team().first and not self.path.is_file():
            self._explain_fresh_start()
        # one reads for all: a file server may show another host an older file
        source: Any = self.path
        if team().size > 1:
            source = io.BytesIO(team().told(self.path.read_bytes() if team().first and self.path.is_file() else b""))
        if not (source.getbuffer().nbytes if isinstance(source, io.BytesIO) else self.path.is_file()):
            return Progress()
        try:
            # a state of a GPU job may be resumed on another device
            content = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes the unpickler raise anything
            log.warning("the state %s is unreadable (%s): starting from step 0", self.path, error)
            return Progress()
        for name, module in self.modules.items():
            module.load_state_dict(content["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        self.batches.load_state_dict(content["batches"])
        _set_generators(content["generators"], team().generator)
        progress = Progress(**content["progress"])
        log.info("resuming at step %d from %s", progress.step, self.path)
        return progress

    def delete(self) -> None:
        """Remove the state after success: a forced re-run must not find itself finished."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _explain_fresh_start(self) -> None:
        for other in sorted(self.folder.glob("*/state.pt")):
            try:
                content = torch.load(other, map_location="cpu", weights_only=True, mmap=True)
            except Exception:  # noqa: S112 - a damaged file of another run explains nothing
                continue
            was = content["config"]
            keys = [k for k in {**was, **self.config} if was.get(k) != self.config.get(k)]
            changes = ", ".join(f"{k} {was.get(k)} -> {self.config.get(k)}" for k in keys)
            log.info(
                "found state at step %d for another configuration (%s): starting from step 0",
                content["progress"]["step"],
                changes or "the inputs or the stage's version changed",
            )


def generators() -> dict[str, Any]:
    """States of all generators, as a state holds them."""
    return _generators(team().generator)


def _generators(together: torch.Generator | None) -> dict[str, Any]:
    """States of all generators; that of a team's common one stands for torch's own, as one process would have it."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what must be restored
    inner = numpy_state["state"]
    return {
        "python": random.getstate(),
        "numpy": {
            **numpy_state,
            "state": {"key": torch.from_numpy(inner["key"].astype(np.int64)), "pos": inner["pos"]},
        },
        "torch": torch.get_rng_state() if together is None else together.get_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def _set_generators(found: Mapping[str, Any], together: torch.Generator | None) -> None:
    random.setstate(found["python"])
    inner = found["numpy"]["state"]
    key = inner["key"].numpy().astype(np.uint32)
    np.random.set_state({**found["numpy"], "state": {"key": key, "pos": inner["pos"]}})  # noqa: NPY002
    if together is None:
        torch.set_rng_state(found["torch"])
    else:
        together.set_state(found["torch"])
    if found["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(found["cuda"][0])


def save_checkpoint(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    step: int,
    config: Section,
    history: list[dict[str, float]],
    extra: Mapping[str, Tensor],
    digest: str = "",
) -> None:
    """Write a finished model atomically; everything in it loads with `weights_only=True`."""
    flat = {
        f"{name}.{key}": value.detach().cpu()
        for name, part in modules.items()
        for key, value in part.state_dict().items()
    }
    content = {
        "model": flat,
        "step": step,
        "config": json.loads(config.model_dump_json()),
        "history": history,
        "digest": digest,
    }
    with atomic_path(path) as temporary:
        torch.save(content | {"extra": {k: v.detach().cpu() for k, v in extra.items()}}, temporary)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a finished model onto the CPU.

    Raises:
        DataError: the file is missing (the message lists the model_*.pt beside it), or no checkpoint of ours.
    """
    if not path.is_file():
        beside = ", ".join(sorted(p.name for p in path.parent.glob("model_*.pt"))) or "no model_*.pt"
        raise DataError(
            "The checkpoint does not exist.", where=path, expected=f"one of those there: {beside}",
            mend="run the training stage, or name one that exists",
        )  # fmt: skip
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise anything
        raise DataError(f"The file is no readable checkpoint: {str(error).partition(chr(10))[0]}", where=path) from None
    if not isinstance(content, dict) or set(content) - {"digest"} != CHECKPOINT_KEYS:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"The file is no checkpoint of PoseMill: it holds {found}.", where=path,
            expected=", ".join(sorted(CHECKPOINT_KEYS)),
        )  # fmt: skip
    return Checkpoint(**content)
