"""Sets every time inside an ext2, ext3 or ext4 file system, so that equal trees give equal images.

mke2fs copies a tree's modification times, but change and creation times are those of the build, and access times those of
whoever read the tree last. Times are whole seconds since 1970. Source: the kernel's Documentation/filesystems/ext4
(inodes.rst; checksums.rst: CRC-32C over the inode, its own two halves read as zero).

A CRC is linear: that of an inode with some bits flipped is the old one, xor that of the flipped bits alone. So only the
bytes that change are looked at, and a checksum that was wrong before stays wrong, for e2fsck to see.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from tasks.kit.extlayout import CHECKSUMS, OLD_INODE, Group, Volume, volume
from tasks.kit.fault import ConfigFault

END = 1 << 31  # seconds: what an inode of 128 bytes can say
CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, bits reversed

TIMES = Struct("<2Ii")  # atime, ctime, mtime
TIMES_AT = 8
EXTRAS = Struct("<3IiI")  # nanoseconds and bits beyond 2038 of ctime, mtime, atime; crtime and its own
EXTRAS_AT = 132
WORD = Struct("<I")
HALF = Struct("<H")
CHECKSUM_AT, CHECKSUM_HIGH_AT = 124, 130
HAS_CHECKSUM_HIGH = 4  # bytes in use beyond the first 128
HAS_EXTRAS = EXTRAS_AT + EXTRAS.size - OLD_INODE  # the same
BEYOND = 3  # the bits of a nanosecond field that count 2^32 seconds each


def settle_times(path: Path, epoch: int, *, offset: int = 0) -> int:
    """Access, change and creation times become `epoch`, modification times at most that; says of how many files.

    The image is changed in place: let it be a scratch file.
    """
    if not 0 <= epoch < END:
        raise ConfigFault(
            f"the epoch {epoch} is not between 1970 and 2038", hint="choose an earlier one"
        )
    with volume(path, offset, flags=os.O_RDWR) as fs:
        inodes = Inodes(
            epoch, fs.superblock.inode_size, checksums=bool(fs.superblock.read_only & CHECKSUMS)
        )
        return sum(_settle(fs, group, inodes) for group in fs.groups if not group.inodes_unused)


def _settle(fs: Volume, group: Group, inodes: "Inodes") -> int:
    used = list(_used(fs.block(group.inode_bitmap), fs.superblock.inodes_per_group))
    if not used:
        return 0
    at, size = group.inode_table * fs.block_size, fs.superblock.inode_size
    table = bytearray(
        fs.at(at, (used[-1] + 1) * size)
    )  # what lies beyond was never written, and stays a hole
    settled = sum(inodes.settle(table, index * size) for index in used)
    fs.put(at, table)
    return settled


def _used(bitmap: bytes, inodes: int) -> Iterator[int]:
    for index in range(inodes):
        if bitmap[index >> 3] >> (index & 7) & 1:
            yield index


class Inodes:
    """What is to become of inodes of one size, and how their checksums follow."""

    def __init__(self, epoch: int, size: int, *, checksums: bool) -> None:
        self.epoch, self.size = epoch, size
        self.weights = _weights(size) if checksums else {}

    def settle(self, table: bytearray, at: int) -> bool:
        """The inode at `at`; one that is reserved and empty is left alone."""
        if not (table[at] or table[at + 1]):  # no mode
            return False
        before = bytes(table[at : at + self.size])
        extra = HALF.unpack_from(before, OLD_INODE)[0] if self.size > OLD_INODE else 0
        seconds = TIMES.unpack_from(before, TIMES_AT)[2]
        if extra >= HAS_EXTRAS:
            seconds += (EXTRAS.unpack_from(before, EXTRAS_AT)[1] & BEYOND) << 32
            EXTRAS.pack_into(table, at + EXTRAS_AT, 0, 0, 0, self.epoch, 0)
        TIMES.pack_into(table, at + TIMES_AT, self.epoch, self.epoch, min(seconds, self.epoch))
        if self.weights:
            flipped = self._flipped(before, table, at)
            _flip(table, at + CHECKSUM_AT, flipped & 0xFFFF)
            if extra >= HAS_CHECKSUM_HIGH:
                _flip(table, at + CHECKSUM_HIGH_AT, flipped >> 16)
        return True

    def _flipped(self, before: bytes, table: bytearray, at: int) -> int:
        """The CRC of the bits that changed."""
        crc = 0
        for word, weights in self.weights.items():
            bits = WORD.unpack_from(before, word)[0] ^ WORD.unpack_from(table, at + word)[0]
            for weight in weights if bits else ():
                crc ^= weight[bits & 0xFF]
                bits >>= 8
        return crc


def _flip(table: bytearray, at: int, bits: int) -> None:
    HALF.pack_into(table, at, HALF.unpack_from(table, at)[0] ^ bits)


def _weights(size: int) -> dict[int, tuple[list[int], ...]]:
    """For each word of an inode that holds a time, and each of its four bytes: what each value adds to the inode's CRC."""
    words = [TIMES_AT + 4 * n for n in range(3)]
    if size > OLD_INODE:
        words += [EXTRAS_AT + 4 * n for n in range(5)]
    step = [_crc(value) for value in range(256)]
    by_place = [step]  # the last byte first: each byte that follows is one more step
    while len(by_place) < size:
        by_place.append([crc >> 8 ^ step[crc & 0xFF] for crc in by_place[-1]])
    return {word: tuple(by_place[size - 1 - word - n] for n in range(4)) for word in words}


def _crc(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (CASTAGNOLI if value & 1 else 0)
    return value
