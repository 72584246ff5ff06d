"""Work done by threads, taken in the order it was given."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_order(jobs: Iterable[Callable[[], T]], *, threads: int, ahead: int) -> Generator[T, None, None]:
    """The jobs' results, in order, with at most `threads + ahead` of them begun and not yet taken: memory stays bounded.

    A job's exception comes out in its place. Close the iterator to be sure that its threads have ended.
    """
    begun: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, "in-order") as pool:
        try:
            for job in jobs:
                begun.append(pool.submit(job))
                if len(begun) == threads + ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def alongside(
    items: Iterable[T], deed: Callable[[T], object], *, behind: int
) -> Generator[T, None, None]:
    """The items, handed on while a thread does the deed with each, in order, at most `behind` of them late; all before we end."""
    late: deque[Future[object]] = deque()
    with ThreadPoolExecutor(1, "alongside") as pool:
        for item in items:
            if len(late) == behind:
                late.popleft().result()
            late.append(pool.submit(deed, item))
            yield item
        while late:
            late.popleft().result()
