"""What a failed run says at its end: which logs to read, and their last words, errors for people first."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Snakemake copies the workflow's files there before it reads them
CACHE = "Snakemake's own files lie in ~/.cache: export XDG_CACHE_HOME=/scratch/$USER/cache puts them elsewhere"
_LAST_LINES = 8
_TAIL_BYTES = 64 << 10


def user_message(log: str) -> str:
    """The message for people that a log ends with, an error or who was killed; or nothing."""
    found = re.search(r"^(?:error|killed): .*(?:\n.+)*\n?\Z", log, flags=re.MULTILINE)
    return found[0] if found else ""


def wants_a_person(log: str) -> bool:
    """Whether a log ends with an error that another attempt would meet again, until somebody mends it."""
    return user_message(log).startswith("error: ")


def stopped_message(log: str) -> str:
    """The line with which a log ends whose job stopped with its state saved, or nothing."""
    last = log.rstrip().rpartition("\n")[2]
    return last if last.startswith("out of time: ") else ""


def failed_logs(snakemake_log: str) -> list[Path]:
    """The logs of the failed jobs that Snakemake's own log names, each once.

    Those of its executor (the scheduler's output) only where a job's own is empty: it ended before it began.
    """
    found = re.findall(r"^\s+log: (.+?) \(check log file", snakemake_log, flags=re.MULTILINE)
    names = [Path(name) for name in dict.fromkeys(name for names in found for name in names.split(", "))]
    own = [name for name in names if ".snakemake" not in name.parts]
    return own if own and all(tail(name) for name in own) else names


def tail(path: Path) -> str:
    """The end of a text file, at most 64 KiB; empty where it cannot be read."""
    try:
        with path.open("rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - _TAIL_BYTES))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def tail_since(path: Path, since: float) -> str:
    """The end of a file that was written after `since` (unix time); empty of an older one, or one that is not there."""
    try:
        late = path.stat().st_mtime > since
    except OSError:  # also a stale handle of a file server
        return ""
    return tail(path) if late else ""


def last_lines(text: str, count: int) -> list[str]:
    """The last lines that say something: those that only underline code of a traceback do not."""
    lines = [line for line in text.rstrip().splitlines() if line.strip(" ^~")]
    return lines[-count:]


def last_words(logs: Iterable[Path]) -> str:
    """What to print after a failure: messages for people first, each once, with their logs; else a log's last lines."""
    messages: dict[str, list[Path]] = {}
    others = []
    stopped = []
    for log in logs:
        text = tail(log)
        if message := user_message(text):
            messages.setdefault(message.rstrip(), []).append(log)
        elif message := stopped_message(text):
            stopped.append(f"A job stopped; its log: {log}\n    {message}")
        else:
            others.append(log)
    blocks = [f"{text}\n{_where(found)}" for text, found in messages.items()] + stopped
    for log in others:
        text = tail(log)
        lines = last_lines(text, _LAST_LINES) or ["(empty, or not there: the job ended before it began)"]
        blocks.append("\n".join([_where([log]), *(f"    {line}" for line in lines), *_ended_on_a_full_disk(text)]))
    return "\n\n".join(blocks)


def _where(logs: list[Path]) -> str:
    more = f" and {len(logs) - 1} more" if len(logs) > 1 else ""
    return f"A job failed; its log: {logs[0]}{more}"


def _ended_on_a_full_disk(log: str) -> list[str]:
    """What to add to a log that ends in a traceback of a full disk: Snakemake's own, which names no file."""
    found = re.search(r"^OSError: \[Errno (\d+)\] (.*)\n*\Z", log, flags=re.MULTILINE)
    said = disk_is_full(OSError(int(found[1]), found[2])) if found else ""
    return [said, f"            {CACHE}"] if said else []


def disk_is_full(error: BaseException, where: object = None) -> str:
    """What to say of an error that means a full disk or a quota; empty for any other.

    Args:
        error: what was raised.
        where: what was being written, where the error does not name it.
    """
    number = getattr(error, "errno", None)
    said = str(error)
    if number not in _FULL and "No space left on device" not in said and "quota exceeded" not in said.lower():
        return ""
    file = error.filename if isinstance(error, OSError) and error.filename else where
    place = f"\n  where:    {file}" if file else ""
    what = "quota is used up" if number == errno.EDQUOT or "quota" in said.lower() else "disk is full"
    mend = "free some space (quota -s, df -h .), or put results elsewhere: results=/scratch/$USER/results"
    return f"Nothing more could be written: the {what}.{place}\n  to mend:  {mend}"
