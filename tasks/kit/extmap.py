"""Which blocks hold the content of a file of an ext2, ext3 or ext4 file system.

Units: blocks of the file system. Source: the kernel's Documentation/filesystems/ext4 (ifork.rst: extent trees, and the
direct and indirect blocks of before). A damaged tree ends in a fault: no block of pointers is read twice for one file.
"""

from collections.abc import Iterator, Sequence
from struct import Struct, unpack
from typing import NamedTuple

from tasks.kit.extlayout import Inode, Volume

IN_EXTENTS = 0x80000  # flag of an inode
# Flags of an inode, and what they say of its content
UNREADABLE = {0x4: "compressed", 0x800: "encrypted", 0x10000000: "stored inside its inode"}

EXTENT_MAGIC = 0xF30A
DEEPEST = 5  # levels below the root of an extent tree: enough for 2^32 blocks of 1 KiB
HEADER = Struct("<4H4x")  # magic, entries, most entries, levels below
LEAF = Struct("<IHHI")  # first block of the file, blocks, where (high 16 bits, low 32)
INDEX = Struct("<4xIH2x")  # where the next level is (low 32 bits, high 16)
WRITTEN = 32768  # an extent longer than this is allocated but reads as zeros

DIRECT = 12  # pointers in an inode before the first indirect one


class Run(NamedTuple):
    first: int  # block of the file
    at: int  # block of the file system
    blocks: int


def runs(volume: Volume, inode: Inode) -> Iterator[Run]:
    """Where the content is, in the file's order; what lies between is a hole and reads as zeros."""
    for flag, state in UNREADABLE.items():
        if inode.flags & flag:
            raise volume.fault(f"file {inode.number} is {state}, which this reader does not understand")
    whole = -(-inode.size // volume.block_size)
    found = extents(volume, inode) if inode.flags & IN_EXTENTS else pointers(volume, inode, whole)
    total, end = volume.superblock.blocks, 0
    left = total
    for run in found:
        if run.first < end or not 0 < run.at <= run.at + run.blocks <= total or run.blocks > left:
            raise volume.fault(f"the block map of file {inode.number} is damaged")
        end, left = run.first + run.blocks, left - run.blocks
        if run.first >= whole:
            return  # allocated beyond the end of the file
        yield run._replace(blocks=min(run.blocks, whole - run.first))


def extents(volume: Volume, inode: Inode) -> Iterator[Run]:
    depth = HEADER.unpack_from(inode.map)[3]
    if depth > DEEPEST:
        raise volume.fault(f"the extent tree of file {inode.number} is damaged")
    return extent_node(volume, inode.map, depth, set())


def extent_node(volume: Volume, raw: bytes, depth: int, seen: set[int]) -> Iterator[Run]:
    magic, entries, _, level = HEADER.unpack_from(raw)
    end = HEADER.size + entries * LEAF.size
    if magic != EXTENT_MAGIC or level != depth or end > len(raw):
        raise volume.fault("an extent tree is damaged")
    for at in range(HEADER.size, end, LEAF.size):
        if depth:
            low, high = INDEX.unpack_from(raw, at)
            yield from extent_node(volume, once(volume, high << 32 | low, seen), depth - 1, seen)
        else:
            first, blocks, high, low = LEAF.unpack_from(raw, at)
            if blocks <= WRITTEN:
                yield Run(first, high << 32 | low, blocks)


def pointers(volume: Volume, inode: Inode, whole: int) -> Iterator[Run]:
    words = unpack("<15I", inode.map)
    yield from joined(words[:DIRECT], 0)
    seen: set[int] = set()
    first, span = DIRECT, volume.block_size // 4
    for level, word in enumerate(words[DIRECT:], 1):
        if word and first < whole:
            yield from indirect(volume, word, (level, first), seen)
        first += span**level


def indirect(volume: Volume, block: int, stands: tuple[int, int], seen: set[int]) -> Iterator[Run]:
    """What hangs below a block of pointers that `stands` so many levels above the data, from such a block of the file on."""
    level, first = stands
    words = unpack(f"<{volume.block_size // 4}I", once(volume, block, seen))
    if level == 1:
        yield from joined(words, first)
        return
    span = len(words) ** (level - 1)
    for index, word in enumerate(words):
        if word:
            yield from indirect(volume, word, (level - 1, first + index * span), seen)


def joined(words: Sequence[int], first: int) -> Iterator[Run]:
    """Pointers to blocks, neighbours as one run; a pointer of 0 is a hole."""
    at = 0
    while at < len(words):
        begin, count = words[at], 1
        while begin and at + count < len(words) and words[at + count] == begin + count:
            count += 1
        if begin:
            yield Run(first + at, begin, count)
        at += count


def once(volume: Volume, block: int, seen: set[int]) -> bytes:
    if block in seen:
        raise volume.fault(f"block {block} is used twice in one file")
    seen.add(block)
    return volume.block(block)
