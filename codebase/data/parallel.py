"""Work spread over processes, in order, with progress."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from codebase.logs import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, what: str) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; in this process where one worker is enough.

    Processes, not threads: decoding holds Python's lock between images, and a damaged file may take its worker down.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from progress(map(function, items), total=len(items), what=what)
        return
    with multiprocessing.get_context().Pool(workers) as pool:
        yield from progress(pool.imap(function, items), total=len(items), what=what)
