"""Errors meant for people: what, where, what was expected, how to mend it."""

from __future__ import annotations

EXIT_USER_ERROR = 2
EXIT_OUT_OF_TIME = 75


class UserError(Exception):
    """Something a user can mend.

    The command line prints it without a traceback and leaves with exit code 2.

    Args:
        what: what is wrong, one sentence.
        where: the file or the dotted config key.
        expected: what would have been right.
        mend: what to do now.
    """

    def __init__(self, what: str, *, where: object = None, expected: str = "", mend: str = "") -> None:
        self.what, self.where, self.expected, self.mend = what, where, expected, mend
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what]
        for label, text in (("where", self.where), ("expected", self.expected), ("to mend", self.mend)):
            if text:
                lines.append(f"  {label + ':':<10}{text}")
        return "\n".join(lines)


class ConfigError(UserError):
    """A config that the schema refuses."""


class DataError(UserError):
    """A file that is missing, unreadable or not in its documented format."""


class KilledError(UserError):
    """A process of the job was killed from outside: another attempt, with more memory, may get through. Exit code 1."""


class OutOfTimeError(Exception):
    """The time budget is spent; the state is saved. Not a failure: exit code 75 asks for another attempt."""
