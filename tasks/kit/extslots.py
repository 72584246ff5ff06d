"""Places for the content of files, such that a file's place depends on its path and hardly on what else there is.

Units: blocks of 4 KiB, and slots: runs of SLOT blocks that begin at a multiple of 512 KiB of the disk, which is what EBS stores and
sends. The whole slots of a large file are a chunk of their own. Smaller files, and the rest of large ones, follow one another in the
order of their paths and are cut into chunks, of which each begins a slot. Where to cut and in which slot a chunk begins, hashes of
the paths decide. So a file that grows moves its neighbours as far as the next cut, and nothing behind it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from heapq import nlargest
from itertools import accumulate
from typing import NamedTuple

SLOT = 128  # blocks: 512 KiB
# Blocks. Of Debian 12, in blocks of 512 KiB: how many more are in use at first, and how many a small package, an
# upgrade and another kernel change: 64: +23 %, 35, 42, 314; 96: +14 %, 44, 43, 291; 128: +11 %, 45, 47, 296; 192: +7 %, 44, 47, 303;
# 256: +6 %, 46, 49, 287. What is in use at first is paid for with each line of snapshots, so not the least.
REACH = 192
ROOM = 12  # blocks: the rest of a large file that leaves less of its slot empty has it to itself
PROBES = 8  # places that are tried for a chunk before the next free one after its first is taken
DIGITS = re.compile(rb"[0-9]+")
FREE = re.compile(rb"\0+|[^\0\xff]", re.DOTALL)  # bytes of a bitmap


class Load(NamedTuple):
    """What lies in one piece, or in a few."""

    name: bytes  # path; loads come in the order of their paths
    blocks: int  # more than 0
    pieces: int  # that it may be cut into, at most


class Part(NamedTuple):
    """What of a load goes into one chunk."""

    load: int  # its number
    start: int  # block of the load
    blocks: int


class Chunk(NamedTuple):
    key: int
    parts: tuple[Part, ...]
    slots: int


class Spot(NamedTuple):
    """What lies where: some of a load's blocks, in a row."""

    start: int  # block of the load
    at: int  # block of the file system
    blocks: int


def score(name: bytes) -> int:
    """64 bits that follow from a name alone, and not from the numbers in it: another version of a file takes its place."""
    return int.from_bytes(blake2b(DIGITS.sub(b"0", name), digest_size=8).digest(), "little")


class Space:
    """Which blocks are taken: a bit for each, as in the file system's own bitmaps, 1 for those that are."""

    def __init__(self, taken: bytearray, blocks: int) -> None:
        self.taken = taken
        empty, size = bytes(SLOT // 8), SLOT // 8
        starts = range(0, blocks // SLOT * size, size)
        self.slots = bytearray(taken[at : at + size] == empty for at in starts)  # 1: all of it is free

    def take(self, at: int, blocks: int) -> None:
        flip(self.taken, at, blocks)

    def slot_for(self, key: int, count: int) -> int | None:
        """The first block of `count` free slots in a row, which are taken then; None when there are none."""
        total, want = len(self.slots), b"\1" * count
        if total < count:
            return None
        step = 1 + (key >> 32) % total
        for probe in range(PROBES):
            slot = (key + probe * step) % total
            if self.slots.startswith(want, slot):
                break
        else:
            slot = self.slots.find(want, key % total)
            slot = self.slots.find(want) if slot < 0 else slot
        if slot < 0:
            return None
        self.slots[slot : slot + count] = bytes(count)
        return slot * SLOT


def gaps(taken: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(first, blocks) of free blocks in a row, the lowest first. Bits beyond the last block are taken."""
    begin = end = 0
    for at, length in _free(taken):
        if at != end:
            if end > begin:
                yield begin, end - begin
            begin = at
        end = at + length
    if end > begin:
        yield begin, end - begin


def _free(taken: bytes | bytearray) -> Iterator[tuple[int, int]]:
    for found in FREE.finditer(taken):
        byte = taken[found.start()]
        if not byte:
            yield found.start() * 8, (found.end() - found.start()) * 8
            continue
        for bit in range(8):
            if not byte >> bit & 1:
                yield found.start() * 8 + bit, 1


def flip(bitmap: bytearray, at: int, blocks: int) -> None:
    """Bits `at` and following become what they were not."""
    end = at + blocks
    while at < end and at & 7:
        bitmap[at >> 3] ^= 1 << (at & 7)
        at += 1
    while at < end and end & 7:
        end -= 1
        bitmap[end >> 3] ^= 1 << (end & 7)
    if at < end:
        whole = slice(at >> 3, end >> 3)
        bitmap[whole] = bytes(byte ^ 0xFF for byte in bitmap[whole])


def settled(loads: Sequence[Load], space: Space) -> list[list[Spot]] | None:
    """Where each load goes, in its own order; None when they do not fit, and `space` is of no use then.

    Larger chunks choose first, and among like ones the order follows from their keys: one that comes or goes moves those
    alone that wanted its place and chose later.
    """
    spots: list[list[Spot]] = [[] for _ in loads]
    strays: list[Part] = []
    for chunk in sorted(
        chunks(loads), key=lambda each: (-each.slots.bit_length(), each.key, each.parts)
    ):
        at = space.slot_for(chunk.key, chunk.slots)
        if at is None:
            strays += chunk.parts
            continue
        for part in chunk.parts:
            space.take(at, part.blocks)
            spots[part.load].append(Spot(part.start, at, part.blocks))
            at += part.blocks
    if strays and not squeezed(loads, strays, space, spots):
        return None
    return [sorted(each) for each in spots]


def chunks(loads: Sequence[Load]) -> Iterator[Chunk]:
    small: list[Part] = []
    keys = [score(load.name) for load in loads]
    for number, load in enumerate(loads):
        slots, rest = divmod(load.blocks, SLOT)
        if slots and rest and (load.pieces == 1 or SLOT - rest <= ROOM):
            slots, rest = slots + 1, 0
        if slots:
            yield Chunk(keys[number], (Part(number, 0, load.blocks - rest),), slots)
        if rest:
            small.append(Part(number, load.blocks - rest, rest))
    begin = 0
    for end in cuts([part.blocks for part in small], [keys[part.load] for part in small], REACH):
        total = sum(part.blocks for part in small[begin:end])
        key = keys[small[begin].load] ^ 1  # not that of the whole slots of the same file
        yield Chunk(key, tuple(small[begin:end]), -(-total // SLOT))
        begin = end


def cuts(sizes: Sequence[int], keys: Sequence[int], reach: int) -> Iterator[int]:
    """Where chunks end, the last one included: before each item whose key is the least of all within `reach`, to both sides.

    That depends on what is near alone, so that chunks are in step again soon behind a change. They are larger than `reach`,
    and twice as large in the mean.
    """
    starts = [0, *accumulate(sizes)]
    clear = [True] * len(keys)
    stack: list[int] = []  # those before that are less than all that came after them
    for number, key in enumerate(keys):
        while stack and keys[stack[-1]] > key:
            other = stack.pop()
            clear[other] &= starts[number] - starts[other] > reach
        clear[number] &= not stack or starts[number] - starts[stack[-1]] > reach
        stack.append(number)
    yield from (number for number, alone in enumerate(clear) if alone and number)
    if keys:
        yield len(keys)


def squeezed(
    loads: Sequence[Load], strays: Sequence[Part], space: Space, spots: Sequence[list[Spot]]
) -> bool:
    """Whether what found no slot fits into the gaps: each into the first that holds it, else into the largest few."""
    holes = Holes(gaps(space.taken))
    waiting = Counter(part.load for part in strays)
    for load, start, blocks in strays:
        waiting[load] -= 1
        pieces = loads[load].pieces - len(spots[load]) - waiting[load]
        done = 0
        for index in holes.for_blocks(blocks, pieces):
            at, taken = holes.take(index, blocks - done)
            space.take(at, taken)
            spots[load].append(Spot(start + done, at, taken))
            done += taken
            if done == blocks:
                break
        else:
            return False
    return True


class Holes:
    """Free blocks in a row; they only ever become smaller."""

    def __init__(self, found: Iterable[tuple[int, int]]) -> None:
        self.holes = list(found)
        self.begin: dict[int, int] = {}  # by blocks: no hole before this one has as many

    def for_blocks(self, blocks: int, pieces: int) -> Sequence[int]:
        """The first hole that has so many; else the largest `pieces`, of which none may be enough."""
        index = self.begin.get(blocks, 0)
        while index < len(self.holes) and self.holes[index][1] < blocks:
            index += 1
        self.begin[blocks] = index
        if index < len(self.holes):
            return (index,)
        every = (index for index, hole in enumerate(self.holes) if hole[1])
        return nlargest(pieces, every, key=lambda index: (self.holes[index][1], -index))

    def take(self, index: int, most: int) -> tuple[int, int]:
        """(first, blocks) of what is taken from a hole."""
        at, length = self.holes[index]
        taken = min(most, length)
        self.holes[index] = at + taken, length - taken
        return at, taken
