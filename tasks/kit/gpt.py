"""Reads a GUID partition table, both copies of it. Offsets and lengths are bytes. Source: UEFI 2.10, 5.2 and 5.3."""

import os
import zlib
from itertools import pairwise
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from tasks.kit.blocks import Extent
from tasks.kit.fault import ImageFault

SECTOR = 512  # of every EBS volume
SIGNATURE = b"EFI PART"
# signature, header's size and CRC; own and other place, first and last usable sector; entries' place, number, size and CRC
HEADER = Struct("<8s4xII4xQQQQ16xQIII")
CHECKSUM, DISK = slice(16, 20), slice(56, 72)
ENTRY = Struct("<16s16sQQ8x72s")  # kind, id, first and last sector, name
MOST_ENTRIES = 1 << 20  # bytes: 64 times what is usual
MBR_ENTRY = Struct("<B3xB3xII")  # status, kind, first sector, sectors
MBR_ENTRIES = range(446, 510, 16)
MBR_MARK = b"\x55\xaa"
PROTECTIVE = 0xEE
BOOTABLE = 0x80

BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")


class Partition(NamedTuple):
    number: int
    kind: UUID
    offset: int
    length: int
    name: str


class Table(NamedTuple):
    partitions: tuple[Partition, ...]  # by their place
    own: tuple[Extent, ...]  # where the table itself lies, its copy and the protective MBR


class Copy(NamedTuple):
    here: int  # sectors
    there: int
    first: int
    last: int
    disk: bytes
    at: int
    entries: bytes
    entry_size: int


def table(handle: int, size: int) -> Table | None:
    """The table of an open file of `size` bytes; None where there is nothing like one.

    Raises ValueError, with what is wrong, for one that cannot be relied on, and ImageFault when the file is shorter or
    longer than the disk that the table describes.
    """
    marks = [os.pread(handle, len(SIGNATURE), at) == SIGNATURE for at in (SECTOR, max(size - SECTOR, 0))]
    if not any(marks):
        return None
    if size % SECTOR or not all(marks):
        _same_disk(handle, size)
        raise ValueError("its partition table, or the copy at its end, is missing")
    copies = _copy(handle, 1, size), _copy(handle, size // SECTOR - 1, size)
    _agree(*copies)
    _protected(os.pread(handle, SECTOR, 0))
    partitions = _partitions(copies[0])
    own = [(0, 2 * SECTOR), (size - SECTOR, SECTOR)]
    own += [(copy.at * SECTOR, len(copy.entries)) for copy in copies]
    return Table(partitions, tuple(own))


def mbr(handle: int) -> bool:
    """Whether a file begins with a partition table of the old kind. Boot code in a file system's first sector is none."""
    raw = os.pread(handle, SECTOR, 0)
    if raw[510:] != MBR_MARK:
        return False
    entries = [MBR_ENTRY.unpack_from(raw, at) for at in MBR_ENTRIES]
    return all(entry[0] in {0, BOOTABLE} for entry in entries) and any(entry[1] for entry in entries)


def _same_disk(handle: int, size: int) -> None:
    """Raises ImageFault if one good header says that its disk is of another size than this."""
    try:
        sectors = _header(os.pread(handle, SECTOR, SECTOR), 1)[0] + 1
    except ValueError:
        return
    if sectors * SECTOR != size:
        raise ImageFault(
            f"the image has {size} B, but its partition table is that of a disk of {sectors * SECTOR} B"
        )


def _copy(handle: int, here: int, size: int) -> Copy:
    raw = os.pread(handle, SECTOR, here * SECTOR)
    there, first, last, at, number, entry_size, crc = _header(raw, here)
    length = number * entry_size
    if entry_size < ENTRY.size or entry_size % 8 or length > MOST_ENTRIES or at * SECTOR + length > size:
        raise ValueError("its partition table contradicts itself")
    entries = os.pread(handle, length, at * SECTOR)
    if zlib.crc32(entries) != crc:
        raise ValueError(f"the checksum of its partitions, at byte {at * SECTOR}, is wrong")
    return Copy(here, there, first, last, raw[DISK], at, entries, entry_size)


def _header(raw: bytes, here: int) -> tuple[int, ...]:
    """From the other copy's place on. Raises ValueError unless it is a good header for this sector."""
    signature, length, crc, own, *found = HEADER.unpack(raw[: HEADER.size].ljust(HEADER.size, b"\0"))
    if signature != SIGNATURE or not HEADER.size <= length <= len(raw):
        raise ValueError(f"there is no partition table in sector {here}")
    checked = bytearray(raw[:length])
    checked[CHECKSUM] = bytes(4)
    if zlib.crc32(checked) != crc or own != here:
        raise ValueError(f"the checksum of the partition table in sector {here} is wrong")
    return tuple(found)


def _agree(primary: Copy, backup: Copy) -> None:
    """Both tables, their places and what they say of the disk; the usable space is between the two."""
    same = ("first", "last", "disk", "entries", "entry_size")
    if any(getattr(primary, name) != getattr(backup, name) for name in same):
        raise ValueError("its partition table and the copy at its end differ")
    after = -(-len(primary.entries) // SECTOR)
    right = (
        (primary.there, backup.there) == (backup.here, primary.here),
        2 <= primary.at <= primary.at + after <= primary.first,  # noqa: PLR2004 - behind the header
        primary.first <= primary.last < backup.at <= backup.at + after <= backup.here,
    )
    if not all(right):
        raise ValueError("its partition table contradicts itself")


def _protected(raw: bytes) -> None:
    """Who knows only the old kind of table must see one partition over everything: by another, it would read elsewhere."""
    kinds = sorted(MBR_ENTRY.unpack_from(raw, at)[1] for at in MBR_ENTRIES)
    if raw[510:] != MBR_MARK or kinds != [0, 0, 0, PROTECTIVE]:
        raise ValueError("its first sector has partitions of its own beside the partition table")


def _partitions(copy: Copy) -> tuple[Partition, ...]:
    found = []
    for number in range(len(copy.entries) // copy.entry_size):
        kind, _, first, last, name = ENTRY.unpack_from(copy.entries, number * copy.entry_size)
        if not any(kind):
            continue
        if not copy.first <= first <= last <= copy.last:
            raise ValueError(f"partition {number + 1} lies outside of the disk")
        offset, length = first * SECTOR, (last - first + 1) * SECTOR
        title = name.decode("utf-16-le", "replace").split("\0")[0]
        found.append(Partition(number + 1, UUID(bytes_le=kind), offset, length, title))
    found.sort(key=lambda each: each.offset)
    for one, other in pairwise(found):
        if one.offset + one.length > other.offset:
            raise ValueError(f"partitions {one.number} and {other.number} lie over each other")
    return tuple(found)
