"""Which parts of an ext2, ext3 or ext4 file system are in use, by its own maps of free blocks.

Nobody reads a block that the maps call free: neither the kernel, nor e2fsck, nor a boot loader. Every other block counts, whether
zero or not. Offsets and lengths are bytes from the beginning of the file system. Source: the kernel's
Documentation/filesystems/ext4 (bitmaps.rst, group_descr.rst: BLOCK_UNINIT) and e2fsprogs' lib/ext2fs/alloc_sb.c.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from tasks.kit.blocks import Extent
from tasks.kit.extlayout import SUPERBLOCK_AT, SUPERBLOCK_SIZE, Group, Volume

IN_USE = re.compile(rb"[^\0]+")  # of a bitmap: eight blocks a byte, the lowest bit first


def used(fs: Volume) -> Iterator[Extent]:
    """What somebody may read. Extents may touch and overlap; a gap of fewer than 16 blocks between two may be counted in.

    Raises ImageFault when the maps contradict themselves or the counts of free blocks.
    """
    yield 0, SUPERBLOCK_AT + SUPERBLOCK_SIZE  # of 1 KiB blocks, the first belongs to no group
    tables = _tables(fs)
    for begin, length in tables:
        yield begin * fs.block_size, length * fs.block_size
    begins = [begin for begin, _ in tables]
    free = 0
    for number, group in enumerate(fs.groups):
        first, count = _span(fs, number)
        if group.blocks_unused:
            near = tables[max(bisect_right(begins, first) - 1, 0) : bisect_right(begins, first + count)]
            in_use = sum(_overlap((first, count), table) for table in near)
        else:
            bitmap = _bitmap(fs, group, count)
            in_use = int.from_bytes(bitmap, "little").bit_count()
            for begin, length in _runs(bitmap):
                yield (first + begin) * fs.block_size, length * fs.block_size
        if count - in_use != group.free_blocks:
            raise fs.fault(
                f"group {number} says that {group.free_blocks} of its blocks are free, its map that {count - in_use} are"
            )
        free += group.free_blocks
    if free != fs.superblock.free_blocks:
        raise fs.fault(
            f"it says that {fs.superblock.free_blocks} blocks are free, its groups that {free} are"
        )


def _span(fs: Volume, number: int) -> Extent:
    """The blocks of a group: the first one and how many."""
    own = fs.superblock
    first = own.first_block + number * own.blocks_per_group
    return first, min(own.blocks_per_group, own.blocks - first)


def _bitmap(fs: Volume, group: Group, count: int) -> bytes:
    """One bit for each block of a group, and none for the padding."""
    whole = fs.block(group.block_bitmap)[: -(-count // 8)]
    return whole if count % 8 == 0 else whole[:-1] + bytes((whole[-1] & (1 << count % 8) - 1,))


def _runs(bitmap: bytes) -> Iterator[Extent]:
    """Blocks in use, counted from the group's first. Free ones between two bytes that are not zero are fewer than 16."""
    for found in IN_USE.finditer(bitmap):
        first, last = bitmap[found.start()], bitmap[found.end() - 1]
        begin = found.start() * 8 + (first & -first).bit_length() - 1
        yield begin, (found.end() - 1) * 8 + last.bit_length() - begin


def _tables(fs: Volume) -> list[Extent]:
    """Where superblocks, descriptors, bitmaps and inode tables are, in blocks, ascending and apart from each other.

    They are in use even where a group's own map was never written.
    """
    own = fs.superblock
    inodes = -(-own.inodes_per_group * own.inode_size // own.block_size)
    found = []
    for number, group in enumerate(fs.groups):
        found += [(group.block_bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, inodes)]
        if own.backed_up(number):
            first, count = _span(fs, number)
            copies = 1 + own.descriptor_blocks + own.reserved_descriptors
            found.append((first, min(copies, count)))
    found.sort()
    for one, other in pairwise([(own.first_block, 0), *found, (own.blocks, 0)]):
        if sum(one) > other[0]:
            raise fs.fault(f"its tables lie over each other, or outside of it, at block {other[0]}")
    return found


def _overlap(one: Extent, other: Extent) -> int:
    return max(min(sum(one), sum(other)) - max(one[0], other[0]), 0)
