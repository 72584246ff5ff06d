"""Extent trees of ext4: read with the blocks that they take, and made anew for a file that moves. Units: blocks.

Source: the kernel's Documentation/filesystems/ext4 (ifork.rst). Trees of our own are as flat as can be: up to four extents lie in the
inode, up to 1360 in up to four blocks below it.
"""

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from tasks.kit.extlayout import Inode, Volume
from tasks.kit.extmap import DEEPEST, EXTENT_MAGIC, HEADER, INDEX, LEAF, WRITTEN, Run, once
from tasks.kit.extslots import Spot

PLACE = Struct("<IIH2x")  # first block of the file, where the next level is (low 32 bits, high 16)
IN_INODE = 4  # extents, or blocks of extents
MAP_SIZE = 60  # bytes of an inode
GENERATION = slice(8, 12)  # bytes of a node: what nobody reads, and e2fsprogs leave as it is
SPARE = (
    8  # pieces more than one that a file with a tree of its own may be cut into, where the tree has room
)


class Tree(NamedTuple):
    content: tuple[Run, ...]  # extents
    nodes: tuple[int, ...]  # blocks of extents


class Step(NamedTuple):
    """Blocks in a row, both where they are and where they go."""

    first: int  # block of the file
    source: int
    target: int
    blocks: int


def read(volume: Volume, inode: Inode) -> Tree | None:
    """None when some of it is allocated but was never written: that, nothing here could make anew."""
    content: list[Run] = []
    nodes: list[int] = []
    seen: set[int] = set()
    depth = HEADER.unpack_from(inode.map)[3]
    if depth > DEEPEST:
        raise volume.fault(f"the extent tree of file {inode.number} is damaged")
    todo = [(inode.map, depth)]
    while todo:
        raw, depth = todo.pop()
        magic, entries, _, level = HEADER.unpack_from(raw)
        ends = range(LEAF.size, (entries + 1) * LEAF.size, LEAF.size)
        if magic != EXTENT_MAGIC or level != depth or (entries + 1) * LEAF.size > len(raw):
            raise volume.fault(f"the extent tree of file {inode.number} is damaged")
        if depth:
            below = [low | high << 32 for low, high in (INDEX.unpack_from(raw, at) for at in ends)]
            nodes += below
            todo += [(once(volume, block, seen), depth - 1) for block in reversed(below)]
            continue
        for first, blocks, high, low in (LEAF.unpack_from(raw, at) for at in ends):
            if blocks > WRITTEN:
                return None
            content.append(Run(first, high << 32 | low, blocks))
    end = 0
    for run in content:
        if run.first < end or not 0 < run.at < run.at + run.blocks <= volume.superblock.blocks:
            raise volume.fault(f"the extent tree of file {inode.number} is damaged")
        end = run.first + run.blocks
    return Tree(tuple(content), tuple(nodes))


def needs(content: Iterable[Run], block_size: int) -> tuple[int, int] | None:
    """(blocks of extents, pieces that the content may be cut into at most); None when that is no flat tree."""
    extents = sum(-(-run.blocks // WRITTEN) for run in joined(content))
    if extents <= IN_INODE:
        return 0, 1 + IN_INODE - extents
    room = _room(block_size)
    nodes = -(-extents // room)
    return (nodes, 1 + min(SPARE, nodes * room - extents)) if nodes <= IN_INODE else None


def joined(content: Iterable[Run]) -> Iterator[Run]:
    """What follows without a hole in the file as one, wherever it lies."""
    whole: Run | None = None
    for run in content:
        if whole and whole.first + whole.blocks == run.first:
            whole = whole._replace(blocks=whole.blocks + run.blocks)
        else:
            if whole:
                yield whole
            whole = run
    if whole:
        yield whole


def steps(content: Iterable[Run], spots: Iterable[Spot]) -> Iterator[Step]:
    """How the content gets to its spots; they hold as many blocks as it has."""
    places = iter(spots)
    target = room = 0
    for first, source, blocks in content:
        done = 0
        while done < blocks:
            if not room:
                _, target, room = next(places)
            taken = min(room, blocks - done)
            yield Step(first + done, source + done, target, taken)
            done, target, room = done + taken, target + taken, room - taken


def split(spots: Iterable[Spot], nodes: int) -> tuple[list[int], list[Spot]]:
    """The blocks of extents, which come first, and the spots of the content."""
    blocks: list[int] = []
    rest: list[Spot] = []
    for start, at, length in spots:
        own = min(length, nodes - len(blocks))
        blocks += range(at, at + own)
        if own < length:
            rest.append(Spot(start + own, at + own, length - own))
    return blocks, rest


def made(
    old: bytes, content: Sequence[Run], spots: Iterable[Spot], block_size: int
) -> tuple[bytes, dict[int, bytes]]:
    """The map in the inode, and what to write to the blocks of extents below it. Raises ValueError if `needs` was not asked."""
    needed = needs(content, block_size)
    if needed is None:
        raise ValueError("no flat tree holds so many extents")
    blocks, rest = split(spots, needed[0])
    leaves = list(_leaves(steps(content, rest)))
    if not blocks:
        return _node(_packed(leaves), MAP_SIZE, level=0, generation=old[GENERATION]), {}
    room = _room(block_size)
    parts = [leaves[at : at + room] for at in range(0, len(leaves), room)]
    below = {
        block: _node(_packed(part), block_size, level=0)
        for block, part in zip(blocks, parts, strict=True)
    }
    above = [
        PLACE.pack(part[0][0], block & 0xFFFFFFFF, block >> 32)
        for block, part in zip(blocks, parts, strict=True)
    ]
    return _node(above, MAP_SIZE, level=1, generation=old[GENERATION]), below


def _leaves(moves: Iterable[Step]) -> Iterator[tuple[int, int, int]]:
    """(block of the file, where it goes, blocks) of each extent."""
    whole: tuple[int, int, int] | None = None
    for first, _, target, blocks in moves:
        if whole and (whole[0] + whole[2], whole[1] + whole[2]) == (first, target):
            whole = whole[0], whole[1], whole[2] + blocks
            continue
        if whole:
            yield from _cut(*whole)
        whole = first, target, blocks
    if whole:
        yield from _cut(*whole)


def _cut(first: int, at: int, blocks: int) -> Iterator[tuple[int, int, int]]:
    for done in range(0, blocks, WRITTEN):
        yield first + done, at + done, min(WRITTEN, blocks - done)


def _packed(leaves: Iterable[tuple[int, int, int]]) -> list[bytes]:
    return [LEAF.pack(first, blocks, at >> 32, at & 0xFFFFFFFF) for first, at, blocks in leaves]


def _node(entries: Sequence[bytes], size: int, *, level: int, generation: bytes = bytes(4)) -> bytes:
    room = (size - HEADER.size) // LEAF.size
    if len(entries) > room:
        raise ValueError(f"{len(entries)} extents do not fit into {size} bytes")
    header = bytearray(HEADER.pack(EXTENT_MAGIC, len(entries), room, level))
    header[GENERATION] = generation
    return bytes(header + b"".join(entries)).ljust(size, b"\0")


def _room(block_size: int) -> int:
    return (block_size - HEADER.size) // LEAF.size
