"""A stream cut into files of one size, each known by its digests. Sizes are bytes."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tasks.kit import files

Buffer = bytes | memoryview


@dataclass(frozen=True)
class Piece:
    path: Path
    size: int
    sha1: str
    sha256: str


def cut(stream: Iterable[Buffer], size: int, path: Callable[[int], Path]) -> tuple[Piece, ...]:
    """Write a stream to path(0), path(1), ..., `size` bytes each and the last the rest. They are on the disk when we return.

    What the stream yields is used before the next is asked for.
    """
    with ThreadPoolExecutor(
        1, "settle"
    ) as disk:  # a disk is slow to answer, and the next piece need not wait for it
        settled = [disk.submit(_settled, piece) for piece in _pieces(stream, size, path)]
        return tuple(future.result() for future in settled)


def _settled(piece: Piece) -> Piece:
    files.settle(piece.path)
    return piece


def _pieces(stream: Iterable[Buffer], size: int, path: Callable[[int], Path]) -> Iterator[Piece]:
    count, growing = 0, None
    try:
        for data in stream:
            left = memoryview(data)
            while left:
                growing = growing or _Growing(path(count))
                room = size - growing.size
                growing.write(left[:room])
                left = left[room:]
                if growing.size == size:
                    yield growing.ended()
                    count, growing = count + 1, None
        if growing:
            yield growing.ended()
    finally:
        if growing:
            growing.file.close()


class _Growing:
    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self.file = path.open("wb", buffering=0)
        self.digests = hashlib.sha1(usedforsecurity=False), hashlib.sha256()

    def write(self, data: memoryview) -> None:
        for digest in self.digests:
            digest.update(data)
        self.size += len(data)
        while data:  # the kernel may take less than all, as it does on a disk that is nearly full
            data = data[os.write(self.file.fileno(), data) :]

    def ended(self) -> Piece:
        self.file.close()
        return Piece(self.path, self.size, *(digest.hexdigest() for digest in self.digests))
