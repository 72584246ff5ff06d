"""Inode numbers that depend on the paths of files and hardly on what else there is.

mke2fs counts: a new file moves every inode behind it, and with the numbers every directory changes. Here files that are near in the
order of their paths are a region, and have their inodes in one bucket: the inodes whose bytes lie in one slot of 512 KiB of the disk.
In which, the region's first path decides, and where in the bucket, each file's own.
"""

from collections.abc import Iterable, Sequence

from tasks.kit.extslots import cuts, score

REACH = 350  # files: regions have twice as many in the mean, a bucket 2048 inodes of 256 B
FILLED = 3 / 4  # of a bucket, before others are tried: fuller, a new file would displace many
PROBES = 8  # buckets, and places in a bucket, that are tried before the next free one


class Bucket:
    def __init__(self, ranges: Sequence[range]) -> None:
        self.ranges = ranges
        self.left = sum(map(len, ranges))
        self.free = bytearray(b"\1" * self.left)

    def take(self, key: int, spare: int) -> int | None:
        """A free number, unless only `spare` are left."""
        if self.left <= spare:
            return None
        index = self._index(key)
        self.free[index] = 0
        self.left -= 1
        for numbers in self.ranges:
            if index < len(numbers):
                break
            index -= len(numbers)
        return numbers[index]

    def _index(self, key: int) -> int:
        total = len(self.free)
        step = 1 + (key >> 32) % total
        for probe in range(PROBES):
            index = (key + probe * step) % total
            if self.free[index]:
                return index
        index = self.free.find(1, key % total)
        return self.free.find(1) if index < 0 else index


def numbered(names: Sequence[bytes], buckets: Iterable[Sequence[range]]) -> dict[bytes, int]:
    """A number for each path, given in their order. There must be as many numbers as paths.

    Who wants the same number gets it by the order of the hashes, so that a newcomer displaces few.
    """
    stock = [Bucket(ranges) for ranges in buckets]
    keys = [score(name) for name in names]
    wishes = []
    begin = 0
    for end in cuts([1] * len(keys), keys, REACH):
        wishes += [(keys[number], names[number], keys[begin]) for number in range(begin, end)]
        begin = end
    return {name: _taken(stock, home, key) for key, name, home in sorted(wishes)}


def _taken(stock: Sequence[Bucket], home: int, key: int) -> int:
    step = 1 + (home >> 32) % len(stock)
    for probe in range(PROBES):
        bucket = stock[(home + probe * step) % len(stock)]
        number = bucket.take(key, int(len(bucket.free) * (1 - FILLED)))
        if number is not None:
            return number
    begin = home % len(stock)
    for bucket in (*stock[begin:], *stock[:begin]):
        number = bucket.take(key, 0)
        if number is not None:
            return number
    raise ValueError("fewer numbers than names")
