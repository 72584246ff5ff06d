"""Which bytes of a disk image somebody may read: a partition table's own, and what the maps of its file systems do not call free.

What has no map that is understood here counts whole: swap, LVM, XFS, boot loaders, a file system that was not unmounted well, the rest of a
partition behind its file system, a disk with a table of the old kind. Space in no partition is read by nobody. What it is, is told by
the bytes themselves. Offsets and lengths are bytes.

A file system that contradicts itself is a fault: whoever made the image made it wrong.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tasks.kit import extused, fat, gpt
from tasks.kit.blocks import Extent
from tasks.kit.extlayout import (
    CHECKSUMS,
    EXTENTS,
    GROUP_CHECKSUMS,
    JOURNAL,
    MAGIC,
    SUPERBLOCK_AT,
    SUPERBLOCK_SIZE,
    WIDE,
    Superblock,
    Volume,
    superblock,
    u16,
)
from tasks.kit.fault import ImageFault

# Marks of what else may lie where a file system seems to be (its own mark was left behind), and where: as libblkid knows them.
SWAP, LVM, XFS = "swap space", "an LVM volume", "XFS"
MARKS = (
    *((b"SWAPSPACE2", page - 10, SWAP) for page in (4096, 8192, 16384, 32768, 65536)),
    *((b"LABELONE", sector * 512, LVM) for sector in range(4)),
    *((b"\xfc\x4e\x2b\xa9", at, "a part of a RAID") for at in (0, 4096)),
    (b"XFSB", 0, XFS),
    (b"LUKS\xba\xbe", 0, "an encrypted volume"),
    (b"_BHRfS_M", 0x10040, "btrfs"),
    (b"NTFS    ", 3, "NTFS"),
    (b"EXFAT   ", 3, "exFAT"),
    (b"hsqs", 0, "squashfs"),
    (b"\x10\x20\xf5\xf2", 1024, "F2FS"),
)
# Read-only compatible features that only ext4 has: huge_file, dir_nlink, extra_isize, and the checksums
ONLY_EXT4 = 0x8 | GROUP_CHECKSUMS | 0x20 | 0x40 | CHECKSUMS
FLEX_BG = 0x200


class Use(NamedTuple):
    read: tuple[Extent, ...]  # in no order; they may touch and overlap
    maps: tuple[str, ...]  # by whose word the rest is not: "gpt", "ext4 at 67108864"
    whole: tuple[str, ...]  # what counts whole though it might have a map, and why


class Room(NamedTuple):
    """A part of an open file: a partition, or all of it."""

    handle: int
    path: Path
    offset: int
    length: int

    def seen(self, at: int, length: int) -> bytes:
        return os.pread(self.handle, max(min(length, self.length - at), 0), self.offset + at)


def use(path: Path) -> Use:
    """Raises ImageFault for an image that is shorter or longer than what it holds says, or holds a damaged file system."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk = Room(handle, path, 0, os.fstat(handle).st_size)
        try:
            table = gpt.table(handle, disk.length)
        except ValueError as error:
            return _all(disk, f"the disk: {error}")
        except ImageFault as error:
            raise _fault(disk, error.problem) from None
        if table:
            return _joined(table, [_partition(disk, each) for each in table.partitions])
        if gpt.mbr(handle):
            return _all(disk, "the disk: it has a partition table of the old kind")
        return room(disk, "the disk")
    finally:
        os.close(handle)


def _joined(table: gpt.Table, uses: list[Use]) -> Use:
    return Use(
        read=(*table.own, *(extent for each in uses for extent in each.read)),
        maps=("gpt", *(name for each in uses for name in each.maps)),
        whole=tuple(reason for each in uses for reason in each.whole),
    )


def _partition(disk: Room, found: gpt.Partition) -> Use:
    inner = disk._replace(offset=found.offset, length=found.length)
    if found.kind == gpt.BIOS_BOOT:  # a boot loader, without any file system
        return Use(((found.offset, found.length),), (), ())
    return room(inner, f"partition {found.number}")


def room(where: Room, name: str) -> Use:
    """What is read of one part, by the only file system that shows in it."""
    raw = where.seen(SUPERBLOCK_AT, SUPERBLOCK_SIZE)
    ext = len(raw) == SUPERBLOCK_SIZE and u16(raw, 56) == MAGIC
    old = fat.fat(where.seen(0, fat.SECTOR))
    shows = [kind for kind, there in (("ext", ext), ("FAT", old)) if there]
    shows += [kind for mark, at, kind in MARKS if where.seen(at, len(mark)) == mark]
    if len(shows) != 1 or not (ext or old):
        return _all(where, f"{name}: {' and '.join(shows) or 'nothing that is known'} shows in it")
    try:
        return _of_fat(where, old) if old else _of_ext(where, superblock(raw))
    except ValueError as error:
        return _all(where, f"{name}: {error}")


def _of_ext(where: Room, found: Superblock) -> Use:
    """Raises ValueError where its maps may be behind."""
    if not found.clean:
        raise ValueError("it was not unmounted well")
    _uncut(where, found.size)
    fs = Volume(where.handle, where.path, where.offset)
    return _mapped(where, family(found), found.size, extused.used(fs))


def _of_fat(where: Room, found: fat.Fat) -> Use:
    """Raises ValueError where its tables differ."""
    _uncut(where, found.size)
    return _mapped(where, f"fat{found.bits}", found.size, fat.used(where.handle, where.offset, found))


def _uncut(where: Room, size: int) -> None:
    if size > where.length:
        raise _fault(where, f"it is cut short: {size} B of file system in {where.length} B")


def _mapped(where: Room, name: str, size: int, used: Iterable[Extent]) -> Use:
    read = [(where.offset + at, length) for at, length in used]
    if size < where.length:  # what others keep at the end of a partition: RAID, checksums of every block
        read.append((where.offset + size, where.length - size))
    return Use(tuple(read), (f"{name} at {where.offset}",), ())


def family(found: Superblock) -> str:
    """Its name, as the kernel and blkid give it."""
    if found.incompatible & (EXTENTS | WIDE | FLEX_BG) or found.read_only & ONLY_EXT4:
        return "ext4"
    return "ext3" if found.compatible & JOURNAL else "ext2"


def _all(where: Room, reason: str) -> Use:
    return Use(((where.offset, where.length),), (), (reason,))


def _fault(where: Room, problem: str) -> ImageFault:
    place = f"{where.path}, at byte {where.offset}" if where.offset else str(where.path)
    return ImageFault(
        f"{where.path.name} cannot be taken apart: {problem}",
        where=place,
        hint="delete it and its stamp and run doit again to have a new one",
    )
