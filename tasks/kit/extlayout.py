"""Where things lie in an ext2, ext3 or ext4 file system inside a file: superblock, groups, inodes.

Offsets and sizes are bytes, counted from the beginning of the file system; integers on the disk are little-endian.
Source: the kernel's Documentation/filesystems/ext4 (super.rst, group_descr.rst, inodes.rst).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from tasks.kit.fault import ImageFault

SUPERBLOCK_AT = SUPERBLOCK_SIZE = 1024
MAGIC = 0xEF53
LARGEST_BLOCK_SHIFT = 5  # 32 KiB; with 64 KiB, lengths in directories are written in another way
OLD_INODE = 128  # the size of every inode of revision 0, and the part that all inodes share
OLD_DESCRIPTOR, LONG_DESCRIPTOR = 32, 64

JOURNAL, TWO_BACKUPS = 0x4, 0x200  # compatible features: "has_journal", "sparse_super2"
EXTENTS, WIDE = 0x40, 0x80  # incompatible features: "extent", "64bit"
FEW_BACKUPS = 0x1  # read-only compatible feature: "sparse_super"
GROUP_CHECKSUMS, CHECKSUMS = 0x10, 0x400  # read-only compatible features: "uninit_bg", "metadata_csum"

# Incompatible features that change nothing for a reader: filetype, extent, 64bit, mmp, flex_bg, ea_inode,
# metadata_csum_seed, large_dir
READ_ANYWAY = 0x2 | EXTENTS | WIDE | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
REFUSED = {
    0x1: "compression",
    0x4: "a journal that was never replayed",
    0x8: "a journal device instead of files",
    0x10: "meta_bg",
    0x1000: "dirdata",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
# Features under which a reader may read on but which a writer must know: sparse_super, large_file, btree_dir, huge_file,
# uninit_bg, dir_nlink, extra_isize, quota, metadata_csum, read-only, project, verity
WRITE_ANYWAY = 0xF | GROUP_CHECKSUMS | 0x20 | 0x40 | 0x100 | CHECKSUMS | 0x1000 | 0x2000 | 0x8000
REFUSED_READ_ONLY = {
    0x80: "snapshots",
    0x200: "bigalloc",
    0x4000: "shared_blocks",
    0x10000: "files half deleted",
}

# mode, uid, size, mtime, gid, links, flags, block map, size_high, uid_high, gid_high
INODE = Struct("<2HI8xi4x2H4xI4x60s8xI8x2H")
REGULAR, KIND = 0o100000, 0o170000


class Inode(NamedTuple):
    number: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    flags: int
    mtime: int  # seconds since 1970, without the bits that reach beyond 2038
    map: bytes  # where its blocks are, or, of a short link, where it points to


class Group(NamedTuple):
    inode_bitmap: int  # block number
    inode_table: int  # block number
    inodes_unused: bool  # its inode bitmap and table were never written
    block_bitmap: int  # block number
    blocks_unused: bool  # its block bitmap was never written: nothing but its own tables is in use
    free_blocks: int


@dataclass(frozen=True)
class Superblock:
    inodes: int
    blocks: int
    free_blocks: int
    block_size: int
    first_block: int  # 1 where blocks are 1 KiB, else 0
    blocks_per_group: int
    inodes_per_group: int
    inode_size: int
    descriptor_size: int
    incompatible: int  # feature bits
    read_only: int  # feature bits
    uuid: UUID
    label: str
    compatible: int  # feature bits
    reserved_descriptors: int  # blocks after each copy of the descriptors, for the day when it grows
    two_backups: tuple[int, int]  # the groups that hold them, where TWO_BACKUPS says so; 0 is none
    clean: bool  # unmounted well, and no error was ever seen in it

    @property
    def size(self) -> int:
        return self.blocks * self.block_size

    @property
    def groups(self) -> int:
        return -(-(self.blocks - self.first_block) // self.blocks_per_group)

    @property
    def descriptor_blocks(self) -> int:
        return -(-self.groups * self.descriptor_size // self.block_size)

    def backed_up(self, group: int) -> bool:
        """Whether a group begins with a copy of the superblock and of the descriptors (or with the first ones)."""
        if self.compatible & TWO_BACKUPS:
            return group == 0 or group in self.two_backups
        if not self.read_only & FEW_BACKUPS or group <= 1:
            return True
        return any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def u16(raw: bytes | bytearray, at: int) -> int:
    return int.from_bytes(raw[at : at + 2], "little")


def u32(raw: bytes | bytearray, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")


def superblock(raw: bytes) -> Superblock:
    """Raises ValueError, with what is wrong, unless a file system that this reader understands begins so."""
    if len(raw) < SUPERBLOCK_SIZE or u16(raw, 56) != MAGIC:
        raise ValueError("there is no ext2, ext3 or ext4 file system here")
    shift, revision, incompatible = u32(raw, 24), u32(raw, 76), u32(raw, 96)
    if shift > LARGEST_BLOCK_SHIFT:
        raise ValueError(f"its blocks are 2^{shift} KiB, which this reader does not understand")
    wide = bool(revision and incompatible & WIDE)
    found = Superblock(
        inodes=u32(raw, 0),
        blocks=u32(raw, 4) | (u32(raw, 0x150) << 32 if wide else 0),
        free_blocks=u32(raw, 12) | (u32(raw, 0x158) << 32 if wide else 0),
        block_size=1024 << shift,
        first_block=u32(raw, 20),
        blocks_per_group=u32(raw, 32),
        inodes_per_group=u32(raw, 40),
        inode_size=u16(raw, 88) if revision else OLD_INODE,
        descriptor_size=u16(raw, 254) if wide else OLD_DESCRIPTOR,
        incompatible=incompatible if revision else 0,
        read_only=u32(raw, 100) if revision else 0,
        uuid=UUID(bytes=raw[104:120]),
        label=raw[120:136].split(b"\0")[0].decode(errors="replace"),
        compatible=u32(raw, 92) if revision else 0,
        reserved_descriptors=u16(raw, 206),
        two_backups=(u32(raw, 0x24C), u32(raw, 0x250)),
        clean=u16(raw, 58) & 3 == 1,
    )
    understood(found)
    plausible(found)
    return found


def understood(found: Superblock) -> None:
    strange = [name for bit, name in REFUSED.items() if found.incompatible & bit]
    strange += [name for bit, name in REFUSED_READ_ONLY.items() if found.read_only & bit]
    unknown = found.incompatible & ~(READ_ANYWAY | sum(REFUSED))
    unknown |= found.read_only & ~(WRITE_ANYWAY | sum(REFUSED_READ_ONLY))
    if unknown:
        strange.append(f"a feature newer than this reader (bits {unknown:#x})")
    if strange:
        raise ValueError(f"it has {', '.join(strange)}, which this reader does not understand")


def plausible(found: Superblock) -> None:
    most = 8 * found.block_size  # blocks or inodes in a group: its bitmap is one block
    checks = (
        found.first_block == (1 if found.block_size == 1024 else 0),  # noqa: PLR2004 - the block after the boot block
        found.first_block < found.blocks < 1 << 48,
        found.free_blocks <= found.blocks,
        0 < found.blocks_per_group <= most,
        0 < found.inodes_per_group <= most,
        OLD_INODE <= found.inode_size <= found.block_size and found.inode_size.bit_count() == 1,
        found.descriptor_size in (OLD_DESCRIPTOR, LONG_DESCRIPTOR),
    )
    if not all(checks) or found.inodes != found.groups * found.inodes_per_group:
        raise ValueError("its superblock contradicts itself")


class Volume:
    """A file system in an open file: what it says of itself, and no way to a byte outside of it."""

    def __init__(self, handle: int, path: Path, offset: int) -> None:
        self.handle, self.path, self.offset = handle, path, offset
        try:
            self.superblock = superblock(os.pread(handle, SUPERBLOCK_SIZE, offset + SUPERBLOCK_AT))
        except ValueError as error:
            raise self.fault(str(error)) from None
        room = os.fstat(handle).st_size - offset
        if self.superblock.size > room:
            raise self.fault(
                f"the image is cut short: {self.superblock.size} B of file system in {room} B"
            )
        self.block_size = self.superblock.block_size
        self.groups = tuple(self._groups())

    def fault(self, problem: str) -> ImageFault:
        where = f"{self.path}, at byte {self.offset}" if self.offset else str(self.path)
        return ImageFault(
            f"{self.path.name} cannot be read: {problem}",
            where=where,
            hint="e2fsck -fn on this file tells more; delete it and its stamp and run doit again to have a new one",
        )

    def at(self, offset: int, length: int) -> bytes:
        if not 0 <= offset <= offset + length <= self.superblock.size:
            raise self.fault(f"it points outside of itself, to byte {offset}")
        raw = os.pread(self.handle, length, self.offset + offset)
        if len(raw) != length:
            raise self.fault(f"the file ended at byte {offset + len(raw)} while it was read")
        return raw

    def put(self, offset: int, content: bytes | bytearray) -> None:
        if not 0 <= offset <= offset + len(content) <= self.superblock.size:
            raise self.fault(f"it points outside of itself, to byte {offset}")
        if os.pwrite(self.handle, content, self.offset + offset) != len(content):
            raise self.fault("it could not be written to the end: is the disk full?")

    def block(self, number: int) -> bytes:
        return self.at(number * self.block_size, self.block_size)

    def inode(self, number: int) -> Inode:
        group, index = divmod(number - 1, self.superblock.inodes_per_group)
        if not 0 <= group < len(self.groups):
            raise self.fault(f"it names file {number}, which it has no room for")
        table = self.groups[group].inode_table * self.block_size
        return inode(number, self.at(table + index * self.superblock.inode_size, OLD_INODE))

    def _groups(self) -> Iterator[Group]:
        own, size = self.superblock, self.superblock.descriptor_size
        raw = self.at((own.first_block + 1) * self.block_size, own.groups * size)
        for at in range(0, len(raw), size):
            where = [u32(raw, at + word) for word in (0, 4, 8)]
            free, flags = u16(raw, at + 12), u16(raw, at + 18)
            if size >= LONG_DESCRIPTOR:
                where = [low | u32(raw, at + 32 + 4 * n) << 32 for n, low in enumerate(where)]
                free |= u16(raw, at + 44) << 16
            if not own.read_only & (GROUP_CHECKSUMS | CHECKSUMS):
                flags = 0
            yield Group(where[1], where[2], bool(flags & 1), where[0], bool(flags & 2), free)


def inode(number: int, raw: bytes) -> Inode:
    mode, uid, size, mtime, gid, links, flags, where, high, uid_high, gid_high = INODE.unpack_from(raw)
    if mode & KIND == REGULAR:  # of directories, the field was an access list once
        size |= high << 32
    uid, gid = uid | uid_high << 16, gid | gid_high << 16
    return Inode(number, mode, uid, gid, size, links, flags, mtime, where)


@contextmanager
def volume(path: Path, offset: int = 0, *, flags: int = os.O_RDONLY) -> Iterator[Volume]:
    """The file system that begins at byte `offset` of `path`. Raises ImageFault where there is none we understand."""
    try:
        handle = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise ImageFault(
            f"{path.name} cannot be opened: {error.strerror}", where=str(path), hint="run doit again"
        ) from None
    try:
        yield Volume(handle, path, offset)
    finally:
        os.close(handle)
