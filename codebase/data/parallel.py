"""Work spread over processes, in order, with progress."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar, runtime_checkable

from codebase.errors import DataError
from codebase.logs import progress

Item = TypeVar("Item")
Result = TypeVar("Result")
Given = TypeVar("Given", covariant=True)


@runtime_checkable
class Items(Protocol[Given]):
    """A list, or whatever makes its items one by one and knows how many there will be."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Given]: ...


def in_order(function: Callable[[Item], Result], items: Items[Item], *, workers: int, what: str) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; in this process where one worker is enough.

    Items are taken when a worker is about to be free, so that they may be made as they are read.
    Processes, not threads: decoding holds Python's lock between images. At most two results a worker wait to be taken.

    Raises:
        DataError: a worker died, most often for want of memory.
    """
    workers = min(workers, len(items))
    results = map(function, items) if workers <= 1 else _spread(function, items, workers, what)
    yield from progress(results, total=len(items), what=what)


def _spread(function: Callable[[Item], Result], items: Items[Item], workers: int, what: str) -> Iterator[Result]:
    with ProcessPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                "A worker process died, most often because the machine or the job ran out of memory.",
                where=what,
                mend="lower runtime.workers or give the job more memory, then run it again",
            ) from None
