"""Writes an ext4 file system anew, its files at other places and with other inode numbers. Units: blocks, unless bytes are named.

What is written follows from the files and the plan alone: free blocks are holes, and so are inodes that were never in use.
Source: the kernel's Documentation/filesystems/ext4 (ifork.rst, directory.rst, group_descr.rst, super.rst).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import NamedTuple

from tasks.kit.ext import DIRENT
from tasks.kit.extlayout import SUPERBLOCK_AT, SUPERBLOCK_SIZE, Volume, u16, u32
from tasks.kit.extmap import runs
from tasks.kit.extslots import Spot, flip, gaps
from tasks.kit.exttree import MAP_SIZE, Step, Tree, made, needs, split, steps

PIECE = 1 << 20  # bytes copied at once
MAP_AT = 40  # bytes of an inode
COUNTED_AT, COUNTED_HIGH_AT = 28, 116  # the same: i_blocks
IN_BLOCKS = 0x40000  # flag of an inode that is counted in blocks, not in sectors of 512 B
FLAGS_AT = 32
ATTRIBUTES_AT, ATTRIBUTES_HIGH_AT = 104, 118  # the same: i_file_acl
WORD, HALF = Struct("<I"), Struct("<H")

COUNTS_AT = 12  # bytes of a descriptor
COUNTS = Struct("<3H")  # free blocks, free inodes, folders
FREE_AT, WRITTEN_AT = 12, 0x178  # bytes of a superblock
FREE = Struct("<2I")  # blocks, inodes


class File(NamedTuple):
    name: bytes  # path, the first of many
    number: int  # its inode
    folder: bool
    content: Tree | None  # that moves
    attributes: int  # block of extended attributes that moves, or 0


@dataclass(frozen=True)
class Plan:
    files: Sequence[File]
    content: Mapping[int, Sequence[Spot]]  # by inode
    attributes: Mapping[int, int]  # by inode: the block
    numbers: Mapping[int, int]  # of inodes: what each becomes
    fixed: bytes  # bitmap of the blocks that stay
    taken: bytes  # bitmap of all blocks in use


def descriptors(fs: Volume) -> list[bytearray]:
    own = fs.superblock
    size = own.descriptor_size
    raw = fs.at((own.first_block + 1) * own.block_size, own.groups * size)
    return [bytearray(raw[at : at + size]) for at in range(0, len(raw), size)]


def inode_at(fs: Volume, number: int) -> int:
    """The byte of the file system where an inode begins."""
    group, index = divmod(number - 1, fs.superblock.inodes_per_group)
    return fs.groups[group].inode_table * fs.block_size + index * fs.superblock.inode_size


def rewrite(fs: Volume, plan: Plan, handle: int) -> None:
    """All that is in use of the file, to an empty one of the same size."""
    copy = Copy(fs, handle)
    copy.keep(0, fs.offset)
    copy.keep(fs.offset + fs.superblock.size, os.fstat(fs.handle).st_size)
    tables = fs.superblock.inodes_per_group * fs.superblock.inode_size // fs.block_size
    kept = bytearray(plan.fixed)
    for group in fs.groups:
        flip(kept, group.inode_table, tables)  # written anew
    for begin, end in _used(kept, fs.superblock.blocks):
        copy.keep(fs.offset + begin * fs.block_size, fs.offset + end * fs.block_size)
    for file in plan.files:
        _move(fs, plan, file, copy)
    _tables(fs, plan, copy)
    _groups(fs, plan, copy)


class Copy:
    """The new file, as far as it is written."""

    def __init__(self, fs: Volume, handle: int) -> None:
        self.fs, self.handle = fs, handle

    def put(self, at: int, content: bytes | bytearray) -> None:
        """At byte `at` of the file system."""
        if os.pwrite(self.handle, content, self.fs.offset + at) != len(content):
            raise self.fs.fault("its copy could not be written to the end: is the disk full?")

    def put_used(self, at: int, content: bytearray) -> None:
        """Whole blocks at byte `at`; those that are all zeros stay holes."""
        size = self.fs.block_size
        empty = bytes(size)
        for begin in range(0, len(content), size):
            if (block := content[begin : begin + size]) != empty:
                self.put(at + begin, block)

    def keep(self, begin: int, end: int) -> None:
        """The bytes from `begin` to `end` of the file stay where they are, and holes stay holes."""
        at = begin
        while at < end:
            try:
                at = os.lseek(self.fs.handle, at, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            stop = min(os.lseek(self.fs.handle, at, os.SEEK_HOLE), end)
            while at < stop:
                piece = os.pread(self.fs.handle, min(PIECE, stop - at), at)
                if piece.count(0) != len(piece):
                    self.put(at - self.fs.offset, piece)
                at += len(piece)


def _used(kept: bytearray, blocks: int) -> Iterator[tuple[int, int]]:
    """(first, end) of blocks in a row."""
    edges = [(0, 0), *((at, at + length) for at, length in gaps(kept)), (blocks, blocks)]
    for (_, begin), (end, _) in pairwise(edges):
        if begin < min(end, blocks):
            yield begin, min(end, blocks)


def _move(fs: Volume, plan: Plan, file: File, copy: Copy) -> None:
    size = fs.block_size
    if file.attributes:
        copy.put(plan.attributes[file.number] * size, fs.block(file.attributes))
    for step in _steps(fs, plan, file):
        for done in range(0, step.blocks, PIECE // size):
            length = min(PIECE // size, step.blocks - done) * size
            piece = fs.at((step.source + done) * size, length)
            if file.folder:
                piece = _renumbered(piece, size, plan.numbers)
            copy.put((step.target + done) * size, piece)


def _steps(fs: Volume, plan: Plan, file: File) -> Iterator[Step]:
    if file.content:
        content = file.content.content
        needed = needs(content, fs.block_size)
        _, spots = split(plan.content[file.number], needed[0] if needed else 0)
        yield from steps(content, spots)
    elif file.folder:  # it stays, with other numbers in it
        for first, at, blocks in runs(fs, fs.inode(file.number)):
            yield Step(first, at, at, blocks)


def _renumbered(content: bytes, block_size: int, numbers: Mapping[int, int]) -> bytes:
    """Blocks of a folder, with each name's inode as it is numbered now."""
    new = bytearray(content)
    at = 0
    while at < len(new):
        number, length, _ = DIRENT.unpack_from(new, at)
        if number in numbers:
            WORD.pack_into(new, at, numbers[number])
        at += length or block_size  # a length of 0 never got past the reader of file systems
    return bytes(new)


def _tables(fs: Volume, plan: Plan, copy: Copy) -> None:
    own = fs.superblock
    files = {file.number: file for file in plan.files}
    by_group: dict[int, list[tuple[int, int]]] = {}
    for old, new in plan.numbers.items():
        by_group.setdefault((new - 1) // own.inodes_per_group, []).append((old, new))
    for group, pairs in sorted(by_group.items()):
        begin = fs.groups[group].inode_table * fs.block_size
        table = bytearray(own.inodes_per_group * own.inode_size)
        for old, new in pairs:
            at = inode_at(fs, new) - begin
            raw = bytearray(fs.at(inode_at(fs, old), own.inode_size))
            if old in files:
                _aim(fs, plan, files[old], raw, copy)
            table[at : at + own.inode_size] = raw
        copy.put_used(begin, table)


def _aim(fs: Volume, plan: Plan, file: File, raw: bytearray, copy: Copy) -> None:
    """An inode points to where its file went."""
    if file.content:
        own = slice(MAP_AT, MAP_AT + MAP_SIZE)
        spots, size = plan.content[file.number], fs.block_size
        raw[own], nodes = made(bytes(raw[own]), file.content.content, spots, size)
        for block, node in nodes.items():
            copy.put(block * size, node)
        unit = 1 if u32(raw, FLAGS_AT) & IN_BLOCKS else size // 512
        counted = u32(raw, COUNTED_AT) | u16(raw, COUNTED_HIGH_AT) << 32
        counted += (len(nodes) - len(file.content.nodes)) * unit
        WORD.pack_into(raw, COUNTED_AT, counted & 0xFFFFFFFF)
        HALF.pack_into(raw, COUNTED_HIGH_AT, counted >> 32)
    if file.attributes:
        block = plan.attributes[file.number]
        WORD.pack_into(raw, ATTRIBUTES_AT, block & 0xFFFFFFFF)
        HALF.pack_into(raw, ATTRIBUTES_HIGH_AT, block >> 32)


def _groups(fs: Volume, plan: Plan, copy: Copy) -> None:
    """Bitmaps, and what descriptors and backups count."""
    own, size = fs.superblock, fs.block_size
    per_group = own.inodes_per_group
    inodes = [bytearray(fs.block(group.inode_bitmap)) for group in fs.groups]
    for numbers, bit in ((plan.numbers.keys(), 0), (plan.numbers.values(), 1)):
        for number in numbers:
            group, index = divmod(number - 1, per_group)
            mask = 1 << (index & 7)
            inodes[group][index >> 3] = inodes[group][index >> 3] & ~mask | mask * bit
    folders = [0] * own.groups
    for file in plan.files:
        folders[(plan.numbers[file.number] - 1) // per_group] += file.folder
    primary, backup = descriptors(fs), descriptors(fs)
    for number, descriptor in enumerate(primary):
        part = slice(number * size, (number + 1) * size)
        copy.put(fs.groups[number].block_bitmap * size, plan.taken[part])
        copy.put(fs.groups[number].inode_bitmap * size, inodes[number])
        free = per_group - ones(inodes[number][: per_group >> 3])
        blocks = 8 * size - ones(plan.taken[part])
        COUNTS.pack_into(descriptor, COUNTS_AT, blocks, free, folders[number])
        blocks = 8 * size - ones(plan.fixed[part])
        COUNTS.pack_into(backup[number], COUNTS_AT, blocks, per_group, 0)
    copy.put(size, b"".join(primary))
    free = sum(COUNTS.unpack_from(descriptor, COUNTS_AT)[0] for descriptor in primary)
    copy.put(SUPERBLOCK_AT + FREE_AT, WORD.pack(free))  # trees of extents may take less than they did
    _backups(fs, backup, copy)


def _backups(fs: Volume, backup: Sequence[bytearray], copy: Copy) -> None:
    own, size = fs.superblock, fs.block_size
    counted = [COUNTS.unpack_from(descriptor, COUNTS_AT)[0] for descriptor in backup]
    for group in range(1, own.groups):
        if not own.backed_up(group):
            continue
        at = group * own.blocks_per_group * size
        raw = bytearray(fs.at(at, SUPERBLOCK_SIZE))
        FREE.pack_into(raw, FREE_AT, sum(counted), own.inodes)
        raw[WRITTEN_AT : WRITTEN_AT + 8] = bytes(8)
        copy.put(at, raw)
        copy.put(at + size, b"".join(backup))


def ones(bits: bytes | bytearray) -> int:
    return int.from_bytes(bits, "little").bit_count()
