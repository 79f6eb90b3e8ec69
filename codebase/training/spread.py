"""A training stage on several processes: the command runs itself again under torchrun, once for each GPU.

The first process (the launcher) watches the others. It hands signals on to them, so that they stop together and save,
and tells how they ended in one message and one exit code, the same as if there had been one process.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from codebase.config import TrainConfig
from codebase.errors import EXIT_OUT_OF_TIME, EXIT_USER_ERROR, KilledError, OutOfTimeError, UserError
from codebase.failures import disk_is_full
from codebase.files import write_json

log = logging.getLogger("posemill.spread")
AGENT = "POSEMILL_AGENT"  # set for the launchers that srun starts, one a host: address of the meeting point
EXIT_INTERRUPTED = 130
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def launch(section: TrainConfig, argv: Sequence[str]) -> None:
    """Run `python -m codebase ARGV` in gpus x nodes processes and end as they did.

    Raises:
        OutOfTimeError: they stopped and saved.
        UserError: one of them met something that a user can mend, or srun is needed and not there.
        KilledError: one of them was killed.
        SystemExit: a fault of ours; its traceback was printed.
    """
    if section.nodes > 1 and AGENT not in os.environ:
        _launch_on_hosts(section, argv)
    else:
        _launch_here(section, argv)


def as_member(call: Callable[[], int | None]) -> int:
    """Run a stage as one of several processes; how it fails goes to the launcher, not to the terminal."""
    started = time.monotonic()
    try:
        call()
    except (UserError, OutOfTimeError) as error:
        return _report(str(error), EXIT_USER_ERROR if isinstance(error, UserError) else EXIT_OUT_OF_TIME)
    except KeyboardInterrupt:
        return _report("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if full := disk_is_full(error):
            return _report(full, EXIT_USER_ERROR)
        return _report(traceback.format_exc(), 1)
    finally:
        log.debug("process ended after %.1f s", time.monotonic() - started)
    from codebase.training.team import leave

    leave()
    return 0


def _report(text: str, code: int) -> int:
    """Leave a message for the launcher; its place is torchrun's, which fails on half of one."""
    content = {"message": text, "timestamp": int(time.time()), "time": time.time()}
    if place := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        # whole or not at all: after the first failure torchrun stops the others, wherever they are
        write_json(Path(place), content)
    return code


def _launch_here(section: TrainConfig, argv: Sequence[str]) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    words = ["--nproc-per-node", str(section.gpus), "--signals-to-handle", "SIGHUP", "--shutdown-timeout", "20"]
    if meeting := os.environ.get(AGENT):
        words += ["--nnodes", str(section.nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting]
        words += ["--rdzv-id", os.environ.get("SLURM_JOB_ID", "posemill")]
    else:
        words += ["--standalone", "--local-addr", "127.0.0.1"]
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    log.info("%d processes on this host", section.gpus)
    asked: list[int] = []
    previous = {number: signal.signal(number, _hand_on(asked)) for number in _SIGNALS}
    try:
        run(parse_args([*words, "-m", "codebase", *argv]))
    except ChildFailedError as error:
        _end_like(list(error.failures.values()), section.gpus * section.nodes, asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _hand_on(asked: list[int]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in asked:
            raise KeyboardInterrupt  # the second Ctrl-C means now
        asked.append(number)
        for pid in _children():
            # a terminal sends SIGINT to all by itself, and two of them would mean now
            os.kill(pid, signal.SIGTERM if number == signal.SIGINT else number)

    return handle


def _children() -> list[int]:
    """Processes whose parent is this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(after_name[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def _end_like(failures: Sequence[Any], size: int, asked: Sequence[int]) -> None:
    """Raise what ended the run; what the others said in consequence is left out."""
    failure = min(failures, key=_rank_of_cause)
    text, code = _said(failure), failure.exitcode
    who = f"process {failure.local_rank} on {socket.gethostname()} (of {size} in all)"
    if code == EXIT_OUT_OF_TIME:
        raise OutOfTimeError(text)
    if code == EXIT_USER_ERROR:
        raise UserError(text)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code < 0 and asked:
        raise OutOfTimeError(f"{signal.Signals(asked[0]).name}: stopped before the first step was made")
    if code < 0:
        raise KilledError(
            f"{who} was killed by {signal.Signals(-code).name}, and the others were stopped.",
            expected="all processes to live as long as the run",
            mend="see whether memory ran out (dmesg, the scheduler's record), and run again: it goes on where it saved",
        )
    log.error("%s failed:\n%s", who, text)
    raise SystemExit(1)


def _rank_of_cause(failure: Any) -> tuple[int, float]:  # noqa: ANN401 - torchrun's ProcessFailure
    """What is the cause, and what only follows from it: others lose the connection, or get torchrun's SIGTERM."""
    if failure.exitcode < 0:
        return (5 if failure.exitcode == -signal.SIGTERM else 0), 0.0
    kinds = {EXIT_USER_ERROR: 1, EXIT_OUT_OF_TIME: 2, EXIT_INTERRUPTED: 3}
    return kinds.get(failure.exitcode, 4), _content(failure).get("time", 0.0)


def _content(failure: Any) -> Mapping[str, Any]:  # noqa: ANN401 - torchrun's ProcessFailure
    try:
        return json.loads(Path(failure.error_file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _said(failure: Any) -> str:  # noqa: ANN401 - as above
    return str(_content(failure).get("message") or f"it left with exit code {failure.exitcode} and said nothing")


def _launch_on_hosts(section: TrainConfig, argv: Sequence[str]) -> None:
    """One launcher on each host of this Slurm job; they meet at the first one."""
    if not shutil.which("srun") or "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"{section.nodes} hosts are asked for, which needs a job of Slurm and its srun.",
            where="nodes of the section",
            expected="a job with as many nodes",
            mend="set nodes to 1, or submit it to Slurm; on LSF use one host",
        )
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    job = os.environ["SLURM_JOB_ID"]
    words = ["srun", f"--jobid={job}", "--overlap", f"--nodes={section.nodes}", f"--ntasks={section.nodes}"]
    words += ["--ntasks-per-node=1", "--kill-on-bad-exit=1", "--export=ALL", "--unbuffered"]
    # the step's own variables would shape the new step
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment |= {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
    environment |= {AGENT: f"{socket.gethostname()}:{port}"}
    step = subprocess.Popen([*words, sys.executable, "-m", "codebase", *argv], env=environment)
    previous = {number: signal.signal(number, lambda n, _: step.send_signal(n)) for number in _SIGNALS}
    try:
        code = step.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if code == EXIT_OUT_OF_TIME:
        raise OutOfTimeError("the processes stopped together")
    if code:
        raise SystemExit(code if code > 0 else 1)  # the launchers said why
