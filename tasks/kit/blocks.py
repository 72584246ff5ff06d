"""The data of a large file, in blocks that many threads read into few buffers. Sizes and offsets are bytes."""

import os
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from tasks.kit.fault import ImageFault

Extent = tuple[int, int]  # offset, length


def batches(runs: Iterable[Extent], size: int) -> Iterator[tuple[Extent, ...]]:
    """Runs cut and collected to blocks of `size`: a file of many small runs makes as few blocks as one of a single run."""
    batch: list[Extent] = []
    room = size
    for begin, length in runs:
        at, end = begin, begin + length
        while at < end:
            taken = min(end - at, room)
            batch.append((at, taken))
            at, room = at + taken, room - taken
            if not room:
                yield tuple(batch)
                batch, room = [], size
    if batch:
        yield tuple(batch)


class Buffers:
    """Memory that is used again: asking the kernel for a fresh block each time costs a tenth of a bundle's whole work."""

    def __init__(self, count: int, size: int) -> None:
        self.free: SimpleQueue[bytearray] = SimpleQueue()
        for _ in range(count):
            self.free.put(bytearray(size))

    def filled(self, handle: int, extents: Iterable[Extent]) -> memoryview:
        """What an open file has there, in a buffer that is the caller's until it goes `back`. Raises ImageFault if it is shorter."""
        whole = memoryview(self.free.get_nowait())
        at = 0
        for start, length in extents:
            if os.preadv(handle, [whole[at : at + length]], start) != length:
                raise ImageFault(
                    "a file became shorter while it was read",
                    hint="see who writes to it, and run doit again",
                )
            at += length
        return whole[:at]

    def back(self, data: bytes | memoryview) -> None:
        if isinstance(data, memoryview) and isinstance(data.obj, bytearray):
            self.free.put(data.obj)
