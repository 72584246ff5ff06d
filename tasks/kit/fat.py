"""Reads FAT12, FAT16 and FAT32 file systems so far as to tell which of their clusters are in use.

Offsets and lengths are bytes, from the beginning of the file system. Source: Microsoft's FAT specification, 1.03; its count of free
clusters (FSInfo) is a hint by that, and not looked at.
"""

import os
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from tasks.kit.blocks import Extent

SECTOR = 512
# jump, sector's bytes, cluster's sectors, reserved sectors, tables, root's entries, sectors, media, table's sectors; sectors and
# table's sectors where they are many
BOOT = Struct("<3s8xHBHBHHBH8xII")
JUMPS = (b"\xeb", b"\xe9")
BOOT_MARK = b"\x55\xaa"
SECTORS, CLUSTERS = {512, 1024, 2048, 4096}, {1 << n for n in range(8)}
MEDIA = {0xF0, *range(0xF8, 0x100)}
MOST_FAT12, MOST_FAT16, MOST_FAT32 = (
    4084,
    65524,
    0x0FFFFFF6,
)  # clusters: their number is what tells the kinds apart
DIRENT = 32
PIECE = (
    1 << 20
)  # bytes of a table looked at at once: all of a FAT12's, whose entries divide no power of two


class Fat(NamedTuple):
    bits: int  # of an entry: 12, 16 or 32
    size: int  # bytes of the whole file system
    table: int  # where the first table begins
    table_size: int
    tables: int
    data: int  # where the first cluster, number 2, begins
    cluster: int  # bytes
    clusters: int
    media: int


def fat(raw: bytes) -> Fat | None:
    """What a boot sector says of its file system; None if it is no FAT's."""
    if len(raw) < SECTOR or raw[:1] not in JUMPS or raw[510:512] != BOOT_MARK:
        return None
    _, sector, per_cluster, reserved, tables, entries, few, media, short, many, long = BOOT.unpack_from(
        raw
    )
    sectors, table_sectors = few or many, short or long
    if sector not in SECTORS or per_cluster not in CLUSTERS or media not in MEDIA:
        return None
    if not (reserved and tables and sectors and table_sectors):
        return None
    data = reserved + tables * table_sectors + -(-entries * DIRENT // sector)
    clusters = (sectors - data) // per_cluster
    bits = 12 if clusters <= MOST_FAT12 else 16 if clusters <= MOST_FAT16 else 32
    right = (
        0 < clusters <= MOST_FAT32,
        (clusters + 2) * bits <= table_sectors * sector * 8,
        (bits == 32) == (entries == 0) == (short == 0),  # noqa: PLR2004 - as it stands there
    )
    if not all(right):
        return None
    return Fat(
        bits=bits,
        size=sectors * sector,
        table=reserved * sector,
        table_size=table_sectors * sector,
        tables=tables,
        data=data * sector,
        cluster=per_cluster * sector,
        clusters=clusters,
        media=media,
    )


def used(handle: int, offset: int, fs: Fat) -> Iterator[Extent]:
    """What somebody may read: reserved sectors, all tables, the root, clusters in use; bad ones are not called free.

    Raises ValueError when its tables differ, or do not begin as they must.
    """
    first = os.pread(handle, 4, offset + fs.table)
    if first[0] != fs.media or first[1] & 0xF != 0xF:  # noqa: PLR2004 - all ones, as far as FAT12 goes
        raise ValueError("its table does not begin as one")
    yield 0, fs.data
    last = fs.data + fs.clusters * fs.cluster
    yield last, fs.size - last
    for at in range(0, fs.table_size, PIECE):
        piece = _same(handle, offset, fs, at)
        entries = at * 8 // fs.bits
        for begin, length in runs(piece, fs.bits):
            low = max(entries + begin, 2)
            high = min(entries + begin + length, fs.clusters + 2)
            if low < high:
                yield fs.data + (low - 2) * fs.cluster, (high - low) * fs.cluster


def _same(handle: int, offset: int, fs: Fat, at: int) -> bytes:
    """A piece of the first table, and of every other."""
    length = min(PIECE, fs.table_size - at)
    copies = {
        os.pread(handle, length, offset + fs.table + number * fs.table_size + at)
        for number in range(fs.tables)
    }
    if len(copies) != 1:
        raise ValueError("its tables differ")
    return copies.pop()


def runs(piece: bytes, bits: int) -> Iterator[Extent]:
    """Entries of a table that are not zero: number of the first, how many."""
    words = _words(piece, bits)
    begin = None
    for number, word in enumerate(words):
        if word and begin is None:
            begin = number
        elif not word and begin is not None:
            yield begin, number - begin
            begin = None
    if begin is not None:
        yield begin, len(words) - begin


def _words(piece: bytes, bits: int) -> memoryview | list[int]:
    """Two, four or one and a half bytes each; only whether they are zero is of interest, so the host's order will do."""
    if bits != 12:  # noqa: PLR2004 - the odd one
        return memoryview(piece).cast("H" if bits == 16 else "I")  # noqa: PLR2004 - the same
    even = [piece[at] | (piece[at + 1] & 0xF) << 8 for at in range(0, len(piece) - 1, 3)]
    odd = [piece[at] >> 4 | piece[at + 1] << 4 for at in range(1, len(piece) - 1, 3)]
    words = [0] * (len(even) + len(odd))
    words[::2], words[1::2] = even, odd
    return words
