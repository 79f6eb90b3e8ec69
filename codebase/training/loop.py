"""The training loop of every stage: the stage gives `update(batch, step) -> losses`, the loop does the rest."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from codebase.config import TrainConfig
from codebase.errors import OutOfTimeError, UserError
from codebase.files import append_text, write_text
from codebase.training import optim
from codebase.training.budget import Budget
from codebase.training.finished import adopt, kept, publish
from codebase.training.lock import RunLock
from codebase.training.progress_file import ProgressFile
from codebase.training.state import Batch, Batches, Progress, RunState, save_checkpoint
from codebase.training.team import team

log = logging.getLogger("posemill.train")
Update = Callable[[Batch, int], dict[str, Tensor]]
Validate = Callable[[], dict[str, float]]


def fit(
    config: TrainConfig,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    batches: Batches,
    update: Update,
    validate: Validate | None,
    output: Path,
    digest: str,
    budget_s: float | None = None,
    extra: Mapping[str, Tensor] | None = None,
    export: Mapping[str, nn.Module] | None = None,
    after: Callable[[Progress], None] | None = None,
) -> None:
    """Train until `config.steps` and write `output`; resume exactly where an earlier attempt of the same run stopped.

    Args:
        config: the stage's section.
        modules: everything with weights or buffers that the next step depends on, by name.
        optimizers: by name; their learning rates follow the schedule from the value they were made with.
        batches: the stream of batches, already on the device.
        update: forward, backward and optimiser step(s) on one batch; returns detached scalar losses.
        validate: figures on the validation split, called without gradients and with `modules` in eval mode.
        output: runs/{name}/model_{steps}.pt; beside it lie history.jsonl, progress.json, lock/ and, until done,
            state/. Where another process trains in this folder, wait for it; a finished model of this very run is
            taken as it is.
        digest: names this run's state (`state.run_digest`); another digest never continues silently.
        budget_s: seconds from now after which the run saves and leaves; at least one step is always made, once the
            folder is free.
        extra: tensors that belong to the model, kept in the checkpoint.
        export: the modules that go into the checkpoint, if not all (an averaged copy in place of the raw weights).
        after: called by the first process before the first step, and after each step's logging and validation, before
            its state is saved: what it writes may be written again by an attempt that resumes.

    Raises:
        OutOfTimeError: budget spent, a signal came, or another process took the run over; another attempt continues.
        UserError: a loss is not finite.
    """
    run_dir, crew = output.parent, team()
    with Budget(budget_s) as budget, RunLock(run_dir, digest) as lock:
        state = RunState(run_dir, digest, config=config, modules=modules, optimizers=optimizers, batches=batches)
        if not _begin(lock, budget, output, digest):
            if crew.first:
                state.delete()  # of one that was killed after its last step: a forced run must not find it
            return
        crew.begin()
        progress = state.resume()
        told = ProgressFile(run_dir, config.steps, progress.step, _losses(progress))
        if crew.first:
            write_text(run_dir / "history.jsonl", "".join(json.dumps(entry) + "\n" for entry in progress.history))
            told.write(progress.step)
        settle = partial(_settle, config, progress, modules, validate, told, lock, after)
        budget.begin_turn()  # what came before was no step: it says nothing of how long a step takes
        if after is not None and crew.first and progress.step == 0:
            after(progress)
        if not progress.settled:
            settle()
        for step in range(progress.step, config.steps):
            optim.set_rate(optimizers.values(), optim.rate_factor(config, step))
            crew.begin_step(config.seed, step)
            batch = next(batches)
            _add(progress, update(batch, step), batch)
            reason = budget.turn()
            if crew.any(reason is not None) and progress.step < config.steps:
                _save(state, progress, lock)
                if crew.first:
                    told.write(progress.step, state="stopped")
                crew.wait()
                raise OutOfTimeError(
                    f"{reason or 'another process has to stop'}: stopped and saved after step {progress.step} "
                    f"of {config.steps}"
                )
            settle()
            if progress.step % config.save_every == 0 and progress.step < config.steps:
                _save(state, progress, lock)
        if crew.first:
            lock.check()
            save_checkpoint(
                kept(output, digest),
                modules=export or modules,
                step=progress.step,
                config=config,
                history=progress.history,
                extra=extra or {},
                digest=digest,
            )
            publish(output, digest)
            state.delete()
            told.write(progress.step, state="done")
            log.info("wrote %s after %d steps, %.1f s in this attempt", output, progress.step, budget.elapsed_s)
        crew.wait()


def _begin(lock: RunLock, budget: Budget, output: Path, digest: str) -> bool:
    """Take the folder; whether there is anything to train. The first process does it for all."""
    crew, answer, problem = team(), "", None
    if crew.first:
        try:
            lock.acquire(budget.over)
            answer = "" if adopt(output, digest, since=lock.started) else "train"
        except OutOfTimeError as error:
            problem, answer = error, f"over {error}"
    answer = crew.told(answer.encode()).decode()
    if answer.startswith("over "):
        raise problem or OutOfTimeError(answer.removeprefix("over "))
    return answer == "train"


def _save(state: RunState, progress: Progress, lock: RunLock) -> None:
    if team().first:
        lock.check()
        state.save(progress)
    team().wait()


def _add(progress: Progress, losses: Mapping[str, Tensor], batch: Batch) -> None:
    """Count one step and add its losses to the running sums; a loss that is not finite ends the run."""
    means = team().average(torch.stack([loss.detach().float() for loss in losses.values()]))
    values = dict(zip(losses, means.tolist(), strict=True))
    progress.step += 1
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"The loss {', '.join(bad)} is not finite at step {progress.step}.",
            where=f"batch of {'; '.join(_describe(key, value) for key, value in batch.items())}",
            expected="finite losses",
            mend="lower learning_rate, or precision: fp32; the last saved state is kept",
        )
    for name, value in values.items():
        progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.counts[name] = progress.counts.get(name, 0) + 1
    progress.settled = False


def _describe(key: str, value: Tensor) -> str:
    finite = bool(torch.isfinite(value).all()) if value.is_floating_point() else True
    return f"{key} {tuple(value.shape)}{'' if finite else ' (not finite)'}"


def _settle(
    config: TrainConfig,
    progress: Progress,
    modules: Mapping[str, nn.Module],
    validate: Validate | None,
    told: ProgressFile,
    lock: RunLock,
    after: Callable[[Progress], None] | None,
) -> None:
    """Log and validate where the step asks for it. An attempt that stops first leaves this to the next one."""
    last = progress.step == config.steps
    entry: dict[str, float] = {}
    if last or progress.step % config.log_every == 0:
        entry |= {name: total / progress.counts[name] for name, total in progress.sums.items()}
        entry["learning_rate_factor"] = optim.rate_factor(config, progress.step - 1)
        progress.sums, progress.counts = {}, {}
    if validate is not None and (last or progress.step % config.validate_every == 0):
        if team().first:
            entry |= {f"val/{name}": float(value) for name, value in _validate(validate, modules).items()}
        team().wait()
    progress.settled = True
    if entry and team().first:
        progress.history.append({"step": float(progress.step), **entry})
        lock.check()
        _report(config, progress, told)
    if team().first:
        told.now_and_then(progress.step)
        if after is not None:
            after(progress)


def _validate(validate: Validate, modules: Mapping[str, nn.Module]) -> dict[str, float]:
    """Call `validate` in eval mode without gradients; every part's mode is restored after it."""
    modes = [(part, part.training) for module in modules.values() for part in module.modules()]
    for module in modules.values():
        module.eval()
    try:
        with torch.no_grad():
            return validate()
    finally:
        for part, training in modes:
            part.training = training


def _report(config: TrainConfig, progress: Progress, told: ProgressFile) -> None:
    append_text(told.path.parent / "history.jsonl", json.dumps(progress.history[-1]) + "\n")
    losses = _losses(progress)
    told.write(progress.step, losses=losses)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    log.info("step %d of %d, %.1f a second: %s", progress.step, config.steps, told.rate(progress.step), shown)


def _losses(progress: Progress) -> dict[str, float]:
    """The figures that were logged last."""
    return {name: value for name, value in (progress.history or [{}])[-1].items() if name != "step"}
