"""Who may write a training run's folder: one process at a time, also on NFS, also when schedulers lose track.

A generation is a file `{run_dir}/lock/{number:06d}.json`; its owner is whoever created the highest one. Creation is a
hard link to a finished temporary file, which NFS makes atomically (flock is not relied on), and a number is never
used twice: the highest file stays, marked released. So two that both find a lock stale cannot both win, and an owner
that was only out of contact sees the higher number and stops.

An owner touches its file every HEARTBEAT_S. It is dead when its process is, as seen on the same boot of the same host,
or when the file was not touched for STALE_S by the clock of the file server.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType

from codebase.errors import OutOfTimeError, UserError
from codebase.files import write_json
from codebase.jobs import job_id

log = logging.getLogger("posemill.lock")
HEARTBEAT_S = 10.0
STALE_S = 180.0  # NFS clients may show attributes a minute old; a busy file server may stand still for longer
SAY_EVERY_S = 300.0


@dataclass(frozen=True)
class Owner:
    """Who made a generation.

    Attributes:
        host, pid, job: the process; the scheduler's number of its job, or None.
        digest: of the run that it trains (`state.run_digest`).
        place: boot and process namespace in which `pid` means something; `born`: clock ticks from boot to its start.
        since: unix time of its acquisition.
        released: unix time of its end, or None while it works.
        finished: digest of the run that it finished, or None.
    """

    host: str
    pid: int
    job: str | None
    digest: str
    place: str
    born: int
    since: float
    released: float | None = None
    finished: str | None = None

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, job {self.job or 'none'}"


class RunLock:
    """The right to write a run's folder; a context manager around the time in which it is held.

    Args:
        run_dir: runs/{name}.
        digest: of the run that this process trains.
        doing: what the owner does, for those who wait.
    """

    def __init__(self, run_dir: Path, digest: str, doing: str = "training this run") -> None:
        self.folder, self.digest, self.doing = run_dir / "lock", digest, doing
        self.started = time.time()
        self._mine: Path | None = None
        self._owner: Owner | None = None
        self._end, self._beat = threading.Event(), threading.Thread(target=self._touch, daemon=True)

    def acquire(self, leave: Callable[[], str | None], poll_s: float = 5.0) -> Owner | None:
        """Wait until the folder is free, and take it; returns who held it before.

        Args:
            leave: asked while waiting; a reason ends the wait.
            poll_s: longest time between two looks.

        Raises:
            OutOfTimeError: `leave` gave a reason; nothing was written.
        """
        said, pause = -SAY_EVERY_S, 0.05
        while True:
            number, last = self._last()
            if last is None or last.released is not None or self._is_dead(number, last):
                if self._create(number + 1):
                    return last
                continue
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                log.info("waiting: %s is %s in %s", last, self.doing, self.folder.parent)
            reason = leave()
            if reason is not None:
                raise OutOfTimeError(f"{reason}: stopped while waiting for {last}, which is {self.doing}")
            pause = min(2 * pause, poll_s)
            self._end.wait(pause)

    def check(self) -> None:
        """Make sure that the folder is still ours; call before each write.

        Raises:
            OutOfTimeError: another process took over, because this one was not heard of for STALE_S.
        """
        if self._mine is None or self._numbers()[-1:] == [int(self._mine.stem)]:
            return
        _, last = self._last()
        raise OutOfTimeError(
            f"this process was not heard of for {STALE_S:.0f} s, and {last or 'someone'} took the run over"
        )

    def release(self, *, finished: bool) -> None:
        """Let the next one in, and say whether the run was finished; harmless where another took over."""
        if self._mine is None or self._owner is None:
            return
        self._end.set()
        self._beat.join()
        told = {"released": time.time(), "finished": self.digest if finished else None}
        try:
            if self._mine.exists():
                write_json(self._mine, asdict(self._owner) | told)
        except (OSError, UserError) as error:  # must not hide why the run ends; a waiter sees that we are gone
            log.warning("the lock %s could not be marked released: %s", self._mine, error)
        self._mine = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release(finished=kind is None)

    def _numbers(self) -> list[int]:
        try:
            return sorted(int(name.removesuffix(".json")) for name in os.listdir(self.folder) if name[:1].isdigit())
        except FileNotFoundError:
            return []

    def _last(self) -> tuple[int, Owner | None]:
        """The highest generation and who made it; unreadable content is an owner that only its clock can end."""
        number = next(iter(reversed(self._numbers())), 0)
        if not number:
            return 0, None
        try:
            found = json.loads(self._path(number).read_text(encoding="utf-8"))
            return number, Owner(**{field.name: found[field.name] for field in fields(Owner)})
        except (OSError, ValueError, KeyError, TypeError):
            return number, Owner("unknown", 0, None, "", "", 0, 0.0)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"

    def _create(self, number: int) -> bool:
        """Make the generation `number` unless somebody else did; clears away the ones before it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pid = os.getpid()
        owner = Owner(socket.gethostname(), pid, job_id() or None, self.digest, _place(), _born(pid) or 0, time.time())
        won = _create_once(self._path(number), json.dumps(asdict(owner), indent=2) + "\n")
        # a slow reader of an old list may recreate a number below the highest: that gives no right
        if not won or self._numbers()[-1:] != [number]:
            return False
        self._mine, self._owner = self._path(number), owner
        for old in self._numbers()[:-1]:
            self._path(old).unlink(missing_ok=True)
        self._beat.start()
        return True

    def _is_dead(self, number: int, owner: Owner) -> bool:
        if owner.place and owner.place == _place() and owner.host == socket.gethostname():
            if _born(owner.pid) == owner.born:
                return False
            log.warning("%s is dead: taking over its run", owner)
            return True
        try:
            silent = self._server_time() - self._path(number).stat().st_mtime
        except FileNotFoundError:
            return False
        if silent > STALE_S:
            log.warning("%s was not heard of for %.0f s: taking over its run", owner, silent)
        return silent > STALE_S

    def _server_time(self) -> float:
        """What the file server takes for now: clocks of hosts differ."""
        with tempfile.NamedTemporaryFile(prefix=".now.", dir=self.folder) as file:
            os.utime(file.name)
            return os.stat(file.name).st_mtime

    def _touch(self) -> None:
        while not self._end.wait(HEARTBEAT_S):
            mine = self._mine
            if mine is not None:
                with suppress(OSError):  # a file server that is away for a moment; check() judges
                    os.utime(mine)


def _create_once(path: Path, text: str) -> bool:
    """Make a file that is complete from its first moment, unless it exists; returns whether it was made."""
    handle, name = tempfile.mkstemp(prefix=".new.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # an answer lost on the way makes link() report an error for a link that was made: count the names
        with suppress(OSError):
            os.link(name, path)
        if os.stat(name).st_nlink == 2 or path.exists():
            return os.stat(name).st_nlink == 2
    finally:
        os.unlink(name)
    try:  # a file system without hard links: as exclusive, but empty for a moment
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _place() -> str:
    """The boot and the process namespace of this process; empty where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where there is no such process, or only its zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])
